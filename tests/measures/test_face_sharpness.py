"""Sharpness: high for photographs, low for what was blurred or enlarged, nothing for the dark."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from revisage.measures import CLEAN_SHARPNESS, face_sharpness


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """(256, 256, 3) of random patches at all scales, like a photograph's."""
    random, sides = np.random.default_rng(4), (4, 8, 16, 32, 64, 128, 256)
    layers = [
        cv2.resize(random.normal(0, 14, (side, side, 3)), (256, 256), interpolation=cv2.INTER_CUBIC) for side in sides
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def test_blur_and_enlargement_lower_it(scene: np.ndarray) -> None:
    clear = face_sharpness(scene)
    assert clear > CLEAN_SHARPNESS[0]
    assert face_sharpness(cv2.GaussianBlur(scene, (0, 0), 1.0)) < 0.7 * clear
    small = cv2.resize(scene, (100, 100), interpolation=cv2.INTER_AREA)
    assert face_sharpness(cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)) < CLEAN_SHARPNESS[0]


def test_contrast_and_light_do_not_matter(scene: np.ndarray) -> None:
    dimmed = (scene.astype(float) * 0.6 + 30).astype(np.uint8)
    assert face_sharpness(dimmed) == pytest.approx(face_sharpness(scene), rel=0.05)


def test_noise_in_the_dark_is_not_sharp() -> None:
    assert face_sharpness(np.zeros((64, 64, 3), np.uint8)) == 0
    assert face_sharpness(np.random.default_rng(0).integers(3, 5, (256, 256, 3), dtype=np.uint8)) == 0
