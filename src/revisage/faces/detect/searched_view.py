"""What a view showed where it was searched for faces in vain: only what has changed since is worth another search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.faces.detect.candidates import Picture

__all__ = ["FEW", "Mask", "SearchedView", "View", "differing", "grouped", "parts_around", "small_view"]

View = NDArray[np.float32]
"""``(H, W, 3)``, by which part of the light around it each place is lighter or darker, in R, G and B."""
Mask = NDArray[np.uint8]
"""``(H, W)``, 1 where something is, else 0."""

_SIDE, _BLUR, _AROUND = 160, (3, 3), (15, 15)
"""Longer side of the pictures in which views are compared (px); what is averaged there, where the smallest face that is
found is about three px wide; and what each place is compared with, so that light and shadow that come over it do not
count."""
_DARK = 50.0
"""Levels (of 255) below which light is taken for so much: what stands out there is grain."""
_CHANGE, _BLOCK, _DENSE = 0.1, (3, 3), 7
"""A place is new where it stands out from what is around it otherwise than before by so much, in so many of the pixels
of a block. All of the 293 faces of the test scenes that are large enough to be found stand out by that much in a whole
block, and in 36 pixels and more."""
_TOGETHER, FEW = (17, 17), 20
"""What is new within half of that (px) is looked at together, unless it is so few pixels that it can be no face."""
_MARGIN, _PART = 5, 0.15
"""Around it is looked at as well: so many pixels, and this part of its longer side, as a network needs to see what is
beside a face, of which a little may have been in view before."""
_STEPS = 8
"""Parts end at multiples of this part of the view's sides: an engine prepares itself for each size that it meets."""
_MOST = 0.6
"""Of the view: where the parts are larger together, all of it is searched at once."""


def small_view(picture: Picture) -> View:
    """A picture as views are compared: reduced, without grain, as the difference from what is around each place."""
    height, width = picture.size_hw
    scale = min(1.0, _SIDE / max(height, width))
    small = picture.rgb(size_hw=(max(1, round(height * scale)), max(1, round(width * scale))))
    smooth = cv2.blur(small.astype(np.float32), _BLUR)
    around = cv2.blur(smooth, _AROUND)
    # OpenCV's means and quotients take a sixth of the time of numpy's over three channels.
    # Its maximum takes the one pixel of a tiny picture for a number, and refuses to compare it with another.
    light = np.maximum(cv2.transform(around, np.full((1, 3), 1 / 3, np.float32)), np.float32(_DARK))
    return np.asarray(cv2.divide(cv2.subtract(smooth, around), cv2.merge([light] * 3)), np.float32)


class SearchedView:
    """Remembers what was searched in vain, place by place, and tells where a picture shows something else.

    Each place is compared with what it showed when it was searched, however long ago, so that what comes slowly is not
    overlooked.
    """

    def __init__(self) -> None:
        self._shown: View | None = None
        self._compared: tuple[View, list[Mask]] | None = None

    def forget(self) -> None:
        """Take everything for new: a face was found, or another shot begins."""
        self._shown = self._compared = None

    def news(self, now: View, size_hw: tuple[int, int]) -> list[Region]:
        """Where a picture shows what was not searched in vain.

        Args:
            now: the :func:`small_view` of the picture.
            size_hw: of the picture (px).

        Returns:
            Parts of the picture (px) around all that is new; none where nothing is.
        """
        return parts_around(self._new(now), size_hw, _MOST)

    def searched(self, now: View) -> None:
        """Note that all that is new in a :func:`small_view` was searched in vain."""
        shown = now if self._shown is None else self._shown
        for group in self._new(now):
            shown = np.where(group[..., None] > 0, now, shown)
        self._shown, self._compared = shown, None

    def _new(self, now: View) -> list[Mask]:
        """Where something new is shown, near things together; compared once where it is asked for twice."""
        if self._compared is None or self._compared[0] is not now:
            self._compared = now, self._compare(now)
        return self._compared[1]

    def _compare(self, now: View) -> list[Mask]:
        if self._shown is None:
            return [np.ones(now.shape[:2], np.uint8)]
        return grouped(differing(now, self._shown))


def differing(now: View, before: View) -> Mask:
    """Where one view shows something else than another one."""
    differs = (cv2.absdiff(now, before) > _CHANGE).any(axis=2).astype(np.uint8)
    dense = cv2.boxFilter(differs, -1, _BLOCK, normalize=False, borderType=cv2.BORDER_REPLICATE) >= _DENSE
    return np.asarray(cv2.dilate(dense.astype(np.uint8), np.ones(_BLOCK, np.uint8)), np.uint8)


def grouped(new: Mask) -> list[Mask]:
    """What is new, near things together, without what is too few pixels."""
    count, labels = cv2.connectedComponents(cv2.dilate(new, np.ones(_TOGETHER, np.uint8)))
    groups = [np.where(labels == label, new, 0).astype(np.uint8) for label in range(1, count)]
    return [group for group in groups if cv2.countNonZero(group) > FEW]


def parts_around(groups: Sequence[Mask], size_hw: tuple[int, int], most: float) -> list[Region]:
    """The parts of a picture of ``size_hw`` px to look at for what is new in its small view; all of it at once where
    they are more than ``most`` of it together."""
    parts = [_around(cv2.boundingRect(group), group.shape, size_hw) for group in groups]
    area = sum(part.size_hw[0] * part.size_hw[1] for part in parts)
    return parts if area <= most * size_hw[0] * size_hw[1] else [Region(0, 0, *size_hw[::-1])]


def _around(box: tuple[int, int, int, int], view_hw: tuple[int, int], size_hw: tuple[int, int]) -> Region:
    """The part of a picture to look at for a box of its small view."""
    left, top, width, height = box
    margin = _MARGIN + math.ceil(_PART * max(width, height))
    first_x, last_x = _stepped(left - margin, left + width + margin, view_hw[1], size_hw[1])
    first_y, last_y = _stepped(top - margin, top + height + margin, view_hw[0], size_hw[0])
    return Region(first_x, first_y, last_x, last_y)


def _stepped(first: int, last: int, cells: int, side: int) -> tuple[int, int]:
    """Columns, or rows, of a picture (px, the end excluded) that hold those of a small view, ending at whole steps."""
    begin = max(0, math.floor(first * _STEPS / cells))
    end = min(_STEPS, math.ceil(last * _STEPS / cells))
    return side * begin // _STEPS, -(-side * end // _STEPS)
