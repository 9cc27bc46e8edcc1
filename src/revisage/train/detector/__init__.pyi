from .lying import train_lying
from .training import train_detector, train_refiner

__all__ = ["train_detector", "train_lying", "train_refiner"]
