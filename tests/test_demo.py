"""The README's first command: what the demo writes, and that the restored face is the better one."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from revisage import demo
from revisage.core.errors import OutputError
from revisage.demo import run_demo


def _audio(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_the_demo_restores_its_clip_and_measures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FRAMES", 30)
    result = run_demo(tmp_path / "demo")
    assert result.frames == demo.FRAMES
    assert result.psnr[1] > result.psnr[0]
    assert result.niqe[1] < result.niqe[0] - 1
    assert result.niqe[2] < result.niqe[0]
    sound = _audio(result.damaged)
    assert len(sound) > 50
    assert _audio(result.restored) == sound
    assert all(path.stat().st_size > 1000 for path in (result.comparison, result.report))
    assert str(result.restored) in "\n".join(result.lines())


def test_the_damaged_clip_is_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """480 px are a width at which x264 would write another file each time."""
    monkeypatch.setattr(demo, "FRAMES", 30)
    files = [tmp_path / name for name in ("one.mp4", "two.mp4", "three.mp4")]
    for file in files:
        demo.write_demo_clip(file)
    assert len({file.read_bytes() for file in files}) == 1


def test_the_scene_is_the_same_twice_and_the_mouth_moves() -> None:
    first, again = (list(islice(demo.clean_frames(), 8)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(demo.damage(first[3], 3), demo.damage(first[3], 3))
    assert first[0].shape == (*demo.SIZE_HW, 3)
    regions = [demo.face_region(index) for index in range(demo.FRAMES)]
    assert {region.size_hw for region in regions} == {(192, 192)}
    assert len({region.left for region in regions}) > 5


def test_the_voice_is_as_long_as_the_clip_and_never_clips() -> None:
    voice = demo.speech()
    assert len(voice) * demo.RATE == demo.FRAMES * demo.SAMPLE_RATE
    assert 0.05 < float(np.abs(voice).max()) <= 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        run_demo(tmp_path / "file" / "demo")
