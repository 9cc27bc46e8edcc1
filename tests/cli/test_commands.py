"""The commands: what they print where, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.main import get_command

import revisage
from revisage import models
from revisage.cli.app import make_app, run
from revisage.core.config import RestoreConfig
from revisage.core.errors import CancelledError
from sample_media import face_frames, plain_frames, read_video, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("cli") / "talk.mp4", face_frames(5), audio=True)


def test_restore_writes_beside_the_input_and_says_where(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "tape.mp4"
    source.write_bytes(clip.read_bytes())
    assert run(["restore", str(source), "--model", str(tiny_model)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == str(tmp_path / "tape_restored.mp4")
    assert "5 frames, 1 face track, 5 faces restored" in out
    assert err == ""


def test_the_output_may_be_named_behind_the_input_or_by_an_option(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(tiny_model), "--end", "0.04", "--quiet"]
    assert run(["restore", str(clip), str(tmp_path / "a.mp4"), *words]) == 0
    for option in ("-o", "--output"):
        output = tmp_path / f"{option}.mp4"
        assert run(["restore", str(clip), option, str(output), *words]) == 0
        assert output.read_bytes() == (tmp_path / "a.mp4").read_bytes()
    capsys.readouterr()
    for command in (["restore", str(clip)], ["dataset", "gif", str(clip)]):
        assert run([*command, "b.mp4", "-o", "c.mp4"]) == 2
        assert "the output is named twice, b.mp4 and --output c.mp4; leave one out" in capsys.readouterr().err
    assert run(["dataset", "gif", str(clip)]) == 2
    assert "name a folder behind RAW_VIDEOS, or by --output" in capsys.readouterr().err


def test_every_command_that_writes_one_output_calls_its_option_alike() -> None:
    def options(command: Any) -> Iterator[tuple[str, ...]]:
        for parameter in command.params:
            yield tuple(parameter.opts)
        for inner in getattr(command, "commands", {}).values():
            yield from options(inner)

    naming = [words for words in options(get_command(make_app())) if {"-o", "--output", "--out"} & {*words}]
    assert len(naming) >= 10
    assert all({"-o", "--output"} <= {*words} for words in naming)


def test_json_is_one_object_on_stdout_and_can_be_fed_back(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["restore", str(clip), str(tmp_path / "a.mp4"), "--model", str(tiny_model), "--strength", "0.5", "--json"]
    assert run([*words, "--start", "0.04"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert report["config"]["strength"] == 0.5
    assert report["files"][0]["frames"] == 4
    (tmp_path / "report.json").write_text(out)
    again = ["restore", str(clip), str(tmp_path / "b.mp4"), "--config", str(tmp_path / "report.json"), "--json"]
    assert run(again) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["config"] == report["config"]
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_quiet_says_nothing(clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["restore", str(clip), str(tmp_path / "a.mp4"), "--model", str(tiny_model), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_dry_run_lists_the_tracks(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["restore", str(clip), str(tmp_path / "a.mp4"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "nothing written (--dry-run)" in out
    assert "5 of 5 faces would be restored" in out
    assert "track 0: 0:00.0 to 0:00.2, 5 frames" in out
    assert list(tmp_path.iterdir()) == []


def test_options_that_a_photo_has_no_use_for_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), face_frames(1)[0])
    words = ["restore", str(photo), str(tmp_path / "b.png"), "--dry-run"]
    assert run([*words, "--dust", "--deinterlace", "--crf", "20", "--encoder-preset", "slow"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "note" in line] == [
        "  note: dust not used: the source is a single picture",
        "  note: deinterlace not used: the source is not interlaced",
        "  note: crf, encoder_preset not used: the output is no video",
    ]
    assert run([*words, "--preset", "archive"]) == 0
    assert "note" not in capsys.readouterr().out


def test_presets_are_shown_with_what_they_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "none          anything: the defaults"
    assert lines[2] == "              --denoise 1 --dust"
    assert run(["presets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["archive"]["options"] == {"denoise": 1, "dust": True}


def test_scan_then_restore(clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = tmp_path / "scan.json"
    assert run(["scan", str(clip), "-o", str(scan)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(scan)
    assert run(["scan", str(clip), "-o", str(scan)]) == 2
    assert run(["scan", str(clip), "-o", str(scan), "--overwrite", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tracks"]) == 1
    out = str(tmp_path / "a.mp4")
    assert run(["restore", str(clip), out, "--scan", str(scan), "--model", str(tiny_model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["faces"]["restored"] == 5
    span = ["--start", "0.08", "--end", "0.16", "--model", str(tiny_model), "--json"]
    parts = [tmp_path / f"{name}.mkv" for name in ("given", "looked")]
    for part, more in zip(parts, (["--scan", str(scan)], []), strict=True):
        assert run(["restore", str(clip), str(part), *span, *more]) == 0
        assert json.loads(capsys.readouterr().out)["files"][0]["faces"]["restored"] == 2
    times = [[time for time, _ in read_video(part)] for part in parts]
    assert times[0] == times[1]


def test_a_folder_and_a_pattern(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for name in ("b.mp4", "a.mp4"):
        (album / name).write_bytes(clip.read_bytes())
    (album / "broken.mp4").write_bytes(b"no video")
    (album / "notes.txt").write_text("no media")
    words = ["--model", str(tiny_model), "--quiet", "--report", str(tmp_path / "r.json")]
    assert run(["restore", str(album), *words]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "broken.mp4" in err
    assert sorted(p.name for p in (tmp_path / "album_restored").iterdir()) == ["a.mp4", "b.mp4"]
    entries = json.loads((tmp_path / "r.json").read_text())["files"]
    assert [Path(e["input"]["path"]).name for e in entries] == ["a.mp4", "b.mp4", "broken.mp4"]
    assert run(["restore", str(album / "[ab].mp4"), str(tmp_path / "out"), *words[:3]]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]


def test_a_folder_names_what_it_leaves_alone(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "scan.pdf").touch()
    (tmp_path / "out").mkdir()
    assert run(["restore", str(tmp_path), str(tmp_path / "out"), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("no video or picture has such a name: scan.pdf")


def test_analyze_says_that_nobody_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write_video(tmp_path / "film.mp4", plain_frames(3))
    assert run(["analyze", str(film), "-o", str(tmp_path / "people.json")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "people.json"), "nobody was found"]


def test_probe(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", str(clip), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["average_rate"]) == (480, 270, "25")
    assert run(["probe", str(clip)]) == 0
    assert "h264" in capsys.readouterr().out


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path))
    assert run(["models", "list"]) == 0
    assert "gfpgan-1.4" in capsys.readouterr().out
    assert run(["models", "path", "gfpgan-1.4"]) == 0
    assert Path(capsys.readouterr().out.strip()).parent == tmp_path
    assert run(["models", "verify"]) == 0
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"damaged")
    assert run(["models", "verify"]) == 2
    assert "GFPGANv1.4.pth" in capsys.readouterr().err
    assert run(["models", "pull", "gfpgan-9"]) == 2
    assert "gfpgan-1.4" in capsys.readouterr().err


def test_without_torch_models_are_those_that_restore_takes_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled = []

    def pull(entry: models.ModelEntry, **_: object) -> Path:
        pulled.append(entry.name)
        return models.local_path(entry)

    monkeypatch.setattr(models, "pull", pull)
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["models", "pull", "gfpgan-1.4"]) == 0
    assert run(["models", "path", "gfpgan-1.4"]) == 0
    assert pulled == ["gfpgan-1.4-onnx"]
    assert {Path(line).suffix for line in capsys.readouterr().out.splitlines()} == {".onnx"}
    assert run(["models", "verify", "gfpgan-1.4"]) == 2
    assert "pull gfpgan-1.4-onnx" in capsys.readouterr().err
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"damaged")  # a file that is there is looked at
    assert run(["models", "verify", "gfpgan-1.4"]) == 2
    assert "GFPGANv1.4.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        (["serve"], "sqlalchemy", "service"),
        (["worker"], "sqlalchemy", "service"),
        (["token", "list"], "sqlalchemy", "service"),
        (["train", "detector", "run"], "torch", "train"),
        (["export", "compact", "-o", "a.onnx"], "torch", "export"),
    ],
)
def test_a_command_that_lacks_its_extra_says_what_to_install(words: list[str], module: str, extra: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from revisage.cli import main; sys.argv[1:] = {words}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    told = f"revisage: error: revisage {words[0]} needs an optional part: run pip install 'revisage[{extra}]'\n"
    assert (done.returncode, done.stderr) == (2, told)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"revisage {revisage.__version__}\n"
    assert run(["--help"]) == 0
    assert "restore" in capsys.readouterr().out


def test_help_of_restore_opens_with_examples_and_what_matters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERMINAL_WIDTH", "140")
    assert run(["restore", "--help"]) == 0
    text = capsys.readouterr().out
    assert (
        text.index("revisage restore tape.mp4") < text.index("revisage restore album/ better/") < text.index("--model")
    )
    first = text.partition("─ Options")[2].partition("─ Faces")[0]
    assert re.findall(r"--[a-z-]+", first) == [
        "--model",
        "--strength",
        "--preset",
        "--upscale",
        "--temporal",
        "--overwrite",
        "--help",
    ]
    assert "Default: compact." in first
    assert "Default: 1." in first


def test_names_of_outputs_take_a_suffix_and_an_ending(tiny_model: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for name in ("a.png", "b.bmp", "b.tif"):
        cv2.imwrite(str(album / name), np.full((64, 64, 3), 90, np.uint8))
    words = ["--model", str(tiny_model), "--quiet", "--suffix", "_new", "--ext", "jpg"]
    assert run(["restore", str(album), str(tmp_path / "out"), *words]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_new.jpg", "b.tif.jpg", "b_new.jpg"]
    assert run(["restore", str(album / "a.png"), *words]) == 0
    assert (album / "a_new.jpg").exists()
    assert run(["restore", str(album / "a.png"), "--suffix", "../x"]) == 2


def test_restore_has_an_option_for_every_field_with_its_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    assert run(["restore", "--help"]) == 0
    text = capsys.readouterr().out
    for name, field in RestoreConfig.model_fields.items():
        assert f"--{name.rstrip('_').replace('_', '-')} " in text
        assert (field.description or "?") in text
    assert "0..1" in text


@pytest.mark.parametrize("error", [KeyboardInterrupt, CancelledError("stopped")])
def test_stopping_says_so_and_gives_130(
    clip: Path,
    tmp_path: Path,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("revisage.pipeline.file_restoration.make_plan", stop)
    assert run(["restore", str(clip), str(tmp_path / "out.mp4")]) == 130
    assert capsys.readouterr() == ("", "revisage: stopped; nothing partial was left behind\n")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_gives_1_and_its_place_only_when_asked(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken\nin two lines")

    monkeypatch.setattr("revisage.pipeline.file_restoration.make_plan", fail)
    words = ["restore", str(clip), str(tmp_path / "out.mp4")]
    assert run(words) == 1
    assert capsys.readouterr().err == "revisage: error: RuntimeError: broken in two lines (--debug shows where)\n"
    assert run([*words, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_train_refuses_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "detector", str(tmp_path / "run"), "--set", "steps"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert run(["train", "restorer", str(tmp_path / "run"), "--set", "steps=0", "--set", "speed=3"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def loaded_by(*words: str) -> set[str]:
    """The modules that a command loads, in a process of its own."""
    code = f"import sys, revisage.cli.app as e\ne.run({list(words)!r})\nprint(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(revisage.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_no_network_library() -> None:
    heavy = {"torch", "cv2", "av", "openvino", "numpy", "PIL", "markdown_it", "pygments", "rich.traceback"}
    assert not heavy & loaded_by("restore", "--help")


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["resore"], ["models", "--help"]])
def test_what_needs_no_options_loads_no_config(words: list[str]) -> None:
    assert not {"pydantic", "numpy", "markdown_it", "revisage.core.config"} & loaded_by(*words)


def test_the_list_of_commands_says_what_the_whole_command_line_says(capsys: pytest.CaptureFixture[str]) -> None:
    get_command(make_app()).main(["--help"], prog_name="revisage", standalone_mode=False)
    whole = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == whole


def test_words_may_follow_two_hyphens(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--", "presets", "--json"]) == 0
    assert "film" in json.loads(capsys.readouterr().out)


def test_what_the_renderer_of_help_was_loaded_without_comes_when_it_is_used() -> None:
    code = (
        "import sys\nfrom revisage.cli.help_renderer import load_help_renderer\nload_help_renderer()\n"
        "assert not {'rich.markdown', 'rich.traceback'} & set(sys.modules)\n"
        "from typer import rich_utils\nfrom rich.console import Console\n"
        "Console().print(rich_utils.Markdown('*as it is*'))\n"
        "from rich.markdown import Markdown\nassert isinstance(rich_utils.Markdown(''), Markdown)\n"
        "assert rich_utils.Traceback.from_exception(ValueError, ValueError('x'), None).trace.stacks"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(revisage.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "as it is"


def test_a_quiet_command_starts_without_what_draws_bars() -> None:
    code = (
        "import sys, revisage.cli.app as e\nprint(e.run(['restore', 'nowhere.mp4', '--quiet']), 'rich' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(revisage.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["2", "False"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_in_the_middle_leaves_nothing(clip: Path, compiled_model: Path, tmp_path: Path) -> None:
    """In a process of its own, which must end itself: a network at work may not hold it up."""
    import signal
    import time

    script = (
        # A test run in the background ignores SIGINT, and its children inherit that.
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from revisage.pipeline.restoration import frame_stages\n"
        "def slow(*args):\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(600)\n"
        "frame_stages._Batches._restore = slow\n"
        "from revisage.cli import main\n"
        "main()\n"
    )
    words = ["restore", str(clip), str(tmp_path / "out.mp4"), "--model", str(compiled_model)]
    package = str(Path(revisage.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": package},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "revisage: stopped; nothing partial was left behind\n")
    assert list(tmp_path.iterdir()) == []
