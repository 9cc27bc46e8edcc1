from .gif_sink import GifSink
from .sink import ApngSink, WebpSink
from .source import AnimationSource, animation_extent, animation_format

__all__ = [
    "AnimationSource",
    "ApngSink",
    "GifSink",
    "WebpSink",
    "animation_extent",
    "animation_format",
]
