"""Worker processes that die and fail: replaced, tried again, and in the end the segment is left as it was found."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import revisage
from revisage.cli.app import run
from revisage.core import CancelToken, ProcessingError, RestoreConfig
from revisage.engines import CpuInfo
from revisage.pipeline import ProcessRunner, SegmentJob, SegmentResult, plan, runners
from sample_media import read_video

KILL = "kill"


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "RUN_IN", 2)


class PoisonedJob(SegmentJob):
    """A job that a worker dies of, or fails at, when it takes it up."""

    def __reduce__(self) -> Any:
        tries, kind, whole = POISON
        values = {each.name: getattr(self, each.name) for each in fields(SegmentJob)}
        return _taken_up, (tries, kind if whole or any(self.planned) else "", values)


POISON: tuple[Path, str, bool] = (Path(), "", False)
"""A file with as many bytes as workers are to suffer, what is to happen to them, and whether copying kills too."""


def _taken_up(tries: Path, kind: str, values: dict[str, Any]) -> SegmentJob:
    left = tries.read_bytes()
    if kind and left:
        tries.write_bytes(left[1:])
        if kind == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        raise MemoryError(kind)
    return SegmentJob(**values)


class Poisoned:
    """Two workers, and poison in the second segment's job."""

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: Any) -> Iterator[SegmentResult]:
        def poisoned() -> Iterator[SegmentJob]:
            for job in jobs:
                values = {each.name: getattr(job, each.name) for each in fields(SegmentJob)}
                yield PoisonedJob(**values) if job.segment.number == 1 else job

        return ProcessRunner(2).run(poisoned(), cancel=cancel, on_frame=on_frame)


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def prepare(tries: int, kind: str, *, whole: bool = False) -> None:
        (tmp_path / "tries").write_bytes(b"x" * tries)
        monkeypatch.setattr(sys.modules[__name__], "POISON", (tmp_path / "tries", kind, whole))

    return prepare


def restored(clip: Path, output: Path, model: Path, **options: Any) -> revisage.Report:
    """Without the network for fine detail, which takes half the time."""
    output.parent.mkdir(exist_ok=True)
    options = {"temporal": "off", "fine": "keep", "segment_frames": 4, **options}
    return revisage.restore(clip, output, model=str(model), **options)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_worker_that_is_killed_is_replaced(
    face_clip: Path, compiled_model: Path, tmp_path: Path, poison: Any
) -> None:
    poison(2, KILL)
    one, two = tmp_path / "one.mkv", tmp_path / "out" / "two.mkv"
    restored(face_clip, one, compiled_model)
    seen: list[int] = []
    report = restored(
        face_clip,
        two,
        compiled_model,
        runner=Poisoned(),
        progress=lambda moment: seen.append(moment.done) if moment.stage == "restore" else None,
    )
    assert one.read_bytes() == two.read_bytes()
    assert seen == list(range(1, 13)), "a frame that is restored again is not counted again"
    assert (report.warnings, report.partly) == ([], False)
    assert [entry.name for entry in two.parent.iterdir()] == ["two.mkv"]


def test_a_segment_that_fails_three_times_is_left_as_it_was_found_and_tried_again_by_the_next_run(
    face_clip: Path, compiled_model: Path, tmp_path: Path, poison: Any
) -> None:
    poison(3, "no memory")
    output = tmp_path / "out.mkv"
    report = restored(face_clip, output, compiled_model, runner=Poisoned(), codec="ffv1", keep_work=True)
    (warning,) = report.warnings
    assert warning.startswith("frames 4 to 7 were left as they were found: MemoryError: no memory")
    entry = report.files[0]
    assert (entry.segments_left, entry.faces.failed, report.faces, len(entry.failures)) == (1, 4, 8, 4)
    assert report.partly
    before, after = read_video(face_clip), read_video(output)
    same = [np.array_equal(a, b) for (_, a), (_, b) in zip(before, after, strict=True)]
    assert same == [False] * 4 + [True] * 4 + [False] * 4
    report = restored(face_clip, output, compiled_model, codec="ffv1", overwrite=True)
    assert (report.files[0].timings.reused_segments, report.partly, report.faces) == (2, False, 12)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_segment_that_cannot_even_be_copied_ends_the_run(
    face_clip: Path, compiled_model: Path, tmp_path: Path, poison: Any
) -> None:
    poison(99, KILL, whole=True)
    with pytest.raises(ProcessingError, match=r"segment 1 of .*talk\.mkv could not even be copied.*ended with code -9"):
        restored(face_clip, tmp_path / "out.mkv", compiled_model, runner=Poisoned())
    assert "out.mkv" not in {entry.name for entry in tmp_path.iterdir()}


def test_the_command_says_that_a_part_was_left(
    face_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = revisage.pipeline.FileReport(
        input={}, output={"path": "out.mkv"}, segments_left=1, warnings=["frames 4 to 7 were left as they were found"]
    )
    monkeypatch.setattr(revisage, "restore", lambda *_, **__: revisage.Report(config={}, files=[entry]))
    assert run(["restore", str(face_clip)]) == 3
    assert "warning: frames 4 to 7 were left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "gpus", "cores", "segments", "expected"),
    [
        ({}, 0, 16, 9, ["auto"]),
        ({"workers": 3}, 0, 16, 9, ["auto"] * 3),
        ({"workers": 3}, 0, 16, 2, ["auto"] * 2),
        ({"workers": "auto"}, 0, 16, 9, ["auto"] * 4),
        ({"workers": "auto", "device": "cpu"}, 0, 2, 9, ["cpu"]),
        ({"workers": "auto"}, 2, 16, 9, ["cuda:0", "cuda:1"]),
        ({"workers": "auto"}, 2, 16, 1, ["cuda:0"]),
        ({"workers": "auto", "engine": "openvino"}, 2, 8, 9, ["auto"] * 2),
        ({"workers": 4, "device": "cuda"}, 2, 16, 9, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ({"device": "cuda"}, 2, 16, 9, ["cuda"]),
        ({"device": "cuda:1"}, 2, 16, 9, ["cuda:1"]),
        ({"device": "cuda:1,0"}, 2, 16, 9, ["cuda:1", "cuda:0"]),
        ({"device": "cuda:0,1", "workers": 4}, 2, 16, 9, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
    ],
)
def test_where_workers_compute(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    gpus: int,
    cores: int,
    segments: int,
    expected: list[str],
) -> None:
    from revisage.engines import choice

    monkeypatch.setattr(choice, "_has_cuda", lambda: gpus > 0)
    monkeypatch.setattr(choice, "_gpu_count", lambda: gpus)
    monkeypatch.setattr(runners, "cpu_info", lambda: CpuInfo("this", (), cores))
    assert runners.worker_devices(RestoreConfig(**options), segments) == expected
