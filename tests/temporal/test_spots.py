from __future__ import annotations

import cv2
import numpy as np
import pytest

from revisage.temporal import DisFlow, spot_changes

SPOTS = [(60, 50, 2), (150, 90, 4), (220, 130, 3)]


def scene(step: int, moves: float = 2.0) -> np.ndarray:
    """A textured picture that slides by ``moves`` px a frame."""
    picture = cv2.GaussianBlur(np.random.default_rng(1).uniform(0, 255, (240, 340, 3)).astype(np.float32), (0, 0), 3)
    picture = np.clip(128 + (picture - 128) * 3, 30, 225)
    slid = cv2.warpAffine(picture, np.float32([[1, 0, -moves * step], [0, 1, 0]]), (300, 180))
    noise = np.random.default_rng(step).normal(0, 1.5, slid.shape)
    return np.clip(np.rint(slid + noise), 0, 255).astype(np.uint8)


def spotted(picture: np.ndarray, light: int = 250) -> np.ndarray:
    picture = picture.copy()
    for x, y, radius in SPOTS:
        cv2.circle(picture, (x, y), radius, (light,) * 3, -1, cv2.LINE_AA)
    return picture


def changed(before: np.ndarray, now: np.ndarray, after: np.ndarray) -> np.ndarray:
    result = now.astype(np.float32)
    for region, delta in spot_changes(before, now, after, DisFlow("fast")):
        result[region.slices] += delta
    return result


@pytest.mark.parametrize("light", [250, 5])
@pytest.mark.parametrize("moves", [0.0, 2.0])
def test_spots_of_one_frame_go_and_all_else_stays(light: int, moves: float) -> None:
    before, now, after = (scene(step, moves) for step in range(3))
    worn = spotted(now, light)
    spots = np.abs(worn.astype(int) - now).max(axis=2) > 20
    result = changed(before, worn, after)
    assert np.abs(result - now)[spots].mean() < 0.15 * np.abs(worn.astype(int) - now)[spots].mean()
    far = cv2.dilate(spots.astype(np.uint8), np.ones((11, 11), np.uint8)) == 0
    assert (np.abs(result - worn)[far] > 3).mean() < 0.001


def test_what_stays_for_two_frames_is_no_spot() -> None:
    before, now, after = (scene(step, 0.0) for step in range(3))
    np.testing.assert_array_equal(changed(before, spotted(now), spotted(after)), spotted(now))


def test_a_frame_between_its_likes_is_left_alone() -> None:
    picture = scene(0)
    assert spot_changes(picture, picture, picture, DisFlow("fast")) == []


def test_changes_lie_apart_and_within_the_frame() -> None:
    before, now, after = (scene(step) for step in range(3))
    worn = now.copy()
    for x, y in ((0, 0), (299, 179), (100, 100), (106, 100), (103, 106)):
        cv2.circle(worn, (x, y), 2, (250,) * 3, -1)
    covered = np.zeros(now.shape[:2], int)
    for region, delta in spot_changes(before, worn, after, DisFlow("fast")):
        assert delta.shape == (*region.size_hw, 3)
        covered[region.slices] += 1
        assert covered[region.slices].shape == region.size_hw
    assert covered.max() == 1
