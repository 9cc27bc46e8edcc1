"""Real pictures that a file of a network is compared with the trained network on, and an int8 form calibrated with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Image, InputError
from revisage.train.degrade import degrade, find_preset, generator
from revisage.train.images import FaceSource, listed_images, read_image

__all__ = ["detector_inputs", "fine_inputs", "restorer_inputs"]

Batch = NDArray[np.float32]

_PRESET = "paper"
_FINE_PRESET = "large"
_LONGEST = 640
"""Px of the longer side of pictures that a detector is compared on: its own usual size."""


def restorer_inputs(folder: Path | None, sources: Sequence[FaceSource], size: int, count: int) -> Batch:
    """(N, 3, size, size) float32 RGB in -1 to 1 of at most ``count`` faces, every second one degraded.

    A network meets damaged faces in use, and good ones too: ranges taken from one kind would cut the other off.

    Args:
        folder: of aligned faces; without it the first of ``sources`` that has faces is used.

    Raises:
        InputError: there are none of that size.
    """
    images = []
    for number, image in enumerate(_spread(folder, sources, size, count)):
        face = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        if (number + number // 4) % 2:  # by turns, and also among every fourth, which are held out
            face = degrade(np.ascontiguousarray(face), find_preset(_PRESET), generator(0, number))[0]
        images.append(face)
    return _batch(np.stack(images))


def fine_inputs(folder: Path | None, sources: Sequence[FaceSource], size: int, count: int) -> Batch:
    """(N, 3, size / 2, size / 2) float32 RGB in -1 to 1: the middles of faces, damaged as large ones of footage are.

    Arguments and errors as for restorers.
    """
    edge, damage = size // 4, find_preset(_FINE_PRESET)
    images = []
    for number, image in enumerate(_spread(folder, sources, size, count)):
        damaged = degrade(image, damage, generator(0, number))[0]
        images.append(damaged[edge : edge + size // 2, edge : edge + size // 2])
    return _batch(np.stack(images))


def detector_inputs(folder: Path | None, sources: Sequence[FaceSource], count: int) -> list[Batch]:
    """Pictures of at most 640 px, sides multiples of 32, as batches of one. Errors as for restorers."""
    batches = []
    for image in _spread(folder, sources, 32, count):
        scale = min(1.0, _LONGEST / max(image.shape[:2]))
        height, width = (max(32, int(side * scale) // 32 * 32) for side in image.shape[:2])
        batches.append(_batch(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[None]))
    return batches


def _spread(folder: Path | None, sources: Sequence[FaceSource], size: int, count: int) -> list[Image]:
    """Up to ``count`` readable images of at least ``size`` px, spread evenly over the first source that has any."""
    wanted = [FaceSource(path=folder)] if folder is not None else list(sources)
    for source in wanted:
        listed = listed_images(source) if source.path.exists() else []
        images = (read_image(listed[place]) for place in _places(len(listed), 2 * count))
        found = [image for image in images if not isinstance(image, str) and min(image.shape[:2]) >= size]
        if found:
            return [found[place] for place in _places(len(found), count)]
    where = str(folder) if folder is not None else "the folders that the run was trained on"
    raise InputError(f"no pictures of {size} px or more in {where} to check the file with: name a folder with --faces")


def _places(length: int, count: int) -> list[int]:
    """At most ``count`` indexes, spread evenly over a list of that length."""
    return [int(place) for place in np.linspace(0, length - 1, min(length, count))] if length else []


def _batch(images: Image) -> Batch:
    scaled = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled)
