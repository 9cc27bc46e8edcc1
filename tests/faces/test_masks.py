from __future__ import annotations

import numpy as np
import pytest
from face_frames import smooth_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.faces import ffhq_template, landmark_mask, matched_difference


@given(noise=st.lists(st.floats(-0.06, 0.06), min_size=10, max_size=10), size=st.sampled_from([128, 256, 512]))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_mask_covers_the_face_and_ends_inside(noise: list[float], size: int) -> None:
    landmarks = ffhq_template(size) + np.reshape(noise, (5, 2)) * size
    mask = landmark_mask(landmarks, size)
    assert mask.shape == (size, size) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1
    border = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    assert not border.any()
    for x, y in landmarks:
        assert mask[int(y), int(x)] > 0.8
    # Soft: no step that the eye sees as an edge.
    assert max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max()) < 17 / size


def test_profile_keeps_the_width_of_a_head() -> None:
    profile = ffhq_template(256)
    profile[:2, 0] = (120, 135)
    profile[3:, 0] = (122, 134)
    assert (landmark_mask(profile, 256)[128] > 0.5).sum() > 90


def test_mask_is_the_same_at_every_size() -> None:
    large, small = landmark_mask(ffhq_template(512), 512), landmark_mask(ffhq_template(256), 256)
    np.testing.assert_allclose(large.reshape(256, 2, 256, 2).mean(axis=(1, 3)), small, atol=0.01)


def test_nothing_restored_is_exactly_nothing() -> None:
    crop = smooth_picture(256, 256)
    assert not matched_difference(crop, crop.copy(), landmark_mask(ffhq_template(256), 256)).any()


@pytest.mark.parametrize("tint", [(14, -9, 4), (-20, -20, -20)])
def test_skin_tone_does_not_drift(tint: tuple[int, int, int]) -> None:
    """A restorer's tint is taken off, its detail is kept."""
    crop = np.clip(smooth_picture(256, 256), 40, 215)
    detail = np.random.default_rng(3).normal(0, 8, crop.shape)
    restored = np.clip(crop + detail + tint, 0, 255).astype(np.uint8)
    mask = landmark_mask(ffhq_template(256), 256)
    matched = matched_difference(crop, restored, mask)
    inside = mask > 0.5
    assert np.abs(matched[inside].mean(axis=0)).max() < 0.7
    expected = restored.astype(np.float32) - crop - tint
    kept = np.sum(matched[inside] * expected[inside]) / np.sum(expected[inside] ** 2)
    assert 0.97 < kept < 1.03


def test_background_does_not_tint_the_face() -> None:
    crop = np.full((256, 256, 3), 120, np.uint8)
    restored = crop.copy()
    mask = landmark_mask(ffhq_template(256), 256)
    restored[mask == 0] = 0
    assert np.abs(matched_difference(crop, restored, mask)[mask > 0.3]).max() < 0.1
