"""Identity and landmarks of the people in a reference, and in what was made of it, frame after frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.evaluate.book import Book
from revisage.measures import cosine, crop_landmarks, identity_step, landmark_distance

if TYPE_CHECKING:
    from revisage.core import Face
    from revisage.faces import FaceDetector

__all__ = ["People"]

Image = NDArray[np.uint8]


@dataclass
class _Spread:
    """Variance of a stream of numbers (Welford, 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        away = value - self.mean
        self.mean += away / self.count
        self.squares += away * (value - self.mean)


class People:
    """Measures IDS and its spread, VIDD and LMD into a book.

    * IDS: cosine of the embeddings of a face and the reference's (see :func:`cosine`), mean over the faces of a frame.
    * Spread: standard deviation of IDS over the frames of a track, tracks pooled by their frames: whether the likeness
      comes and goes.
    * VIDD: mean of 1 - cosine of the embeddings of one person in two frames in a row, the identity distance over time
      that work on face video reports (FIR2FVR, arXiv 2410.11828). The reference has one of its own.
    * LMD: see :func:`landmark_distance`.
    """

    def __init__(self, book: Book, embedder: Callable[[Image, Face], NDArray[np.float32]] | None) -> None:
        self._book = book
        self._embedder = embedder
        self._last: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._spreads: dict[str, dict[int, _Spread]] = {}

    def forget(self) -> None:
        """A new shot begins: nobody is compared with the frame before."""
        self._last.clear()

    def embed(self, place: int, images: Mapping[str, Image], faces: Sequence[tuple[int, Face]]) -> None:
        """Measure identities in one frame."""
        embedder = self._embedder
        if embedder is None:
            return
        seen: dict[tuple[str, int], NDArray[np.float32]] = {}
        for side, image in images.items():
            for track, face in faces:
                seen[side, track] = embedder(image, face)
        for side in images:
            if side != "reference":
                values = {track: cosine(seen[side, track], seen["reference", track]) for track, _ in faces}
                self._book.series(side, "faces", "ids").add(place, list(values.values()))
                for track, value in values.items():
                    self._spreads.setdefault(side, {}).setdefault(track, _Spread()).add(value)
            steps = [
                identity_step(seen[side, track], self._last[side, track])
                for track, _ in faces
                if (side, track) in self._last
            ]
            self._book.series(side, "faces", "vidd").add(place, steps)
        self._last = seen

    def landmarks(self, place: int, crops: Mapping[str, Sequence[Image]], detector: FaceDetector | None) -> None:
        """Measure landmarks in the aligned crops of one frame, one for each face, in the same order on all sides."""
        if detector is None:
            return
        expected = [crop_landmarks(crop, detector) for crop in crops["reference"]]
        for side, pictures in crops.items():
            if side != "reference":
                calls = [
                    partial(_distance, crop, before, detector) for crop, before in zip(pictures, expected, strict=True)
                ]
                self._book.attempt(side, "faces", "lmd", place, calls)

    def finish(self) -> None:
        """Note the spreads, which are known at the end only."""
        for side, tracks in self._spreads.items():
            repeated = [spread for spread in tracks.values() if spread.count > 1]
            if repeated:
                frames = sum(spread.count for spread in repeated)
                variance = sum(spread.squares for spread in repeated) / frames
                self._book.series(side, "faces", "ids_spread").add(0, [variance**0.5])


def _distance(crop: Image, expected: NDArray[np.float32] | None, detector: FaceDetector) -> float:
    if expected is None:
        raise ValueError("the detector sees no face in the reference's crop")
    found = crop_landmarks(crop, detector)
    if found is None:
        raise ValueError("the detector sees no face any more")
    return landmark_distance(found, expected, crop.shape[0])
