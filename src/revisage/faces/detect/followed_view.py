"""What a view shows that motion does not bring from where it was: beside faces that are followed only that is worth a
search."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, Region
from revisage.faces.alignment import pixel_grid
from revisage.faces.detect.searched_view import FEW, Mask, View, differing, grouped, parts_around

__all__ = ["FollowedView"]

_GAIN, _MIDDLE = 100.0, 128.0
"""A view as the picture that motion is estimated in: levels for what is twice as light as what is around it, and for
what is as light."""
_LEAST_SIDE = 16
"""Sides that motion can be estimated in (px): of smaller views all is new."""
_MOST = 0.4
"""Of the view: where the parts are larger together, they cost as much as all of it, faces that are followed counted."""
_STRIP = (4, 4)
"""What comes in from beyond a border is looked at when it is so wide (px): as wide as the smallest face that is found.
Until then it stays new."""


class FollowedView:
    """Remembers what a view showed at the last look, and tells where another one shows what did not move there.

    Each look is compared with the one before alone, so that errors of motion do not add up. What changes slowly, or
    comes nearer, is explained each time: so all has to be searched now and then.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._last: View | None = None
        self._known = self._new = self._clear = np.zeros((0, 0), np.uint8)

    def searched(self, now: View) -> None:
        """Note that all of a :func:`.searched_view.small_view` was searched."""
        self._last, self._known = now, np.ones(now.shape[:2], np.uint8)

    def look(self, now: View) -> None:
        """Compare the next :func:`.searched_view.small_view` with the one before."""
        if self._last is None or min(now.shape[:2]) < _LEAST_SIDE:
            self._new = self._clear = np.ones(now.shape[:2], np.uint8)
        else:
            self._new, self._clear = self._unexplained(self._last, now)
        self._last = now

    def news(self, size_hw: tuple[int, int], faces: Sequence[Face]) -> list[Region]:
        """Where the picture of the last look shows something that was not searched; it counts as searched from now on.

        Args:
            size_hw: of the picture (px).
            faces: that are known to be in it, of which nothing is new.

        Returns:
            Parts of the picture (px) around all that is new; none where nothing is.
        """
        beside = np.ones_like(self._new)
        for face in faces:
            beside[_in_view(face, beside.shape, size_hw)] = 0
        groups = grouped(_without_specks(self._clear * beside))
        self._known = 1 - self._new * beside
        for group in groups:
            self._known |= group
        return parts_around(groups, size_hw, _MOST)

    def _unexplained(self, last: View, now: View) -> tuple[Mask, Mask]:
        """Where motion does not explain what is shown, and where that is worth a look already."""
        height, width = now.shape[:2]
        places = self._flow.calc(_picture(now), _picture(last), None) + pixel_grid(height, width)
        moved = cv2.remap(last, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.remap(self._known, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        differs = differing(now, np.asarray(moved, np.float32))
        new = differs | (1 - known)
        wide = cv2.morphologyEx(new, cv2.MORPH_OPEN, np.ones(_STRIP, np.uint8), borderValue=0)
        inside = cv2.erode(known, np.ones((3, 3), np.uint8), borderValue=1)
        return new.astype(np.uint8), np.asarray((differs & inside) | wide, np.uint8)


def _picture(view: View) -> NDArray[np.uint8]:
    """A view in levels."""
    mean = cv2.transform(view, np.full((1, 3), _GAIN / 3, np.float32))
    return np.clip(np.rint(mean + _MIDDLE), 0, 255).astype(np.uint8)


def _without_specks(new: Mask) -> Mask:
    """What is new without what is too few pixels by itself: motion missed it, and it is no face."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(new)
    stays = stats[:count, cv2.CC_STAT_AREA] > FEW
    stays[0] = False
    return stays[labels].astype(np.uint8)


def _in_view(face: Face, view_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a view that show the box of a face."""
    x, y, width, height = face.box
    rows, columns = view_hw[0] / size_hw[0], view_hw[1] / size_hw[1]
    top, bottom = max(0, round(y * rows)), max(0, round((y + height) * rows))
    left, right = max(0, round(x * columns)), max(0, round((x + width) * columns))
    return slice(top, bottom), slice(left, right)
