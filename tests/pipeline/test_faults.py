"""Faults from inside: what can be saved is, and what was not restored is said."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import revisage
from revisage.core import ProcessingError, Progress, RestoreConfig, UserError
from revisage.media.video.segment_sink import SegmentSink
from revisage.pipeline import FileReport, Networks, kept_networks, plan, restore_file
from revisage.pipeline.restoration.frame_restoration import FaceQuality
from revisage.pipeline.segment_job import _frames
from sample_media import read_video


@pytest.fixture(autouse=True, scope="module")
def short_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK", 4)
        patch.setattr(plan, "RUN_IN", 2)
        yield


def restored(clip: Path, output: Path, model: Path, networks: Networks | None = None, **options: Any) -> FileReport:
    config = RestoreConfig(model=str(model), temporal="off", **options)
    return restore_file(clip, output, config, networks or kept_networks(config), segment_frames=4)


@pytest.fixture(scope="module")
def undisturbed(face_clip: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of a run without a fault."""
    output = tmp_path_factory.mktemp("undisturbed") / "out.mkv"
    restored(face_clip, output, tiny_model)
    return output.read_bytes()


class Faulty:
    """Passes calls on, but for what ``fault`` does to the nth thing that is new."""

    def __init__(self, real: Any, fault: Any, which: int = 5) -> None:
        self._real, self._fault, self._which = real, fault, which
        self._seen: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, batch: np.ndarray) -> Any:
        outputs = self._real(batch)
        if is_no_face(batch):
            return outputs
        for place, image in enumerate(batch):
            known = image.tobytes()
            if known not in self._seen:
                self._seen.append(known)
            if self._seen.index(known) == self._which:
                self._fault(outputs, place)
        return outputs


def is_no_face(batch: np.ndarray) -> bool:
    """Whether a network is only made ready, by an empty crop, at a time that nobody knows."""
    return float(np.ptp(batch)) == 0


def not_a_number(outputs: list[np.ndarray], place: int) -> None:
    outputs[0][place] = np.nan


def no_luck(outputs: Any, place: int) -> None:
    raise RuntimeError("no luck\nwith this one")


@pytest.mark.parametrize(("fault", "words"), [(not_a_number, "no numbers"), (no_luck, "no luck with this one")])
def test_a_restorer_that_fails_at_one_face_costs_its_frame(
    face_clip: Path, tiny_model: Path, tmp_path: Path, fault: Any, words: str
) -> None:
    networks = Networks(RestoreConfig(model=str(tiny_model)))
    networks.restorer._engine = Faulty(networks.restorer._engine, fault)  # type: ignore[attr-defined]
    report = restored(face_clip, tmp_path / "out.mkv", tiny_model, networks, codec="ffv1")
    (line,) = report.failures
    assert line.startswith("frame 5 was kept as it was: ")
    assert words in line
    assert (report.faces.failed, report.faces.restored, report.frames_changed) == (1, 11, 11)
    before, after = read_video(face_clip), read_video(tmp_path / "out.mkv")
    same = [np.array_equal(a, b) for (_, a), (_, b) in zip(before, after, strict=True)]
    assert same == [index == 5 for index in range(12)]


