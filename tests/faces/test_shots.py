from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from face_frames import smooth_picture

from revisage.faces.shots import ShotDetector, shot_look

STILL = ["s18.mp4", "swiz3n.mpg", "retalking_1.mp4", "asl_brother.mkv", "asl_thanks.mkv"]


def cuts(frames: Iterable[np.ndarray]) -> list[int]:
    detector = ShotDetector()
    return [index for index, frame in enumerate(frames) if detector(np.ascontiguousarray(frame))]


def small_frames(path: Path) -> Iterable[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(width=160, height=90, format="rgb24")


def test_finds_the_known_cuts(shared: Path) -> None:
    frames = [np.ascontiguousarray(frame) for frame in small_frames(shared / "clips/short_hamilton_clip.mp4")]
    assert cuts(frames) == [20, 82, 211]
    detector = ShotDetector()
    assert [index for index, frame in enumerate(frames) if detector(shot_look(frame))] == [20, 82, 211]


@pytest.mark.parametrize("name", STILL)
def test_finds_no_cut_in_one_take(shared: Path, name: str) -> None:
    assert cuts(small_frames(shared / "clips" / name)) == []


def test_finds_no_cut_in_animations(shared: Path) -> None:
    for path in sorted((shared / "gifs").glob("*.gif")):
        assert cuts(small_frames(path)) == [], path.name


@pytest.mark.slow
def test_finds_no_cut_in_a_long_take(shared: Path) -> None:
    assert cuts(small_frames(shared / "clips/bottle-detection.mp4")) == []


def scene(seed: int) -> np.ndarray:
    return smooth_picture(90, 160, seed)


def shot(seed: int, count: int = 12) -> list[np.ndarray]:
    """A slow pan with noise."""
    generator = np.random.default_rng(seed)
    wide = smooth_picture(90, 220, seed)
    noisy = [wide[:, i : i + 160] + generator.normal(0, 4, (90, 160, 3)) for i in range(count)]
    return [np.clip(frame, 0, 255).astype(np.uint8) for frame in noisy]


def test_finds_hard_cuts() -> None:
    assert cuts([*shot(1), *shot(2), *shot(3, 4), *shot(4)]) == [12, 24, 28]


def test_a_flash_is_no_cut() -> None:
    frames = shot(1, 20)
    frames[8] = np.full_like(frames[8], 255)
    frames[9] = np.clip(frames[9].astype(int) + 70, 0, 255).astype(np.uint8)
    assert cuts(frames) == []


def test_a_change_of_exposure_is_no_cut() -> None:
    frames = shot(1, 20)
    frames[10:] = [np.clip(frame * 0.6, 0, 255).astype(np.uint8) for frame in frames[10:]]
    assert cuts(frames) == []


@pytest.mark.parametrize("part", [0.35, 0.45])
def test_what_comes_before_the_camera_at_once_is_no_cut(part: float) -> None:
    frames, other = shot(1, 24), scene(2)
    height, width = (int(side * part**0.5) for side in (90, 160))
    for frame in frames[8:16]:
        frame[20 : 20 + height, 30 : 30 + width] = other[:height, :width]
    assert cuts([*frames, *shot(3)]) == [24]


def faded(frames: list[np.ndarray], from_level: float, to_level: float) -> list[np.ndarray]:
    levels = np.linspace(from_level, to_level, len(frames))
    return [(frame * level).astype(np.uint8) for frame, level in zip(frames, levels, strict=True)]


def test_a_fade_through_black_is_one_cut() -> None:
    black = [np.zeros((90, 160, 3), np.uint8)] * 4
    found = cuts([*faded(shot(1), 1, 0), *black, *faded(shot(2), 0, 1)])
    assert len(found) == 1 and 16 <= found[0] <= 20


def test_a_fade_out_and_in_of_one_scene_is_no_cut() -> None:
    still = [scene(1)] * 8
    assert cuts([*faded(still, 1, 0), *faded(still, 0, 1)]) == []


def test_any_size_of_picture() -> None:
    tiny = [cv2.resize(frame, (7, 5), interpolation=cv2.INTER_AREA) for frame in [*shot(1), *shot(2)]]
    assert len(cuts(tiny)) <= 1
    assert cuts([np.zeros((1, 1, 3), np.uint8)] * 5) == []
