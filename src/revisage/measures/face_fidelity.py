"""Whether it is still the same face: identity, landmarks and components of a restored face against another's."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.core import Face, Image, ModelError
from revisage.faces import FaceDetector, ffhq_template, identity_input

__all__ = [
    "COMPONENTS",
    "Embedder",
    "cosine",
    "crop_landmarks",
    "identity_step",
    "kept_components",
    "landmark_distance",
]

Embedding = NDArray[np.float32]

COMPONENTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
_TOLERANCE = 0.15
"""How far a component may be from where it belongs, as a part of the distance between the eyes."""
_REFERENCE_SIDE = 512
"""Landmark distances are told in px of a crop of this side, whatever the size of the face in the frame."""


class Embedder:
    """MobileFaceNet (Chen et al., CCBR 2018, arXiv 1804.07573): a face to 128 numbers of length one.

    Args:
        path: ``mobilefacenet.onnx``.

    Raises:
        ModelError: the file cannot be read as a network.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ModelError(
                f"{path} is no network that OpenCV can read: {' '.join(str(error).split())[:120]}"
            ) from None

    def __call__(self, image: Image, face: Face) -> Embedding:
        """The identity of a face in a frame, ``(128,) float32``.

        Args:
            image: ``(H, W, 3) uint8`` RGB.
            face: its landmarks say how it is aligned to the ArcFace template.

        Raises:
            ValueError: the landmarks cannot be aligned, or the network answers with no number.
        """
        around, landmarks = _surroundings(image, face)
        self._net.setInput(identity_input(around, landmarks))
        answer = self._net.forward().reshape(-1).astype(np.float32)
        length = float(np.linalg.norm(answer))
        if not np.isfinite(length) or length == 0:
            raise ValueError("the identity network gave no number")
        embedding: Embedding = answer / np.float32(length)
        return embedding


def _surroundings(image: Image, face: Face) -> tuple[Image, NDArray[np.float32]]:
    """The part of a frame that holds a face with room around it, and the landmarks in that part."""
    x, y = face.centre
    reach = math.ceil(1.5 * face.size) + 8
    left, top = (int(np.clip(round(v) - reach, 0, n - 1)) for v, n in ((x, image.shape[1]), (y, image.shape[0])))
    right, bottom = max(left + 1, round(x) + reach), max(top + 1, round(y) + reach)
    return image[top:bottom, left:right], face.landmarks - np.array([left, top], dtype=np.float32)


def cosine(one: Embedding, other: Embedding) -> float:
    """IDS, the identity similarity: cosine of two embeddings, -1 to 1 (Deng et al., ArcFace, CVPR 2019).

    Both faces are aligned by the reference's landmarks, so that only the pixels differ.
    """
    return float(np.clip(np.dot(one, other), -1.0, 1.0))


def identity_step(now: Embedding, before: Embedding) -> float:
    """VIDD, the identity distance over time that work on face video reports (FIR2FVR, arXiv 2410.11828): 1 - cosine of
    the embeddings of one person in two frames in a row."""
    return 1 - cosine(now, before)


def landmark_distance(found: ArrayLike, reference: ArrayLike, size: int) -> float:
    """LMD: mean distance of five landmarks to the reference's (Chen et al., ECCV 2018), in px of a 512 px crop.

    The same detector sees both crops, which were cut by the same affine, so its own error cancels for the most part.

    Args:
        found, reference: ``(5, 2)``, px of a crop.
        size: side of that crop (px).
    """
    away = np.asarray(found, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return float(np.hypot(away[:, 0], away[:, 1]).mean() * _REFERENCE_SIDE / size)


def crop_landmarks(crop: NDArray[np.uint8], detector: FaceDetector) -> NDArray[np.float32] | None:
    """The landmarks that a detector sees in an aligned crop, ``(5, 2)`` in its px; None where it sees no face there.

    Of several faces the one nearest to where an aligned crop has it counts.

    Args:
        crop: ``(size, size, 3) uint8`` RGB in FFHQ framing.
        detector: finds faces.
    """
    size = crop.shape[0]
    template = ffhq_template(size)
    eyes = _eye_distance(template)
    found = [(float(np.abs(face.landmarks - template).mean()), face.landmarks) for face in detector.candidates(crop)]
    near = [pair for pair in found if pair[0] < eyes]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def kept_components(found: ArrayLike | None, expected: ArrayLike, *, tolerance: float = _TOLERANCE) -> list[bool]:
    """For each of :data:`COMPONENTS`, whether it was found again where it belongs.

    Args:
        found: ``(5, 2)`` landmarks (px) in the restored crop; None where there is no face any more.
        expected: ``(5, 2)`` landmarks (px) in the crop before.
        tolerance: as a part of the distance between the eyes.
    """
    if found is None:
        return [False] * len(COMPONENTS)
    before = np.asarray(expected, dtype=np.float64)
    away = np.hypot(*(np.asarray(found, dtype=np.float64) - before).T)
    return [bool(distance <= tolerance * _eye_distance(before)) for distance in away]


def _eye_distance(landmarks: NDArray[np.float64]) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))
