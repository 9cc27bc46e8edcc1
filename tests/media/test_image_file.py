"""The file behind an image sink: errors in one line, nothing left after them."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from revisage.core.errors import DiskFullError, OutputError
from revisage.media import Frame, MediaInfo, open_image_sink
from revisage.media.image_file import ImageFile


class FailingFile:
    """Stands for a file on a device that refuses to write."""

    def __init__(self, file: Any, code: int) -> None:
        self._file, self._code = file, code

    def write(self, data: bytes) -> int:
        raise OSError(self._code, "refused")

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, DiskFullError), (errno.EIO, OutputError)])
@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, error: type[OutputError]
) -> None:
    sink = open_image_sink(tmp_path / name, MediaInfo(tmp_path / "x.mp4", "video", "mp4", "h264", 8, 8))
    file = sink._file  # type: ignore[attr-defined]
    monkeypatch.setattr(file, "_file", FailingFile(file._file, code))
    frame = Frame.from_array(np.zeros((8, 8, 3), np.uint8), time_base=Fraction(1, 10), duration=1)
    with pytest.raises(error) as raised:
        sink.write(frame)
    assert "\n" not in str(raised.value)
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_a_place_that_was_written_can_be_patched(tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "a.bin")
    file.write(b"0123")
    file.patch(1, b"xy")
    file.write(b"4")
    file.close()
    assert (tmp_path / "a.bin").read_bytes() == b"0xy34"


def test_abort_twice_and_after_close_does_nothing(tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "a.bin")
    file.abort()
    file.abort()
    assert not (tmp_path / "a.bin").exists()
    kept = ImageFile(tmp_path / "b.bin")
    kept.close()
    kept.abort()
    assert (tmp_path / "b.bin").exists()
