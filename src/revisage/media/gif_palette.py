"""Colours for paletted pictures: choosing a palette, finding the nearest entry, and ordered dithering.

The dither is a two-colour ordered one after Knoll's pattern dithering: each pixel shows its nearest palette colour or
the one on the other side of the true colour, in the share that makes the mean right, by a Bayer matrix fixed to the
screen. A colour that is in the palette is never dithered, and a still picture gives the same pixels in every frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["choose_colours", "dither", "nearest", "pack"]

Colours = NDArray[np.uint8]
_CHUNK = 1 << 14  # rows of a distance table held at once: 16 MB with 256 colours
_MANY = 1 << 15  # colours from which they are searched by cells
_SAMPLE = 1 << 16  # pixels that a palette is chosen from


def _bayer(order: int) -> NDArray[np.float32]:
    """The Bayer threshold matrix of side 2**order, values strictly between 0 and 1."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


_THRESHOLDS = _bayer(3)


def pack(rgb: Colours) -> NDArray[np.uint32]:
    """Each colour of ``(..., 3) uint8 RGB`` as one number."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32, copy=False)


def nearest(colours: NDArray[np.float32], table: Colours) -> NDArray[np.intp]:
    """For each of ``(n, 3)`` colours (RGB, 0 to 255) the index of the nearest of ``(k, 3) uint8 RGB`` by distance.

    Of very many colours, those that fall into one cell of 2 x 2 x 2 share the entry nearest to its middle.
    """
    if len(colours) <= _MANY:
        return _searched(colours, table)
    cells = np.clip(colours, 0, 255).astype(np.int32) >> 1
    codes = cells[:, 0] << 14 | cells[:, 1] << 7 | cells[:, 2]
    entry = np.zeros(1 << 21, dtype=np.int16)
    entry[codes] = 1
    used = np.flatnonzero(entry)
    middles = np.stack([used >> 14, used >> 7 & 127, used & 127], axis=-1) * 2 + 0.5
    entry[used] = _searched(middles.astype(np.float32), table)
    return entry[codes].astype(np.intp)


def _searched(colours: NDArray[np.float32], table: Colours) -> NDArray[np.intp]:
    entries = table.astype(np.float32)
    bias = (entries**2).sum(axis=1)
    found = np.empty(len(colours), dtype=np.intp)
    for start in range(0, len(colours), _CHUNK):
        part = slice(start, start + _CHUNK)
        score = colours[part] @ (-2 * entries.T)
        score += bias
        found[part] = score.argmin(axis=1)
    return found


def dither(rgb: Colours, table: Colours, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Palette indices of ``(n, 3) uint8 RGB`` pixels in ``(k, 3) uint8 RGB``, dithered by their screen position."""
    true = rgb.astype(np.float32)
    entries = table.astype(np.float32)
    first = nearest(true, table)
    error = true - entries[first]
    second = nearest(true + error, table)
    step = entries[second] - entries[first]
    length = (step**2).sum(axis=1)
    share = (error * step).sum(axis=1) / np.maximum(length, 1)
    return np.where(share > _THRESHOLDS[rows % 8, columns % 8], second, first)


def choose_colours(rgb: Colours, count: int) -> Colours:
    """At most ``count`` colours, ``(k, 3) uint8 RGB``, that serve ``(n, 3) uint8 RGB`` pixels best.

    All of them where there are no more than ``count``; else median cut refined by k-means.
    """
    if count <= 0 or not len(rgb):
        return np.zeros((0, 3), dtype=np.uint8)
    sample = rgb[:: -(-len(rgb) // _SAMPLE)]
    unique = np.unique(pack(sample))
    if len(unique) <= count and len(sample) < len(rgb):
        unique = np.unique(pack(rgb))
    if len(unique) <= count:
        return np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=-1).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(sample).reshape(1, -1, 3))
    cut = image.quantize(count, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    table = np.array(cut.getpalette(), dtype=np.uint8).reshape(-1, 3)
    return table[:count]
