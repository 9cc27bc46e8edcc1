"""Restoring some people and leaving others: the plan, the scan's file, and a whole file."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import revisage
from revisage import readers
from revisage.cli.app import run
from revisage.core import ConfigError, Face, InputError, ModelError, Progress, Track, make_config
from revisage.faces import ffhq_template
from revisage.pipeline import Fingerprint, Scan, ScannedTrack, ScanSettings, load_scan
from revisage.pipeline.plan import make_plan
from sample_media import read_video


def scan_of(*people: str | None) -> Scan:
    """A scan of one shot with these people side by side."""
    tracks = []
    for number, person in enumerate(people):
        face = Face(
            (120 * number, 10, 100, 100), (ffhq_template(100) + np.array([120 * number, 10])).astype(np.float32)
        )
        tracks.append(ScannedTrack.of(Track(number, 0, (face,) * 4, (True,) * 4)).model_copy(update={"person": person}))
    return Scan(
        source=Fingerprint(name="a.mp4", size=1, sha256="0" * 64, hashed="whole"),
        settings=ScanSettings(detector="none", detector_hash=""),
        size_hw=(200, 600),
        time_base=Fraction(1, 25),
        pts=[0, 1, 2, 3],
        shots=[(0, 4)],
        tracks=tracks,
    )


def restored(scan: Scan, **options: object) -> list[int]:
    weights = make_plan(scan, make_config(**options)).weights
    return [track for track, strengths in weights.items() if any(strengths)]


def test_only_and_except_choose_people() -> None:
    scan = scan_of("Ann", "person 1", None, "Ann")
    assert restored(scan) == [0, 1, 2, 3]
    assert restored(scan, only=["ann"]) == [0, 3]
    assert restored(scan, only=["Ann", "person 1"]) == [0, 1, 3]
    assert restored(scan, except_=["Ann"]) == [1, 2]


def test_names_that_nobody_has_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"only An: nobody is called so; did you mean 'Ann'\? \(there are: Ann, person 1\)"
    ):
        restored(scan_of("Ann", "person 1"), only=["An"])
    with pytest.raises(ConfigError, match="nobody has said who is who"):
        restored(scan_of(None, None), except_=["Ann"])


def test_whoever_is_named_and_not_there_is_no_mistake() -> None:
    assert restored(scan_of("person 1"), only=["Ann"], who=["Ann=a.jpg"]) == []
    assert restored(scan_of("person 1"), except_=["Ann"], who=["Ann=a.jpg"]) == [0]


def test_both_choices_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="two ways to say the same"):
        make_config(only=["Ann"], except_=["Bob"])


def test_a_scan_keeps_its_people_and_older_scans_have_none(tmp_path: Path) -> None:
    scan_of("Ann", None).save(tmp_path / "scan.json")
    assert [track.person for track in load_scan(tmp_path / "scan.json").tracks] == ["Ann", None]
    old = (tmp_path / "scan.json").read_text().replace('"person": "Ann", ', "").replace('"person": null, ', "")
    assert "person" not in old
    (tmp_path / "old.json").write_text(old)
    assert [track.person for track in load_scan(tmp_path / "old.json").tracks] == [None, None]


@pytest.fixture
def by_light(monkeypatch: pytest.MonkeyPatch, fresh_networks: None) -> None:
    """A recogniser for which all faces are one person's."""
    made = readers.Recogniser("light", "0" * 64, lambda crops: np.ones((len(crops), 1), np.float32), None)
    monkeypatch.setattr(readers, "load_recogniser", lambda *_, **__: made)


def test_a_person_is_left_as_found_to_the_bit(
    face_clip: Path, tiny_model: Path, tmp_path: Path, by_light: None, demo_photo: Path
) -> None:
    options = {"model": str(tiny_model), "crf": 0, "codec": "libx264", "who": [f"Ann={demo_photo}"]}
    report = revisage.restore(face_clip, tmp_path / "out.mkv", except_=["Ann"], **options)
    assert report.faces == 0
    assert [track.person for track in report.tracks] == ["Ann"]
    before, after = ([picture for _, picture in read_video(path)] for path in (face_clip, tmp_path / "out.mkv"))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    report = revisage.restore(face_clip, tmp_path / "only.mkv", only=["Ann"], **options)
    assert report.faces == report.frames == 12


def test_segments_serve_whoever_keeps_the_photo_elsewhere(
    face_clip: Path, tiny_model: Path, tmp_path: Path, by_light: None, demo_photo: Path
) -> None:
    def crash(moment: Progress) -> None:
        if moment.stage == "restore" and moment.done == 9:
            raise MemoryError

    options = {"model": str(tiny_model), "temporal": "off", "segment_frames": 4, "only": ["Ann"]}
    with pytest.raises(MemoryError):
        revisage.restore(face_clip, tmp_path / "out.mkv", who=[f"Ann={demo_photo}"], progress=crash, **options)
    (tmp_path / "elsewhere").mkdir()
    moved = demo_photo.rename(tmp_path / "elsewhere" / "photo.png")
    report = revisage.restore(face_clip, tmp_path / "out.mkv", who=[f"Ann={moved}"], **options)
    assert report.files[0].timings.reused_segments == 2


@pytest.fixture
def demo_photo(face_clip: Path, tmp_path: Path) -> Path:
    import cv2

    path = tmp_path / "ann.png"
    cv2.imwrite(str(path), read_video(face_clip)[0][1][..., ::-1])
    return path


def test_analyze_writes_all_four_and_a_scan_that_restore_takes(
    face_clip: Path, tiny_model: Path, tmp_path: Path, by_light: None, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "talk.mkv"
    clip.write_bytes(face_clip.read_bytes())
    scan = tmp_path / "people.scan.json"
    assert run(["analyze", str(clip), "--save-scan", str(scan)]) == 0
    assert "person 1" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("talk.people.*")} == {
        f"talk.people.{e}" for e in ("html", "json", "csv", "vtt")
    }
    assert run(["analyze", str(clip)]) == 2
    assert "talk.people.html exists; use --overwrite" in capsys.readouterr().err
    words = ["restore", str(clip), "--scan", str(scan), "--model", str(tiny_model), "--quiet"]
    assert run([*words, str(tmp_path / "a.mkv"), "--except", "person 1"]) == 0
    assert run([*words, str(tmp_path / "b.mkv"), "--only", "person 2"]) == 2
    assert "nobody is called so; did you mean 'person 1'?" in capsys.readouterr().err
    hashes = {
        hashlib.sha256(b"".join(p.tobytes() for _, p in read_video(tmp_path / f))).digest()
        for f in ("a.mkv", "talk.mkv")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "x.txt"], "another ending"),
        (["--every", "0"], "every cannot be 0"),
        (["--who", "Ann"], "write NAME=photo.jpg"),
        (["--who", "Ann=none.jpg"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str],
    says: str,
    face_clip: Path,
    tmp_path: Path,
    by_light: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["analyze", str(face_clip), *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fresh_networks")
def test_without_a_reader_the_way_out_is_told(face_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.recogniser, "is_reader_there", lambda *_: False)
    with pytest.raises(ModelError, match="name another with --reader"):
        revisage.analyze(face_clip)


def test_a_photo_with_no_face_is_told_before_the_work(face_clip: Path, tmp_path: Path, by_light: None) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 120, np.uint8))
    with pytest.raises(InputError, match="shows no face"):
        revisage.restore(face_clip, tmp_path / "out.mkv", who=[f"Ann={tmp_path / 'grey.png'}"])
    assert not (tmp_path / "out.mkv").exists()
