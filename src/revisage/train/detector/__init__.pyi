from .training import train_detector, train_refiner

__all__ = ["train_detector", "train_refiner"]
