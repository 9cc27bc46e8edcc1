"""A visible mark: where it stands, what it leaves alone, and what coding leaves of it."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import revisage
from revisage.core import ConfigError
from revisage.media import Frame, open_source, with_mark
from sample_media import face_frames, plain_frames, read_video, write_video

TEXT = "restored by revisage"


def rgb_frame(picture: np.ndarray) -> Frame:
    return Frame.from_array(picture, pts=0, time_base=Fraction(1, 25), duration=1, index=0)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two pictures' grey, -1 to 1."""
    grey = [picture.astype(np.float64).mean(axis=-1).ravel() for picture in (one, other)]
    return float(np.corrcoef(*grey)[0, 1])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "gray", "yuv444p"])
def test_all_other_samples_stay(pixel_format: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", face_frames(1), codec="ffv1", pixel_format=pixel_format)
    with open_source(path) as source:
        [frame] = source.frames()
    marked = with_mark(frame, TEXT)
    assert marked.layout == frame.layout
    for before, after in zip(frame.planes, marked.planes, strict=True):
        rows, columns = (before != after).nonzero()[:2]
        assert len(rows)
        assert rows.min() > 0.9 * before.shape[0]
        assert columns.min() > 0.6 * before.shape[1]


def test_it_can_be_read_after_coding(tmp_path: Path) -> None:
    """What is left of it, as the correlation of the marked corner with the corner before coding."""
    [picture] = face_frames(1)
    marked = with_mark(rgb_frame(picture), TEXT).rgb()
    changed = np.argwhere((marked != picture).any(axis=-1))
    corner = tuple(slice(low, high + 1) for low, high in zip(changed.min(axis=0), changed.max(axis=0), strict=True))
    assert likeness(marked[corner], picture[corner]) < 0.6
    photo = io.BytesIO()
    Image.fromarray(marked).save(photo, "JPEG", quality=80)
    film = write_video(tmp_path / "a.mp4", [marked] * 5, options={"crf": "23", "preset": "medium"})
    for coded in (np.asarray(Image.open(photo)), read_video(film)[4][1]):
        assert likeness(coded[corner], marked[corner]) > 0.9


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 200), (200, 8), (31, 45), (2160, 3840)])
def test_frames_of_any_size_hold_it(size_hw: tuple[int, int]) -> None:
    frame = rgb_frame(np.full((*size_hw, 3), 120, np.uint8))
    marked = with_mark(frame, TEXT)
    assert marked.size_hw == size_hw
    if min(size_hw) > 20:
        assert (marked.rgb() == 120).all(axis=-1).mean() < 1


def test_frames_without_restored_faces_have_none(tmp_path: Path, tiny_model: Path) -> None:
    frames = [*plain_frames(4, (270, 480)), *face_frames(4)]
    source = write_video(tmp_path / "talk.mkv", frames, codec="ffv1", pixel_format="yuv444p")
    for name, strength in (("out.mkv", 1.0), ("zero.mkv", 0.0)):
        revisage.restore(source, tmp_path / name, model=str(tiny_model), strength=strength, watermark=TEXT)
    before, after, zero = (read_video(tmp_path / name) for name in ("talk.mkv", "out.mkv", "zero.mkv"))
    changed = [
        bool((one[-30:, -160:] != other[-30:, -160:]).any()) for (_, one), (_, other) in zip(before, after, strict=True)
    ]
    assert changed == [False] * 4 + [True] * 4
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(before, zero, strict=True))


@pytest.mark.parametrize("text", ["", "  ", "é", "x" * 61, "a\nb"])
def test_words_that_cannot_be_set_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="watermark"):
        revisage.restore("none.mp4", watermark=text)
