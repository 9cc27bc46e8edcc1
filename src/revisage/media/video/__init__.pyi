from .assembly import AssembleResult, assemble
from .encoders import ordinary_priority, resolve_options, scaled_size, try_encoder
from .probing import StreamTimes, open_container, open_file, stream_times, video_extent, video_stream
from .segment_sink import muxing, open_segment
from .source import VideoSource

__all__ = [
    "AssembleResult",
    "StreamTimes",
    "VideoSource",
    "assemble",
    "muxing",
    "open_container",
    "open_file",
    "open_segment",
    "ordinary_priority",
    "resolve_options",
    "scaled_size",
    "stream_times",
    "try_encoder",
    "video_extent",
    "video_stream",
]