def test_a_measure_that_fails_costs_no_restoration(
    face_clip: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> None:
        raise ZeroDivisionError("no measure\nof this face")

    monkeypatch.setattr(FaceQuality, "look", look)
    report = restored(face_clip, tmp_path / "out.mkv", tiny_model)
    assert (report.faces.restored, report.failures) == (12, [])
    assert "not all faces could be measured: ZeroDivisionError: no measure of this face" in report.notes
    assert (tmp_path / "out.mkv").read_bytes() == undisturbed


def test_a_segment_of_which_each_face_was_given_up_is_done_again_by_the_next_run(
    face_clip: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    config = RestoreConfig(model=str(tiny_model), temporal="off")
    networks, calls = Networks(config), itertools.count()
    engine = networks.restorer._engine  # type: ignore[attr-defined]

    def works_at_first(batch: np.ndarray) -> Any:
        if is_no_face(batch) or next(calls) < 4:
            return engine(batch)
        raise MemoryError("simulated")

    def crash(progress: Progress) -> None:
        if progress.stage == "finish":
            raise KeyError("simulated crash")

    networks.restorer._engine = works_at_first  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        restore_file(face_clip, output, config, networks, segment_frames=4, progress=crash)
    report = restored(face_clip, output, tiny_model)
    assert report.timings.reused_segments == 1
    assert (report.faces.restored, report.failures) == (12, [])
    assert output.read_bytes() == undisturbed


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the detector fail at some frames."""

    def at(networks: Networks, frames: range, error: Exception) -> None:
        real, calls = networks.detector.candidates, itertools.count()

        def candidates(image: Any, **options: Any) -> Any:
            if hasattr(image, "pts") and next(calls) in frames:
                raise error
            return real(image, **options)

        monkeypatch.setattr(networks.detector, "candidates", candidates)

    return at


def test_a_detector_that_fails_at_one_frame_costs_nothing(
    face_clip: Path, tiny_model: Path, tmp_path: Path, blind: Any
) -> None:
    networks = Networks(RestoreConfig(model=str(tiny_model)))
    blind(networks, range(1, 2), RuntimeError("no luck"))  # the search of frame 8; the others are followed
    report = restored(face_clip, tmp_path / "out.mkv", tiny_model, networks)
    assert report.warnings == ["faces could not be looked for in a frame: RuntimeError: no luck"]
    assert (len(report.tracks), report.faces.restored) == (1, 12), "the faces between two that were seen are filled in"


def test_a_detector_that_always_fails_ends_the_run(
    face_clip: Path, tiny_model: Path, tmp_path: Path, blind: Any
) -> None:
    for error, expected in ((RuntimeError("no luck"), ProcessingError), (UserError("no such model"), UserError)):
        networks = Networks(RestoreConfig(model=str(tiny_model)))
        blind(networks, range(99), error)
        with pytest.raises(expected, match=r"no luck|no such model"):
            restored(face_clip, tmp_path / "out.mkv", tiny_model, networks)
        assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_keeps_what_was_finished(
    face_clip: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.mkv"
    real, calls = SegmentSink.write, itertools.count()

    def write(sink: SegmentSink, frame: Any) -> None:
        if next(calls) == 9:
            raise RuntimeError("the encoder broke")
        real(sink, frame)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentSink, "write", write)
        with pytest.raises(RuntimeError, match="the encoder broke"):
            restored(face_clip, output, tiny_model)
    assert sorted(entry.name for entry in (tmp_path / ".out.mkv.revisage-work").glob("segment*")) == [
        "segment-00000.mkv",
        "segment-00001.mkv",
    ]
    assert restored(face_clip, output, tiny_model).timings.reused_segments == 2
    assert output.read_bytes() == undisturbed


def test_a_disk_that_stalls_and_a_clock_that_jumps_change_nothing(
    face_clip: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.cycle((2e9, 0.0, 1e9))
    real_write, calls = SegmentSink.write, itertools.count()

    def write(sink: SegmentSink, frame: Any) -> None:
        time.sleep(0.7 if next(calls) in (3, 7) else 0)
        real_write(sink, frame)

    def frames(job: Any) -> Any:
        for number, frame in enumerate(_frames(job)):
            time.sleep(0.7 if number == 2 else 0)
            yield frame

    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(SegmentSink, "write", write)
    monkeypatch.setattr("revisage.pipeline.segment_job._frames", frames)
    report = restored(face_clip, tmp_path / "stalled.mkv", tiny_model)
    assert (tmp_path / "stalled.mkv").read_bytes() == undisturbed
    assert 0 < report.timings.total_seconds < 600


def test_the_command_tells_a_fault_in_one_line(
    face_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from revisage.cli.app import run

    def fault(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("of one\nby nothing")

    monkeypatch.setattr(revisage, "restore", fault)
    assert run(["restore", str(face_clip)]) == 1
    err = capsys.readouterr().err
    assert err == "revisage: error: ZeroDivisionError: of one by nothing (--debug shows where)\n"
