from .contents import Added, Consent, FaceSource, KeptFrame, KeptTrack, MadeWith, Person, StoredFace
from .face_store import FaceStore
from .index import MARKER, check_place, find_place
from .person_match import load_identity

__all__ = [
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
]
