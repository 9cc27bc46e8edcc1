"""The example for OBS: a file played as a camera, into what stands for the system's virtual camera."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sample_media import face_frames, write_video

pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="the extra `virtualcam` is not installed")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "obs_camera.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("obs_camera", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Device:
    """Takes what a virtual camera takes; there is none on a machine without its driver."""

    device = "/dev/video9"

    def __init__(self, *, width: int, height: int, fps: float, print_fps: bool) -> None:
        self.size_hw, self.sent = (height, width), []
        opened.append(self)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def send(self, frame: np.ndarray) -> None:
        assert (frame.shape, frame.dtype) == ((*self.size_hw, 3), np.uint8)
        self.sent.append(frame)


opened: list[Any] = []


def test_each_frame_goes_to_the_virtual_camera(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.clear()
    monkeypatch.setattr(pyvirtualcam, "Camera", Device)
    live = example.revisage.live
    monkeypatch.setattr(example.revisage, "live", lambda source, **given: live(source, latency=9.0, **given))
    names: list[str] = []
    clip = write_video(tmp_path / "clip.mkv", face_frames(4))
    example.send(str(clip), 1.0, names.append)
    (device,) = opened
    assert names == ["/dev/video9"]
    assert device.size_hw == (270, 480)
    assert 1 <= len(device.sent) <= 4
    assert device.is_closed


def test_what_is_not_there_is_said_in_a_line(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["obs_camera.py", str(tmp_path / "none.mkv")])
    with pytest.raises(SystemExit, match=r"^error: .*none\.mkv"):
        example.main()
