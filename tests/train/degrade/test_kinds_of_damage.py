"""Tapes, GIFs, old film and webcams: each fault against what it should do, and clips that hold together."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from revisage.core.errors import ConfigError
from revisage.train.degrade.degradation import Codec, from_planes, jpeg_recoded, path_kernel, recoded, to_planes
from revisage.train.degrade.film import Wear, WearRates, grain, sepia
from revisage.train.degrade.gif import palette_of, quantised
from revisage.train.degrade.presets import (
    PRESETS,
    ArchiveDegradation,
    GifDegradation,
    VideoDegradation,
    WebcamDegradation,
    degrade,
    degrade_clip,
    degrade_frames,
    find_preset,
    generator,
)
from revisage.train.degrade.recordings import TapeDamage, interlaced, mosaicked, ringing_kernel, taped

Image = NDArray[np.uint8]
NEW = ("video", "gif", "archive", "webcam")
PLAIN_TAPE = TapeDamage(
    grey=False, bleed=0.3, delay=0, softness=0, halo=0, period=3, jitter=0, luma_noise=0, chroma_noise=0
)


def picture(size: int = 96) -> Image:
    y, x = np.mgrid[0:size, 0:size]
    waves = [127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), (x + y) * 127 / size]
    return np.stack(waves, axis=2).astype(np.uint8)


def flat(value: int, size: int = 96) -> Image:
    return np.full((size, size, 3), value, np.uint8)


def edge(size: int = 96) -> Image:
    """Black, then from the middle on light grey: room for an overshoot."""
    image = flat(60, size)
    image[:, size // 2 :] = 180
    return image


def moving(count: int, size: int = 64, step: int = 3) -> list[Image]:
    wide = picture(size + step * count)
    return [np.ascontiguousarray(wide[:size, step * index : step * index + size]) for index in range(count)]


def checks(task: tuple[str, int]) -> tuple[float, float]:
    """Weighted sums of a damaged picture and of a damaged clip, by preset and index."""
    preset, index = task
    weights = np.arange(1, 97)[:, None, None]
    still, _ = degrade(picture(), PRESETS[preset], generator(11, index))
    clip = degrade_clip(moving(3), preset, seed=index)
    return float((still * weights).sum()), float(sum((frame * weights[:64]).sum() for frame in clip))


def test_a_worker_process_draws_the_same() -> None:
    tasks = [(preset, index) for preset in (*NEW, "paper") for index in (0, 1)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(checks, tasks)) == [checks(task) for task in tasks]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(NEW), st.integers(0, 2**31), st.sampled_from([(48, 48), (64, 90), (75, 51)]))
def test_frames_keep_number_shape_and_type(preset: str, seed: int, size_hw: tuple[int, int]) -> None:
    frames = [np.random.default_rng(seed + i).integers(0, 256, (*size_hw, 3), dtype=np.uint8) for i in range(3)]
    before = [frame.copy() for frame in frames]
    damaged = degrade_clip(frames, preset, seed)
    assert len(damaged) == 3
    assert all(frame.shape == (*size_hw, 3) and frame.dtype == np.uint8 for frame in damaged)
    assert all(np.array_equal(frame, copy) for frame, copy in zip(frames, before, strict=True))


@pytest.mark.parametrize("preset", NEW)
def test_the_target_keeps_its_geometry_and_the_input_its_place(preset: str) -> None:
    """The damage moves nothing: shifted by a px either way, the input is farther from the target, on average."""
    image = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (128, 128, 3), np.uint8), (0, 0), 4)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    errors = np.zeros(3)
    for index in range(12):
        damaged, target = degrade(image, PRESETS[preset], generator(2, index))
        for place, shift in enumerate((-3, 0, 3)):
            errors[place] += np.abs(np.roll(damaged, shift, axis=1).astype(int) - target)[:, 8:-8].mean()
    assert errors[1] == errors.min()


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'vidoe'; did you mean 'video'"):
        find_preset("vidoe")


@pytest.mark.parametrize("config", [VideoDegradation, GifDegradation, ArchiveDegradation, WebcamDegradation])
def test_wrong_ranges_are_refused(config: type[VideoDegradation]) -> None:
    for wrong in ({"downsample": (3.0, 1.0)}, {"grey_probability": 1.5}, {"unheard": 1}):
        with pytest.raises(ValidationError):
            config.model_validate(wrong)


def test_a_clip_needs_a_frame() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        degrade_clip([], "video", 0)


def test_a_path_is_as_long_as_asked_and_centred() -> None:
    for index in range(5):
        kernel = path_kernel(12.0, generator(0, index)).astype(np.float64)
        radius = kernel.shape[0] // 2
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert math.hypot((kernel * x).sum(), (kernel * y).sum()) < 0.05
        # A path of 12 px reaches at most 6 px from its middle when straight.
        assert 0.5 < math.sqrt((kernel * (x**2 + y**2)).sum()) <= 12 / math.sqrt(12) + 0.5


def test_chroma_planes_are_halved() -> None:
    image = picture(64)
    planes = to_planes(image)
    assert planes.shape == (96, 64)
    chroma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 2].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(planes[64:80].reshape(32, 32) - chroma).max() <= 1
    # Columns of red and blue become one colour: luma alone tells them apart.
    stripes = np.tile(np.array([[200, 0, 0], [0, 0, 200]], np.uint8), (64, 32, 1))
    back = from_planes(to_planes(stripes)).astype(int)
    assert np.ptp(back[..., 0] - back[..., 2], axis=None) <= 2


def test_flat_colours_come_back_from_planes() -> None:
    for colour in ((200, 30, 10), (10, 20, 240), (128, 128, 128)):
        image = np.full((16, 16, 3), colour, np.uint8)
        assert np.abs(from_planes(to_planes(image)).astype(int) - image).max() <= 2


@pytest.mark.parametrize(("codec", "good", "bad"), [("h264", 5.0, 40.0), ("mpeg2", 2.0, 25.0)])
def test_a_real_codec_codes_the_sequence(codec: Codec, good: float, bad: float) -> None:
    planes = [to_planes(frame) for frame in moving(14)]
    errors = []
    for quality in (good, bad):
        coded = list(recoded(planes, codec, quality))
        assert len(coded) == 14
        errors.append([np.abs(a.astype(int) - b).mean() for a, b in zip(coded, planes, strict=True)])
    assert max(errors[0]) < 2
    assert np.mean(errors[1]) > 2 * np.mean(errors[0])


@pytest.mark.parametrize("codec", ["h264", "mpeg2"])
def test_frames_that_follow_are_predicted(codec: Codec) -> None:
    """Coded in a sequence, a frame looks otherwise than coded by itself: a part of it is what was there before."""
    frames = [to_planes(frame) for frame in moving(3, step=2)]
    alone = next(recoded(frames[2:], codec, 30.0))
    *_, after = recoded(frames, codec, 30.0)
    assert not np.array_equal(alone, after)


def test_jpeg_is_opencvs_at_that_quality() -> None:
    image = picture(64)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 35])
    assert np.array_equal(jpeg_recoded(image, 35), cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def test_fields_come_from_two_frames() -> None:
    first, second = flat(50), flat(150)
    woven = list(interlaced([first, second], "none"))[1]
    assert (woven[::2] == 150).all()
    assert (woven[1::2] == 50).all()
    lines = list(interlaced([first, second], "line"))[1]
    assert (lines == 150).all()
    blended = list(interlaced([first, second], "blend"))[1]
    assert np.abs(blended.astype(int) - 100).max() <= 1


def test_a_plain_tape_changes_next_to_nothing() -> None:
    image = picture()
    assert np.abs(taped(image, PLAIN_TAPE, generator(0, 0)).astype(int) - image).mean() < 1.5


def test_colour_bleeds_to_the_right_and_luma_stays() -> None:
    image = flat(0)
    image[:, :48], image[:, 48:] = (180, 60, 60), (60, 100, 180)
    tape = TapeDamage(**{**PLAIN_TAPE.__dict__, "bleed": 4.0, "delay": 2.0})
    before, after = (
        cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[48].astype(float)
        for frame in (image, taped(image, tape, generator(0, 0)))
    )
    share = (after[:, 1] - before[-1, 1]) / (before[0, 1] - before[-1, 1])
    assert np.interp(0.5, share[::-1], np.arange(96)[::-1]) == pytest.approx(47.5 + 2, abs=0.6)
    assert np.interp(0.1587, share[::-1], np.arange(96)[::-1]) == pytest.approx(47.5 + 2 + 4, abs=0.8)
    assert np.abs(after[:40, 0] - before[:40, 0]).max() <= 2


def test_luma_overshoots_and_rings() -> None:
    kernel = ringing_kernel(0.4, 4.0)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    tape = TapeDamage(**{**PLAIN_TAPE.__dict__, "halo": 0.4, "period": 4.0})
    row = taped(edge(), tape, generator(0, 0))[48, :, 1].astype(int)
    assert row[:49].min() < 60 - 10
    assert row[48:56].max() > 180 + 10
    assert abs(row[90] - 180) <= 1


def test_lines_wander_by_the_deviation_asked_for() -> None:
    tape = TapeDamage(**{**PLAIN_TAPE.__dict__, "jitter": 1.0})
    slope = np.repeat((np.arange(128) * 1.5 + 20).astype(np.uint8)[None], 400, axis=0)
    played = taped(np.repeat(slope[..., None], 3, axis=2), tape, generator(1, 0))
    shifts = (played[:, 64, 1].astype(float) - slope[0, 64]) / 1.5
    assert shifts.std() == pytest.approx(1.0, rel=0.35)


def test_a_palette_has_no_more_colours_than_asked() -> None:
    image = picture()
    for colours in (16, 64, 256):
        palette = palette_of(image, colours)
        for dither in ("none", "ordered", "diffusion"):
            few = quantised(image, palette, dither)
            assert len(np.unique(few.reshape(-1, 3), axis=0)) <= colours
            assert {tuple(c) for c in np.unique(few.reshape(-1, 3), axis=0)} <= {tuple(c) for c in palette}


def test_a_palette_halves_the_most_used_colours() -> None:
    """Median cut on an even ramp gives even steps; with fewer colours than asked for, it gives these."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert np.abs(np.sort(palette_of(ramp, 8)[:, 0]).astype(float) - (np.arange(8) * 32 + 15.5)).max() <= 0.5
    few = np.array([[[0, 0, 0]] * 5 + [[200, 10, 10]] * 2 + [[10, 10, 90]]] * 20, np.uint8)
    assert {tuple(colour) for colour in palette_of(few, 16)} == {(0, 0, 0), (200, 10, 10), (10, 10, 90)}
    # Brown is halved before it is drawn out into blue: greens weigh more, as they do to the eye.
    green_and_blue = np.array([[[0, green, blue] for green in (90, 120) for blue in (0, 60)]] * 8, np.uint8)
    assert {colour[1] for colour in palette_of(green_and_blue, 2)} == {90, 120}


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 256), st.integers(0, 2**31), st.sampled_from([(1, 1), (16, 9), (40, 64)]))
def test_a_palette_has_distinct_colours_from_within_the_picture(
    colours: int, seed: int, size_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(seed).integers(40, 200, (*size_hw, 3), dtype=np.uint8)
    palette = palette_of(image, colours)
    assert 1 <= len(palette) <= colours
    assert palette.min() >= image.min()
    assert palette.max() <= image.max()
    if len(np.unique(image.reshape(-1, 3), axis=0)) <= colours < image.size // 3:
        assert len(palette) == len(np.unique(image.reshape(-1, 3), axis=0))


def test_dither_keeps_the_mean_where_no_colour_fits() -> None:
    image, palette = flat(100, 64), np.array([[60, 60, 60], [140, 140, 140]], np.uint8)
    assert (quantised(image, palette, "none") != 100).all()
    assert quantised(image, palette, "diffusion").mean() == pytest.approx(100, abs=2)
    assert np.ptp(quantised(image, palette, "ordered").astype(int)) == 80


def test_a_gif_shows_few_colours_after_all() -> None:
    config = GifDegradation(colours=(16,), enlarge=("nearest",), grey_probability=0)
    damaged, _ = degrade(picture(), config, generator(0, 0))
    assert len(np.unique(damaged.reshape(-1, 3), axis=0)) <= 16


def test_grain_is_strongest_in_mid_grey_and_alike_over_its_size() -> None:
    random = generator(0, 0)
    mid, black = (grain(flat(value, 256), 8.0, 2.0, random) for value in (128, 0))
    assert mid.std() == pytest.approx(8.0, rel=0.02)
    assert black.std() == pytest.approx(0.3 * 8.0, rel=0.02)
    # White noise under a Gaussian of s is correlated by exp(-d² / 4 s²) at a distance d.
    correlation = (mid[:, 2:] * mid[:, :-2]).mean() / mid.var()
    assert correlation == pytest.approx(math.exp(-(2**2) / (4 * 2.0**2)), abs=0.06)


def test_fading_brings_black_and_white_to_their_levels() -> None:
    plain = {"vignette": (0, 0), "uneven": (0, 0), "grain_sigma": (0, 0), "scratches": (0, 0), "dust": (0, 0)}
    config = ArchiveDegradation.model_validate(
        {
            **plain,
            "hairs": (0, 0),
            "black": (0.1, 0.1),
            "contrast": (0.7, 0.7),
            "dye_fade": (0, 0),
            "grey_probability": 0,
        }
    )
    for value, level in ((0, 0.1), (255, 0.8)):
        damaged, target = degrade(flat(value), config, generator(0, 0))
        assert damaged.mean() == pytest.approx(255 * level, abs=1.5)
        assert np.array_equal(target, flat(value))


def test_a_sepia_pair_has_one_tone() -> None:
    config = ArchiveDegradation(grey_probability=1.0, sepia_probability=1.0)
    damaged, target = degrade(picture(), config, generator(0, 0))
    for image in (damaged, target):
        means = image.reshape(-1, 3).mean(axis=0)
        assert means[0] > means[1] > means[2]
    grey = flat(128)
    luma = cv2.cvtColor(sepia(grey), cv2.COLOR_RGB2GRAY)
    assert np.abs(luma.astype(int) - 128).max() <= 1


def test_scratches_last_and_dust_does_not() -> None:
    rates = WearRates(grey=False, unit=0.5, scratches=6.0, dust=0.0, hairs=0.0)
    frames = worn(rates, 6)
    shared = [((a != 90) & (b != 90)).sum() for a, b in pairwise(frames)]
    assert max(shared) > 0.9 * (frames[0] != 90).sum() > 0
    dusty = worn(WearRates(grey=False, unit=1.0, scratches=0.0, dust=20.0, hairs=0.0), 2)
    marked = [frame != 90 for frame in dusty]
    assert marked[0].any()
    assert (marked[0] & marked[1]).sum() < 0.3 * marked[0].sum()
    assert (worn(WearRates(grey=False, unit=1.0, scratches=0.0, dust=0.0, hairs=0.0), 1)[0] == 90).all()


def worn(rates: WearRates, count: int) -> list[Image]:
    wear = Wear(rates, (128, 128), generator(3, 1))
    return [wear.worn(flat(90, 128)) for _ in range(count)]


def test_a_mosaic_keeps_flat_colours_and_loses_fine_ones() -> None:
    for colour in ((200, 30, 10), (10, 220, 30), (20, 40, 210)):
        image = np.full((32, 32, 3), colour, np.uint8)
        assert np.array_equal(mosaicked(image), image)
    checks = np.repeat((np.indices((32, 32)).sum(axis=0) % 2 * 200).astype(np.uint8)[..., None], 3, axis=2)
    assert np.ptp(mosaicked(checks)[8:-8, 8:-8].reshape(-1, 3).astype(int), axis=1).max() > 50  # false colours


def test_less_light_is_noisier() -> None:
    spread = []
    for electrons in (2000.0, 100.0):
        config = WebcamDegradation(
            electrons=(electrons, electrons), cast=0, exposure=(1, 1), h264_probability=0, jpeg_quality=(95, 95)
        )
        spread.append(degrade(flat(120, 128), config, generator(0, 0))[0].astype(float).std())
    assert spread[1] > 2.5 * spread[0] > 0


def test_a_cast_stays_mild_and_leaves_the_target() -> None:
    config = WebcamDegradation(exposure=(1.0, 1.0), electrons=(5000, 5000))
    for index in range(4):
        damaged, target = degrade(flat(150), config, generator(6, index))
        assert np.abs(damaged.reshape(-1, 3).mean(axis=0) / 150 - 1).max() < 0.06 + 0.03
        assert np.array_equal(target, flat(150))


@pytest.mark.parametrize("preset", ["video", "archive", "webcam", "paper"])
def test_a_still_scene_is_damaged_alike_with_fresh_noise(preset: str) -> None:
    frames = [picture(64)] * 4
    damaged = [frame.astype(float) for frame in degrade_clip(frames, preset, seed=3)]
    between = np.mean([np.abs(a - b).mean() for a, b in pairwise(damaged)])
    other = degrade_clip(frames[:1], preset, seed=4)[0].astype(float)
    assert 0 < between < np.abs(damaged[0] - other).mean()


def test_what_was_drawn_is_told() -> None:
    for preset in PRESETS:
        drawn, _ = degrade_frames([picture(64)], PRESETS[preset], generator(0, 0))
        record = drawn.record()
        assert record["grey"] in (True, False)
        assert not any(isinstance(value, np.ndarray) for value in record.values())
