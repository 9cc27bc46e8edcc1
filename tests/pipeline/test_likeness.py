"""Restored faces beside what they were: sums, warnings, and a whole file's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import revisage
from revisage import readers
from revisage.core import Face, ModelError, ProcessingError, make_config
from revisage.pipeline import Networks, PlannedFace, Tally
from revisage.pipeline.report import TrackLikeness, TrackSummary, likeness_warnings
from revisage.pipeline.restoration import Likeness, LikenessSums
from revisage.readers import FaceReadings

GREY, WHITE = (np.full((64, 64, 3), value, np.uint8) for value in (100, 255))


class LightReader:
    """Says by a face's light who it is and how far its mouth is open."""

    def __call__(self, crops: np.ndarray) -> FaceReadings:
        light = crops.mean(axis=(1, 2, 3)) / 255
        identity = np.stack([np.cos(light * 3), np.sin(light * 3)], axis=1).astype(np.float32)
        points = np.tile(np.arange(68, dtype=np.float32)[None, :, None], (len(crops), 1, 2))
        points[:, 60:68, 1] = 0
        points[:, 61:64, 1] = 4 * light[:, None]
        count = len(crops)
        return FaceReadings(
            identity, np.zeros((count, 3)), points, np.full((count, 7), 1 / 7), np.ones((count, 68), np.float32)
        )


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, fresh_networks: None) -> None:
    reader: Any = LightReader()
    made = readers.Recogniser("light", "0" * 64, lambda crops: reader(crops).identity, reader)
    monkeypatch.setattr(readers, "load_recogniser", lambda *_, **__: made)
    monkeypatch.setattr(readers, "is_reader_there", lambda *_: True)


def planned(track: int, strength: float = 1.0) -> PlannedFace:
    return PlannedFace(track, Face((0, 0, 9, 9), np.zeros((5, 2)) + np.arange(5)[:, None]), strength)


def test_each_track_is_looked_at_now_and_then(light: None) -> None:
    likeness = Likeness(Networks(make_config()), 1.0)
    due = [likeness.is_due(planned(track)) for _ in range(51) for track in (0, 1)]
    assert [place // 2 for place, is_due in enumerate(due) if is_due] == [0, 0, 25, 25, 50, 50]


def test_faces_that_fade_in_wait(light: None) -> None:
    likeness = Likeness(Networks(make_config(strength=0.5)), 0.5)
    assert [likeness.is_due(planned(0, strength)) for strength in (0.1, 0.3, 0.5, 0.5)] == [False, False, True, False]


def test_the_same_face_is_wholly_alike_and_another_is_not(light: None) -> None:
    likeness = Likeness(Networks(make_config()), 1.0)
    likeness.look(planned(3), GREY, GREY)
    likeness.look(planned(4), GREY, WHITE)
    same, other = likeness.sums["3"], likeness.sums["4"]
    assert (same.faces, same.read, same.kept) == (1, 1, 1)
    assert same.identity == pytest.approx(1)
    assert same.mouth[0] == same.mouth[1] > 0
    assert other.identity < 0
    assert other.kept == 0
    assert other.mouth[1] > other.mouth[0]


def test_without_a_reader_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "is_reader_there", lambda *_: False)
    likeness = Likeness(Networks(make_config()), 1.0)
    assert not likeness.is_due(planned(0))
    assert likeness.sums == {}


def test_sums_survive_the_manifest_and_add_up() -> None:
    sums = LikenessSums(faces=2, read=1, identity=1.5, eyes=(0.3, 0.2), mouth=(0.1, 0.0), kept=1)
    tally = Tally(likeness={"7": sums})
    again = Tally.of(tally.to_dict())
    assert again.likeness == {"7": sums}
    again.add(Tally(likeness={"7": LikenessSums(faces=1, identity=0.5), "8": LikenessSums(faces=1)}))
    assert again.likeness["7"].faces == 3
    assert again.likeness["7"].identity == 2.0
    assert set(again.likeness) == {"7", "8"}


def summary(track: int, identity: float, person: str | None = None) -> TrackSummary:
    seen = {"first_seconds": 0, "last_seconds": 1, "frames": 1, "seen": 1, "restored": 1, "mean_size": 9}
    likeness = TrackLikeness(faces=1, identity=identity)
    return TrackSummary(id=track, person=person, **seen, mean_score=1, strength=1, likeness=likeness)


def test_whoever_became_somebody_else_is_warned_of() -> None:
    lines = likeness_warnings([summary(0, 0.9), summary(1, 0.2, "Ann"), summary(2, 0.44)])
    assert [line.partition(":")[0] for line in lines] == ["track 1 (Ann)", "track 2"]


def test_a_report_tells_of_each_track(face_clip: Path, tiny_model: Path, tmp_path: Path, light: None) -> None:
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model))
    (track,) = report.tracks
    assert track.likeness is not None
    assert track.likeness.faces == 1
    assert track.likeness.identity == pytest.approx(1, abs=0.05)
    assert track.likeness.expression_kept == 1
    assert report.warnings == []


def test_a_restorer_that_paints_another_face_is_warned_of(
    face_clip: Path, tiny_model: Path, tmp_path: Path, light: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "SAME_PERSON", 1.5)
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model))
    assert "looks like somebody else" in report.warnings[0]


def test_a_reader_that_fails_does_no_harm(light: None) -> None:
    def fail(_crops: np.ndarray) -> FaceReadings:
        raise ProcessingError("values that are no numbers")

    broken = readers.Recogniser("light", "0" * 64, lambda crops: fail(crops).identity, fail)
    networks = Networks(make_config())
    networks.__dict__["recogniser"] = broken
    likeness = Likeness(networks, 1.0)
    assert likeness.is_due(planned(0))
    likeness.look(planned(0), GREY, GREY)
    assert likeness.sums == {}


def test_a_damaged_reader_stops_nobody_who_did_not_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise ModelError("damaged")

    monkeypatch.setattr(readers, "is_reader_there", lambda *_: True)
    monkeypatch.setattr(readers, "load_recogniser", damaged)
    assert Networks(make_config()).likeness_reader is None


def test_a_reader_that_was_named_must_be_there(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model 'no-such-reader'"):
        revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), reader="no-such-reader")
    assert not (tmp_path / "out.mkv").exists()
