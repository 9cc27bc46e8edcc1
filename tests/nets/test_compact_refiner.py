"""The detector's second stage: crops are upright, and what is decoded is what was there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.nets import CROP, ENLARGED, OUTPUTS, CompactRefiner, crop_affines, decode_crops, rolls, unmirrored

UPRIGHT = np.array([[-10.0, -10], [10, -10], [0, 2], [-8, 12], [8, 12]])


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


@given(angle=st.floats(-3.1, 3.1))
@settings(derandomize=True, deadline=None)
def test_the_roll_is_how_far_a_face_was_turned(angle: float) -> None:
    assert rolls(turned(UPRIGHT, angle)[None])[0] == pytest.approx(angle, abs=1e-6)


def test_a_profile_whose_eyes_coincide_has_a_roll() -> None:
    profile = UPRIGHT.copy()
    profile[:2, 0] = profile[3:, 0] = 3.0
    assert rolls(turned(profile, 0.4)[None])[0] == pytest.approx(0.4, abs=1e-6)


@given(
    left=st.floats(-50, 500),
    top=st.floats(-50, 500),
    width=st.floats(8, 400),
    height=st.floats(8, 400),
    angle=st.floats(-3, 3),
)
@settings(derandomize=True, deadline=None)
def test_a_crop_shows_the_box_in_its_middle_and_upright(
    left: float, top: float, width: float, height: float, angle: float
) -> None:
    box = np.array([[left, top, left + width, top + height]])
    affine = crop_affines(box, np.array([angle]))[0]
    centre = (box[0, :2] + box[0, 2:]) / 2
    np.testing.assert_allclose(affine[:, :2] @ centre + affine[:, 2], (CROP - 1) / 2, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(affine[:, :2]) * width * height, (CROP / ENLARGED) ** 2, rtol=1e-6)
    across = affine[:, :2] @ turned(np.array([[1.0, 0.0]]), angle)[0]
    assert across[0] > 0
    assert across[1] == pytest.approx(0, abs=1e-9)


@given(angle=st.floats(-3, 3), numbers=st.lists(st.floats(-0.4, 0.4), min_size=14, max_size=14))
@settings(derandomize=True, deadline=None)
def test_decoding_puts_points_where_the_crop_showed_them(angle: float, numbers: list[float]) -> None:
    box = np.array([[100.0, 60, 180, 160]])
    affines = crop_affines(box, np.array([angle]))
    raw = np.array([[2.0, *numbers]])
    boxes, landmarks, scores = decode_crops(raw, affines)
    shown = landmarks[0] @ affines[0, :, :2].T + affines[0, :, 2]
    np.testing.assert_allclose(shown, raw[0, 5:].reshape(5, 2) * CROP + (CROP - 1) / 2, atol=1e-3)
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2 @ affines[0, :, :2].T + affines[0, :, 2]
    np.testing.assert_allclose(centre, raw[0, 1:3] * CROP + (CROP - 1) / 2, atol=1e-3)
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)


def test_an_upright_box_keeps_its_sides_and_a_quarter_turn_swaps_them() -> None:
    box = np.array([[0.0, 0, 90, 90]])
    raw = np.zeros((1, OUTPUTS))
    raw[0, 3:5] = np.log([0.8, 1.2])
    upright = decode_crops(raw, crop_affines(box, np.zeros(1)))[0][0]
    np.testing.assert_allclose(upright[2:] - upright[:2], [72, 108], rtol=1e-5)
    quarter = decode_crops(raw, crop_affines(box, np.full(1, np.pi / 2)))[0][0]
    np.testing.assert_allclose(quarter[2:] - quarter[:2], [108, 72], rtol=1e-5)


def test_absurd_outputs_stay_finite() -> None:
    boxes, _, scores = decode_crops(np.full((1, OUTPUTS), 1e6), crop_affines(np.array([[0.0, 0, 9, 9]]), np.zeros(1)))
    assert np.isfinite(boxes).all()
    assert scores[0] == 1


def test_no_crops_give_no_faces() -> None:
    parts = decode_crops(np.zeros((0, OUTPUTS)), crop_affines(np.zeros((0, 4)), np.zeros(0)))
    assert [part.shape for part in parts] == [(0, 4), (0, 5, 2), (0,)]


def test_a_mirrored_answer_is_turned_back() -> None:
    raw = np.random.default_rng(0).normal(size=(3, OUTPUTS)).astype(np.float32)
    back = unmirrored(raw)
    np.testing.assert_allclose(back[:, [0, 2, 3, 4]], raw[:, [0, 2, 3, 4]])
    np.testing.assert_allclose(back[:, 1], -raw[:, 1])
    # The viewer's left eye in the mirror is the right one.
    np.testing.assert_allclose(back[:, 5], -raw[:, 7])
    np.testing.assert_allclose(unmirrored(back), raw)


def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    net = CompactRefiner().eval()
    crops = torch.rand(3, 3, CROP, CROP) * 2 - 1
    with torch.inference_mode():
        together = net(crops)
        alone = torch.cat([net(crop[None]) for crop in crops])
    assert together.shape == (3, OUTPUTS)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="four widths"):
        CompactRefiner((16, 32, 48))
