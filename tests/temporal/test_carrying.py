"""What was restored is carried on where a face has hardly changed, and nowhere else."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from revisage.core import Crop
from revisage.faces import align, ffhq_template, load_detector
from revisage.media import Frame
from revisage.temporal import DisFlow, LastRestored, Motion, carried, onward_motion, reduced
from sample_media import face_frames

SIZE = 128
POINTS = ffhq_template(SIZE).astype(np.float32)
DIS = DisFlow("fast")


def drawn(*, lids: float = 0.0, mouth: float = 0.0, shift: float = 0.0) -> Crop:
    """A face by its landmarks, dark eyes and mouth on skin with some texture. ``lids``: how far closed, 0 to 1."""
    skin = np.full((SIZE, SIZE, 3), (190, 150, 130), np.float32)
    skin += cv2.GaussianBlur(np.random.default_rng(3).normal(0, 40, skin.shape).astype(np.float32), (0, 0), 2)
    for x, y in POINTS[:2]:
        height = 4 * (1 - lids)
        if height >= 1:
            cv2.ellipse(skin, ((x, y), (13, 2 * height), 0), (60, 50, 45), -1, cv2.LINE_AA)
    (left, y), (right, _) = POINTS[3:]
    cv2.ellipse(skin, (((left + right) / 2, y), (right - left, 3 + 14 * mouth), 0), (110, 50, 55), -1, cv2.LINE_AA)
    move = np.array([[1, 0, shift], [0, 1, 0]], np.float64)
    moved = cv2.warpAffine(skin, move, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def noisy(crop: Crop, sigma: float, seed: int) -> Crop:
    return np.clip(np.rint(crop + np.random.default_rng(seed).normal(0, sigma, crop.shape)), 0, 255).astype(np.uint8)


def still() -> Motion:
    return Motion(np.zeros((SIZE, SIZE, 2), np.float32), np.ones((SIZE, SIZE), np.float32))


def followed(crops: list[Crop]) -> list[bool]:
    """Which of the crops after the first may do without the restorer."""
    last = LastRestored(crops[0])
    return [
        last.onto(now, POINTS, onward_motion(DIS, reduced(before), reduced(now), SIZE)) is not None
        for before, now in itertools.pairwise(crops)
    ]


def test_noise_is_no_change() -> None:
    crops = [noisy(drawn(), 2, seed) for seed in range(5)]
    assert followed(crops) == [True] * 4


def test_a_face_that_drifts_in_its_crop_is_followed() -> None:
    (frame,) = face_frames(1)
    (face,) = load_detector("compact", device="cpu")(frame)
    crop = align(Frame.from_array(frame), face, SIZE).crop

    def moved(by: float) -> Crop:
        move = np.array([[1, 0, by], [0, 1, by / 2]], np.float64)
        return cv2.warpAffine(crop, move, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    assert followed([moved(0.25 * step) for step in range(4)]) == [True] * 3
    assert LastRestored(crop).onto(moved(1.2), POINTS, still()) is None  # unless the motion is known


@pytest.mark.parametrize("change", [{"lids": 0.5}, {"lids": 1.0}, {"mouth": 0.35}, {"mouth": 1.0}])
def test_a_blink_and_a_syllable_are_seen(change: dict[str, float]) -> None:
    assert LastRestored(drawn()).onto(drawn(**change), POINTS, still()) is None


def test_one_eye_alone_is_enough() -> None:
    winking = drawn()
    winking[:, : SIZE // 2] = drawn(lids=1)[:, : SIZE // 2]
    assert LastRestored(drawn()).onto(winking, POINTS, still()) is None


def test_a_blink_in_the_dark_is_seen() -> None:
    last = LastRestored(drawn() // 8)
    assert last.onto(drawn(lids=1) // 8, POINTS, still()) is None


def test_what_changes_slowly_is_compared_with_what_was_restored() -> None:
    opened = (drawn(), drawn(mouth=1))
    crops = [cv2.addWeighted(opened[0], 1 - part, opened[1], part, 0) for part in np.linspace(0, 0.2, 12)]
    steps = [LastRestored(a).onto(b, POINTS, still()) is not None for a, b in itertools.pairwise(crops)]
    assert steps == [True] * 11
    last = LastRestored(crops[0])
    seen = [last.onto(crop, POINTS, still()) is not None for crop in crops[1:]]
    assert seen[0]
    assert not seen[-1]
    assert last.carried == sum(seen)


def test_the_detail_moves_with_the_face() -> None:
    fine = np.random.default_rng(9).normal(0, 25, (SIZE, SIZE, 3)).astype(np.float32)
    fine = cv2.GaussianBlur(fine, (0, 0), 1.2) * 2
    inside = np.s_[12:-12, 12:-12]

    def restored(shift: float) -> np.ndarray:
        move = np.array([[1, 0, shift], [0, 1, 0]], np.float64)
        return np.clip(drawn(shift=shift) + cv2.warpAffine(fine, move, (SIZE, SIZE), flags=cv2.INTER_CUBIC), 0, 255)

    before = np.rint(restored(0)).astype(np.uint8)
    flow = np.zeros((SIZE, SIZE, 2), np.float32)
    flow[..., 0] = -3  # what is seen here now was 3 px further left
    now = carried(before, drawn(), drawn(shift=3), flow)
    assert np.abs(now[inside].astype(float) - restored(3)[inside]).mean() < 1
    assert np.abs(before[inside].astype(float) - restored(3)[inside]).mean() > 5


def test_where_nothing_changed_nothing_is_changed() -> None:
    made = noisy(drawn(), 10, 1)
    assert np.array_equal(carried(made, drawn(), drawn(), still().flow), made)
