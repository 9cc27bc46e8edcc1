"""What a restorer made of a face in one frame, carried along the motion to the frames that follow.

The restorer takes longer than a frame lasts. What it made is carried on as files carry it
(:func:`revisage.temporal.carried`), straight from the frame that it belongs to to the frame now shown, so no error
adds up on the way. A file's face is restored anew once it has changed; here nobody can wait for that, so what is
carried is shown as far as both frames surely show the same. Where they do not, a mouth that has opened since, the
frame is shown as it is, averaged along its own motion like all frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import faces, temporal
from revisage.core import Crop

if TYPE_CHECKING:
    from revisage.faces import AlignedFace
    from revisage.temporal import FlowEstimator, Motion

__all__ = ["CarriedFace", "Shown"]

_PATIENCE = 3.0
"""Detail is carried over some five frames, in which a face moves farther than between two."""

_FADE = 5
"""Frames over which the first detail of a face comes that was already in view without it."""

_BLEND = 3
"""Frames over which new detail takes the place of what was carried before."""

_NEWEST = 0.1
"""Part of the newest look at a face in how much of its restoration is shown: looks waver, which must not be seen."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A face as it stood in a frame: what the restorer is given.

    Attributes:
        number: of the frame.
        crop: ``(size, size, 3) uint8 RGB``, averaged over time.
        grey: the picture that flow is estimated on.
    """

    number: int
    crop: Crop
    grey: Crop


@dataclass(frozen=True, eq=False)
class _Detail:
    """What the restorer made of a face, ``(size, size, 3) uint8 RGB``, and how likely something is before each cell."""

    source: Shown
    restored: Crop
    cells: NDArray[np.float32] | None = None


class CarriedFace:
    """One face of a stream, from frame to frame.

    Args:
        flow: finds its motion; called while a face is alive, so it is made when first needed.
        averages: whether to average along the motion.
    """

    def __init__(self, flow: Callable[[], FlowEstimator], *, averages: bool) -> None:
        self._flow = flow
        self._averages = averages
        self._input = temporal.Recursion(temporal.INPUT_SHARE)
        self._output = temporal.Recursion(temporal.RESTORED_SHARE)
        self._sharpness = temporal.Sharpness()
        self._detail: _Detail | None = None
        self._former: _Detail | None = None
        self._blended = 0
        self._first: int | None = None
        self._shown = 0.0
        self._needed: float | None = None
        self._now: Shown | None = None
        self._motion: Motion | None = None
        self._cells: NDArray[np.float32] | None = None
        self._aligned: AlignedFace | None = None

    @property
    def now(self) -> Shown | None:
        """How it stands in the newest frame; None before the first."""
        return self._now

    @property
    def aligned(self) -> AlignedFace | None:
        """The face in the newest frame; None before the first."""
        return self._aligned

    @property
    def restored_at(self) -> int | None:
        """The frame that its detail comes from; None while it has none."""
        return None if self._detail is None else self._detail.source.number

    def step(self, number: int, aligned: AlignedFace, lapse: float = 1.0) -> None:
        """Take the next frame.

        Args:
            number: of the frame.
            aligned: the face in it.
            lapse: time since the frame before, in parts of the usual time between two.
        """
        grey = temporal.reduced(aligned.base)
        before, self._motion = self._now, None
        crop = aligned.base
        if self._averages:
            if before is not None:
                self._motion = temporal.onward_motion(self._flow(), before.grey, grey, aligned.size)
            crop = self._input(crop, self._motion, lapse)
        self._first = number if self._first is None else self._first
        self._now = Shown(number, crop, grey)
        self._aligned = replace(aligned, steady=crop)

    @property
    def cells(self) -> NDArray[np.float32] | None:
        """How likely something is before each cell of the newest :meth:`picture`; None where nobody looked."""
        return self._cells

    def take(self, shown: Shown, restored: Crop, cells: NDArray[np.float32] | None = None, needed: float = 1.0) -> None:
        """Take what the restorer made of a face.

        Args:
            shown: the face as it stood in this frame or in one before.
            restored: that by the restorer.
            cells: what a reader said of what is before it.
            needed: how much of that is to be shown, 0 to 1; the mean along the stream counts.
        """
        self._needed = needed if self._needed is None else self._needed + _NEWEST * (needed - self._needed)
        if self._detail is None:
            at_once = self._now is not None and shown.number == self._first == self._now.number
            self._shown = 1.0 if at_once else 0.0
        self._former, self._detail = self._detail, _Detail(shown, restored, cells)
        self._blended = 0 if self._former is not None else _BLEND

    def picture(self, lapse: float, scale: float) -> tuple[AlignedFace, Crop, float] | None:
        """The face in the newest frame, its crop to show and how much of that, 0 to 1.

        None before it was restored for the first time.

        Args:
            lapse: as for :meth:`step`.
            scale: px of the output for one of the frame.
        """
        if self._detail is None or self._now is None or self._aligned is None or self._needed is None:
            return None
        crop = self._carried()
        if self._averages:
            size = faces.crop_scale(self._aligned.affine) / scale
            crop = self._sharpness(self._output(crop, self._motion, lapse), crop, size)
        self._shown = min(1.0, self._shown + 1 / _FADE)
        return self._aligned, crop, self._shown * self._needed

    def _carried(self) -> Crop:
        """The newest crop with the detail that belongs to it."""
        assert self._now is not None and self._detail is not None
        added, self._cells = self._added(self._detail)
        self._blended += 1
        if self._former is not None and self._blended < _BLEND:
            part = self._blended / _BLEND
            former, cells = self._added(self._former)
            added = cv2.addWeighted(added, part, former, 1 - part, 0)
            if self._cells is not None and cells is not None:
                self._cells = cv2.addWeighted(self._cells, part, cells, 1 - part, 0)
        else:
            self._former = None
        return cv2.add(self._now.crop.astype(np.float32), added, dtype=cv2.CV_8U)

    def _added(self, detail: _Detail) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What it adds to the newest crop, ``(size, size, 3) float32``, and the cells there."""
        assert self._now is not None
        crop, source = self._now.crop, detail.source
        if source.number == self._now.number:
            return cv2.subtract(detail.restored, crop, dtype=cv2.CV_32F), detail.cells
        motion = temporal.onward_motion(self._flow(), source.grey, self._now.grey, len(crop), patience=_PATIENCE)
        made = temporal.carried(detail.restored, source.crop, crop, motion.flow)
        added = cv2.subtract(made, crop, dtype=cv2.CV_32F)
        added = cv2.multiply(added, cv2.merge((motion.trust,) * 3), dst=added)
        return added, None if detail.cells is None else temporal.moved_cells(detail.cells, motion)
