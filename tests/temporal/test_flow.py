"""Flow finds known motion, warping follows it, and what cannot be followed is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from revisage.temporal.flow import DisFlow, consistent, disagreement, warp, warp_sharply


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random grey values, ``(height, width) float32`` around 128."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    return 128 + 90 * cv2.GaussianBlur(noise, (0, 0), 2) + 400 * cv2.GaussianBlur(noise, (0, 0), 8)


def shifted(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """``picture`` moved by (dx, dy), as uint8, without its 16 px border."""
    affine = np.array([[1, 0, dx - 16], [0, 1, dy - 16]], dtype=np.float64)
    size = (picture.shape[1] - 32, picture.shape[0] - 32)
    return np.clip(cv2.warpAffine(picture, affine, size, flags=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize("move", [(0.0, 0.0), (0.4, -0.3), (3.0, 1.5), (-6.0, 2.0)])
def test_a_translation_is_found(preset: str, move: tuple[float, float]) -> None:
    picture = texture(160, 192)
    before, now = shifted(picture, 0, 0), shifted(picture, *move)
    flow = DisFlow(preset)(now, before)
    assert flow.shape == (128, 160, 2)
    assert flow.dtype == np.float32
    error = np.abs(flow + np.float32(move))[12:-12, 12:-12]
    assert np.median(error) < 0.1
    assert np.abs(warp(before, flow)[12:-12, 12:-12].astype(int) - now[12:-12, 12:-12]).mean() < 1.5


def test_equal_pictures_do_not_move() -> None:
    picture = shifted(texture(160, 160), 0, 0)
    flow = DisFlow()(picture, picture)
    assert np.abs(flow).max() < 1e-3
    assert np.array_equal(warp(picture, np.zeros_like(flow)), picture)
    assert consistent(flow, flow).all()


@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_give_no_motion(value: int) -> None:
    flat = np.full((40, 60), value, np.uint8)
    assert np.array_equal(DisFlow()(flat, flat), np.zeros((40, 60, 2), np.float32))


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 40), (16, 5)])
def test_small_pictures_are_allowed(size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (2, *size_hw), np.uint8)
    flow = DisFlow("fast")(noise[0], noise[1])
    assert flow.shape == (*size_hw, 2)
    assert np.isfinite(flow).all()


def test_what_was_hidden_is_not_consistent() -> None:
    before = texture(128, 128, 1).clip(0, 255).astype(np.uint8)
    now = before.copy()
    now[40:80, 40:80] = texture(40, 40, 7).clip(0, 255).astype(np.uint8)
    dis = DisFlow()
    agree = consistent(dis(now, before), dis(before, now))
    assert agree[:24].mean() > 0.97
    assert agree[44:76, 44:76].mean() < 0.7


def test_disagreement_is_what_the_way_back_misses() -> None:
    flow = np.full((20, 30, 2), (2.0, 0.0), np.float32)
    assert (disagreement(flow, -flow)[:, :-2] == 0).all()
    assert np.isinf(disagreement(flow, -flow)[:, -2:]).all()
    assert (disagreement(flow, np.zeros_like(flow))[:, :-2] == 4).all()


def test_the_same_pictures_give_the_same_bytes_for_any_number_of_threads() -> None:
    picture = texture(160, 160)
    before, now = shifted(picture, 0, 0), shifted(picture, 1.7, 0.6)
    threads = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 2, 3):
            cv2.setNumThreads(count)
            found.append(DisFlow()(now, before).tobytes())
    finally:
        cv2.setNumThreads(threads)
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "pair",
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)),
    ],
)
def test_other_shapes_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"two \(H, W\) uint8 pictures of one size"):
        DisFlow()(*pair)


def waves(dx: float, dy: float) -> np.ndarray:
    """Fine waves in all directions, up to a third of a period a pixel, moved by (dx, dy): ``(96, 96, 3) uint8``."""
    rng, (rows, columns) = np.random.default_rng(3), np.mgrid[:96, :96]
    colours = []
    for _ in range(3):
        turns, phases = rng.uniform(-0.33, 0.33, (12, 2)), rng.uniform(0, 6.3, 12)
        each = [
            np.cos(2 * np.pi * (x * (columns - dx) + y * (rows - dy)) + p)
            for (x, y), p in zip(turns, phases, strict=True)
        ]
        colours.append(128 + 9 * np.sum(each, axis=0))
    return np.rint(np.stack(colours, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("move", [(0.37, -0.21), (0.5, 0.5), (-1.26, 0.8)])
def test_a_sharp_warp_keeps_what_is_fine(move: tuple[float, float]) -> None:
    flow = np.broadcast_to(np.float32(move), (96, 96, 2)) * np.float32(-1)
    wanted, inside = waves(*move).astype(float), np.s_[8:-8, 8:-8]
    sharp, cubic = warp_sharply(waves(0, 0), flow), warp(waves(0, 0), flow, interpolation=cv2.INTER_CUBIC)
    missed = [float(np.sqrt(np.square(each - wanted)[inside].mean())) for each in (sharp, cubic)]
    assert missed[0] < min(1.5, 0.85 * missed[1])


def test_a_sharp_warp_by_whole_pixels_changes_none() -> None:
    picture = waves(0, 0)
    still = np.zeros((96, 96, 2), np.float32)
    assert np.array_equal(warp_sharply(picture, still), picture)
    moved = warp_sharply(picture, still + np.float32((3, -2)))
    assert np.array_equal(moved[2:, :-3], picture[:-2, 3:])
