"""What happens to the faces and the canvas of one frame: the link between the stages and the rooms that do the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revisage.core import Face, Region, RestoreConfig
from revisage.faces import AlignedFace, align, composite, ffhq_template, landmark_mask, matched_difference
from revisage.pipeline.networks import Networks
from revisage.pipeline.plan import PlannedFace
from revisage.pipeline.quality import FaceQuality
from revisage.pipeline.stages import Item

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["Change", "FaceWork", "scaled_face"]

_MEASURE_EVERY = 10
"""The change inside faces is measured in one of so many frames: a sample is enough for a mean."""
_LOOK_EVERY = 50
"""Naturalness and components are measured in one of so many frames: they cost about as much as a restoration."""


@dataclass
class Change:
    """How much restorations changed: sums over ``measured`` faces of mean absolute differences (1/255).

    Attributes:
        full: what a full restoration would change.
        got: what is found changed in the output.
    """

    full: float = 0.0
    got: float = 0.0
    measured: int = 0


class FaceWork:
    """Aligns, enlarges and composites for one run.

    Args:
        config: of the run.
        networks: restorer and upscaler are taken from here.
        size_hw: of the output's frames (px).
    """

    def __init__(self, config: RestoreConfig, networks: Networks, size_hw: tuple[int, int]) -> None:
        self._aligned = config.aligned
        self._networks = networks
        self._size_hw = size_hw
        self._shown = 0
        self.change = Change()
        self.quality = FaceQuality(networks)

    def align(self, frame: Frame, planned: PlannedFace) -> AlignedFace:
        """Cut a planned face out of a frame; the whole frame where the input is aligned already."""
        size = self._networks.restorer.size
        return _whole(frame, size) if self._aligned else align(frame, planned.face, size)

    def canvas(self, frame: Frame) -> Frame:
        """The frame at the output's size, background restored where that was asked for."""
        upscaler = self._networks.upscaler
        if upscaler is not None and not self._aligned:
            frame = frame.with_rgb(upscaler(frame.rgb()))
        return frame if frame.size_hw == self._size_hw else frame.resized(self._size_hw)

    def show(self, canvas: Frame, item: Item) -> Frame:
        """Put the restored faces of an item into its canvas."""
        if self._aligned:
            result = _shown_whole(canvas, item)
            if self._shown % _LOOK_EVERY == 0:
                self.quality.look(item.aligned[0], _whole(result, item.aligned[0].size).crop)
            self._shown += 1
            return result
        height, width = item.frame.size_hw
        factors = (self._size_hw[1] / width, self._size_hw[0] / height)
        strengths = [planned.strength for planned in item.planned]
        if self._networks.upscaler is not None:
            # The background network has sharpened the face already: the difference must be to what it made.
            faces = [scaled_face(planned.face, factors) for planned in item.planned]
            aligned = [align(canvas, face, self._networks.restorer.size) for face in faces]
            result = composite(canvas, list(zip(aligned, item.restored, strengths, strict=True)))
        else:
            result = composite(canvas, list(zip(item.aligned, item.restored, strengths, strict=True)), factors)
        if self._shown % _MEASURE_EVERY == 0:
            self._measure(result, item, factors)
        self._shown += 1
        return result

    def _measure(self, result: Frame, item: Item, factors: tuple[float, float]) -> None:
        for planned, before, restored in zip(item.planned, item.aligned, item.restored, strict=True):
            after = align(result, scaled_face(planned.face, factors), before.size).crop
            mask = landmark_mask(before.landmarks, before.size)
            inside = mask > 0.9
            full = np.abs(matched_difference(before.crop, restored, mask, before.steady)[inside]).mean()
            got = np.abs(after[inside].astype(np.int16) - before.crop[inside]).mean()
            self.change.full += float(full)
            self.change.got += float(got)
            self.change.measured += 1
            if self._shown % _LOOK_EVERY == 0:
                self.quality.look(before, after)


def scaled_face(face: Face, factors: tuple[float, float]) -> Face:
    """A face in a frame resized by (x, y) factors."""
    x, y, width, height = face.box
    scale = np.array(factors, dtype=np.float32)
    box = (
        (x + 0.5) * factors[0] - 0.5,
        (y + 0.5) * factors[1] - 0.5,
        width * factors[0],
        height * factors[1],
    )
    return Face(box, (face.landmarks + 0.5) * scale - 0.5, face.score)


def _whole(frame: Frame, size: int) -> AlignedFace:
    """A frame that is one aligned face, at the restorer's size."""
    height, width = frame.size_hw
    crop = np.ascontiguousarray(frame.resized((size, size)).rgb())
    affine = np.array([[size / width, 0, 0], [0, size / height, 0]])
    affine[:, 2] = 0.5 * np.array([size / width, size / height]) - 0.5
    landmarks = ffhq_template(size).astype(np.float32)
    return AlignedFace(crop, affine, Region(0, 0, width, height), landmarks)


def _shown_whole(canvas: Frame, item: Item) -> Frame:
    """An aligned face restored as a whole, blended by its strength."""
    restored = canvas.with_rgb(item.restored[0]).resized(canvas.size_hw).rgb()
    strength = item.planned[0].strength
    if strength == 1:
        return canvas.with_rgb(restored)
    before = canvas.rgb().astype(np.float32)
    mixed = before + strength * (restored - before)
    return canvas.with_rgb(np.rint(mixed).astype(np.uint8))
