"""What a face reader learns from: faces jittered, half hidden and damaged, with what its teachers say of them clean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from revisage.core import Image
from revisage.faces import ARCFACE_112, ffhq_template, similarity, transform
from revisage.nets import READER_SIZE
from revisage.train.degrade import Degradation, degrade, generator
from revisage.train.readers.occluders import occlude
from revisage.train.readers.teachers import Labels, mirrored_landmarks

__all__ = ["ReadFaces", "View", "trusted_faces", "window_units"]

_SIDE = 144
"""Side at which faces are hidden and damaged, px: there the window has about as many pixels as the network is shown."""
_TURN, _ZOOM, _SHIFT = 5.0, 0.06, 0.025
"""Deviations of an alignment from the right one: degrees, relative, parts of the window's side."""
_EYES_OFF = 0.25
"""Teachers that see an eye this far from where an aligned face has it, in eye distances, did not see the face."""


@dataclass(frozen=True)
class View:
    """How a window looks at a face: chance's share of an alignment.

    Attributes:
        turn: clockwise, degrees.
        zoom: enlargement, relative.
        shift: x, y, parts of the window's side.
    """

    turn: float = 0.0
    zoom: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def drawn(cls, random: np.random.Generator) -> View:
        """One as alignments err; some err more than a normal distribution says."""
        wide = 2.5 if random.random() < 0.2 else 1.0
        turn, zoom, x, y = random.normal(0, wide, 4)
        return cls(_TURN * turn, float(np.clip(_ZOOM * zoom, -0.4, 0.4)), (_SHIFT * x, _SHIFT * y))

    def affine(self, side: int) -> NDArray[np.float64]:
        """The ``(2, 3)`` affine from an aligned face of ``side`` px to the window."""
        aligned = similarity(ffhq_template(side), ARCFACE_112)
        angle, scale, middle = math.radians(self.turn), math.exp(self.zoom), (READER_SIZE - 1) / 2
        linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        moved = linear @ (aligned[:, 2] - middle) + middle + READER_SIZE * np.asarray(self.shift)
        return np.column_stack((linear @ aligned[:, :2], moved))


def window_units(landmarks: NDArray[np.floating], affine: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Landmarks ``(..., 2)``, parts of an aligned crop's side, in the window's units: -1 to 1 from edge to edge."""
    points = transform(affine, landmarks.astype(np.float64) * side - 0.5)
    return ((points + 0.5) * (2 / READER_SIZE) - 1).astype(np.float32)


def trusted_faces(labels: Labels) -> NDArray[np.bool_]:
    """``(n,)``: whether the landmarks' teacher saw the face that the crop is of: its eyes are where they belong."""
    template = (ffhq_template(512)[:2] + 0.5) / 512
    eyes = np.stack([labels.landmarks[:, 36:42].mean(1), labels.landmarks[:, 42:48].mean(1)], 1)
    off = np.linalg.norm(eyes - template, axis=2).max(1)
    trusted: NDArray[np.bool_] = off < _EYES_OFF * np.linalg.norm(template[1] - template[0])
    return trusted


class ReadFaces(Dataset[tuple[Tensor, ...]]):
    """An endless stream of samples; the one at an index depends on (seed, index) alone.

    Each is a (3, 112, 112) uint8 RGB window, the same view of the face before anything was done to it, and the labels
    of that: identity (128), pose (3), landmarks (68, 2), expression (7), and visibility (68) of 0 and 1.

    Args:
        faces: ``(n, size, size, 3)`` uint8 RGB, aligned (FFHQ frame).
        labels: of the n faces.
        weights: ``(n,)``, how often each is drawn.
        mixture: kinds of damage and their shares.
        occluded: share of the faces that something is drawn before.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        faces: Tensor,
        labels: Labels,
        weights: NDArray[np.float64],
        mixture: Sequence[tuple[Degradation, float]],
        *,
        occluded: float,
        seed: int,
    ) -> None:
        self.faces, self.labels = faces, labels
        self.occluded, self.seed = occluded, seed
        self.kinds = [kind for kind, _ in mixture]
        self._mixture = np.cumsum([share for _, share in mixture]) / sum(share for _, share in mixture)
        self._shares = np.cumsum(weights) / weights.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        random = generator(self.seed, index)
        number = int(np.searchsorted(self._shares, random.random(), side="right"))
        mirrored = random.random() < 0.5
        clean = face = reduced(self.faces[number].numpy(), mirrored)
        hidden = None
        if random.random() < self.occluded:
            face, hidden = occlude(face, random)
        kind = self.kinds[int(np.searchsorted(self._mixture, random.random(), side="right"))]
        face, _ = degrade(face, kind, random)
        view = View.drawn(random)
        shown, *labels = sample(face, self.labels, number, view, mirrored=mirrored, hidden=hidden)
        return shown, _window(clean, view), *labels


def reduced(face: Image, mirrored: bool) -> Image:
    """A face at the side at which it is damaged, (144, 144, 3)."""
    small = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, ::-1] if mirrored else small)


def sample(
    face: Image, labels: Labels, number: int, view: View, *, mirrored: bool, hidden: NDArray[np.bool_] | None
) -> tuple[Tensor, ...]:
    """The window's view of a face, and its labels as that view has them."""
    side, affine = len(face), view.affine(len(face))
    yaw, pitch, roll = labels.pose[number]
    sign = -1 if mirrored else 1
    landmarks = mirrored_landmarks(labels.landmarks[number]) if mirrored else labels.landmarks[number]
    identity = (labels.mirrored if mirrored else labels.identity)[number]
    targets = (
        identity,
        np.array([sign * yaw, pitch, sign * roll + view.turn], np.float32),
        window_units(landmarks, affine, side),
        labels.expression[number],
        _visible(landmarks * side - 0.5, hidden),
    )
    return _window(face, view), *map(torch.from_numpy, targets)


def _window(face: Image, view: View) -> Tensor:
    """What a view shows of an aligned face: (3, 112, 112) uint8 RGB."""
    size, affine = (READER_SIZE, READER_SIZE), view.affine(len(face))
    shown = cv2.warpAffine(face, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(shown.transpose(2, 0, 1).copy())


def _visible(points: NDArray[np.floating], hidden: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """``(68,)`` of 0 and 1; beyond the crop nothing is drawn."""
    if hidden is None:
        return np.ones(len(points), np.float32)
    columns, rows = np.clip(np.rint(points), 0, len(hidden) - 1).astype(int).T
    return 1 - hidden[rows, columns].astype(np.float32)
