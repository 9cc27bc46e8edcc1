from .analysis import CAUTION, Analysis, Appearance, Person, Samples, find_people
from .grouping import group
from .guide_shares import Guide, wanted_detail
from .guided_detail import with_detail
from .guides import Guidance, Reference, read_references
from .html_page import analysis_page, timeline
from .known_people import KnownPerson, photos_by_name, read_people
from .observation import Footage, TrackReading, observe
from .rejoining import rejoined

__all__ = [
    "CAUTION",
    "Analysis",
    "Appearance",
    "Footage",
    "Guidance",
    "Guide",
    "KnownPerson",
    "Person",
    "Reference",
    "Samples",
    "TrackReading",
    "analysis_page",
    "find_people",
    "group",
    "observe",
    "photos_by_name",
    "read_people",
    "read_references",
    "rejoined",
    "timeline",
    "wanted_detail",
    "with_detail",
]
