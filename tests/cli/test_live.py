"""``revisage live`` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from revisage.cli.app import run
from sample_media import plain_frames, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("live") / "clip.mkv", plain_frames(12), codec="mpeg4")


def test_a_file_played_as_a_camera_is_recorded(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.mkv"
    assert run(["live", str(clip), "--to", str(target), "--overlay", "--latency", "9000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shown"] + told["dropped"] == told["frames"] == 12
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == told["shown"]
    assert run(["live", str(clip), "--to", str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no such camera"], "no camera or file is called 'no such camera'"),
        (["{clip}", "--to", "nowhere"], "--to cannot be 'nowhere'"),
        (["{clip}", "--size", "large", "--port", "0"], "write width and height such as 640x360"),
        (["{clip}", "--to", "pipe", "--pipe-format", "gif"], "choose one of nut, matroska, raw"),
        (["{clip}", "--port", "0", "--strength", "2"], "strength"),
        (["{clip}", "--to", "pipe", "--json"], "--json prints on stdout, where the video goes"),
    ],
)
def test_mistakes_are_one_line(words: list[str], says: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["live", *(word.format(clip=clip) for word in words)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_pipe_that_nobody_reads_any_more_ends_quietly(clip: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "revisage", "live", str(clip), "--to", "pipe", "--latency", "9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 1
    assert said == ""
