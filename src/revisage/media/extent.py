"""Extent: how large and how long a file says it is, told from its structure alone. No picture is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from revisage.core import InputError
from revisage.media.formats import format_of_content

__all__ = ["Extent", "read_extent"]


@dataclass(frozen=True)
class Extent:
    """What a file would take to decode.

    Attributes:
        kind: ``video``, ``animation`` or ``image``.
        width, height: in px; upright, but of a video as stored (how it is turned stands beside its first picture).
        duration: in seconds; None of an image, and when unknown.
        frame_count: as the file states it; None when it does not.
        average_rate: frames per second; None when unknown.
    """

    kind: Literal["video", "animation", "image"]
    width: int
    height: int
    duration: Fraction | None = None
    frame_count: int | None = None
    average_rate: Fraction | None = None


def read_extent(path: Path) -> Extent:
    """How large and how long a file says it is.

    Raises:
        InputError: it cannot be made sense of, or says that it is too large to be real.
    """
    found = format_of_content(path)
    if found is None or found.is_video:
        return _of_video(path)
    if "animation" in found.kinds:
        from revisage.media.animation import animation_extent, animation_format

        animation = animation_format(path)
        if animation is not None:
            return animation_extent(path, animation)
    return _of_still(path)


def _of_video(path: Path) -> Extent:
    from revisage.media.video_probe import open_container, stated_duration, video_stream

    with open_container(path) as container:
        stream = video_stream(container, path)
        return Extent(
            kind="video",
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            duration=stated_duration(container, stream),
            frame_count=stream.frames or None,
            average_rate=stream.average_rate or stream.guessed_rate,
        )


def _of_still(path: Path) -> Extent:
    from PIL import Image, UnidentifiedImageError

    from revisage.media.limits import check_pixels, pillow_unlimited
    from revisage.media.still import exif_orientation

    with pillow_unlimited():
        try:
            with Image.open(path) as image:
                check_pixels(path, *image.size)
                height, width = exif_orientation(image).size((image.height, image.width))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, MemoryError):
            raise InputError(f"{path}: the picture cannot be decoded; it is damaged") from None
    return Extent("image", width, height, frame_count=1)
