"""Pieces of footage around a face, and what versions of them are measured by: those of the benchmarks of footage."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import revisage
from footage import write_clip
from revisage.core import Face, Region, make_config
from revisage.measures import (
    Embedder,
    FrameStep,
    Vggd,
    cosine,
    flicker,
    motion_between,
    niqe,
    psnr,
    ssim,
    t_mse,
    warping_error,
)
from revisage.media import open_source
from revisage.pipeline import Networks, restore_file
from revisage.readers import eye_openings, mouth_openings
from revisage.train.readers import Teachers

__all__ = ["LARGEST", "Image", "Piece", "Restorer", "Yardstick", "cut_piece", "mean", "openings", "read_pictures"]

Image = NDArray[np.uint8]

SIDE, LARGEST = 3.0, 320
"""Width and height of a piece in those of the face, and in px at most: what is larger is reduced."""

SAMPLES = 3
"""Frames of a piece on which SSIM, VGGD, identity and NIQE are taken."""

AT_ONCE = 16
"""Faces that a network reads at once."""

ROOM = 0.35
"""Of a face's longer side, what is measured around its box."""


@dataclass(frozen=True)
class Piece:
    """Some frames of a clip, also as a file without loss, and the largest face with what is measured around it."""

    file: Path
    pictures: list[Image]
    faces: list[Face]
    region: Region


def cut_piece(pictures: list[Image], folder: Path, largest: int = LARGEST) -> Piece:
    """The surroundings of the largest face in these pictures, of ``largest`` px at most; its file is written into the
    folder."""
    folder.mkdir(parents=True, exist_ok=True)
    place = _around(_faces(pictures, folder / "whole.mkv"), pictures[0].shape[:2], SIDE / 2 - 0.5)
    rows, columns = (slice(part.start, part.stop - (part.stop - part.start) % 2) for part in place.slices)
    pictures = [_reduced(picture[rows, columns], largest) for picture in pictures]
    file = folder / ("reference.png" if len(pictures) == 1 else "reference.mkv")
    faces = _faces(pictures, file)
    return Piece(file, read_pictures(file), faces, _around(faces, pictures[0].shape[:2], ROOM))


