"""Detail of a guide: taken where it agrees, left where it does not, and bent into place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.faces import ffhq_template
from revisage.measures import psnr
from revisage.people import Guide, with_detail
from revisage.people.guided_detail import _spline
from revisage.temporal import DisFlow

FRONT = np.zeros(3, np.float32)


def picture(seed: int, size: int = 256) -> np.ndarray:
    """Something with detail of all sizes: noise whose amplitude grows with its wavelength."""
    random = np.random.default_rng(seed)
    total = np.full((256, 256), 120.0)
    for sigma in (0.7, 1.5, 3.0, 6.0):
        noise = cv2.GaussianBlur(random.normal(size=(256, 256)), (0, 0), sigma)
        total += 10 * noise / noise.std()
    grey = cv2.resize(total, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def points(size: int = 256) -> np.ndarray:
    """68 places all over the face."""
    columns, rows = np.meshgrid(np.linspace(0.25, 0.75, 9), np.linspace(0.3, 0.8, 8))
    return (np.stack((columns, rows), axis=-1).reshape(-1, 2)[:68] * size).astype(np.float32)


def guided(restored: np.ndarray, guide: Guide, pose: np.ndarray = FRONT) -> np.ndarray:
    size = len(restored)
    five = ffhq_template(size).astype(np.float32)
    shown = cv2.GaussianBlur(restored, (0, 0), size / 64)
    return with_detail(restored, shown, points(size), pose, guide, DisFlow(), five)


def test_a_face_whose_own_detail_was_seen_takes_less_of_it() -> None:
    restored = picture(1)
    guide = Guide("a", cv2.addWeighted(restored, 0.75, picture(5), 0.25, 0), points(), FRONT)
    five = ffhq_template(256).astype(np.float32)
    seen, lost = (
        np.abs(with_detail(restored, shown, points(), FRONT, guide, DisFlow(), five) - restored.astype(int)).mean()
        for shown in (restored, cv2.GaussianBlur(restored, (0, 0), 4))
    )
    assert 0 < seen < lost


def inner(crop: np.ndarray) -> np.ndarray:
    low, high = int(0.4 * len(crop)), int(0.7 * len(crop))
    return np.ascontiguousarray(crop[low:high, low:high])


@pytest.mark.parametrize("size", [256, 512])
def test_detail_that_was_lost_comes_back_and_nothing_outside_of_the_face_changes(size: int) -> None:
    true = picture(1, size)
    restored = cv2.GaussianBlur(true, (0, 0), 1.6 * size / 256)
    result = guided(restored, Guide("a", true, points(size), FRONT))
    assert psnr(inner(result), inner(true)) > psnr(inner(restored), inner(true)) + 2
    assert np.array_equal(result[: size // 16], restored[: size // 16])
    assert np.array_equal(restored, cv2.GaussianBlur(true, (0, 0), 1.6 * size / 256))


def test_a_guide_that_is_held_otherwise_is_bent_into_place() -> None:
    true = picture(2)
    restored = cv2.GaussianBlur(true, (0, 0), 1.6)
    moved = cv2.warpAffine(true, np.array([[1, 0, 7.0], [0, 1, -4.0]]), (256, 256), borderMode=cv2.BORDER_REFLECT_101)
    there = points() + np.array([7, -4], np.float32)
    assert psnr(inner(guided(restored, Guide("a", moved, there, FRONT))), inner(true)) > (
        psnr(inner(restored), inner(true)) + 1.5
    )


def test_what_does_not_agree_is_left() -> None:
    restored = cv2.GaussianBlur(picture(3), (0, 0), 1.6)
    other = guided(restored, Guide("a", picture(4), points(), FRONT))
    own = guided(restored, Guide("a", picture(3), points(), FRONT))
    change, wanted = (np.abs(inner(each).astype(int) - inner(restored)).mean() for each in (other, own))
    assert change < 0.25 * wanted


def test_a_head_that_is_turned_away_takes_nothing() -> None:
    restored = picture(5)
    guide = Guide("a", picture(6), points(), np.array([35, 0, 0], np.float32))
    assert guided(restored, guide) is restored
    rolled = Guide("a", picture(6), points(), np.array([0, 0, 35], np.float32))
    assert guided(restored, rolled) is not restored


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.9, 1.1), turn=st.floats(-0.2, 0.2), across=st.floats(-12, 12), down=st.floats(-12, 12))
def test_the_spline_is_exact_for_what_moves_as_a_whole(scale: float, turn: float, across: float, down: float) -> None:
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([127.5, 127.5])
    shift = np.array([across, down])
    there = ((points() - middle) @ matrix.T + middle + shift).astype(np.float32)
    flow = _spline(points(), there, 256)
    rows, columns = np.mgrid[40:216:16, 40:216:16]
    places = np.stack((columns, rows), axis=-1)
    wanted = (places - middle) @ matrix.T + middle + shift
    assert np.abs(places + flow[rows, columns] - wanted).max() < 0.1
