"""Telling damage apart, on files of each kind made from a photo that the classifier was not fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from revisage.cli.app import run
from revisage.core.errors import InputError
from revisage.datasets.damage import Damage, apply_damage
from revisage.datasets.signs import CATEGORIES, classify
from sample_media import face_frames, plain_frames, write_video

DAMAGES = {
    "noisy": {"sigma": 16.0, "grey": False},
    "blurry": {"sigma": 3.0},
    "low_res": {"factor": 3.0, "enlarged_by": "cubic"},
    "compressed": {"quality": 12},
}


def save(path: Path, frames: list[np.ndarray]) -> Path:
    if path.suffix == ".mp4":
        return write_video(path, frames)
    pictures = [Image.fromarray(frame) for frame in frames]
    if path.suffix == ".gif":
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80)
    else:
        pictures[0].save(path)
    return path


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_damage_is_told_in_a_photo(tmp_path: Path, category: str) -> None:
    frames = face_frames(1)
    if category in DAMAGES:
        frames = apply_damage(frames, Damage(category, DAMAGES[category], 1))
    found = classify(save(tmp_path / "a.png", frames))
    assert found.category == category
    assert found.measured == "faces"
    assert sum(found.scores.values()) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_noise_is_told_and_dither_is_none(tmp_path: Path, suffix: str) -> None:
    frames = face_frames(3)
    noisy = apply_damage(frames, Damage("noisy", DAMAGES["noisy"], 1))
    assert classify(save(tmp_path / f"noisy{suffix}", noisy)).category == "noisy"
    clean = classify(save(tmp_path / f"clean{suffix}", frames))
    assert clean.category == "clean"
    assert clean.noise < 6
    assert (clean.resolution is None) == (suffix == ".gif")


def test_without_a_face_the_frame_is_measured(tmp_path: Path) -> None:
    found = classify(write_video(tmp_path / "a.mp4", plain_frames(4)))
    assert (found.measured, found.frames) == ("frame", 4)


def test_what_is_too_small_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="48 px"):
        classify(save(tmp_path / "a.png", plain_frames(1, (40, 40))))
    with pytest.raises(InputError, match="no such file"):
        classify(tmp_path / "b.png")


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = save(tmp_path / "good.png", face_frames(1))
    (tmp_path / "broken.gif").write_bytes(b"GIF89a\x01")
    assert run(["dataset", "classify", str(good), str(tmp_path / "broken.gif"), "--json"]) == 2
    out, err = capsys.readouterr()
    entry = json.loads(out)["files"][0]
    assert (entry["file"], entry["category"]) == (str(good), "clean")
    assert err.count("\n") == 1 and "broken.gif" in err
    assert run(["dataset", "classify", str(good)]) == 0
    assert "clean" in capsys.readouterr().out


def test_real_gifs_are_not_noisy(shared: Path) -> None:
    for path in sorted((shared / "gifs").glob("head*.gif")):
        assert classify(path).category != "noisy", path.name
