from .face_reader import FaceReader, NetReader, load_reader
from .readings import EXPRESSIONS, FaceReadings, eye_openings, mouth_openings

__all__ = [
    "EXPRESSIONS",
    "FaceReader",
    "FaceReadings",
    "NetReader",
    "eye_openings",
    "load_reader",
    "mouth_openings",
]
