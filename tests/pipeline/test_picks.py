"""Keeping consented faces while restoring: which ones, once, in any arrangement of the work, never at its expense."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline_fakes import scan, track

import revisage
from revisage.core.config import make_config
from revisage.core.errors import ConfigError, OutputError
from revisage.core.progress import Progress
from revisage.facestore import StoredFace
from revisage.facestore.face_store import FaceStore
from revisage.pipeline.plan import make_plan
from revisage.pipeline.targets import pick_target
from sample_media import face_frames


def stored(folder: Path) -> list[StoredFace]:
    with FaceStore.open(folder) as store:
        return store.faces()


def facts(folder: Path) -> list[tuple[object, ...]]:
    return [(face.track, face.frame, face.pts, face.before.name, face.after.name) for face in stored(folder)]


def test_each_frame_that_was_seen_lies_in_one_stretch_however_a_track_is_cut(tmp_path: Path) -> None:
    found = scan(10, tracks=[track(0, 1, 9).model_copy(update={"seen": [1, 1, 1, 0, 1, 1, 1, 1, 1]})])
    cut = make_plan(found, make_config(), longest=3).segments
    slots: dict[int, int] = {}
    for segment in cut:
        target = pick_target(tmp_path, found, segment, 3)
        assert target is not None
        slots |= {segment.start + place: slot for place, slot in target.slots[0].items()}
    assert slots == {1: 0, 2: 0, 3: 0, 5: 1, 6: 1, 7: 2, 8: 2, 9: 2}


def test_without_consent_nothing_is_begun(face_clip: Path, tmp_path: Path) -> None:
    for consent in (None, "", "  "):
        with pytest.raises(ConfigError, match="only with consent"):
            revisage.restore(face_clip, tmp_path / "out.mkv", collect=tmp_path / "store", consent=consent)
    with pytest.raises(ConfigError, match="name a store with collect"):
        revisage.restore(face_clip, tmp_path / "out.mkv", consent="yes")
    assert list(tmp_path.iterdir()) == []


def test_the_best_frames_of_a_track_are_kept_if_asked_for_and_the_result_is_the_same(
    face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    revisage.restore(face_clip, tmp_path / "plain.mkv", model=str(tiny_model), segment_frames=4)
    assert [path.name for path in tmp_path.iterdir()] == ["plain.mkv"]
    report = revisage.restore(
        face_clip,
        tmp_path / "kept.mkv",
        model=str(tiny_model),
        segment_frames=4,
        collect=store,
        consent="She agreed.",
        batch=2,
    )
    assert (tmp_path / "plain.mkv").read_bytes() == (tmp_path / "kept.mkv").read_bytes()
    assert report.notes == [f"3 faces of 1 person kept in {store}"]
    assert report.warnings == []
    assert not {"collect", "consent"} & report.config.keys()
    faces = stored(store)
    assert [face.frame // 4 for face in faces] == [0, 1, 2]
    assert {face.source_sha256 for face in faces} == {hashlib.sha256(face_clip.read_bytes()).hexdigest()}
    assert {face.consent for face in faces} == {"She agreed."}
    assert {face.size for face in faces} == {64}
    with Image.open(faces[0].before) as before, Image.open(faces[0].after) as after:
        assert before.size == (64, 64)
        wanted = revisage.load_restorer(tiny_model)(np.asarray(before)[None])[0].astype(int)
        # Steadied along the track, it is not the network's very answer, but nearer to it than to the input.
        assert abs(wanted - np.asarray(after)).mean() < 0.5 * abs(wanted - np.asarray(before)).mean()

    again = revisage.restore(
        face_clip, tmp_path / "again.mkv", model=str(tiny_model), segment_frames=4, collect=store, consent="She agreed."
    )
    assert again.notes == [f"0 faces kept in {store}; 3 faces were there already"]
    assert len(stored(store)) == 3


def test_a_run_that_is_taken_up_again_keeps_the_same_faces(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    def crash(progress: Progress) -> None:
        if progress.stage == "restore" and progress.done == 9:
            raise MemoryError("simulated crash")

    whole = {"model": str(tiny_model), "segment_frames": 4, "consent": "yes", "collect_frames": 2, "temporal": "off"}
    revisage.restore(face_clip, tmp_path / "whole.mkv", collect=tmp_path / "a", **whole)
    with pytest.raises(MemoryError):
        revisage.restore(face_clip, tmp_path / "out.mkv", collect=tmp_path / "b", progress=crash, **whole)
    assert not (tmp_path / "b").exists()
    report = revisage.restore(face_clip, tmp_path / "out.mkv", collect=tmp_path / "b", **whole)
    assert report.files[0].timings.reused_segments == 2
    assert facts(tmp_path / "a") == facts(tmp_path / "b")
    assert len(facts(tmp_path / "b")) == 2


@pytest.mark.slow
def test_workers_keep_the_same_faces(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        revisage.restore(
            face_clip,
            tmp_path / f"{workers}.mkv",
            model=str(tiny_model),
            segment_frames=4,
            workers=workers,
            collect=tmp_path / str(workers),
            consent="yes",
        )
    assert facts(tmp_path / "1") == facts(tmp_path / "2")


def test_a_photo_gives_one_face(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(face_frames(1)[0]).save(tmp_path / "photo.png")
    revisage.restore(
        tmp_path / "photo.png", tmp_path / "out.png", model=str(tiny_model), collect=tmp_path / "s", consent="yes"
    )
    (face,) = stored(tmp_path / "s")
    assert (face.source, face.frame) == ("photo.png", 0)


def test_a_store_that_fails_costs_a_warning_not_the_result(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("revisage.facestore.face_store.Pictures.put", fail)
    store = tmp_path / "store"
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), collect=store, consent="yes")
    assert (tmp_path / "out.mkv").is_file()
    (warning,) = report.warnings
    assert warning.startswith(f"no faces were kept in {store}: no space left for")
    assert stored(store) == []


def test_a_folder_that_cannot_be_a_store_is_refused_before_any_work(face_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="holds other files"):
        revisage.restore(face_clip, tmp_path / "out.mkv", collect=tmp_path / "photos", consent="yes")
    assert os.listdir(tmp_path) == ["photos"]  # noqa: PTH208
