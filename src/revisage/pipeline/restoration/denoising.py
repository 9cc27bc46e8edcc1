"""Noise and blocks taken off whole frames by the network that does so in large faces, at the frame's own pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from revisage.core import Region

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.restorers import FineRestorer

__all__ = ["denoised"]

_LARGEST = 768
"""Longest side (px) that the network is shown at once: larger ones take memory for nothing."""

_CONTEXT = 48
"""Pixels around a piece that are shown with it; farther ones tell it next to nothing."""

_CODED_BLOCK = 16
"""Blocks of codecs lie at multiples of this (px), and so does what the network is shown, as it has learnt."""


def denoised(frame: Frame, net: FineRestorer, share: float) -> Frame:
    """A frame with a share (0 to 1) of its noise and blocks taken away, in its native planes."""
    height, width = frame.size_hw
    delta = np.empty((height, width, 3), np.float32)
    for shown, (rows, columns) in _pieces(height, width):
        change = net(frame.rgb(shown))
        top, left = rows.start - shown.top, columns.start - shown.left
        inner = change[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
        delta[rows, columns] = inner * np.float32(share)
    return frame.add_rgb(Region(0, 0, width, height), delta)


def _pieces(height: int, width: int) -> Iterator[tuple[Region, tuple[slice, slice]]]:
    """What the network is shown, all of one size, and which part of the frame is taken from it."""
    for (top, bottom, rows), (left, right, columns) in product(_spans(height), _spans(width)):
        yield Region(left, top, right, bottom), (rows, columns)


def _spans(length: int) -> list[tuple[int, int, slice]]:
    """Start and stop of what is shown, and of what is taken, along one side."""
    if length <= _LARGEST:
        return [(0, length, slice(0, length))]
    count = math.ceil(length / (_LARGEST - 2 * _CONTEXT))
    edges = [length * number // count for number in range(count + 1)]
    shown = math.ceil(length / count) + 2 * _CONTEXT + _CODED_BLOCK
    spans = []
    for start, stop in pairwise(edges):
        # The last one ends with the frame: another size would cost the network more than blocks out of place.
        first = min(max(start - _CONTEXT, 0) // _CODED_BLOCK * _CODED_BLOCK, length - shown)
        spans.append((first, first + shown, slice(start, stop)))
    return spans
