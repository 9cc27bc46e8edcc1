"""Damage of one kind: the same for the same seed, of a clip's own kind and size."""

from __future__ import annotations

import numpy as np
import pytest

from revisage.datasets.damage import KINDS, apply_damage, draw_damage
from sample_media import face_frames


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_damage_and_another_seed_another(kind: str) -> None:
    frames = face_frames(2)
    before = [frame.copy() for frame in frames]
    damage = draw_damage(kind, 5)
    assert damage == draw_damage(kind, 5)
    assert damage.parameters != draw_damage(kind, 6).parameters
    first, second = apply_damage(frames, damage), apply_damage(frames, damage)
    for image, again, source, kept in zip(first, second, frames, before, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(source, kept)
        assert image.shape == source.shape
        assert np.abs(image.astype(int) - source).mean() > 0.5


def test_noise_is_new_in_each_frame_and_as_strong_as_it_says() -> None:
    frames = [np.full((64, 64, 3), 128, np.uint8)] * 2
    damage = draw_damage("noisy", 1)
    one, other = (image.astype(float) - 128 for image in apply_damage(frames, damage))
    assert not np.array_equal(one, other)
    assert one.std() == pytest.approx(damage.parameters["sigma"], rel=0.03)


def test_blur_grows_with_the_face() -> None:
    small, large = (draw_damage("blurry", 3, face=face).parameters for face in (128, 512))
    key = "sigma" if "sigma" in small else "length"
    assert large[key] == pytest.approx(4 * small[key], abs=0.05)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        draw_damage("wet", 0)
