"""Two runs never write one output at once, and a run that is killed stands in nobody's way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import revisage
from revisage.core.errors import OutputError
from revisage.pipeline.work_folder import output_lock
from sample_media import read_video

WAITING_RUN = """
import sys, time
import revisage

def stop(progress):
    if progress.stage == "restore" and progress.done == 3:
        print("writing", flush=True)
        sys.stdin.read()

revisage.restore(sys.argv[1], sys.argv[2], model=sys.argv[3], progress=stop)
"""


HELD_LOCK = """
import sys
from pathlib import Path
from revisage.pipeline.work_folder import output_lock

with output_lock(Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.read()
"""


def started(program: str, *arguments: Path) -> subprocess.Popen[str]:
    """Another process that is writing an output, and goes on when its input is closed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "writing\n"
    return run


def test_the_second_of_two_runs_is_refused_and_harms_nothing(
    face_clip: Path, compiled_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    first = started(WAITING_RUN, face_clip, output, compiled_model)
    with pytest.raises(OutputError) as caught:
        revisage.restore(face_clip, output, model=str(compiled_model))
    expected = f"{output} is being written by another run; wait until that has ended, or name another file"
    assert str(caught.value) == expected
    first.communicate()
    assert first.returncode == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mkv"]
    assert len(read_video(output)) == 12


TERMINATED_COMMAND = """
import os, signal
from revisage import api
from revisage.cli import main
from revisage.pipeline.work_folder import WorkFolder

record = WorkFolder.record

def recorded(folder, *arguments, **options):
    record(folder, *arguments, **options)
    if folder.segments == 2:
        os.kill(os.getpid(), signal.SIGTERM)

WorkFolder.record = recorded
api.restore.__kwdefaults__["segment_frames"] = 4
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_command_that_is_terminated_says_nothing_and_is_taken_up(
    face_clip: Path, compiled_model: Path, tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    revisage.restore(face_clip, whole, model=str(compiled_model), temporal="off", segment_frames=4)
    words = ["restore", str(face_clip), str(output), "--model", str(compiled_model), "--temporal", "off"]
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED_COMMAND, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
    report = revisage.restore(face_clip, output, model=str(compiled_model), temporal="off", segment_frames=4)
    assert report.files[0].timings.reused_segments == 2
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.mkv", "whole.mkv"]


def test_a_run_that_is_killed_locks_nobody_out(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    run = started(HELD_LOCK, output)
    with pytest.raises(OutputError, match="another run"), output_lock(output):
        pass
    run.kill()
    run.communicate()
    with output_lock(output):
        assert [entry.name for entry in tmp_path.iterdir()] == [".out.mkv.revisage-lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_holds_within_one_process_and_for_one_output_only(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    with output_lock(output):
        with pytest.raises(OutputError, match=r"out\.mkv is being written by another run"), output_lock(output):
            pass
        with output_lock(tmp_path / "other.mkv"):
            pass
    with output_lock(output):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"), output_lock(tmp_path / "missing" / "out.mkv"):
        pass
