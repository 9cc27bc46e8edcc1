"""Damaged files: their times, sound and length, and a manifest that leads back to the reference."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from revisage.cli.app import run as main
from revisage.core.errors import ConfigError, InputError, OutputError
from revisage.datasets.damage import MANIFEST, DegradedManifest, degrade_files
from revisage.media import open_source
from sample_media import face_frames, plain_frames, read_video, write_video


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo, a GIF of uneven times and a video of uneven times with sound."""
    folder = tmp_path_factory.mktemp("inputs")
    cv2.imwrite(str(folder / "photo.jpg"), face_frames(1)[0][..., ::-1])
    pictures = [Pillow.fromarray(frame) for frame in plain_frames(4, (61, 80))]
    pictures[0].save(
        folder / "moves.gif", save_all=True, append_images=pictures[1:], duration=[40, 90, 200, 60], loop=0
    )
    pts = [0, 1, 2, 5, 6, 9]
    write_video(folder / "talk.mkv", plain_frames(6, (96, 128)), pts=pts, audio=True)
    return folder


@pytest.fixture(scope="module")
def made(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DegradedManifest]:
    output = tmp_path_factory.mktemp("made") / "out"
    return output, degrade_files([inputs], output, preset="video", seed=7, scale=2)


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(getattr(container.streams, kind)[0]) if packet.size]


def times(path: Path) -> list[float]:
    with open_source(path) as source:
        return [float(frame.pts * frame.time_base) for frame in source.frames()]


def test_each_file_keeps_its_format_size_and_times(inputs: Path, made: tuple[Path, DegradedManifest]) -> None:
    output, manifest = made
    assert [entry.file for entry in manifest.files] == ["moves.gif", "photo.png", "talk.mkv"]
    for name in ("moves.gif", "talk.mkv"):
        assert times(output / name) == times(inputs / name)
    with open_source(output / "photo.png") as after, open_source(inputs / "photo.jpg") as before:
        assert (after.info.width, after.info.height) == (before.info.width, before.info.height)


def test_the_sound_is_the_sources(inputs: Path, made: tuple[Path, DegradedManifest]) -> None:
    assert packets(made[0] / "talk.mkv", "audio") == packets(inputs / "talk.mkv", "audio")


def test_pictures_are_damaged_but_still_theirs(inputs: Path, made: tuple[Path, DegradedManifest]) -> None:
    for (_, before), (_, after) in zip(read_video(inputs / "talk.mkv"), read_video(made[0] / "talk.mkv"), strict=True):
        assert 0.5 < np.abs(before.astype(int) - after).mean() < 30


def test_the_manifest_leads_back_to_the_reference(inputs: Path, made: tuple[Path, DegradedManifest]) -> None:
    output, manifest = made
    assert DegradedManifest.model_validate_json((output / MANIFEST).read_text(encoding="utf-8")) == manifest
    for index, entry in enumerate(manifest.files):
        source = Path(entry.source)
        assert hashlib.sha256(source.read_bytes()).hexdigest() == entry.sha256
        assert (entry.preset, entry.seed, entry.index) == ("video", 7, index)
        assert entry.parameters["grey"] is False
    talk = manifest.files[2]
    assert talk.frames == 6
    assert talk.parameters["reduced_hw"] == [48, 64]


def test_the_same_seed_gives_the_same_pixels(inputs: Path, made: tuple[Path, DegradedManifest], tmp_path: Path) -> None:
    again = degrade_files([inputs / "photo.jpg"], tmp_path / "a", preset="paper", seed=3)
    other = degrade_files([inputs / "photo.jpg"], tmp_path / "b", preset="paper", seed=3)
    third = degrade_files([inputs / "photo.jpg"], tmp_path / "c", preset="paper", seed=4)
    pixels = [(tmp_path / name / "photo.png").read_bytes() for name in "abc"]
    assert again.files[0].parameters == other.files[0].parameters != third.files[0].parameters
    assert pixels[0] == pixels[1] != pixels[2]


def test_what_is_there_is_not_replaced_unasked(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    degrade_files([inputs / "photo.jpg"], output, preset="mild")
    with pytest.raises(OutputError, match="pass overwrite=True to replace it"):
        degrade_files([inputs / "photo.jpg"], output, preset="mild")
    degrade_files([inputs / "photo.jpg"], output, preset="mild", overwrite=True)


def test_two_inputs_of_one_name_are_told_apart(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / "photo.png"), face_frames(1)[0])
    with pytest.raises(OutputError, match="both become"):
        degrade_files([inputs / "photo.jpg", tmp_path / "more"], tmp_path / "out", preset="mild")
    assert not (tmp_path / "out").exists()


def test_bad_requests_say_what_is_wrong(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'webcam'"):
        degrade_files([inputs], tmp_path / "out", preset="webcan")
    with pytest.raises(ConfigError, match="between 1 and 64"):
        degrade_files([inputs], tmp_path / "out", preset="mild", scale=0.5)
    with pytest.raises(InputError, match="no such file"):
        degrade_files([tmp_path / "absent.mp4"], tmp_path / "out", preset="mild")
    with pytest.raises(OutputError, match="the input's"):
        degrade_files([inputs], inputs, preset="mild")


def test_an_unreadable_file_is_named_and_the_others_are_done(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video" * 50)
    (folder / "photo.jpg").write_bytes((inputs / "photo.jpg").read_bytes())
    code = main(["dataset", "degrade", str(folder), "-o", str(tmp_path / "out"), "--preset", "webcam", "--json"])
    printed = capsys.readouterr()
    assert code == 1
    assert [entry["file"] for entry in json.loads(printed.out)["files"]] == ["photo.png"]
    assert "broken.mp4" in printed.err
    assert main(["dataset", "degrade", str(folder / "broken.mp4"), "-o", str(tmp_path / "o2"), "--preset", "mild"]) == 2
    assert not (tmp_path / "o2" / MANIFEST).exists()
