"""Kills, stops, and sources that do not stay what they were: the same bytes in the end, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import revisage
from revisage import media
from revisage.core import CancelledError, Progress
from revisage.pipeline import FileReport, file_restoration, plan, targets
from sample_media import write_video

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``segment_frames=4`` the clip of 12 frames has three: a segment holds at least one block."""
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "RUN_IN", 2)


@pytest.fixture
def clip(face_clip: Path, tmp_path: Path) -> Path:
    """A copy that may be harmed, in a folder of its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "talk.mkv").write_bytes(face_clip.read_bytes())
    return folder / "talk.mkv"


def restored(clip: Path, output: Path, model: Path, **options: Any) -> FileReport:
    """The report on a restoration in three segments, without the network for fine detail, which takes half the time."""
    output.parent.mkdir(exist_ok=True)
    options = {"temporal": "off", "fine": "keep", **options}
    return revisage.restore(clip, output, model=str(model), segment_frames=4, **options).files[0]


class Crash:
    """A progress that ends a run with an error in its third segment."""

    def __init__(self, error: BaseException, frame: int = 9) -> None:
        self._error, self._frame = error, frame

    def __call__(self, moment: Progress) -> None:
        if moment.stage == "restore" and moment.done == self._frame:
            raise self._error


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kills_in_several_stages_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """A few chosen moments; benchmarks/under_fire.py draws them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import under_fire

    clip, model = under_fire.sample(tmp_path)
    quiet, fire = tmp_path / "quiet", tmp_path / "fire"
    side = {"compare": quiet / "compare.mkv", "save_frames": quiet / "frames"}
    restored(clip, quiet / "out.mkv", model, batch=2, workers=workers, fine="auto", **side)
    fire.mkdir()
    run = under_fire.Run(fire, clip, model, workers)
    for moment in (("record", 3, 0.01), ("publish", 20, 0.0), None):
        before = run.recorded
        killed, reused, words = run.go(moment)
        assert (killed, words) == (moment is not None, "")
        assert reused is None or reused >= before
    assert under_fire.contents(quiet) == under_fire.contents(fire)
    sys.modules.pop("under_fire")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_is_terminated_and_given_again(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Among the segments; benchmarks/under_fire.py --terminate does it in the scan and in the joining too.

    Each time with another process and a longer clip than tests/pipeline/test_output_lock.py has.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import under_fire

    found = under_fire.terminate(1, workers, seed=1, stages=("segments",))
    assert found["ok"], found["problems"]
    assert found["terminated"] == {"segments": 1}
    assert min(found["segments_taken_up"]) >= 1
    sys.modules.pop("under_fire")


@pytest.mark.parametrize("frames", ["frames", None])
def test_a_run_killed_while_it_gave_names_is_taken_up_without_leave_to_overwrite(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: str | None
) -> None:
    output = tmp_path / "out" / "out.mkv"
    side = {"compare": tmp_path / "out" / "compare.mkv", "save_frames": frames and tmp_path / "out" / frames}

    def crash(*arguments: Path) -> None:
        real(*arguments)
        raise MemoryError("simulated")

    real = file_restoration.publish
    with monkeypatch.context() as patch:
        patch.setattr(targets if frames else file_restoration, "publish", crash)
        with pytest.raises(MemoryError):
            restored(clip, output, tiny_model, **side)
    with pytest.raises(revisage.RevisageError, match="overwrite=True"):
        restored(clip, output, tiny_model, **side, strength=0.5)
    assert restored(clip, output, tiny_model, **side).timings.reused_segments == 3
    assert left_in(output.parent) == sorted(filter(None, ["out.mkv", "compare.mkv", frames]))


def test_a_run_killed_after_its_end_is_told_of_and_cleared_away(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisage.pipeline.work_folder import WorkFolder

    output = tmp_path / "out" / "out.mkv"

    def crash(folder: WorkFolder) -> None:
        folder.segment_path(0, ".mkv").unlink()
        raise MemoryError("simulated")

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "remove_all", crash)
        with pytest.raises(MemoryError):
            restored(clip, output, tiny_model)
    made = output.stat()
    report = restored(clip, output, tiny_model)
    assert (report.frames, report.faces.restored) == (12, 12)
    assert output.stat().st_mtime_ns == made.st_mtime_ns, "it was complete: nothing is written again"
    assert left_in(output.parent) == ["out.mkv"]


def test_no_resume_begins_anew(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "out.mkv"
    with pytest.raises(MemoryError):
        restored(clip, output, tiny_model, progress=Crash(MemoryError()))
    assert restored(clip, output, tiny_model, resume=False).timings.reused_segments == 0
    assert left_in(output.parent) == ["out.mkv"]


def test_work_may_lie_elsewhere(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output, place = tmp_path / "out" / "out.mkv", tmp_path / "work"
    with pytest.raises(
        revisage.RevisageError, match=r"2 of 3 segments are finished and kept in .*work: do the same again"
    ):
        restored(clip, output, tiny_model, work_dir=place, progress=Crash(OSError(5, "Input/output error")))
    assert left_in(output.parent) == []
    assert restored(clip, output, tiny_model, work_dir=place).timings.reused_segments == 2
    assert (left_in(output.parent), left_in(place)) == (["out.mkv"], [])


def test_work_that_is_kept_serves_a_stopped_run_and_the_next_one(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "out.mkv"
    with pytest.raises(KeyboardInterrupt, match=r"^stopped; 2 of 3 segments are finished and kept beside the output"):
        restored(clip, output, tiny_model, keep_work=True, progress=Crash(KeyboardInterrupt()))
    assert restored(clip, output, tiny_model, keep_work=True).timings.reused_segments == 2
    with pytest.raises(revisage.RevisageError, match="exists"):
        restored(clip, output, tiny_model, keep_work=True)
    again = restored(clip, output, tiny_model, overwrite=True)
    assert again.timings.reused_segments == 3
    assert left_in(output.parent) == ["out.mkv"]


def test_a_wrong_option_costs_nothing_that_was_finished(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "out.mkv"
    with pytest.raises(MemoryError):
        restored(clip, output, tiny_model, progress=Crash(MemoryError()))
    with pytest.raises(CancelledError, match=r"nothing of this run was left behind; 2 segments of a run with another"):
        restored(clip, output, tiny_model, strength=0.5, progress=Crash(CancelledError("stopped"), frame=2))
    assert restored(clip, output, tiny_model).timings.reused_segments == 2
    assert left_in(output.parent) == ["out.mkv"]


def test_a_source_that_changes_is_noticed_and_its_segments_are_not_mixed(
    clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    output, before = tmp_path / "out" / "out.mkv", clip.read_bytes()
    pictures = [picture[:, ::-1] for _, picture in media_frames(clip)]

    def change(moment: Progress) -> None:
        if moment.stage == "restore" and moment.done == 6:
            write_video(clip.with_name("other.mkv"), pictures, audio=True).replace(clip)

    with pytest.raises(revisage.RevisageError, match=r"changed while it was restored.*1 of 3 segments are finished"):
        restored(clip, output, tiny_model, progress=change)
    assert not output.exists()
    clip.write_bytes(before)
    assert restored(clip, output, tiny_model).timings.reused_segments == 1


def media_frames(path: Path) -> list[tuple[int, Any]]:
    with media.open_source(path) as source:
        return [(frame.pts, frame.rgb()) for frame in source.frames()]


def test_a_source_that_is_only_touched_goes_on(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    def touch(moment: Progress) -> None:
        os.utime(clip, (1, moment.done))

    assert restored(clip, tmp_path / "out" / "out.mkv", tiny_model, progress=touch).frames == 12


def test_a_source_that_vanishes_costs_nothing_that_was_finished(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output, away = tmp_path / "out" / "out.mkv", clip.with_name("away")

    def vanish(moment: Progress) -> None:
        if moment.stage == "restore" and moment.done == 6:
            clip.replace(away)

    with pytest.raises(
        revisage.RevisageError, match=r"talk\.mkv can no longer be read: .*1 of 3 segments are finished"
    ):
        restored(clip, output, tiny_model, progress=vanish)
    away.replace(clip)
    assert restored(clip, output, tiny_model).timings.reused_segments == 1


def test_a_run_that_cannot_begin_harms_nothing_that_was_finished(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output, model = tmp_path / "out" / "out.mkv", tmp_path / "model.safetensors"
    model.write_bytes(tiny_model.read_bytes())
    with pytest.raises(MemoryError):
        restored(clip, output, model, progress=Crash(MemoryError()))
    data = model.read_bytes()
    model.write_bytes(b"damaged")
    with pytest.raises(revisage.RevisageError, match="damaged"):
        restored(clip, output, model)
    model.write_bytes(data)
    assert restored(clip, output, model).timings.reused_segments == 2


def test_another_model_takes_nothing_up(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    output, model = tmp_path / "out" / "out.mkv", tmp_path / "model.safetensors"
    model.write_bytes(tiny_model.read_bytes())
    with pytest.raises(MemoryError):
        restored(clip, output, model, progress=Crash(MemoryError()))
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(model, framework="np") as stream:
        notes = stream.metadata()
    weights = load_file(model)
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, model, notes)
    assert restored(clip, output, model).timings.reused_segments == 0
