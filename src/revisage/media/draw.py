"""Pictures for people to look at: faces outlined and numbered, reduced and written as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["outlined", "write_jpeg"]

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]

_LINE, _EDGE, _TEXT = (255, 214, 0), (0, 0, 0), (0, 0, 0)


def outlined(picture: Picture, boxes: Sequence[tuple[str, Box]]) -> Picture:
    """A copy with labelled rectangles: yellow with a dark edge, seen on any background.

    Args:
        picture: ``(H, W, 3) uint8 RGB``.
        boxes: a label, and x, y, width, height (px).
    """
    canvas = Image.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(max(canvas.size) / 400))
    font = ImageFont.load_default(max(12, round(max(canvas.size) / 45)))
    for label, (x, y, wide, high) in boxes:
        corners = (x, y, x + wide, y + high)
        draw.rectangle(tuple(v + d * width for v, d in zip(corners, (-1, -1, 1, 1), strict=True)), outline=_EDGE)
        draw.rectangle(corners, outline=_LINE, width=width)
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        pad = 2 * width
        tag = (x, y, x + right - left + 2 * pad, y + bottom - top + 2 * pad)
        draw.rectangle(tag, fill=_LINE)
        draw.text((x + pad - left, y + pad - top), label, font=font, fill=_TEXT)
    return np.asarray(canvas).copy()


def write_jpeg(path: Path, picture: Picture, *, longest: int, quality: int) -> None:
    """Write an ``(H, W, 3) uint8 RGB`` picture as JPEG, reduced until its longer side is at most ``longest`` px.

    Raises:
        OSError: it cannot be written.
    """
    image = Image.fromarray(picture)
    scale = longest / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(path, format="JPEG", quality=quality, subsampling=0)
