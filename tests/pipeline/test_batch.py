"""Many files: each for itself, taken up where a run was stopped, done once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import revisage
from revisage.cli.app import run as main
from revisage.cli.show import batch_bar
from revisage.core import CancelledError, CancelToken, ConfigError, InputError, OutputError, ProcessingError, Progress
from revisage.pipeline import BatchEntry, BatchReport, FileReport, batch_files, read_list


@pytest.fixture
def album(face_clip: Path, tmp_path: Path) -> Path:
    """A tree with three clips, one of them broken, and a hidden folder."""
    folder = tmp_path / "album"
    for name in ("a.mkv", "deep/er/b.mkv", ".hidden/c.mkv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(face_clip.read_bytes())
    (folder / "deep" / "bad.mkv").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def states(report: BatchReport) -> dict[str, str]:
    return {entry.source.name: entry.state for entry in report.entries}


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "batch.jsonl").read_text().splitlines() if line]


def test_a_bad_file_stops_nothing_and_two_runs_do_the_work_of_one(
    album: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "out", {"model": str(tiny_model), "end": 0.08}
    first = revisage.batch([album], out, recursive=True, **options)
    assert states(first) == {"a.mkv": "restored", "b.mkv": "restored", "bad.mkv": "failed"}
    assert first.exit_code == 2
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        *("a.mkv", "batch.html", "batch.jsonl", "deep/er/b.mkv"),
    ]
    alone = revisage.restore(album / "a.mkv", tmp_path / "alone.mkv", **options)
    assert (out / "a.mkv").read_bytes() == alone.output.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mkv")}
    # As a kill at the very end of a file leaves it.
    (out / ".a.mkv.revisage-lock").touch()
    (out / ".a.mkv.revisage-work").mkdir()
    second = revisage.batch([album], out, recursive=True, **options)
    assert not list(out.rglob(".*"))
    assert states(second) == {"a.mkv": "skipped", "b.mkv": "skipped", "bad.mkv": "failed"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mkv")} == before
    assert [line["event"] for line in journal(out)].count("restored") == 2


def test_what_was_made_otherwise_is_neither_skipped_nor_replaced(album: Path, tiny_model: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", {"model": str(tiny_model), "end": 0.04}
    revisage.batch([album / "a.mkv"], out, **options)
    first = (out / "a.mkv").read_bytes()
    other = revisage.batch([album / "a.mkv"], out, strength=0.5, **options)
    assert states(other) == {"a.mkv": "failed"}
    assert "with other options" in str(other.entries[0].report.error)
    os.utime(album / "a.mkv", ns=(1, 1))
    assert states(revisage.batch([album / "a.mkv"], out, **options)) == {"a.mkv": "failed"}
    assert (out / "a.mkv").read_bytes() == first
    again = revisage.batch([album / "a.mkv"], out, strength=0.5, overwrite=True, **options)
    assert states(again) == {"a.mkv": "restored"}
    assert states(revisage.batch([album / "a.mkv"], out, strength=0.5, **options)) == {"a.mkv": "skipped"}


def test_a_killed_batch_goes_on(album: Path, face_clip: Path, compiled_model: Path, tmp_path: Path) -> None:
    """Killed when the first file is there: nothing of it is done again, and half a line in the journal does no harm."""
    out = tmp_path / "out"
    words = ["batch", str(album), "--out", str(out), "-r", "--model", str(compiled_model), "--end", "0.2", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "revisage", *words])
    ends = time.monotonic() + 900
    while not (out / "a.mkv").exists() and time.monotonic() < ends and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = (out / "a.mkv").stat().st_mtime_ns
    with (out / "batch.jsonl").open("a") as stream:
        stream.write('{"event": "beg')
    report = revisage.batch([album], out, recursive=True, model=str(compiled_model), end=0.2)
    assert states(report) == {"a.mkv": "skipped", "b.mkv": states(report)["b.mkv"], "bad.mkv": "failed"}
    assert (out / "a.mkv").stat().st_mtime_ns == made
    whole = revisage.restore(face_clip, tmp_path / "whole.mkv", model=str(compiled_model), end=0.2)
    assert (out / "deep" / "er" / "b.mkv").read_bytes() == whole.output.read_bytes()
    assert not list(out.glob(".*"))


def test_failures_are_tried_again_and_mistakes_are_not(
    album: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    restore = revisage.pipeline.restore_file

    def unlucky(source: Path, *rest: Any, **more: Any) -> Any:
        tried.append(source.name)
        if source.name == "a.mkv" and tried.count("a.mkv") < 3:
            raise ProcessingError("no luck") if tried.count("a.mkv") == 1 else ZeroDivisionError("worse")
        return restore(source, *rest, **more)

    monkeypatch.setattr("revisage.pipeline.restore_file", unlucky)
    options = {"recursive": True, "model": str(tiny_model), "end": 0.04}
    report = revisage.batch([album], tmp_path / "out", retry=2, **options)
    assert states(report) == {"a.mkv": "restored", "b.mkv": "restored", "bad.mkv": "failed"}
    assert {entry.source.name: entry.attempts for entry in report.entries} == {"a.mkv": 3, "b.mkv": 1, "bad.mkv": 1}
    tried.clear()
    report = revisage.batch([album / "a.mkv"], tmp_path / "other", retry=1, **options)
    assert report.exit_code == 1
    assert "ZeroDivisionError: worse" in str(report.entries[0].report.error)


def test_several_jobs_give_the_same_bytes_and_tell_how_far_they_are(
    album: Path, compiled_model: Path, tmp_path: Path
) -> None:
    options = {"recursive": True, "model": str(compiled_model), "end": 0.08}
    one = revisage.batch([album], tmp_path / "one", **options)
    moments: list[str] = []
    done: list[tuple[int, ...]] = []
    two = revisage.batch(
        [album], tmp_path / "two", jobs=2, progress=lambda moment: moments.append(moment.file),
        on_entry=lambda _, *counts: done.append(counts), **options,
    )  # fmt: skip
    assert states(one) == states(two)
    for name in ("a.mkv", "deep/er/b.mkv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {"a.mkv", "b.mkv"} <= set(moments)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert two.exit_code == 2


def test_a_batch_can_be_stopped(album: Path, tiny_model: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    out = tmp_path / "out"
    with pytest.raises(CancelledError):
        revisage.batch(
            [album], out, recursive=True, model=str(tiny_model), end=0.04, cancel=cancel,
            on_entry=lambda *_: cancel.cancel(),
        )  # fmt: skip
    assert [path.name for path in out.rglob("*.mkv")] == ["a.mkv"]


def test_two_inputs_must_not_have_one_output(album: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.mkv and .*c.*a\.mkv would both become"):
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "a.mkv").write_bytes(b"x")
        batch_files([album / "a.mkv", tmp_path / "c" / "a.mkv"], tmp_path / "out")
    with pytest.raises(OutputError, match="the output folder is the input's"):
        batch_files([album], album)
    inside = batch_files([album, album / "a.mkv"], album / "out", recursive=True)
    (album / "out").mkdir()
    (album / "out" / "a.mkv").write_bytes(b"x")
    assert batch_files([album], album / "out", recursive=True) == inside
    assert sorted(path.name for path in inside) == ["a.mkv", "b.mkv", "bad.mkv"]


def test_a_list_names_files_from_where_it_lies(album: Path, tmp_path: Path) -> None:
    (album / "list.txt").write_text("# clips\na.mkv\n\n deep/er/b.mkv \n")
    assert [Path(name) for name in read_list(album / "list.txt")] == [album / "a.mkv", album / "deep" / "er" / "b.mkv"]
    (album / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="names no file"):
        read_list(album / "empty.txt")
    with pytest.raises(InputError, match="is no list of files"):
        read_list(tmp_path / "none.txt")


def test_the_command_prints_a_table_and_a_page_shows_names_as_they_are(
    face_clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    (album / "<b>&.mkv").write_bytes(face_clip.read_bytes())
    (album / "bad.mkv").write_bytes(b"broken")
    words = ["batch", str(album), "--out", str(tmp_path / "out"), "--model", str(tiny_model), "--end", "0.04"]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "1 restored, 0 done before, 1 failed" in told.out
    assert "<b>&.mkv" in told.out and "bad.mkv" in told.err
    page = (tmp_path / "out" / "batch.html").read_text()
    assert "&lt;b&gt;&amp;.mkv" in page and "<b>" not in page
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["skipped"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a batch needs inputs"),
        (["nowhere"], "no such file or folder"),
        (["--list", "none.txt"], "is no list of files"),
        (["ALBUM", "--jobs", "0"], "jobs must be 1 or more"),
    ],
)
def test_mistakes_are_told_in_one_line(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = [str(album) if word == "ALBUM" else word for word in words]
    assert main(["batch", *given, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_of_one_file_are_refused(album: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="report belongs to one file"):
        revisage.batch([album], tmp_path / "out", report=tmp_path / "r.json")


def test_bars_tell_of_each_file_at_work_and_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; elsewhere a line for each finished file."""
    entry = BatchEntry(tmp_path / "b.mkv", tmp_path / "out" / "b.mkv", "restored", FileReport(input={}))
    with batch_bar(quiet=False) as (progress, on_entry):
        assert progress is None and on_entry is not None
        on_entry(entry, 1, 3)
    assert f"1/3 restored {entry.source}" in capsys.readouterr().err
    monkeypatch.setenv("FORCE_COLOR", "1")
    with batch_bar(quiet=False) as (progress, on_entry):
        assert progress is not None and on_entry is not None
        for name in ("a.mkv", "b.mkv"):
            progress(Progress("scan", 3, None, 0, name))
            progress(Progress("restore", 1, 4, 1, name))
        on_entry(entry, 1, 3)
        progress(Progress("restore", 2, 4, 2, "a.mkv"))
    told = capsys.readouterr().err
    assert "Restoring a.mkv" in told and "1/3" in told
