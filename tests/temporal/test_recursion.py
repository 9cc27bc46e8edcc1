"""Averaging along the motion: noise falls as it should, what happens stays, nothing is left of another face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from revisage.temporal.flow import DisFlow
from revisage.temporal.recursion import Motion, Recursion, Sharpness, motions, reduced

SIZE = 128
DIS = DisFlow("fast")
Crops = list[np.ndarray]


def texture(shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """A picture ``(SIZE, SIZE, 3) float32`` with detail of several sizes, moved right by ``shift`` px."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (SIZE + 80, SIZE + 80, 3)).astype(np.float32)
    wide = 128 + sum(gain * cv2.GaussianBlur(noise, (0, 0), sigma) for gain, sigma in ((40, 1.5), (150, 4), (300, 12)))
    affine = np.array([[1, 0, shift - 40], [0, 1, -40]], dtype=np.float64)
    return np.clip(cv2.warpAffine(wide, affine, (SIZE, SIZE), flags=cv2.INTER_LANCZOS4), 20, 235)


def noisy(pictures: Crops, sigma: float, seed: int = 1) -> Crops:
    rng = np.random.default_rng(seed)
    return [np.clip(np.rint(p + rng.normal(0, sigma, p.shape)), 0, 255).astype(np.uint8) for p in pictures]


def averaged(crops: Crops, share: float = 0.8) -> Crops:
    """Crops averaged along the motion found in them."""
    recursion = Recursion(share)
    done, before = [], None
    for crop in crops:
        now = reduced(crop)
        motion = None if before is None else motions(DIS, before, now, SIZE)[0]
        done.append(recursion(crop, motion))
        before = now
    return done


def middle(picture: np.ndarray) -> np.ndarray:
    return picture[16:-16, 16:-16].astype(np.float64)


@pytest.mark.parametrize("sigma", [2.0, 6.0])
def test_noise_of_a_still_face_falls_as_a_one_pole_lets_it(sigma: float) -> None:
    clean = texture()
    after = averaged(noisy([clean] * 24, sigma))
    before = noisy([clean] * 24, sigma)
    left = np.std(middle(after[-1]) - middle(clean)) / np.std(middle(before[-1]) - middle(clean))
    # sqrt((1 - 0.8) / (1 + 0.8)) is 0.333; uncertain motion takes a little of the share.
    assert 0.32 < left < 0.5
    flicker = np.std(middle(after[-1]) - middle(after[-2])) / np.std(middle(before[-1]) - middle(before[-2]))
    assert flicker < 0.25


def test_a_moving_face_is_averaged_and_stays_sharp() -> None:
    clean = [texture(0.7 * index) for index in range(16)]
    before = noisy(clean, 5.0)
    after = averaged(before)
    assert np.std(middle(after[-1]) - middle(clean[-1])) < 0.65 * np.std(middle(before[-1]) - middle(clean[-1]))
    detail = [
        np.std(middle(p) - middle(cv2.GaussianBlur(p, (0, 0), 3))) for p in (after[-1], clean[-1].astype(np.uint8))
    ]
    assert detail[0] > 0.95 * detail[1]


def test_a_blink_keeps_its_contrast() -> None:
    still = texture()
    shut = still.copy()
    shut[44:58, 34:60] = np.clip(shut[44:58, 34:60] - 60, 20, 235)
    clean = [still] * 8 + [shut] * 3 + [still] * 4
    after = averaged(noisy(clean, 4.0))
    eye = (slice(46, 56), slice(37, 57))
    open_eye, contrast = still[eye].mean(), (still[eye] - shut[eye]).mean()
    for index in (8, 9, 10):
        assert open_eye - after[index][eye].mean() > 0.95 * contrast
    assert abs(open_eye - after[11][eye].mean()) < 0.05 * contrast


def test_another_picture_leaves_no_ghost() -> None:
    first, second = texture(seed=3), texture(seed=4)
    after = averaged(noisy([first] * 6 + [second] * 2, 3.0))
    assert np.abs(middle(after[6]) - middle(noisy([first] * 6 + [second], 3.0)[6])).mean() < 1.0


def test_without_a_motion_it_begins_anew() -> None:
    crops = noisy([texture()] * 3, 5.0)
    recursion = Recursion(0.8)
    recursion(crops[0], None)
    assert np.array_equal(recursion(crops[1], None), crops[1])


def test_more_time_between_frames_weakens_the_past() -> None:
    before, now = noisy([texture()] * 2, 5.0)
    still = Motion(np.zeros((SIZE, SIZE, 2), np.float32), np.ones((SIZE, SIZE), np.float32))
    changes = []
    for lapse in (1.0, 2.0, 10.0):
        recursion = Recursion(0.5)
        recursion(before, None)
        changes.append(np.abs(recursion(now, still, lapse).astype(int) - now).mean())
    assert changes[0] > 1.7 * changes[1] > 0
    assert changes[2] < 0.05


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_crops_stay_as_they_are(value: int) -> None:
    crop = np.full((SIZE, SIZE, 3), value, np.uint8)
    sharpness = Sharpness()
    for after in averaged([crop] * 3):
        assert np.array_equal(sharpness(after, crop), crop)


def test_equal_crops_stay_as_they_are() -> None:
    crop = texture().astype(np.uint8)
    assert all(np.array_equal(after, crop) for after in averaged([crop] * 3))
    assert np.array_equal(Sharpness()(crop, crop), crop)


def test_an_average_gets_its_sharpness_back() -> None:
    def variance(picture: np.ndarray) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[26:115, 32:96].var())

    frame = noisy([texture()], 3.0)[0]
    dull = cv2.GaussianBlur(frame, (0, 0), 0.4)
    assert variance(dull) < 0.9 * variance(frame)
    sharpness = Sharpness()
    for _ in range(8):
        after = sharpness(dull, frame)
    assert 0.95 < variance(after) / variance(frame) < 1.05


def test_reduced_crops_have_one_size() -> None:
    assert {reduced(np.zeros((side, side, 3), np.uint8)).shape for side in (64, 128, 256, 512)} == {(128, 128)}
