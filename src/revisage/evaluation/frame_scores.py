"""Measure one moment after the other: whole frames, faces, and what changed since the moment before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import faces, media
from revisage.core import Crop, Face, Image, MissingExtraError, Region
from revisage.evaluation.results import EvaluateSettings, Score
from revisage.measures import (
    FrameStep,
    Instruments,
    Measure,
    cosine,
    crop_landmarks,
    identity_step,
    landmark_distance,
    motion_between,
)

__all__ = ["Comparison", "FrameScores", "Series"]

Spot = tuple[int, Face, Region]
"""Number of a track, its face, and where it is measured."""
Landmarks = NDArray[np.float32]

_CROP = 256
"""Side of the aligned crops that perceptual and natural quality are measured on (px)."""
_GROWN = 0.1
"""A face is measured in its box, larger by this part of it on each side."""
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
        """The faces of which something lies inside the frame, with the region to measure."""
        size_hw = self.images["reference"].shape[:2]
        found = [(track, face, _region(face, size_hw)) for track, face in self.faces]
        return [(track, face, region) for track, face, region in found if region is not None]


class Series:
    """Values of one measure of one side, frame by frame."""

    def __init__(self, info: Measure) -> None:
        self._info = info
        self._values: dict[int, float] = {}
        self._identical = 0
        self._note: str | None = None

    def add(self, place: int, values: Sequence[float]) -> None:
        """Take a frame's values (of several faces, say); their mean counts. Infinite ones mean identical.

        NaN is no value: it is left out, and told of where nothing else is there.
        """
        finite = [value for value in values if math.isfinite(value)]
        if any(math.isnan(value) for value in values):
            self._note = f"{self._info.title} gave no number"
        if finite:
            self._values[place] = _mean(finite)
        elif any(value == math.inf for value in values):
            self._identical += 1

    def attempt(self, place: int, calls: Iterable[Callable[[], float]]) -> None:
        """Take a frame's values from calls; one that is not defined for its pictures explains why there is none."""
        self.add(place, [value for call in calls if (value := self._answer(call)) is not None])

    def _answer(self, call: Callable[[], float]) -> float | None:
        try:
            return call()
        except (ValueError, MissingExtraError) as error:
            self._note = str(error)
            return None

    def score(self, count: int, default: str) -> Score:
        """The score over ``count`` frames; ``default`` explains it where nothing was tried."""
        if not self._values:
            note = "identical" if self._identical else self._note or default
            return Score(note=note, identical=self._identical, series=[])
        values = list(self._values.values())
        place, worst = self._worst()
        return Score(
            value=_mean(values),
            frames=len(values),
            identical=self._identical,
            worst=worst,
            worst_frame=place,
            series=[self._values.get(index) for index in range(count)],
        )

    def _worst(self) -> tuple[int, float]:
        """The worst frame and its value; where near the reference is best, the one farthest from the mean."""
        mean = _mean(list(self._values.values()))
        badness = {
            "higher": lambda value: -value,
            "lower": lambda value: value,
            "reference": lambda value: abs(value - mean),
        }[self._info.better]
        return max(self._values.items(), key=lambda item: badness(item[1]))


def _mean(values: Sequence[float]) -> float:
    """The mean, divided before it is summed: the sum of values that are large numbers might be none."""
    return sum(value / len(values) for value in values)


