from .assembly import AssembleResult, assemble
from .collection import Collection, find_media, is_collection
from .draw import outlined, write_jpeg
from .encoders import resolve_options, scaled_size
from .extent import Extent, read_extent
from .formats import (
    IMAGE_SUFFIXES,
    STILL_SUFFIXES,
    VIDEO_SUFFIXES,
    Format,
    Sniffed,
    format_of,
    format_of_content,
    format_of_info,
    media_type,
    sniff,
    sniff_file,
    written_suffix,
)
from .frame import Frame
from .image_sink import open_image_sink
from .info import MediaInfo, probe
from .output import check_output, default_output, format_notes, output_name
from .packets import StreamTimes, stream_times
from .picture import side_by_side, write_picture
from .plain import open_plain_video
from .playable import is_playable, write_playable
from .sink import EncodeOptions, Sink, open_segment
from .source import Source, open_source

__all__ = [
    "IMAGE_SUFFIXES",
    "STILL_SUFFIXES",
    "VIDEO_SUFFIXES",
    "AssembleResult",
    "Collection",
    "EncodeOptions",
    "Extent",
    "Format",
    "Frame",
    "MediaInfo",
    "Sink",
    "Sniffed",
    "Source",
    "StreamTimes",
    "assemble",
    "check_output",
    "default_output",
    "find_media",
    "format_notes",
    "format_of",
    "format_of_content",
    "format_of_info",
    "is_collection",
    "is_playable",
    "media_type",
    "open_image_sink",
    "open_plain_video",
    "open_segment",
    "open_source",
    "outlined",
    "output_name",
    "probe",
    "read_extent",
    "resolve_options",
    "scaled_size",
    "side_by_side",
    "sniff",
    "sniff_file",
    "stream_times",
    "write_jpeg",
    "write_picture",
    "write_playable",
    "written_suffix",
]
