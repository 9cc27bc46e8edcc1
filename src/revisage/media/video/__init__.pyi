from .assembly import AssembleResult, assemble, try_assembly
from .closed_groups import CopyableGroups, copyable_groups
from .encoders import encoder_options, ordinary_priority, repeatable_x264, resolve_options, scaled_size, try_encoder
from .joined_packets import CopiedFrames
from .probing import BROKEN_PACKET, StreamTimes, open_container, open_file, stream_times, video_extent, video_stream
from .segment_sink import FrameMaker, frame_maker, muxing, open_segment
from .source import VideoSource, decoded_frame

__all__ = [
    "BROKEN_PACKET",
    "AssembleResult",
    "CopiedFrames",
    "CopyableGroups",
    "FrameMaker",
    "StreamTimes",
    "VideoSource",
    "assemble",
    "copyable_groups",
    "decoded_frame",
    "encoder_options",
    "frame_maker",
    "muxing",
    "open_container",
    "open_file",
    "open_segment",
    "ordinary_priority",
    "repeatable_x264",
    "resolve_options",
    "scaled_size",
    "stream_times",
    "try_assembly",
    "try_encoder",
    "video_extent",
    "video_stream",
]
