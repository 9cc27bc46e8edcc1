"""The degradation model against closed forms."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from revisage import core
from revisage.train.degrade.degradation import noisy, white_noise
from revisage.train.degrade.presets import (
    MIXED,
    PRESETS,
    DegradationConfig,
    degrade,
    gaussian_kernel,
    generator,
    motion_kernel,
)
from revisage.train.restorer.pairs import LEVELS, reduce

NOTHING = DegradationConfig(
    blur_sigma=(0.0, 0.0),
    downsample=(1.0, 1.0),
    noise_sigma=(0.0, 0.0),
    jpeg_probability=0.0,
    colour_shift_probability=0.0,
    colour_jitter_probability=0.0,
    grey_probability=0.0,
)


def only(**changes: object) -> DegradationConfig:
    """A configuration that does just this."""
    return DegradationConfig.model_validate({**NOTHING.model_dump(), **changes})


def flat(colour: tuple[int, int, int], size: int = 512) -> NDArray[np.uint8]:
    return np.full((size, size, 3), colour, np.uint8)


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:256, 0:256]
    waves = [127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), (x + y) / 2]
    return np.stack(waves, axis=2).astype(np.uint8)


def test_the_published_ranges() -> None:
    paper = PRESETS["paper"]
    assert (paper.blur_sigma, paper.downsample, paper.noise_sigma, paper.jpeg_quality) == (
        (0.1, 10.0),
        (0.8, 8.0),
        (0.0, 20.0),
        (60.0, 100.0),
    )
    assert (paper.colour_jitter_probability, paper.grey_probability) == (0.3, 0.01)


def test_restorations_presets_have_their_footage() -> None:
    assert core.PRESETS.keys() - {"none"} <= PRESETS.keys()


def test_the_mixture_names_presets_and_sums_to_one() -> None:
    assert {name for name, _ in MIXED} <= PRESETS.keys()
    assert sum(share for _, share in MIXED) == pytest.approx(1)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_seed_and_index_decide_everything(preset: str, picture: NDArray[np.uint8]) -> None:
    first, again, other = (degrade(picture, PRESETS[preset], generator(5, index))[0] for index in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(PRESETS)), st.integers(0, 2**31), st.sampled_from([32, 48, 96]))
def test_shape_and_type_stay_and_the_source_is_left_alone(preset: str, index: int, size: int) -> None:
    image = np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)
    before = image.copy()
    for result in degrade(image, PRESETS[preset], generator(0, index)):
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
    assert np.array_equal(image, before)


def test_nothing_asked_changes_nothing(picture: NDArray[np.uint8]) -> None:
    image = np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)
    degraded, target = degrade(image, NOTHING, generator(0, 0))
    assert np.array_equal(degraded, image)
    assert np.array_equal(target, image)


def test_a_kernel_has_the_covariance_asked_for() -> None:
    angle = 0.7
    kernel = gaussian_kernel(4.0, 2.0, angle).astype(np.float64)
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    covariance = [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(covariance, turn @ np.diag([16.0, 4.0]) @ turn.T, rtol=0.04, atol=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.9, math.pi / 2])
def test_a_motion_kernel_is_a_line_of_its_length(angle: float) -> None:
    kernel = motion_kernel(9.0, angle).astype(np.float64)
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert abs((kernel * along).sum()) < 0.05
    assert (kernel * along**2).sum() == pytest.approx(9.0**2 / 12, rel=0.15)  # of a uniform line
    assert (kernel * across**2).sum() < 0.35


def test_blur_is_measured_in_pixels_of_a_512_face() -> None:
    """A step edge blurred by sigma rises from 16 to 84 % within two sigma, at half the size within half of it."""
    widths = []
    for size in (512, 256):
        image = np.zeros((size, size, 3), np.uint8)
        image[:, size // 2 :] = 255
        config = only(blur_sigma=(8.0, 8.0), round_probability=1.0, downsample=(512 / size, 512 / size))
        row = degrade(image, config, generator(0, 0))[0][size // 2, :, 0].astype(float)
        rise = np.interp([0.1587 * 255, 0.8413 * 255], row, np.arange(size))
        widths.append(rise[1] - rise[0])
    assert widths[0] == pytest.approx(16, abs=0.7)
    assert widths[1] == pytest.approx(8, abs=0.5)


def test_a_blur_that_follows_the_reduction_grows_with_it() -> None:
    """Half a factor of blur at a reduction by eight is four pixels of a 512 px face."""
    follows = only(blur_sigma=(0.5, 0.5), blur_follows=True, downsample=(8.0, 8.0))
    plain = only(blur_sigma=(4.0, 4.0), downsample=(8.0, 8.0))
    for size in (512, 256):
        drawn = [config.draw((size, size), size / 512, generator(0, 0)) for config in (follows, plain)]
        assert drawn[0].blur_sigma == pytest.approx(drawn[1].blur_sigma)


def test_octaves_of_the_reduction_are_equally_likely() -> None:
    config = only(downsample=(2.0, 8.0), downsample_octaves=True)
    sides = [config.draw((512, 512), 1.0, generator(0, index)).reduced_hw[0] for index in range(400)]
    assert min(sides) >= 512 / 8 and max(sides) <= 512 / 2
    # 200 of 400 are expected above 128 px, with a deviation of 10.
    assert abs(sum(side > 128 for side in sides) - 200) < 40


@pytest.mark.parametrize(("level", "averaged"), [("mild", 0.05), ("medium", 0.02), ("heavy", 0.0)])
def test_a_small_face_enlarged_fully_is_damaged_as_a_large_one(level: str, averaged: float) -> None:
    """The fixed levels damage a 512 px face and then reduce it, which averages some of the noise away."""
    large, small = flat((128, 128, 128)), flat((128, 128, 128), 256)
    config = LEVELS[level].model_copy(update={"jpeg_probability": 0.0})
    there = reduce(degrade(large, config, generator(0, 0))[0], 256).std()
    fully = degrade(small, config.model_copy(update={"enlarge_fully": True}), generator(0, 0))[0].std()
    directly = degrade(small, config, generator(0, 0))[0].std()
    assert fully == pytest.approx(there, rel=0.02)
    assert directly > (1 + averaged) * fully


def test_a_face_larger_than_512_is_enlarged_to_its_own_size() -> None:
    config = only(downsample=(2.0, 2.0), enlarge_fully=True)
    assert config.draw((1024, 1024), 2.0, generator(0, 0)).enlarged_hw == (1024, 1024)


def test_noise_has_the_deviation_asked_for() -> None:
    degraded, _ = degrade(flat((128, 128, 128)), only(noise_sigma=(12.0, 12.0)), generator(3, 0))
    assert degraded.astype(float).std() == pytest.approx(12, rel=0.01)
    assert degraded.astype(float).mean() == pytest.approx(128, abs=0.1)


def test_a_face_smaller_than_the_reduced_one_gets_the_same_noise() -> None:
    """At 128 px a factor of 1 means 512 px: white noise there, of the deviation asked for."""
    drawn = only(noise_sigma=(12.0, 12.0)).draw((128, 128), 128 / 512, generator(3, 0))
    assert drawn.noise.shape == (512, 512, 3)
    image = drawn.applied(flat((128, 128, 128), 128), drawn.noise)
    # Linear reduction by four takes the mean of the two pixels in the middle of each four, along both axes.
    assert image.astype(float).std() == pytest.approx(12 / 2, rel=0.02)


def test_fast_noise_is_normal_and_white() -> None:
    noise = white_noise((400, 500), generator(1, 2))
    assert noise.dtype == np.float32
    parts = [(noise < bound).mean() for bound in (-2.0, -1.0, 0.0, 0.5, 1.5, 3.0)]
    normal = NormalDist()
    assert parts == pytest.approx([normal.cdf(bound) for bound in (-2.0, -1.0, 0.0, 0.5, 1.5, 3.0)], abs=0.004)
    assert noise.std() == pytest.approx(1, abs=0.005)
    for shifted in (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1]):
        assert abs(shifted.mean()) < 0.008


def test_noise_is_rounded_and_clipped() -> None:
    image = np.array([[[0, 255, 100]]], np.uint8)
    assert np.array_equal(noisy(image, np.array([[[-3.0, 2.0, 0.3]]], np.float32), 2.0), [[[0, 255, 101]]])


def test_reduction_keeps_flat_colours_and_ends_detail(picture: NDArray[np.uint8]) -> None:
    config = only(downsample=(8.0, 8.0), shrink=("area",))
    assert np.array_equal(degrade(flat((10, 200, 90)), config, generator(0, 0))[0], flat((10, 200, 90)))
    checks = np.kron(np.indices((128, 128)).sum(axis=0) % 2 * 255, np.ones((2, 2)))
    image = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    assert degrade(image, config, generator(0, 0))[0].std() < 2


def test_jpeg_knows_red_from_blue() -> None:
    degraded, _ = degrade(flat((200, 30, 10)), only(jpeg_probability=1.0, jpeg_quality=(90, 90)), generator(0, 0))
    assert np.abs(degraded.astype(int) - (200, 30, 10)).max() <= 3


def test_lower_quality_is_farther(picture: NDArray[np.uint8]) -> None:
    errors = []
    for quality in (95, 50, 15):
        config = only(jpeg_probability=1.0, jpeg_quality=(quality, quality), downsample=(2.0, 2.0))
        degraded, target = degrade(picture, config, generator(0, 0))
        errors.append(float(np.abs(degraded.astype(float) - target).mean()))
    assert errors == sorted(errors)
    assert errors[0] < errors[2] / 2


def test_grey_makes_both_grey(picture: NDArray[np.uint8]) -> None:
    degraded, target = degrade(picture, only(grey_probability=1.0, downsample=(2.0, 2.0)), generator(0, 0))
    for image in (degraded, target):
        assert np.array_equal(image[:, :, 0], image[:, :, 2])
    assert np.array_equal(degraded, target)


def test_colour_shift_adds_a_constant_and_leaves_the_target(picture: NDArray[np.uint8]) -> None:
    image = flat((100, 120, 140))
    degraded, target = degrade(image, only(colour_shift_probability=1.0), generator(4, 0))
    offsets = (degraded.astype(int) - image).reshape(-1, 3)
    assert (offsets == offsets[0]).all()
    assert 0 < np.abs(offsets[0]).max() <= 20
    assert np.array_equal(target, image)


def test_neutral_jitter_is_the_identity(picture: NDArray[np.uint8]) -> None:
    config = only(
        colour_jitter_probability=1.0,
        downsample=(2.0, 2.0),
        brightness=(1, 1),
        contrast=(1, 1),
        saturation=(1, 1),
        hue=(0, 0),
    )
    degraded, target = degrade(picture, config, generator(0, 0))
    assert np.abs(degraded.astype(int) - target).max() <= 1


def test_no_saturation_is_grey(picture: NDArray[np.uint8]) -> None:
    config = only(colour_jitter_probability=1.0, saturation=(0, 0), hue=(0, 0))
    degraded, _ = degrade(picture, config, generator(0, 0))
    assert np.ptp(degraded.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"noise": (0, 1)}, {"noise_sigma": (5.0, 1.0)}, {"downsample": (0.0, 2.0)}, {"shrink": ("nearest",)}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DegradationConfig.model_validate(wrong)
