from .avif_sink import AvifSink
from .gif_sink import GifSink
from .sink import ApngSink, WebpSink
from .source import AnimationSource, animation_extent, animation_format

__all__ = [
    "AnimationSource",
    "ApngSink",
    "AvifSink",
    "GifSink",
    "WebpSink",
    "animation_extent",
    "animation_format",
]
