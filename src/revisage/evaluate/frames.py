"""Measure one moment after the other: whole frames, faces, and what changed since the moment before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.evaluate.book import Book
from revisage.evaluate.faces import aligned_crop, face_region
from revisage.evaluate.people import People
from revisage.evaluate.record import Score
from revisage.evaluate.settings import EvaluateSettings
from revisage.faces import ShotDetector
from revisage.measures import FrameStep, Instruments, Measure, motion_between

if TYPE_CHECKING:
    from revisage.core import Face
    from revisage.faces import FaceDetector

__all__ = ["Comparison", "FrameScores"]

Image = NDArray[np.uint8]
Spot = tuple[int, "Face", Region]

_SMALL = 160
"""Longer side of the pictures that shots are told apart by (px)."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """One moment, ready to be measured.

    Attributes:
        place: among the measured moments, from 0.
        images: ``(H, W, 3) uint8`` RGB of each side, ``reference`` among them, all of one size.
        faces: track and face of each person, in px of the images.
        heavy: whether the heavy measures are taken as well.
    """

    place: int
    images: Mapping[str, Image]
    faces: Sequence[tuple[int, Face]]
    heavy: bool

    @property
    def spots(self) -> list[Spot]:
        """The faces of which something is inside the frame, with where that is."""
        size_hw = self.images["reference"].shape[:2]
        found = ((track, face, face_region(face, size_hw)) for track, face in self.faces)
        return [(track, face, region) for track, face, region in found if region is not None]


class FrameScores:
    """Takes the moments of one file in order and holds what was measured.

    Args:
        instruments: the measures that can be taken.
        settings: which areas.
        detector: sees landmarks in the crops; None where faces are not measured.
    """

    def __init__(self, instruments: Instruments, settings: EvaluateSettings, detector: FaceDetector | None) -> None:
        self._instruments = instruments
        self._settings = settings
        self._detector = detector
        self._book = Book()
        self._people = People(self._book, instruments.get("ids") if settings.faces else None)
        self._new_shot = ShotDetector()
        self._before: Mapping[str, Image] | None = None
        self._count = 0
        self._pairs = 0
        self._any_face = False

    def take(self, now: Comparison) -> list[Spot]:
        """Measure one moment; gives the faces that were."""
        spots = now.spots if self._settings.faces else []
        self._count += 1
        self._any_face |= bool(spots)
        new_shot = self._new_shot(_small(now.images["reference"]))
        if new_shot:
            self._before = None
            self._people.forget()
        if self._settings.whole:
            self._pictures("whole", now.place, {side: [image] for side, image in now.images.items()}, heavy=now.heavy)
        if spots:
            self._faces(now, spots)
        if self._before is not None and (self._settings.whole or spots):
            self._changes(now, spots, self._before)
        self._before = now.images
        return spots

    def scores(self, side: str, area: str) -> dict[str, Score]:
        """The scores of a side in an area; none where the area was not asked for. Call it after the last moment."""
        if not (self._settings.whole if area == "whole" else self._settings.faces):
            return {}
        self._people.finish()
        return self._book.scores(side, area, self._count, partial(self._why_not, area))

    def _why_not(self, area: str, info: Measure) -> str:
        if area == "faces" and not self._any_face:
            return "no face was found in the reference"
        if info.subject in ("frames", "track") and not self._pairs:
            return "needs two frames in a row"
        return self._instruments.missing(info.name) or "not measured"

    def _faces(self, now: Comparison, spots: list[Spot]) -> None:
        cut = {side: [image[region.slices] for _, _, region in spots] for side, image in now.images.items()}
        self._pictures("faces", now.place, cut, heavy=False)
        crops = {side: [aligned_crop(image, face) for _, face, _ in spots] for side, image in now.images.items()}
        if now.heavy:
            self._pictures("faces", now.place, crops, heavy=True, light=False)
        self._people.landmarks(now.place, crops, self._detector)
        self._people.embed(now.place, now.images, [(track, face) for track, face, _ in spots])

    def _pictures(
        self, area: str, place: int, pictures: Mapping[str, list[Image]], *, heavy: bool, light: bool = True
    ) -> None:
        """The measures of single pictures: of each side its own, and those against the reference's."""
        for info in self._instruments.registry.values():
            if info.subject not in ("image", "pair") or not (heavy if info.heavy else light):
                continue
            function = self._instruments.get(info.name)
            for side, images in pictures.items():
                if function is None or (side == "reference" and info.against_reference):
                    continue
                takes = zip(images, pictures["reference"], strict=True) if info.subject == "pair" else zip(images)
                self._book.attempt(side, area, info.name, place, [partial(function, *given) for given in takes])

    def _changes(self, now: Comparison, spots: list[Spot], before: Mapping[str, Image]) -> None:
        """The measures of what changed since the moment before."""
        self._pairs += 1
        pictures = before["reference"], now.images["reference"]
        motion = motion_between(*pictures)
        areas: dict[str, list[Region | None]] = {"whole": [None]} if self._settings.whole else {}
        if spots:
            areas["faces"] = [region for _, _, region in spots]
        for area, regions in areas.items():
            for side, image in now.images.items():
                steps = [FrameStep(before[side], image, *pictures, motion, region) for region in regions]
                for info in self._instruments.registry.values():
                    function = self._instruments.get(info.name) if info.subject == "frames" else None
                    if function is not None and not (side == "reference" and info.against_reference):
                        calls = [partial(function, step) for step in steps]
                        self._book.attempt(side, area, info.name, now.place, calls)


def _small(image: Image) -> Image:
    """The picture that shots are told apart by."""
    height, width = image.shape[:2]
    scale = min(1.0, _SMALL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
