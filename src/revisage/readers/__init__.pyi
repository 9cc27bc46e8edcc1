from .believed_cover import believed_cover
from .face_reader import FaceReader, NetReader, load_reader
from .readings import EXPRESSIONS, FaceReadings, eye_openings, mouth_openings
from .recogniser import (
    READER,
    SAME_PERSON,
    IdentityNetwork,
    Recogniser,
    is_reader_there,
    load_identity_network,
    load_recogniser,
    weights_hash,
)

__all__ = [
    "EXPRESSIONS",
    "READER",
    "SAME_PERSON",
    "FaceReader",
    "FaceReadings",
    "IdentityNetwork",
    "NetReader",
    "Recogniser",
    "believed_cover",
    "eye_openings",
    "is_reader_there",
    "load_identity_network",
    "load_reader",
    "load_recogniser",
    "mouth_openings",
    "weights_hash",
]
