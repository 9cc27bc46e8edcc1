"""What is restored as it comes in, by its public names; the examples are those of docs/live.md."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import revisage
from revisage.core import ConfigError
from sample_media import face_frames, soft_frames


def test_frames_are_pushed_in_and_come_out_restored() -> None:
    camera = soft_frames(9)
    with revisage.Stream(restore_every=4, strength=0.8) as stream:
        shown = [stream.push(frame) for frame in camera]
    assert all(frame is not None and frame.shape == (270, 480, 3) and frame.dtype == np.uint8 for frame in shown)
    assert not np.array_equal(shown[-1], camera[-1])
    assert stream.tally.taken == stream.tally.shown == 9


def test_the_examples_of_the_page_run(face_clip: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "live.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    shown: list[np.ndarray | None] = []
    for example in examples:
        told = example.replace("live(0)", f"live({str(face_clip)!r})")
        exec(told, {"revisage": revisage, "camera": face_frames(3), "show": shown.append})
    assert len(shown) >= 3


def test_strength_is_checked() -> None:
    with revisage.Stream(restore_every=1) as stream:
        stream.strength = 0.25
        assert stream.strength == 0.25
        with pytest.raises(ConfigError, match="strength"):
            stream.strength = 2
        with pytest.raises(ValueError, match="uint8"):
            stream.push(np.zeros((4, 4, 3)))


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'strength'"):
        revisage.Stream(strenght=1)  # type: ignore[call-arg]


def test_a_file_is_played_as_a_camera(face_clip: Path) -> None:
    frames = list(revisage.live(face_clip, latency=9.0))
    assert 1 <= len(frames) <= 12
    for frame in frames:
        assert frame.image.shape == frame.before.shape == (270, 480, 3)
        assert 0 <= frame.latency < 9.0
