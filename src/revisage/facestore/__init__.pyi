from .identity import load_identity
from .place import MARKER, check_place, find_place
from .sharpness import CLEAN, sharpness
from .store import FaceStore
from .values import Added, Consent, FaceSource, KeptFrame, KeptTrack, MadeWith, Person, StoredFace

__all__ = [
    "CLEAN",
    "MARKER",
    "Added",
    "Consent",
    "FaceSource",
    "FaceStore",
    "KeptFrame",
    "KeptTrack",
    "MadeWith",
    "Person",
    "StoredFace",
    "check_place",
    "find_place",
    "load_identity",
    "sharpness",
]
