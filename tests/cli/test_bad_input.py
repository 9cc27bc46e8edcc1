"""Bad input: one line on stderr, exit code 2, nothing written or overwritten."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

import revisage
from revisage.cli.app import run
from sample_media import audio_packets, face_frames, plain_frames, read_video, write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound media: a talking face with its index at the end, and a clip without faces of another content."""
    folder = tmp_path_factory.mktemp("sound")
    write_video(folder / "talk.mp4", face_frames(4), audio=True)
    write_video(folder / "other.mp4", plain_frames(4))
    return folder


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    for clip in clips.iterdir():
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


Refused = Callable[..., str]


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused: its one line is returned."""

    def check(*words: object, code: int = 2) -> str:
        before = contents(folder)
        assert run([str(word) for word in words]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert err.startswith("revisage: error: ")
        assert contents(folder) == before
        return err

    return check


def test_no_such_file(folder: Path, refused: Refused) -> None:
    assert "none.mp4" in refused("restore", folder / "none.mp4")
    assert "none.mp4" in refused("probe", folder / "none.mp4")
    assert "none.mp4" in refused("scan", folder / "none.mp4")


@pytest.mark.parametrize("name", ["empty.mp4", "empty.gif", "empty.png"])
def test_an_empty_file(folder: Path, refused: Refused, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert "empty" in refused("restore", folder / name)


@pytest.mark.parametrize("name", ["notes.mp4", "notes.gif", "notes.jpg", "notes.mkv"])
def test_a_text_file_with_a_media_name(folder: Path, refused: Refused, name: str) -> None:
    (folder / name).write_text("These are notes, no pictures.\n" * 40)
    assert name in refused("restore", folder / name)


def test_a_movie_without_its_index(folder: Path, refused: Refused) -> None:
    data = (folder / "talk.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: data.rindex(b"moov") - 4])
    assert "cut.mp4" in refused("restore", folder / "cut.mp4")


def test_only_sound(folder: Path, refused: Refused) -> None:
    with av.open(str(folder / "talk.mp4")) as source, av.open(str(folder / "sound.m4a"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    (folder / "sound.m4a").replace(folder / "sound.mp4")
    assert "sound.mp4" in refused("restore", folder / "sound.mp4")


def test_a_folder_without_media(folder: Path, refused: Refused) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("hello")
    assert "no video or image" in refused("restore", folder / "texts")
    assert "matches" in refused("restore", folder / "texts" / "*.mp4")


def test_an_output_folder_that_is_not_there(folder: Path, refused: Refused) -> None:
    assert "no folder" in refused("restore", folder / "talk.mp4", folder / "none" / "out.mp4")
    assert "no folder" in refused("scan", folder / "talk.mp4", "-o", folder / "none" / "scan.json")


def mounted(where: Path, options: str) -> Iterator[Path]:
    """A small file system of its own at ``where``; skips where that cannot be had."""
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from mounted(tmp_path_factory.mktemp("mounts") / "ro", "size=1m,ro")


@pytest.fixture
def tiny_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from mounted(tmp_path_factory.mktemp("mounts") / "tiny", "size=256k")


def test_an_output_folder_that_is_read_only(folder: Path, refused: Refused, read_only: Path) -> None:
    assert "read-only" in refused("restore", folder / "talk.mp4", read_only / "out.mp4").lower()


@pytest.mark.parametrize("words", [("--codec", "ffv1"), ("--compare", "COMPARE"), ("--save-frames", "FRAMES")])
def test_a_full_disk(folder: Path, refused: Refused, tiny_disk: Path, tiny_model: Path, words: tuple[str, str]) -> None:
    places = {"COMPARE": tiny_disk / "compare.avi", "FRAMES": tiny_disk / "frames"}
    option = (words[0], places.get(words[1], words[1]))
    extra = () if "ffv1" in words else ("--upscale", 2, "--crf", 0)
    line = refused("restore", folder / "talk.mp4", tiny_disk / "out.mkv", "--model", tiny_model, *option, *extra)
    assert "no space" in line
    # Segments that were finished before the disk was full are kept, and only they.
    kept = [".out.mkv.revisage-work"] if re.search(r"segments? (is|are) .*kept", line) else []
    assert [path.name for path in tiny_disk.iterdir()] == kept


def test_the_output_is_the_input(folder: Path, refused: Refused) -> None:
    talk = folder / "talk.mp4"
    assert "is the input" in refused("restore", talk, talk, "--overwrite")
    assert "is the input" in refused("restore", talk, folder / "." / "talk.mp4", "--overwrite")
    (folder / "link.mp4").symlink_to(talk)
    assert "is the input" in refused("restore", talk, folder / "link.mp4", "--overwrite")
    assert "is the input" in refused("restore", talk, "--compare", talk, "--overwrite")
    assert "is the input" in refused("restore", talk, "--report", talk, "--overwrite")
    assert "input's" in refused("restore", folder, folder)


@pytest.mark.parametrize("option", [None, "--compare", "--report"])
def test_nothing_is_overwritten(folder: Path, refused: Refused, option: str | None) -> None:
    words = [folder / "other.mp4"] if option is None else [option, folder / "other.mp4"]
    assert "--overwrite" in refused("restore", folder / "talk.mp4", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--detector", "retinaface-r5"), "did you mean 'retinaface-r50'?"),
        (("--device", "cdua"), "did you mean 'cuda'?"),
        (("--engine", "openvin"), "did you mean 'openvino'?"),
        (("--precision", "fp23"), "did you mean 'fp32'?"),
        (("--background", "lanzcos"), "did you mean 'lanczos'?"),
        (("--codec", "libx246"), "libx264"),
        (("--encoder-preset", "medum"), "did you mean 'medium'?"),
        (("--pixel-format", "yuv420"), "yuv420p"),
        (("--strenght", "1"), "--strength"),
        (("--strength", "1.5"), "strength cannot be '1.5'"),
        (("--strength", "-0.1"), "strength"),
        (("--strength", "nan"), "strength"),
        (("--strength", "much"), "strength"),
        (("--min-face", "0"), "min_face"),
        (("--min-face", "-5"), "min_face"),
        (("--max-face", "0"), "max_face"),
        (("--max-faces", "0"), "max_faces"),
        (("--upscale", "0"), "upscale"),
        (("--upscale", "-2"), "upscale"),
        (("--upscale", "3/0"), "upscale"),
        (("--tile", "-1"), "tile"),
        (("--batch", "0"), "batch"),
        (("--workers", "0"), "workers"),
        (("--crf", "-1"), "crf"),
        (("--start", "-3"), "not a time: '-3'"),
        (("--start", "soon"), "soon"),
        (("--start", "3", "--end", "2"), "after start"),
        (("--start", "0:59"), "--start"),
        (("--model", "gfpgan-1.5"), "gfpgan-1.4"),
        (("--config", "none.json"), "none.json"),
        (("--scan", "none.json"), "none.json"),
    ],
)
def test_a_wrong_option(folder: Path, refused: Refused, words: tuple[str, ...], expected: str) -> None:
    assert expected in refused("restore", folder / "talk.mp4", folder / "out.mp4", *words)


# In the words, names of what stands in the folder; "none" is not there, "notes.txt" is text, "bare" an empty folder.
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("restore", "'INPUT'; see: revisage restore --help"),
        ("restore --nosuch", "see: revisage restore --help"),
        ("restore bare", "no video or image"),
        ("restore notes.txt", "it holds text"),
        ("restore talk.mp4 out.xyz", "choose one of"),
        ("restore talk.mp4 out.mp4 --pixel-format nosuch", "such as yuv420p"),
        ("restore talk.mp4 out.mp4 --collect bare", "only with consent"),
        ("restore talk.mp4 out.mp4 --save-faces notes.txt", "is a file; name a folder"),
        ("scan bare", "is a folder; name a file"),
        ("scan talk.mp4 -o bare", "is a folder; name a file"),
        ("scan talk.mp4 -o bare --overwrite", "is a folder; name a file"),
        ("scan talk.mp4 -o notes.txt", "--overwrite"),
        ("probe none", "none: no such file"),
        ("probe bare", "is a folder; name a file"),
        ("probe notes.txt", "it holds text"),
        ("demo -o notes.txt --overwrite", "is a file; name a folder"),
        ("demo -o .", "is not empty"),
        ("evaluate talk.mp4", "'--reference'; see: revisage evaluate --help"),
        ("evaluate none --reference talk.mp4", "none: no such file"),
        ("evaluate talk.mp4 --reference bare", "give files or folders"),
        ("evaluate talk.mp4 --reference notes.txt", "it holds text"),
        ("evaluate talk.mp4 --reference talk.mp4 --every 0", "--every"),
        ("evaluate talk.mp4 --reference talk.mp4 --samples -1", "--samples"),
        ("evaluate talk.mp4 --reference talk.mp4 --match near", "'exact' or 'nearest'"),
        ("evaluate talk.mp4 --reference talk.mp4 --resize both", "'restored' or 'reference'"),
        ("evaluate talk.mp4 --reference talk.mp4 --weights none", "there is no folder none"),
        ("evaluate compare talk.mp4 talk.mp4 --reference talk.mp4", "NAME=talk.mp4"),
        ("evaluate compare talk.mp4 --reference talk.mp4 --html none/a.html", "there is no folder none"),
        ("evaluate compare talk.mp4 --reference talk.mp4 --csv bare", "is a folder; name a file"),
        ("evaluate study none", "one folder per method"),
        ("evaluate study bare -o study", "two methods"),
        ("evaluate study score notes.txt --key notes.txt", "is no key of a study"),
        ("dataset align none -o out", "none: no such file or folder"),
        ("dataset align bare -o out", "no photo, video or GIF"),
        ("dataset align talk.mp4 -o notes.txt", "is a file; name a folder"),
        ("dataset align talk.mp4 -o out --per-person 0", "per_person cannot be 0"),
        ("dataset align talk.mp4 -o out --identity none", "no such weights file"),
        ("dataset align talk.mp4 -o out --sheet notes.txt", "name it .jpg"),
        ("dataset align talk.mp4 -o out --sheet none/a.jpg", "there is no folder none"),
        ("dataset check none", "no such folder or list"),
        ("dataset check bare", "lists no image"),
        ("dataset check bare --size 0", "--size"),
        ("dataset degrade talk.mp4 -o out --preset paper --scale 0", "between 1 and 64"),
        ("dataset degrade talk.mp4 -o out --preset nosuch", "choose from archive"),
        ("dataset degrade talk.mp4 -o notes.txt --preset paper", "is a file; name a folder"),
        ("dataset degrade talk.mp4 -o . --preset paper", "the output folder is the input's"),
        ("dataset gif none out", "none: no such file or folder"),
        ("dataset gif talk.mp4 notes.txt", "is a file; name a folder"),
        ("dataset gif talk.mp4 out --kinds loud", "choose from noisy"),
        ("dataset gif talk.mp4 out --fps 0", "fps"),
        ("dataset classify none", "none: no such file or folder"),
        ("dataset classify notes.txt", "it holds text"),
        ("dataset from-store bare -o out", "is no face store"),
        ("dataset from-store bare -o out --since soon", "write a day such as"),
        ("store list none", "is no face store"),
        ("store list notes.txt", "is a file; a face store is a folder"),
        ("store purge bare --yes", "is no face store"),
        ("models pull nosuch", "there are: compact"),
        ("models verify nosuch", "there are: compact"),
        ("export none -o model.safetensors", "no such run"),
        ("export bare -o model.onnx", "no checkpoint"),
        ("train status none", "no run in none"),
        ("train restorer run --set wrong", "NAME=VALUE"),
        ("train restorer run --config none", "no such file"),
        ("train restorer run", "--set data=VALUE"),
        ("train restorer run --set dta=bare", "did you mean 'data'?"),
        ("serve --port 70000", "'--port'"),
        ("serve --data-dir notes.txt", "cannot be made"),
        ("serve --database-url mysql://host/name", "choose sqlite or postgresql"),
        ("serve --allow-folder none", "there is no folder none"),
        ("worker --lane nosuch", "choose one of restore, quick"),
        ("token list --data-dir notes.txt", "cannot be made"),
        ("ui --port 0", "'--port'"),
        ("ui --data-dir notes.txt", "cannot be made"),
        ("nosuch", "'nosuch'; see: revisage --help"),
    ],
)
def test_a_misuse_of_any_command(
    folder: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, words: str, expected: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder.parent / f"{folder.name}-data"))
    (folder / "notes.txt").write_text("These are notes.\n")
    (folder / "bare").mkdir()
    assert expected in refused(*words.split())


@pytest.mark.parametrize("group", ["", "dataset", "models", "store", "token", "train", "evaluate"])
def test_a_group_alone_gives_its_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert run(group.split()) == 0
    out, err = capsys.readouterr()
    assert "Usage: revisage" in out
    assert err == ""


def test_a_set_without_a_clip_is_no_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.mp4").write_text("These are notes, no pictures.\n" * 40)
    assert run(["dataset", "gif", str(folder / "notes.mp4"), str(folder / "set"), "-q"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[1] for line in err.splitlines()] == [" warning", " error"]


def test_an_unknown_key_in_a_config(folder: Path, refused: Refused) -> None:
    (folder / "config.json").write_text(json.dumps({"strenght": 1}))
    line = refused("restore", folder / "talk.mp4", "--config", folder / "config.json")
    assert "did you mean 'strength'?" in line


def test_an_unknown_command(refused: Refused) -> None:
    assert "restroe" in refused("restroe", "talk.mp4")


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_model_file_that_is_corrupt(folder: Path, refused: Refused, tiny_model: Path, damage: str) -> None:
    data = tiny_model.read_bytes()
    spoiled = {"cut": data[: len(data) // 2], "text": b"weights", "empty": b""}[damage]
    (folder / "spoiled.safetensors").write_bytes(spoiled)
    assert "spoiled.safetensors" in refused("restore", folder / "talk.mp4", "--model", folder / "spoiled.safetensors")


def test_a_known_model_whose_file_is_not_what_it_should_be(
    folder: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "GFPGANv1.4.pth").write_bytes(b"x" * 1000)
    monkeypatch.setenv("REVISAGE_MODELS", str(folder / "models"))
    assert "GFPGANv1.4.pth" in refused("restore", folder / "talk.mp4", "--model", "gfpgan-1.4")


def test_cuda_where_there_is_none(folder: Path, refused: Refused) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert "CUDA" in refused("restore", folder / "talk.mp4", "--device", "cuda")


def test_an_image_bomb(folder: Path, refused: Refused) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    assert "100000" in refused("restore", folder / "bomb.png").replace(",", "")
    gif = (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        + b"\x2c"
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    )
    (folder / "bomb.gif").write_bytes(gif + b"\x02\x02\x44\x01\x00\x3b")
    assert "bomb.gif" in refused("restore", folder / "bomb.gif")


def test_a_gif_with_zero_delays_keeps_them(folder: Path, tiny_model: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in plain_frames(3)]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:], duration=0, loop=0)
    assert run(["restore", str(folder / "a.gif"), str(folder / "b.gif"), "--model", str(tiny_model), "-q"]) == 0
    with Image.open(folder / "b.gif") as image:
        assert image.n_frames == 3
        assert image.info.get("duration", 0) == 0
    assert run(["restore", str(folder / "a.gif"), str(folder / "c.mp4"), "--model", str(tiny_model), "-q"]) == 0
    times = [time for time, _ in read_video(folder / "c.mp4")]
    assert times == sorted(set(times))


def scanned(folder: Path, change: Callable[[dict], None]) -> Path:
    scan = folder / "scan.json"
    assert run(["scan", str(folder / "talk.mp4"), "-o", str(scan), "-q"]) == 0
    data = json.loads(scan.read_text())
    change(data)
    scan.write_text(json.dumps(data))
    return scan


def test_a_nan_in_a_scan(folder: Path, refused: Refused) -> None:
    scan = scanned(folder, lambda data: data["tracks"][0]["boxes"][1].__setitem__(2, math.nan))
    line = refused("restore", folder / "talk.mp4", "--scan", scan)
    assert "tracks[0].boxes[1][2]" in line


def test_a_scan_of_another_video(folder: Path, refused: Refused) -> None:
    scan = scanned(folder, lambda _data: None)
    line = refused("restore", folder / "other.mp4", "--scan", scan)
    assert "made from another file: expected talk.mp4" in line


def test_a_movie_cut_at_60_percent_is_restored_as_far_as_it_goes(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With the index at the front, as from a broken download: at the end it would be gone with the rest.
    whole = write_video(folder / "whole.mkv", face_frames(10), audio=True)
    with av.open(str(whole)) as source:
        options = {"movflags": "faststart"}
        with av.open(str(folder / "fast.mp4"), "w", options=options) as target:
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
    data = (folder / "fast.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    code = run(["restore", str(folder / "cut.mp4"), str(folder / "out.mp4"), "--model", str(tiny_model), "--quiet"])
    out, err = capsys.readouterr()
    assert (code, out) == (3, "")
    assert all(line.startswith("revisage: warning: ") for line in err.splitlines())
    assert "cut.mp4" in err
    restored = read_video(folder / "out.mp4")
    assert 1 <= len(restored) < 10
    assert [t for t, _ in restored] == [t for t, _ in read_video(folder / "fast.mp4")][: len(restored)]
    assert audio_packets(folder / "out.mp4")


def test_refusals_in_a_process_of_its_own(folder: Path) -> None:
    """As a user meets them: no traceback, nothing on stdout, the exit code of the process."""
    command = [sys.executable, "-m", "revisage", "restore", "none.mp4", "--json"]
    package = str(Path(revisage.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["scan", "analyze"])
def test_a_folder_is_no_film(command: str, refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "is a folder; name a file in it" in refused(command, ".")
    assert "is a folder; name a file in it" in refused(command, folder)


@pytest.mark.parametrize(("closed", "word"), [("stdin", "input"), ("stdout", "output")])
def test_a_closed_pipe(refused: Refused, monkeypatch: pytest.MonkeyPatch, closed: str, word: str) -> None:
    monkeypatch.setattr(sys, closed, None)
    assert f"standard {word} is closed" in refused("restore", "-", "-")
