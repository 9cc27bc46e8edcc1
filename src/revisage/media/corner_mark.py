"""A visible mark in a corner of a frame: a few words, laid over its native samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from revisage.core import Region
from revisage.media.frame import Frame

__all__ = ["with_mark"]

_OPACITY = 0.75
_SMALLEST = 10
"""px of a letter: below nobody reads it."""


def with_mark(frame: Frame, text: str) -> Frame:
    """A frame with words in its lower right corner, light with a dark edge; all other samples stay as they are.

    Letters are a thirtieth of the frame's shorter side high; words that do not fit are set smaller, then cut off.
    """
    region, ink, cover = _mark(frame.size_hw, text)
    below = frame.rgb(region).astype(np.float32)
    return frame.add_rgb(region, _OPACITY * cover[..., None] * (ink[..., None] - below))


@lru_cache(maxsize=4)
def _mark(size_hw: tuple[int, int], text: str) -> tuple[Region, NDArray[np.float32], NDArray[np.float32]]:
    """Where it stands, its grey (0 to 255) and how much of the frame it covers (0 to 1), ``(h, w) float32`` each."""
    height, width = size_hw
    size = max(_SMALLEST, min(size_hw) / 30)
    while size > _SMALLEST and ImageFont.load_default(size).getlength(text) > 0.9 * width:
        size -= 1
    font, edge = ImageFont.load_default(size), max(1, round(size / 10))
    left, top, right, bottom = font.getbbox(text, stroke_width=edge)
    across, down = min(round(right - left) + 2, width), min(round(bottom - top) + 2, height)
    ink, cover = (PillowImage.new("L", (across, down)) for _ in range(2))
    place = (1 - left, 1 - top)
    ImageDraw.Draw(ink).text(place, text, fill=255, font=font)
    ImageDraw.Draw(cover).text(place, text, fill=255, font=font, stroke_width=edge)
    pad = min(round(size / 2), width - across, height - down)
    region = Region(width - across - pad, height - down - pad, width - pad, height - pad)
    return region, np.asarray(ink, dtype=np.float32), np.asarray(cover, dtype=np.float32) / np.float32(255)
