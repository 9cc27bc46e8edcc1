from .candidates import Found, suppressed
from .compact_finder import CloserLook, upright_crop
from .detector import FaceDetector, load_detector

__all__ = ["CloserLook", "FaceDetector", "Found", "load_detector", "suppressed", "upright_crop"]
