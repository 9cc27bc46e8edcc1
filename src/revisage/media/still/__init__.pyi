from .sink import StillSink
from .source import StillSource, still_extent

__all__ = [
    "StillSink",
    "StillSource",
    "still_extent",
]
