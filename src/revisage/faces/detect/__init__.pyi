from .candidates import Found, suppressed
from .compact_finder import CloserLook, upright_crop
from .detector import FaceDetector, load_detector
from .video_detector import VideoDetector

__all__ = ["CloserLook", "FaceDetector", "Found", "VideoDetector", "load_detector", "suppressed", "upright_crop"]
