from .analysis import CAUTION, Analysis, Appearance, Person, Samples, find_people
from .grouping import group
from .html_page import analysis_page, timeline
from .known_people import KnownPerson, photos_by_name, read_people
from .observation import Footage, TrackReading, observe

__all__ = [
    "CAUTION",
    "Analysis",
    "Appearance",
    "Footage",
    "KnownPerson",
    "Person",
    "Samples",
    "TrackReading",
    "analysis_page",
    "find_people",
    "group",
    "observe",
    "photos_by_name",
    "read_people",
    "timeline",
]
