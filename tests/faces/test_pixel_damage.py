"""Signs of damage in a small face's own pixels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from face_frames import RgbFrame, face_at

from revisage.core import Face
from revisage.faces import PixelSigns, align, load_detector, pixel_signs
from revisage.faces.pixel_damage import damage_of
from revisage.media import Frame
from sample_media import face_frames

CLEAN = PixelSigns(width=80, sharp=0.9, sharp_most=0.75, noise=2.0, flat=0.3, calm=1.0, even=0.4)


def of(picture: np.ndarray) -> PixelSigns:
    """Signs of a face 70 px wide in the middle of a picture."""
    frame = RgbFrame(np.clip(np.rint(picture), 0, 255).astype(np.uint16), 8)
    signs = pixel_signs(frame, align(frame, face_at(200, 150, 0.25, 20), 256))
    assert signs is not None
    return signs


def signs_of(picture: np.ndarray, face: Face) -> PixelSigns:
    frame = Frame.from_array(picture)
    signs = pixel_signs(frame, align(frame, face, 256))
    assert signs is not None
    return signs


def noise(sigma: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (300, 400, 1)).astype(np.float32)


def white_light(sigma: float) -> np.ndarray:
    return np.repeat(128 + noise(sigma), 3, axis=2)


@pytest.mark.parametrize(
    ("signs", "damage"),
    [
        (CLEAN, 0.0),
        (replace(CLEAN, sharp=0.58, sharp_most=0.60, width=60), 1.0),
        (replace(CLEAN, sharp=0.69, sharp_most=0.62, width=60), 0.5),
        (replace(CLEAN, sharp=0.655, sharp_most=0.62, width=80), 0.5),
        (replace(CLEAN, sharp=0.62, sharp_most=0.62, width=100), 0.5),
        (replace(CLEAN, sharp=0.67, sharp_most=0.62, width=130), 0.0),
        (replace(CLEAN, sharp=0.80, width=30), 0.5),
        (replace(CLEAN, sharp=0.80, width=60), 0.0),
        (replace(CLEAN, sharp_most=0.50), 1.0),
        (replace(CLEAN, sharp_most=0.55), 0.5),
        (replace(CLEAN, sharp_most=0.93), 0.0),
        (replace(CLEAN, sharp_most=0.965), 0.5),
        (replace(CLEAN, sharp_most=0.98, width=140), 0.0),
        (replace(CLEAN, noise=6.5), 1.0),
        (replace(CLEAN, noise=5.35), 0.5),
        (replace(CLEAN, sharp=0.95, noise=5.35, width=30), 0.0),
        (replace(CLEAN, flat=0.12), 1.0),
        (replace(CLEAN, sharp=0.78, noise=5.35, flat=0.14), 0.5),
        (replace(CLEAN, calm=2.2, even=0.62), 1.0),
        (replace(CLEAN, calm=1.85, even=0.70), 0.5),
        (replace(CLEAN, calm=3.0, even=0.58), 0.5),
        (replace(CLEAN, calm=3.0, even=0.54), 0.0),
        (replace(CLEAN, calm=1.5, even=0.70), 0.0),
        (replace(CLEAN, calm=3.0, even=0.62, width=60), 0.5),
        (replace(CLEAN, sharp=0.95, calm=5.0, even=0.80, width=30), 0.0),
        (PixelSigns(80, 0.1, 0.1, 50.0, 0.0, 0.0, 0.0), 1.0),
    ],
)
def test_any_sign_by_itself_tells_damage(signs: PixelSigns, damage: float) -> None:
    assert signs.damage == pytest.approx(damage)


@pytest.mark.parametrize("sigma", [3.0, 6.0, 12.0])
def test_noise_is_measured_in_levels(sigma: float) -> None:
    assert of(white_light(sigma)).noise == pytest.approx(sigma, rel=0.08)


def test_an_edge_is_no_noise() -> None:
    stripes = np.where(np.arange(400) // 5 % 2, 150, 100)
    assert of(np.broadcast_to(stripes[None, :, None], (300, 400, 3))).noise < 0.5


@pytest.mark.parametrize(("blur", "grain"), [(2.0, 0.0), (2.0, 1.0), (2.0, 3.0), (6.0, 0.0)])
def test_neither_noise_nor_rounding_makes_a_blurred_face_sharp(blur: float, grain: float) -> None:
    soft = cv2.GaussianBlur(noise(80, seed=1), (0, 0), blur)[..., None]
    assert of(np.repeat(128 + soft + noise(grain), 3, axis=2)).sharp < 0.6


def test_letters_do_not_make_a_blurred_face_sharp() -> None:
    soft = cv2.GaussianBlur(noise(80, seed=1), (0, 0), 1.5)[..., None]
    picture = np.ascontiguousarray(np.repeat(128 + soft, 3, axis=2))
    picture = np.rint(picture).astype(np.uint8)
    cv2.putText(picture, "HELLO", (168, 175), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    signs = of(picture)
    assert signs.sharp > 0.75
    assert signs.sharp_most < 0.6
    assert signs.damage == 1


def test_grain_coarser_than_a_pixel_is_no_sharpness() -> None:
    picture = cv2.resize(face_frames(1)[0], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    face = load_detector()(picture)[0]
    picture = np.rint(0.4 * picture + 80).astype(np.uint8)  # soft light: the grain of film shows in that most
    grain = cv2.GaussianBlur(noise(9, seed=2), (0, 0), 0.5)[: len(picture), : picture.shape[1], None]
    grainy = signs_of(np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8), face)
    assert signs_of(picture, face).damage < 0.1
    assert grainy.noise < 4
    assert grainy.sharp > 0.8
    assert replace(grainy, calm=0.0).damage > 0.6


def with_film_grain(sigma: float) -> np.ndarray:
    """A face of 122 px under grain as coarse as its own detail."""
    picture = face_frames(1)[0]
    grain = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, picture.shape[:2]), (0, 0), 1.0)[..., None]
    return np.clip(np.rint(picture + grain * (sigma / grain.std())), 0, 255).astype(np.uint8)


def test_grain_as_coarse_as_detail_lies_over_the_calm_parts_too() -> None:
    face = load_detector()(face_frames(1)[0])[0]
    signs = {sigma: signs_of(with_film_grain(sigma), face) for sigma in (0, 6, 9)}
    assert max(replace(each, calm=0.0).damage for each in signs.values()) < 0.1  # no other sign sees it
    assert signs[0].damage < 0.1
    assert 0.2 < signs[6].damage < 0.8
    assert signs[9].damage > 0.9


def test_black_without_grain_does_not_hide_the_grain_of_the_rest() -> None:
    face, picture = load_detector()(face_frames(1)[0])[0], with_film_grain(9)
    whole = signs_of(picture, face)
    picture[150:185] = 0
    assert signs_of(picture, face).calm == pytest.approx(whole.calm, rel=0.15)


def test_blocks_without_detail_are_flat() -> None:
    blocks = np.kron(np.random.default_rng(0).normal(128, 20, (38, 50)), np.ones((8, 8)))[:300, :400, None]
    assert of(np.repeat(blocks, 3, axis=2)).flat < 0.12
    assert of(white_light(20)).flat > 0.5


def test_of_a_face_outside_of_the_frame_nothing_is_known() -> None:
    frame = RgbFrame.noise(300, 400, 8)
    outside = align(frame, face_at(-400, -300, 0.25, 20), 256)
    assert pixel_signs(frame, outside) is None
    assert damage_of(frame, outside) == 1.0
