"""The band beyond the crop: shown by the mask, by its share, and seen by the restorer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_frames import RgbFrame, face_at, smooth_picture

from revisage.core import Detail
from revisage.faces import (
    BY_FRAME,
    FineChoice,
    align,
    composite,
    crop_scale,
    detail_of,
    fine_share,
    track_choices,
    wants_restorer,
    with_fine,
)

CELLS = (8.0, 4.0, 2.0, 1.0, 0.5)
"""Grain of a picture as sharp as a photo, from the coarsest to the finest (px)."""

LARGE, SMALL = 0.9, 0.4
"""Scales of faces whose crops of 128 px reduce them, and enlarge them."""


def striped(picture: np.ndarray) -> np.ndarray:
    """Rows of 8 px, darker and brighter by turns: finer than a tint, coarser than a crop's pixel."""
    signs = np.where(np.arange(len(picture)) // 8 % 2, 20, -20)
    return np.broadcast_to(signs[:, None, None], picture.shape).astype(np.float32)


def large_face(frame: RgbFrame, crop: int = 128):
    face = align(frame, face_at(200, 150, LARGE, 20), crop)
    assert 1 / crop_scale(face.affine) > 1.5
    return face


def grey(height: int = 300, width: int = 400) -> RgbFrame:
    return RgbFrame(np.full((height, width, 3), 128, np.uint8), 8)


def fractal(height: int = 300, width: int = 400) -> RgbFrame:
    """A picture as sharp as a photo: detail down to its pixels, by a fifth less in each finer octave, but fainter
    than film grain, and lines."""
    octaves = [smooth_picture(height, width, seed, cell).astype(np.float32) - 127 for seed, cell in enumerate(CELLS)]
    picture = 128 + 0.36 * sum(octave * 0.8**number for number, octave in enumerate(octaves))
    picture[:, ::15] -= 40
    return RgbFrame(np.clip(picture, 0, 255).astype(np.uint16), 8)


def blurred(frame: RgbFrame, sigma: float) -> RgbFrame:
    return RgbFrame(cv2.GaussianBlur(frame.samples, (0, 0), sigma), 8)


def test_the_share_grows_smoothly_with_the_face() -> None:
    frame = RgbFrame.noise(300, 400, 8)
    shares = [fine_share(align(frame, face_at(200, 150, scale, 20), 128)) for scale in np.linspace(0.1, 1.0, 181)]
    assert shares[0] == 0
    assert shares[-1] == 1
    steps = np.diff(shares)
    assert (steps >= 0).all()
    assert steps.max() < 0.07


def test_no_share_changes_nothing() -> None:
    frame = RgbFrame.noise(300, 400, 8)
    face = large_face(frame)
    assert with_fine(frame, face, None, 0.0, FineChoice()) is face


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_change_is_shown_inside_the_face_by_share_and_strength(share: float, strength: float) -> None:
    frame = grey()
    face = with_fine(frame, large_face(frame), striped, share, FineChoice())
    assert np.abs(face.base.astype(int) - face.crop)[60:68, 60:68].max() == pytest.approx(20 * share, abs=2)
    shown = composite(frame, [(face, face.base, strength)])
    change = shown.samples.astype(int) - frame.samples
    assert np.abs(np.abs(change[130:170, 180:220]) - 20 * share * strength).mean() < 1
    assert not change[:, :8].any()


@pytest.mark.parametrize("x", [180, 185, 199, 207])
def test_the_net_is_shown_whole_blocks_of_codecs(x: int) -> None:
    frame = grey(400, 500)
    fine = with_fine(frame, align(frame, face_at(x, 150 + x // 9, 0.5, 20), 64), striped, 1.0).fine
    assert fine.region.left % 16 == fine.region.top % 16 == 0
    assert fine.region.left > 0


def test_a_tint_is_not_shown() -> None:
    frame = grey()
    face = with_fine(
        frame, large_face(frame), lambda picture: np.full(picture.shape, -20, np.float32), 1.0, FineChoice()
    )
    assert np.array_equal(composite(frame, [(face, face.base, 1.0)]).samples, frame.samples)


def test_a_frame_enlarged_shows_it_in_its_place() -> None:
    frame = grey()

    def spot(picture: np.ndarray) -> np.ndarray:
        change = np.zeros(picture.shape, np.float32)
        change[change.shape[0] // 2 - 6 : change.shape[0] // 2 + 6, change.shape[1] // 2 - 6 :][:, :12] = 40
        return change

    face = with_fine(frame, large_face(frame), spot, 1.0, FineChoice())
    once = composite(frame, [(face, face.base, 1.0)]).samples
    twice = composite(grey(600, 800), [(face, face.base, 1.0)], 2.0).samples
    reduced = twice.reshape(300, 2, 400, 2, 3).mean(axis=(1, 3))
    assert once.max() > 150
    assert np.abs(reduced - once).mean(axis=2)[140:160, 190:210].max() <= 6
    assert abs((reduced - 128).sum() / (once - 128.0).sum() - 1) < 0.06


def test_the_restorers_change_is_added_to_the_fine_one() -> None:
    frame = grey()
    face = with_fine(frame, large_face(frame), striped, 1.0, FineChoice())
    fine = composite(frame, [(face, face.base, 1.0)]).samples.astype(int)
    restored = face.input.copy()
    restored[:, 60:64] += 8
    restored[:, 64:68] -= 8
    both = composite(frame, [(face, restored, 1.0)]).samples.astype(int)
    across = (both - fine)[140:160, 185:215]
    assert across.max() >= 7
    assert across.min() <= -7
    assert np.abs((both - fine)[140:160, 120:150]).max() <= 1


def test_a_sharp_crop_is_shown_less_of_a_restorers_work_than_a_soft_one() -> None:
    sharp = RgbFrame.noise(300, 400, 8)
    blurred = cv2.GaussianBlur(sharp.samples.astype(np.float32), (0, 0), 12)
    soft = RgbFrame((128 + 15 * (blurred - blurred.mean())).clip(0, 255).astype(np.uint16), 8)

    def rests(frame: RgbFrame) -> list[float]:
        face = large_face(frame)
        choice = FineChoice(needed=None, sharp=None)
        return [with_fine(frame, face, np.zeros_like, share, choice).fine.rest for share in (0.5, 1)]

    assert rests(sharp) == [0.5, 0]
    assert rests(soft) == [1, 1]
    assert with_fine(sharp, large_face(sharp), np.zeros_like, 1.0, FineChoice()).fine.rest == 1


def test_a_clean_sharp_face_is_left_to_the_bit() -> None:
    sharp = RgbFrame.noise(400, 500, 8)
    face = align(sharp, face_at(250, 200, 1.4, 20), 128)
    asked: list[tuple[int, ...]] = []

    def hardly(picture: np.ndarray) -> np.ndarray:
        asked.append(picture.shape)
        return np.full(picture.shape, 0.5, np.float32)

    left = with_fine(sharp, face, hardly, 1.0)
    assert asked == [(128, 128, 3)]
    assert left.is_left
    assert np.array_equal(left.input, face.crop)
    assert composite(sharp, [(left, left.input, 1.0)]) is sharp


@pytest.mark.parametrize(("change", "shown"), [(0.8, 0.0), (1.05, 0.5), (4.0, 1.0)])
def test_a_fine_change_comes_in_smoothly_with_what_there_is_to_do(change: float, shown: float) -> None:
    frame = RgbFrame(np.full((400, 500, 3), 128, np.uint8), 8)
    face = align(frame, face_at(250, 200, 1.4, 20), 128)

    def dotted(picture: np.ndarray) -> np.ndarray:
        signs = np.indices(picture.shape[:2]).sum(axis=0) % 2 * 2 - 1
        return np.repeat((change * signs)[..., None], 3, axis=2).astype(np.float32)

    fine = with_fine(frame, face, dotted, 1.0).fine
    got = 0.0 if fine.delta is None else float(np.abs(fine.delta).mean() / change)
    assert got == pytest.approx(shown, abs=0.02)
    always = with_fine(frame, face, dotted, 1.0, always=True).fine
    assert np.abs(always.delta).mean() == pytest.approx(change, rel=0.02)


def choices(changes: list[float], every: int = 12) -> list[float]:
    """How much of a fine change is shown in each frame of a track in which that much was measured."""
    details = {1 + every * place: Detail(change, 1.0) for place, change in enumerate(changes)}
    return [choice.needed for choice in track_choices(details, every * len(changes))]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ([1.2, 1.7, 1.2, 1.4, 1.7, 1.2, 1.7], 0.26),
        ([1.7, 1.7, 1.7, 1.2, 1.2, 1.2, 1.7], 1.0),
        ([0.8, 0.8, 0.8, 0.8, 9.0, 9.0, 9.0, 0.8, 0.8], 0.0),
    ],
    ids=["wavering", "a few clean frames", "a noisy second"],
)
def test_one_choice_holds_along_a_track(changes: list[float], needed: float) -> None:
    shown = choices(changes)
    assert len(set(shown)) == 1
    assert shown[0] == pytest.approx(needed, abs=0.01)


def test_a_choice_changes_where_the_face_is_clearly_another_in_half_a_second() -> None:
    shown = choices([0.9, 1.4, 1.0, 1.1, 0.8, 3.0, 1.5, 3.0, 3.1, 2.9, 3.0])
    assert shown[:50] == [0.0] * 50
    assert shown[61:] == [1.0] * 71
    assert np.diff(shown[49:62]) == pytest.approx(1 / 12, abs=1e-3)
    assert track_choices({}, 40) == [BY_FRAME] * 40


def test_what_is_measured_of_a_frame_is_what_a_frame_by_itself_is_changed_by() -> None:
    frame = RgbFrame.noise(400, 500, 8)
    face = face_at(250, 200, 1.4, 20)
    detail = detail_of(frame, face, striped, 128)
    assert detail.change == pytest.approx(20)
    alone = with_fine(frame, align(frame, face, 128), striped, 1.0)
    (choice,) = track_choices({0: detail}, 1)
    known = with_fine(frame, align(frame, face, 128), striped, 1.0, choice)
    assert np.array_equal(known.fine.delta, alone.fine.delta)
    assert known.fine.rest == pytest.approx(alone.fine.rest, abs=1e-3)
    assert detail_of(frame, face_at(-250, -200, 0.15, 20), striped, 128) is None


@pytest.mark.parametrize(
    ("detail", "wanted"),
    [
        (Detail(), False),
        (Detail(damage=0.0), False),
        (Detail(damage=0.2), True),
        (Detail(change=3.0, sharpness=0.9), False),
        (Detail(change=0.1, sharpness=0.72), True),
        (Detail(change=0.1, sharpness=0.9, damage=0.0), False),
        (Detail(change=0.1, sharpness=0.9, damage=0.5), True),
        (Detail(change=0.1, sharpness=0.6, damage=0.0), True),
    ],
)
def test_a_restorer_is_wanted_by_small_faces_that_are_damaged_and_large_ones_that_are_soft(
    detail: Detail, wanted: bool
) -> None:
    assert wants_restorer(detail) == wanted


def test_sharpness_is_told_from_the_inner_face_alone() -> None:
    frame = RgbFrame.noise(800, 900, 8)
    face = face_at(450, 400, LARGE, 20)
    shown: list[int] = []

    def counted(picture: np.ndarray) -> np.ndarray:
        shown.append(picture[..., 0].size)
        return striped(picture)

    detail = detail_of(frame, face, counted, 128)
    *_, inner = shown
    whole = with_fine(frame, align(frame, face, 128), counted, 1.0, FineChoice(needed=1.0, sharp=None))
    assert inner < 0.6 * shown[-1]
    assert 1 - track_choices({0: detail}, 1)[0].sharp == pytest.approx(whole.fine.rest, abs=1e-3)


def refuses(picture: np.ndarray) -> np.ndarray:
    raise AssertionError("a small face needs no net")


def small_face(frame: RgbFrame):
    face = align(frame, face_at(200, 150, 0.25, 20), 256)
    assert fine_share(face) == 0
    return face


def test_a_small_clean_face_is_left_to_the_bit_and_a_soft_one_restored() -> None:
    clean, soft = fractal(), blurred(fractal(), 1.5)
    left = with_fine(clean, small_face(clean), None, 0.0)
    assert left.is_left
    assert composite(clean, [(left, left.input[:, ::-1], 1.0)]) is clean
    assert with_fine(soft, small_face(soft), None, 0.0).fine is None


def test_a_small_face_is_shown_as_far_as_its_track_is_damaged() -> None:
    frame = fractal()
    face = small_face(frame)
    restored = np.clip(face.crop.astype(int) + np.where(np.arange(256) // 16 % 2, 12, -12)[:, None, None], 0, 255)

    def change(damaged: float) -> np.ndarray:
        shown = with_fine(frame, face, None, 0.0, FineChoice(damaged=damaged))
        return composite(frame, [(shown, restored.astype(np.uint8), 1.0)]).samples.astype(int) - frame.samples

    assert np.abs(change(0.5) - change(1.0) / 2).max() <= 1
    assert np.abs(change(1.0)).max() > 8


def test_between_small_and_large_both_are_heard() -> None:
    frame = grey()
    face = large_face(frame)

    def rest(share: float, damaged: float, sharp: float) -> float:
        return with_fine(frame, face, np.zeros_like, share, FineChoice(1.0, sharp, damaged)).fine.rest

    assert rest(0.25, damaged=0.0, sharp=0.0) == pytest.approx(0.25)
    assert rest(0.25, damaged=1.0, sharp=1.0) == pytest.approx(0.75)
    assert rest(0.25, damaged=0.4, sharp=0.5) == pytest.approx(0.75 * 0.4 + 0.25 * 0.5)
    assert rest(1.0, damaged=0.0, sharp=0.0) == 1


def test_a_small_face_is_judged_once_for_its_track() -> None:
    frame = fractal()
    detail = detail_of(frame, face_at(200, 150, 0.25, 20), refuses, 256)
    assert detail == Detail(damage=0.0)
    wavering = {1 + 12 * place: Detail(damage=damage) for place, damage in enumerate([0.2, 1, 0.2, 0.6, 1, 0.2, 0.6])}
    shown = track_choices(wavering, 90)
    assert set(shown) == {FineChoice(None, None, 0.648)}
    cleared = {12 * place: Detail(damage=float(place < 5)) for place in range(10)}
    parts = [choice.damaged for choice in track_choices(cleared, 109)]
    assert (parts[48], parts[60]) == (1, 0)
    assert np.diff(parts).min() == pytest.approx(-1 / 12, abs=1e-3)
