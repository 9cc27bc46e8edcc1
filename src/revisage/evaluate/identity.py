"""Whether it is still the same person: identity and landmarks of a restored face against the reference's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.core import ModelError
from revisage.faces import ARCFACE_112, similarity, warp_antialiased

if TYPE_CHECKING:
    from revisage.core import Face

__all__ = ["Embedder", "cosine", "landmark_distance"]

Image = NDArray[np.uint8]
Embedding = NDArray[np.float32]

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
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
        affine = similarity(landmarks, ARCFACE_112)
        crop = warp_antialiased(
            around, affine, (112, 112), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101
        )
        pixels = (crop.astype(np.float32) / np.float32(255) - _MEAN) / _DEVIATION
        self._net.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
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


def landmark_distance(found: ArrayLike, reference: ArrayLike, size: int) -> float:
    """LMD: mean distance of five landmarks to the reference's (Chen et al., ECCV 2018), in px of a 512 px crop.

    The same detector sees both crops, which were cut by the same affine, so its own error cancels for the most part.

    Args:
        found, reference: ``(5, 2)``, px of a crop.
        size: side of that crop (px).
    """
    away = np.asarray(found, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return float(np.hypot(away[:, 0], away[:, 1]).mean() * _REFERENCE_SIDE / size)
