"""Plain RGB pictures for people: written as PNG, or put side by side with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["side_by_side", "write_picture"]

Picture = NDArray[np.uint8]


def write_picture(path: Path, picture: Picture) -> None:
    """Write an ``(H, W, 3) uint8 RGB`` picture as PNG, quickly rather than small.

    Raises:
        OSError: it cannot be written.
    """
    Image.fromarray(picture).save(path, format="PNG", compress_level=1)


def side_by_side(left: Picture, right: Picture, labels: tuple[str, str]) -> Picture:
    """Two ``(H, W, 3) uint8 RGB`` pictures of one size beside each other, ``(H, 2W, 3)``, a label in each.

    Raises:
        ValueError: the pictures differ in shape.
    """
    if left.shape != right.shape:
        raise ValueError(f"pictures side by side must have one shape, got {left.shape} and {right.shape}")
    height, width = left.shape[:2]
    canvas = Image.fromarray(np.hstack((left, right)))
    draw = ImageDraw.Draw(canvas, "RGBA")
    size = max(10, min(height, width) // 18)
    font = ImageFont.load_default(size)
    pad = size // 3
    for offset, label in zip((0, width), labels, strict=True):
        edge = offset + 3 * pad + round(draw.textlength(label, font=font))
        bottom = 3 * pad + round(1.2 * size)
        draw.rectangle((offset + pad, pad, edge, bottom), fill=(0, 0, 0, 150))
        draw.text((offset + 2 * pad, 2 * pad), label, font=font, fill=(255, 255, 255, 255))
    return np.ascontiguousarray(canvas)
