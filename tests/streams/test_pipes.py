"""Videos from pipe to pipe, by the command as it is typed; the streams are made here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from revisage.cli.app import run
from revisage.core import InputError, make_config
from revisage.streams import PipeSink, PipeSource
from sample_media import soft_frames, write_video

TIMES = [0, 40, 80, 120, 160, 240, 280, 320, 360, 400]
"""In ms, with one frame left out."""


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return soft_frames(10)


@pytest.fixture(scope="module")
def nut(tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray]) -> Path:
    """Bare pictures at uneven times, with sound."""
    path = tmp_path_factory.mktemp("pipe") / "in.nut"
    return write_video(path, pictures, codec="rawvideo", pts=TIMES, time_base=Fraction(1, 1000), audio=True)


@pytest.fixture(scope="module")
def y4m(tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray]) -> Path:
    return write_video(tmp_path_factory.mktemp("pipe") / "in.y4m", pictures, codec="rawvideo")


def piped(source: Path, tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[bytes], Path]:
    """What ``revisage restore - -`` makes of a file, through pipes."""
    target = tmp_path / "out"
    command = [sys.executable, "-m", "revisage", "restore", "-", "-", *words]
    with subprocess.Popen(["cat", str(source)], stdout=subprocess.PIPE) as upstream, target.open("wb") as file:
        done = subprocess.run(command, stdin=upstream.stdout, stdout=file, stderr=subprocess.PIPE, check=False)
    return done, target


def read(path: Path) -> tuple[str, list[Fraction], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        times = [frame.pts * frame.time_base for frame in frames]
        return container.format.name, times, [frame.to_ndarray(format="rgb24") for frame in frames]


def sound(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio) if p.size]


@pytest.mark.skipif(os.name == "nt", reason="cat is of POSIX")
def test_nut_goes_through_with_its_times_its_sound_and_better_faces(nut: Path, tmp_path: Path) -> None:
    done, target = piped(nut, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    name, times, shown = read(target)
    _, given, before = read(nut)
    assert name == "nut"
    assert times == given
    assert [time - times[0] for time in times] == [Fraction(ms, 1000) for ms in TIMES]
    assert sound(target) == sound(nut)
    changed = np.abs(shown[-1].astype(int) - before[-1])
    assert changed[90:200, 190:290].mean() > 0.5
    assert changed[:, :60].max() == 0


@pytest.mark.skipif(os.name == "nt", reason="cat is of POSIX")
def test_y4m_goes_through(y4m: Path, tmp_path: Path) -> None:
    done, target = piped(y4m, tmp_path, "--strength", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes()[:10] == b"YUV4MPEG2 "
    name, times, shown = read(target)
    assert name == "yuv4mpegpipe"
    assert times == [Fraction(number, 25) for number in range(10)]
    assert all(np.array_equal(a, b) for a, b in zip(shown, read(y4m)[2], strict=True))


@pytest.mark.skipif(os.name == "nt", reason="cat is of POSIX")
def test_with_a_buffer_it_is_restored_as_a_file_is(nut: Path, tmp_path: Path) -> None:
    done, target = piped(nut, tmp_path, "--buffer", "--end", "0.3")
    assert done.returncode == 0, done.stderr
    name, times, _ = read(target)
    assert name == "nut"
    assert [time - times[0] for time in times] == [Fraction(ms, 1000) for ms in TIMES if ms < 300]


@pytest.mark.skipif(os.name == "nt", reason="cat is of POSIX")
def test_a_reader_who_leaves_ends_it_quietly(nut: Path) -> None:
    command = [sys.executable, "-m", "revisage", "restore", "-", "-"]
    with (
        nut.open("rb") as file,
        subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 1
    assert said == ""


@pytest.mark.skipif(os.name == "nt", reason="cat is of POSIX")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "holds no video that can be read"),
        (["--start", "1"], "start needs the whole video: use --buffer"),
        (["--watermark", "mine"], "watermark needs the whole video"),
        (["--ext", "avi"], "a pipe cannot hold avi; choose one of nut, y4m, mkv, ts"),
        (["--temporal-passes", "2"], "frames ahead"),
    ],
)
def test_mistakes_are_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("nothing to see here\n" * 50)
    done, _ = piped(text, tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_stream_that_breaks_off_is_read_as_far_as_it_goes(nut: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.nut"
    cut.write_bytes(nut.read_bytes()[: nut.stat().st_size * 6 // 10])
    source = PipeSource(str(cut), "the pipe")
    assert 4 <= len(list(source.frames())) <= 7
    assert source.warnings
    source.close()


def test_a_stream_without_a_frame_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.nut"
    empty.write_bytes(b"")
    with pytest.raises(InputError, match="the pipe holds no video"):
        PipeSource(str(empty), "the pipe")


def test_compressed_video_is_written_in_its_own_codec(face_clip: Path, tmp_path: Path) -> None:
    source, target = PipeSource(str(face_clip), "the pipe"), tmp_path / "out"
    sink = PipeSink(source, make_config(), str(target))
    for frame in source.frames():
        sink.write(frame)
    sink.close()
    source.close()
    with av.open(str(target)) as container, av.open(str(face_clip)) as original:
        assert container.format.name == "matroska,webm"
        assert container.streams.video[0].codec_context.codec.canonical_name == "h264"
        times, before = ([f.pts * f.time_base for f in c.decode(video=0)] for c in (container, original))
        assert times == before
    assert [data for _, data in sound(target)] == [data for _, data in sound(face_clip)]


def test_a_terminal_gets_no_video(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert run(["restore", "-"]) == 2
    assert "this terminal" in capsys.readouterr().err


def test_an_index_that_comes_last_is_told_of(pictures: list[np.ndarray], tmp_path: Path) -> None:
    done, _ = piped(write_video(tmp_path / "in.mp4", pictures), tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode().strip().endswith("which --buffer can read")


def test_figures_do_not_go_where_the_video_goes(
    face_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["restore", str(face_clip), "-", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "--json prints on stdout, where the video goes" in said.err


def test_figures_of_what_came_by_a_pipe_are_printed(
    y4m: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.mkv"
    with y4m.open(encoding="latin-1") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert run(["restore", "-", str(target), "--strength", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["input"]["width"] == 480
    assert target.is_file()


def test_what_is_kept_of_a_pipe_is_called_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [Image.effect_noise((64, 48), 90) for _ in range(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=80)
    data = (tmp_path / "a.gif").read_bytes()
    for sent, code in ((b"", 2), (data[: len(data) // 2], 3)):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(sent)))
        assert run(["restore", "-", str(tmp_path / "out.gif")]) == code
    empty, cut = capsys.readouterr().err.splitlines()
    assert empty == "revisage: error: standard input is empty"
    assert cut == "revisage: warning: standard input: the file ends too early; 1 complete picture is read"


def test_a_face_to_look_at_is_no_damage(
    face_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("revisage.pipeline.file_restoration.likeness_warnings", lambda _: ["looks like somebody else"])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(face_clip.read_bytes())))
    assert run(["restore", "-", str(tmp_path / "out.mkv"), "--strength", "0"]) == 0
    assert capsys.readouterr().err == "revisage: warning: looks like somebody else\n"
