"""Signs of damage: measured values against what was put in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.datasets.damage import Damage, apply_damage
from revisage.datasets.signs import measure_signs
from sample_media import face_frames


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return np.ascontiguousarray(face_frames(1)[0][:256, 110:366])


def edges() -> np.ndarray:
    """Sharp edges in several directions on mid grey."""
    image = np.full((192, 192, 3), 90, np.uint8)
    cv2.rectangle(image, (30, 40), (120, 150), (170, 170, 170), -1)
    cv2.circle(image, (140, 70), 30, (60, 60, 60), -1)
    return image


@pytest.mark.parametrize("sigma", [8.0, 15.0, 25.0])
def test_white_noise_is_measured_at_both_scales(sigma: float) -> None:
    flat = np.full((160, 160, 3), 128, np.uint8)
    signs = measure_signs(apply_damage([flat], Damage("noisy", {"sigma": sigma, "grey": True}, 3))[0])
    # The calmer blocks lie a little below the mean.
    assert signs.noise == pytest.approx(sigma, rel=0.12)
    assert signs.coarse_noise == pytest.approx(sigma, rel=0.2)


@pytest.mark.parametrize("sigma", [1.5, 2.5, 4.0])
def test_the_width_of_blurred_edges_is_measured(sigma: float) -> None:
    blurred = apply_damage([edges()], Damage("blurry", {"sigma": sigma}, 0))[0]
    assert measure_signs(blurred).blur == pytest.approx(sigma, rel=0.25)
    assert measure_signs(edges()).blur < 0.8


def test_a_reduction_lowers_the_resolution(face: np.ndarray) -> None:
    values = [
        measure_signs(apply_damage([face], Damage("low_res", {"factor": f, "enlarged_by": "cubic"}, 0))[0]).resolution
        for f in (2.0, 4.0)
    ]
    assert measure_signs(face).resolution > values[0] > values[1]


def test_coarse_jpeg_shows_its_grid(face: np.ndarray) -> None:
    coded = apply_damage([face], Damage("compressed", {"quality": 10}, 0))[0]
    assert measure_signs(coded).blockiness > 1.5 > measure_signs(face).blockiness


def test_dither_is_noise_at_the_finest_scale_only() -> None:
    from PIL import Image

    rows, columns = np.mgrid[:160, :160]
    slope = np.stack((60 + columns * 0.6 + rows * 0.2, 80 + rows * 0.5, 200 - columns * 0.4), axis=-1).astype(np.uint8)
    levels = range(0, 256, 51)
    cube = Image.new("P", (1, 1))
    cube.putpalette([value for r in levels for g in levels for b in levels for value in (r, g, b)])
    signs = measure_signs(np.array(Image.fromarray(slope).quantize(palette=cube).convert("RGB")))
    assert signs.colours == 1
    assert signs.noise > 5
    # White noise measures the same at both scales.
    assert signs.coarse_noise < 0.75 * signs.noise


@settings(max_examples=15, deadline=None)
@given(st.integers(48, 90), st.integers(48, 90), st.sampled_from(["black", "noise", "stripes"]))
def test_every_picture_has_finite_signs(height: int, width: int, kind: str) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    if kind == "noise":
        image = np.random.default_rng(height).integers(0, 256, image.shape).astype(np.uint8)
    elif kind == "stripes":
        image[:, ::2] = 255
    vector = measure_signs(image).vector()
    assert vector.shape == (21,)
    assert np.isfinite(vector).all()


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="48 px"):
        measure_signs(np.zeros((40, 90, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8 RGB"):
        measure_signs(np.zeros((60, 60), np.uint8))
