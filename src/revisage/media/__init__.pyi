from .assembly import AssembleResult, assemble
from .collection import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Collection, find_media, is_collection
from .draw import outlined, write_jpeg
from .encoders import resolve_options, scaled_size
from .extent import Extent, read_extent
from .frame import Frame
from .image_sink import open_image_sink
from .info import MediaInfo, probe
from .output import output_problem
from .packets import StreamTimes, stream_times
from .picture import side_by_side, write_picture
from .plain import open_plain_video
from .playable import is_playable, write_playable
from .sink import EncodeOptions, Sink, open_segment
from .source import Source, open_source, picture_type

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "AssembleResult",
    "Collection",
    "EncodeOptions",
    "Extent",
    "Frame",
    "MediaInfo",
    "Sink",
    "Source",
    "StreamTimes",
    "assemble",
    "find_media",
    "is_collection",
    "is_playable",
    "open_image_sink",
    "open_plain_video",
    "open_segment",
    "open_source",
    "outlined",
    "output_problem",
    "picture_type",
    "probe",
    "read_extent",
    "resolve_options",
    "scaled_size",
    "side_by_side",
    "stream_times",
    "write_jpeg",
    "write_picture",
    "write_playable",
]
