"""A try of an encoder in memory, so that what it refuses is said before hours of work."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from revisage.core import OutputError
from revisage.media.encoders import encoder_options
from revisage.media.info import MediaInfo
from revisage.media.priority import ordinary_priority
from revisage.media.sink import EncodeOptions

__all__ = ["try_encoder"]


def try_encoder(info: MediaInfo, output: Path, options: EncodeOptions) -> None:
    """Open the encoder of resolved options once at the output's size.

    Raises:
        OutputError: it refuses.
    """
    height, width = options.size_hw or info.size_hw
    if info.rotation % 180:
        height, width = width, height
    try:
        context = cast(Any, av.CodecContext.create(options.codec or "", "w"))
        context.width, context.height, context.pix_fmt = width, height, options.pixel_format
        context.framerate = rate = info.average_rate or Fraction(25)
        context.time_base = 1 / rate
        context.options = encoder_options(options, info)
        with ordinary_priority():
            context.open()
    except (ValueError, OSError, av.error.FFmpegError) as error:
        raise OutputError(
            f"{output}: {options.codec} cannot encode {width} x {height} px as {options.pixel_format} "
            f"({getattr(error, 'strerror', None) or error}); choose another codec or size"
        ) from None
