from .training import WEIGHTS, train_detector, train_refiner

__all__ = ["WEIGHTS", "train_detector", "train_refiner"]
