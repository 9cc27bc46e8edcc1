"""Animations end to end: restored from and to each format, with the source's times, length and repetitions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from revisage.api import restore
from revisage.media import open_source, probe
from sample_media import face_frames, write_video

DELAYS = (80, 90, 80, 80, 90, 40, 80)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GIF of a face with delays that change, played three times."""
    path = tmp_path_factory.mktemp("gif") / "talk.gif"
    pictures = [Image.fromarray(frame) for frame in face_frames(len(DELAYS))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(DELAYS), loop=2)
    return path


def times(path: Path) -> list[Fraction]:
    """Seconds of each frame from the first, and the end of the last."""
    with open_source(path) as opened:
        found = [frame.pts * frame.time_base for frame in opened.frames()]
    info = probe(path)
    assert info.duration is not None
    return [*(time - found[0] for time in found), info.duration]


def wanted() -> list[Fraction]:
    return [Fraction(sum(DELAYS[:count]), 1000) for count in range(len(DELAYS) + 1)]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".mp4"])
def test_times_and_repetitions_are_the_gifs(source: Path, tiny_model: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore(source, output, model=str(tiny_model))
    assert report.faces == len(DELAYS)
    assert times(output) == wanted()
    assert probe(output).loop == (None if suffix == ".mp4" else 3)


def test_through_a_video_and_back_nothing_is_lost(source: Path, tiny_model: Path, tmp_path: Path) -> None:
    restore(source, tmp_path / "a.mp4", model=str(tiny_model))
    for suffix in (".gif", ".webp", ".png"):
        restore(tmp_path / "a.mp4", tmp_path / f"b{suffix}", model=str(tiny_model), strength=0)
        assert times(tmp_path / f"b{suffix}") == wanted()
        assert probe(tmp_path / f"b{suffix}").loop == 0


def test_a_video_with_a_changing_rate_becomes_a_gif_of_its_length(tiny_model: Path, tmp_path: Path) -> None:
    pts = [0, 33, 67, 133, 167, 200]
    clip = write_video(tmp_path / "a.mkv", face_frames(6), pts=pts, time_base=Fraction(1, 1000))
    restore(clip, tmp_path / "a.gif", model=str(tiny_model))
    found = times(tmp_path / "a.gif")[:-1]
    assert all(abs(time - Fraction(stamp, 1000)) <= Fraction(1, 200) for time, stamp in zip(found, pts, strict=True))