class FrameScores:
    """Takes the moments of one file in order and holds what was measured.

    Args:
        instruments: the measures that can be taken.
        settings: which areas.
        detector: sees landmarks in the crops; None where faces are not measured.
    """

    def __init__(
        self, instruments: Instruments, settings: EvaluateSettings, detector: faces.FaceDetector | None
    ) -> None:
        self._instruments = instruments
        self._settings = settings
        self._detector = detector
        self._embedder = instruments.get("ids") if settings.faces else None
        self._series: dict[tuple[str, str, str], Series] = {}
        self._likeness: dict[str, dict[int, list[float]]] = {}
        self._new_shot = faces.ShotDetector()
        self._before: Mapping[str, Image] | None = None
        self._embedded: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._count = 0
        self._pairs = 0
        self._any_face = False

    def take(self, now: Comparison) -> list[Spot]:
        """Measure one moment; gives the faces that were."""
        spots = now.spots if self._settings.faces else []
        self._count += 1
        self._any_face |= bool(spots)
        if self._new_shot(_small(now.images["reference"])):
            # Nothing is compared with what was before a cut.
            self._before = None
            self._embedded = {}
        if self._settings.whole:
            whole = {side: [image] for side, image in now.images.items()}
            heavy = self._chosen("image", "pair", heavy=True) if now.heavy else []
            self._pictures("whole", now.place, whole, [*self._chosen("image", "pair", heavy=False), *heavy])
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
        self._note_spread(side)
        return {
            name: self._of(side, area, name).score(self._count, self._why_not(area, info))
            for name, info in self._instruments.registry.items()
            if not (side == "reference" and info.against_reference) and not (area == "whole" and info.faces_only)
        }

    def _of(self, side: str, area: str, measure: str) -> Series:
        """The series of a measure, begun when first asked for."""
        return self._series.setdefault((side, area, measure), Series(self._instruments.registry[measure]))

    def _why_not(self, area: str, info: Measure) -> str:
        if area == "faces" and not self._any_face:
            return "no face was found in the reference"
        if info.subject in ("frames", "track") and not self._pairs:
            return "needs two frames in a row"
        return self._instruments.missing(info.name) or "not measured"

    def _faces(self, now: Comparison, spots: list[Spot]) -> None:
        """The measures of faces: light ones in the face's box, heavy ones and those made for it in the aligned crop."""
        cut = {side: [image[region.slices] for _, _, region in spots] for side, image in now.images.items()}
        self._pictures("faces", now.place, cut, self._chosen("image", "pair", heavy=False))
        crops = {side: [_aligned(image, face) for _, face, _ in spots] for side, image in now.images.items()}
        self._pictures("faces", now.place, crops, self._chosen("crop", heavy=False))
        if now.heavy:
            self._pictures("faces", now.place, crops, self._chosen("image", "pair", "crop", heavy=True))
        self._landmarks(now.place, crops)
        self._identities(now, spots)

    def _chosen(self, *subjects: str, heavy: bool) -> list[Measure]:
        known = self._instruments.registry.values()
        return [info for info in known if info.subject in subjects and info.heavy == heavy]

    def _pictures(
        self, area: str, place: int, pictures: Mapping[str, list[Image]], measures: Iterable[Measure]
    ) -> None:
        """Some measures of single pictures: of each side its own, and those against the reference's."""
        for info in measures:
            function = self._instruments.get(info.name)
            for side, images in pictures.items():
                if function is None or (side == "reference" and info.against_reference):
                    continue
                takes = zip(images, pictures["reference"], strict=True) if info.subject == "pair" else zip(images)
                self._of(side, area, info.name).attempt(place, [partial(function, *given) for given in takes])

    def _landmarks(self, place: int, crops: Mapping[str, Sequence[Crop]]) -> None:
        """LMD of the aligned crops of one frame, one for each face, in the same order on all sides."""
        detector = self._detector
        if detector is None:
            return
        expected = [crop_landmarks(crop, detector) for crop in crops["reference"]]
        for side, pictures in crops.items():
            if side != "reference":
                pairs = zip(pictures, expected, strict=True)
                self._of(side, "faces", "lmd").attempt(place, [partial(_distance, *pair, detector) for pair in pairs])

    def _identities(self, now: Comparison, spots: list[Spot]) -> None:
        """IDS against the reference, and VIDD against the moment before."""
        embedder = self._embedder
        if embedder is None:
            return
        found = {(side, track): embedder(image, face) for side, image in now.images.items() for track, face, _ in spots}
        tracks = [track for track, _, _ in spots]
        for side in now.images:
            if side != "reference":
                values = [cosine(found[side, track], found["reference", track]) for track in tracks]
                self._of(side, "faces", "ids").add(now.place, values)
                for track, value in zip(tracks, values, strict=True):
                    self._likeness.setdefault(side, {}).setdefault(track, []).append(value)
            kept = [(side, track) for track in tracks if (side, track) in self._embedded]
            steps = [identity_step(found[key], self._embedded[key]) for key in kept]
            self._of(side, "faces", "vidd").add(now.place, steps)
        self._embedded = found

    def _note_spread(self, side: str) -> None:
        """How much the likeness comes and goes: the spread of IDS over the frames of a track, tracks pooled."""
        repeated = [values for values in self._likeness.get(side, {}).values() if len(values) > 1]
        if repeated:
            frames = sum(map(len, repeated))
            variance = sum(float(np.var(values)) * len(values) for values in repeated) / frames
            self._of(side, "faces", "ids_spread").add(0, [variance**0.5])

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
                for name, info in self._instruments.registry.items():
                    function = self._instruments.get(name) if info.subject == "frames" else None
                    if function is not None and not (side == "reference" and info.against_reference):
                        self._of(side, area, name).attempt(now.place, [partial(function, step) for step in steps])


def _distance(crop: Crop, expected: Landmarks | None, detector: faces.FaceDetector) -> float:
    if expected is None:
        raise ValueError("the detector sees no face in the reference's crop")
    found = crop_landmarks(crop, detector)
    if found is None:
        raise ValueError("the detector sees no face any more")
    return landmark_distance(found, expected, crop.shape[0])


def _small(image: Image) -> Image:
    """The picture that shots are told apart by."""
    height, width = image.shape[:2]
    scale = min(1.0, _SMALL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _region(face: Face, size_hw: tuple[int, int]) -> Region | None:
    """The box of a face, a tenth larger on each side, in whole pixels of the frame; None where nothing is left."""
    x, y, width, height = face.box
    left, right = x - _GROWN * width, x + (1 + _GROWN) * width
    top, bottom = y - _GROWN * height, y + (1 + _GROWN) * height
    sides = (max(0, math.floor(left)), max(0, math.floor(top)))
    ends = (min(size_hw[1], math.ceil(right)), min(size_hw[0], math.ceil(bottom)))
    if sides[0] >= ends[0] or sides[1] >= ends[1]:
        return None
    return Region(*sides, *ends)


def _aligned(image: Image, face: Face) -> Crop:
    """A face of a frame in FFHQ framing. Raises ValueError where the landmarks cannot be aligned."""
    return faces.align(media.Frame.from_array(image), face, _CROP).crop