def _reduced(picture: Image, largest: int) -> Image:
    factor = min(1.0, largest / max(picture.shape[:2]))
    height, width = (round(side * factor) // 2 * 2 for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _faces(pictures: Sequence[Image], file: Path) -> list[Face]:
    """Write the pictures, and find the largest face in each."""
    _write(file, pictures)
    track = max(revisage.scan(file).tracks, key=lambda track: len(track.boxes) * track.boxes[0][2])
    return [track.face(int(np.clip(index, track.start, track.stop - 1))) for index in range(len(pictures))]


def _write(path: Path, pictures: Sequence[Image]) -> None:
    if path.suffix == ".png":
        cv2.imwrite(str(path), cv2.cvtColor(pictures[0], cv2.COLOR_RGB2BGR))
        return
    write_clip(path, pictures, codec="ffv1", form="yuv444p")


def read_pictures(path: Path) -> list[Image]:
    """All frames of a file."""
    with open_source(path) as source:
        return [np.ascontiguousarray(frame.rgb()) for frame in source.frames()]


def _around(faces: Sequence[Face], size_hw: tuple[int, int], room: float) -> Region:
    """The rectangle that holds the face in all frames, with room of so many of its sides; 96 px at least, for NIQE."""
    boxes = np.array([face.box for face in faces])
    px = max(room * boxes[:, 2:].max(), (96 - boxes[:, 2:].min()) / 2)
    left, top = (boxes[:, :2].min(axis=0) - px).astype(int)
    right, bottom = ((boxes[:, :2] + boxes[:, 2:]).max(axis=0) + px).astype(int)
    return Region(max(0, left), max(0, top), min(size_hw[1], right), min(size_hw[0], bottom))


class Restorer:
    """Restores files; networks are loaded once, and their time is not counted."""

    def __init__(self) -> None:
        self._networks: dict[str, Networks] = {}

    def __call__(self, source: Path, target: Path, **options: Any) -> float:
        """Restore a file, over what was at the target; seconds of the processor that a frame took."""
        config = make_config(**{"overwrite": True, **options})
        networks = self._networks.setdefault(json.dumps(config.about("networks")), Networks(config))
        networks.load()
        networks = networks.knowing(config.who, config.reference)
        began = time.process_time()
        report = restore_file(source, target, config, networks)
        return (time.process_time() - began) / report.frames


class Yardstick:
    """Measures versions of a piece against it."""

    def __init__(self, piece: Piece, shared: Path) -> None:
        self.piece = piece
        self._face = self._cut(piece.pictures)
        self._sample = sorted({len(self._face) * (2 * number + 1) // (2 * SAMPLES) for number in range(SAMPLES)})
        self._motions = list(itertools.starmap(motion_between, itertools.pairwise(self._face)))
        self._vggd = Vggd(shared / "weights" / "quality" / "vgg19_normalised_conv3_1.safetensors")
        self._embed = Embedder(shared / "weights" / "identity" / "mobilefacenet.onnx")

    def measure(self, pictures: Sequence[Image]) -> dict[str, float]:
        """All measures of one version, which has the piece's frames."""
        assert len(pictures) == len(self._face)
        faces = self._cut(pictures)
        sample = self._sample
        beside = [(faces[index], self._face[index]) for index in sample]
        steps = [
            FrameStep(*now, *then, motion)
            for now, then, motion in zip(
                itertools.pairwise(faces), itertools.pairwise(self._face), self._motions, strict=True
            )
        ]
        return {
            "frame PSNR": mean(map(psnr, pictures, self.piece.pictures)),
            "PSNR": mean(map(psnr, faces, self._face)),
            "SSIM": mean(itertools.starmap(ssim, beside)),
            "VGGD": mean(itertools.starmap(self._vggd, beside)),
            "identity": mean(self._likeness(pictures[index], index) for index in sample),
            "NIQE": self.niqe(pictures),
            **_over_time(steps),
        }

    def niqe(self, pictures: Sequence[Image]) -> float:
        """What NIQE says of the face in a version."""
        faces = self._cut(pictures)
        return niqe([faces[index] for index in self._sample])

    def _cut(self, pictures: Sequence[Image]) -> list[Image]:
        return [np.ascontiguousarray(picture[self.piece.region.slices]) for picture in pictures]

    def _likeness(self, picture: Image, index: int) -> float:
        face = self.piece.faces[index]
        return cosine(self._embed(picture, face), self._embed(self.piece.pictures[index], face))


def _over_time(steps: Sequence[FrameStep]) -> dict[str, float]:
    """What the steps tell; nothing of measures that have nothing to look at, as flicker where a camera moves."""
    found: dict[str, float] = {}
    for name, measure in (("T-MSE", t_mse), ("warping error", warping_error), ("flicker", flicker)):
        values = [*_told(measure, steps)]
        if values:
            found[name] = mean(values)
    return found


def _told(measure: Callable[[FrameStep], float], steps: Iterable[FrameStep]) -> Iterator[float]:
    for step in steps:
        with suppress(ValueError):
            yield measure(step)


def openings(teachers: Teachers, crops: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far the eyes, both of each face, and the mouths of aligned crops ``(n, 256, 256, 3)`` are open, as parts of
    their width, by face-api.js' 68 landmarks."""
    parts = (np.ascontiguousarray(crops[first : first + AT_ONCE]) for first in range(0, len(crops), AT_ONCE))
    landmarks = np.concatenate([teachers.landmarks(part) for part in parts])
    return eye_openings(landmarks).ravel(), mouth_openings(landmarks)


def mean(values: Iterable[float]) -> float:
    """Of any numbers, at least one."""
    return float(np.mean(list(values)))
