from .candidates import Found, suppressed
from .detector import FaceDetector, load_detector
from .second_stage import CloserLook, upright_crop

__all__ = ["CloserLook", "FaceDetector", "Found", "load_detector", "suppressed", "upright_crop"]
