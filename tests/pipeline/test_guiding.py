"""A guide photo from the command to the pixels: the right person's changes them, nobody else's does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import revisage
from revisage import readers
from revisage.cli.app import run
from revisage.core import Progress, make_config
from revisage.pipeline import Networks, plan, restore_file
from sample_media import face_frames, read_video, write_video

pytestmark = pytest.mark.skipif(not readers.is_reader_there(), reason="compact-reader is not in this checkout")


@pytest.fixture
def ann(tmp_path: Path) -> Path:
    """The face of the clips, sharp."""
    path = tmp_path / "ann.png"
    cv2.imwrite(str(path), face_frames(1)[0][..., ::-1])
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    frames = [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in face_frames(4)]
    return write_video(tmp_path / "film.mkv", frames, codec="ffv1")


def pixels(path: Path) -> list[np.ndarray]:
    return [picture for _, picture in read_video(path)]


def test_a_reference_changes_the_pixels_whoever_restores_them(
    damaged: Path, ann: Path, tiny_model: Path, tmp_path: Path
) -> None:
    words = ["restore", str(damaged), "--model", str(tiny_model), "--quiet"]
    assert run([*words, str(tmp_path / "plain.mkv")]) == 0
    more = ["--reference", str(ann), "--report", str(tmp_path / "r.json")]
    assert run([*words, str(tmp_path / "guided.mkv"), *more]) == 0
    plain, guided = pixels(tmp_path / "plain.mkv"), pixels(tmp_path / "guided.mkv")
    assert not np.array_equal(plain[1], guided[1])
    (entry,) = json.loads((tmp_path / "r.json").read_text())["files"]
    assert [track["guide"] for track in entry["tracks"]] == ["ann.png"]
    assert entry["warnings"] == []
    true = face_frames(4)[1].astype(float)
    inside = np.abs(plain[1].astype(int) - guided[1]).max(axis=2) > 2
    errors = [np.abs(result[1][inside] - true[inside]).mean() for result in (plain, guided)]
    assert errors[1] < errors[0]


def test_nobody_elses_photo_changes_a_pixel(
    damaged: Path, ann: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revisage.people.guides.LIKE", 1.01)
    plain = revisage.restore(damaged, tmp_path / "plain.mkv", model=str(tiny_model))
    report = revisage.restore(damaged, tmp_path / "guided.mkv", model=str(tiny_model), reference=[ann])
    (warning,) = report.warnings
    assert warning.startswith("nobody looks like ann.png (likeness 0.")
    assert [track.guide for track in report.tracks] == [None]
    assert plain.warnings == []
    both = pixels(tmp_path / "plain.mkv"), pixels(tmp_path / "guided.mkv")
    assert all(np.array_equal(one, other) for one, other in zip(*both, strict=True))


def test_the_finest_frame_guides_the_others_alike_in_any_split(tiny_model: Path, tmp_path: Path) -> None:
    frames = [
        frame if index == 4 else cv2.GaussianBlur(frame, (0, 0), 2.0) for index, frame in enumerate(face_frames(6))
    ]
    film = write_video(tmp_path / "film.mkv", frames, codec="ffv1")
    plain, guided = (
        {"model": str(tiny_model), "temporal": "smooth", "fine": "keep", "guide_frames": on} for on in (False, True)
    )
    revisage.restore(film, tmp_path / "plain.mkv", **plain)
    report = revisage.restore(film, tmp_path / "guided.mkv", **guided)
    assert [track.guide for track in report.tracks] == ["frame 4"]
    results = [pixels(tmp_path / f"{name}.mkv") for name in ("plain", "guided")]
    assert [np.array_equal(one, other) for one, other in zip(*results, strict=True)] == [
        index == 4 for index in range(6)
    ]
    config = make_config(**guided)
    restore_file(film, tmp_path / "split.mkv", config, Networks(config), segment_frames=2)
    assert all(map(np.array_equal, pixels(tmp_path / "split.mkv"), results[1]))


def test_guide_frames_give_the_same_bytes_by_two_workers_and_when_a_run_is_taken_up_again(
    compiled_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "RUN_IN", 2)
    frames = [
        frame if index == 10 else cv2.GaussianBlur(frame, (0, 0), 2.0) for index, frame in enumerate(face_frames(12))
    ]
    film = write_video(tmp_path / "film.mkv", frames, codec="ffv1")

    def restored(name: str, **options: Any) -> revisage.Report:
        words = {"model": str(compiled_model), "guide_frames": True, "segment_frames": 4, "fine": "keep"}
        return revisage.restore(film, tmp_path / name, **words, **options)

    def fail_at_frame_9(moment: Progress) -> None:
        if moment.stage == "restore" and moment.done == 9:
            raise MemoryError

    restored("one.mkv")
    assert [track.guide for track in restored("two.mkv", workers=2).tracks] == ["frame 10"]
    with pytest.raises(MemoryError):
        restored("again.mkv", progress=fail_at_frame_9)
    report = restored("again.mkv")
    assert report.files[0].timings.reused_segments == 2
    one = (tmp_path / "one.mkv").read_bytes()
    assert [(tmp_path / name).read_bytes() == one for name in ("two.mkv", "again.mkv")] == [True, True]


def test_an_image_in_memory_takes_a_reference(ann: Path, tiny_model: Path) -> None:
    image = cv2.GaussianBlur(face_frames(1)[0], (0, 0), 2.0)
    plain = revisage.restore_image(image, model=str(tiny_model))
    guided = revisage.restore_image(image, model=str(tiny_model), reference=[ann])
    assert not np.array_equal(plain, guided)
