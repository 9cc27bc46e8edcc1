"""The scan file: what goes in comes out, and nothing wrong comes in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_fakes import scan, track

from revisage.core.errors import InputError, OutputError, ScanMismatchError
from revisage.core.values import Face, Track
from revisage.pipeline.scan import Scan, ScannedTrack, fingerprint, load_scan


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "scan.json"
    scan(60, shots=[(0, 20), (20, 60)], tracks=[track(0, 0, 20), track(1, 30, 5, strength=0.5)]).save(path)
    return path


def edited(path: Path, change) -> Path:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_what_is_saved_is_loaded(saved: Path) -> None:
    found = load_scan(saved)
    assert found == scan(60, shots=[(0, 20), (20, 60)], tracks=[track(0, 0, 20), track(1, 30, 5, strength=0.5)])
    assert found.frames == 60
    assert found.faces == 25


def test_one_line_per_track_so_that_a_person_can_delete_it(saved: Path) -> None:
    lines = [line for line in saved.read_text().splitlines() if '"boxes"' in line]
    assert len(lines) == 2


def test_tracks_may_be_deleted_and_given_a_strength(saved: Path) -> None:
    def change(data) -> None:
        del data["tracks"][0]
        data["tracks"][0]["strength"] = 0.25

    found = load_scan(edited(saved, change))
    assert [(t.id, t.strength) for t in found.tracks] == [(1, 0.25)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["tracks"][0]["boxes"][0].__setitem__(0, math.nan), "tracks[0].boxes[0][0]"),
        (lambda d: d["tracks"][0]["landmarks"][0].__setitem__(3, math.inf), "tracks[0].landmarks[0][3]"),
        (lambda d: d["tracks"][0].__setitem__("strength", 1.5), "strength"),
        (lambda d: d["tracks"][0].__setitem__("strength", math.nan), "strength"),
        (lambda d: d["tracks"][0]["scores"].pop(), "differ in length"),
        (lambda d: d["tracks"][0].__setitem__("colour", "red"), "tracks[0].colour"),
        (lambda d: d.__setitem__("surprise", 1), "surprise"),
        (lambda d: d["pts"].__setitem__(5, 0), "pts must rise"),
        (lambda d: d["shots"].pop(), "cover the 60 frames"),
        (lambda d: d["tracks"][0].__setitem__("start", 10), "within one shot"),
        (lambda d: d["tracks"][1].__setitem__("id", 0), "same id"),
        (lambda d: d.__setitem__("version", 2), "format 2"),
        (lambda d: d.__setitem__("time_base", "0"), "time_base"),
        (lambda d: d.__setitem__("time_base", "nan"), "time_base"),
        (lambda d: d.pop("tracks"), "not a scan file"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(saved: Path, change, words: str) -> None:
    with pytest.raises(ScanMismatchError) as caught:
        load_scan(edited(saved, change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "hello", "null"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scan.json"
    path.write_text(content)
    with pytest.raises(ScanMismatchError, match="not a scan file"):
        load_scan(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanMismatchError, match="no such scan file"):
        load_scan(tmp_path / "none.json")


def test_a_scan_of_another_video_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.mkv"
    other.write_bytes(b"another")
    with pytest.raises(ScanMismatchError, match=r"made from another file: expected clip.mkv .*got other.mkv"):
        scan().require_source(fingerprint(other))


def test_saving_does_not_overwrite(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(OutputError, match="overwrite=True"):
        scan().save(saved)
    assert saved.read_bytes() == before
    scan().save(saved, overwrite=True)
    assert load_scan(saved) == scan()


finite = st.floats(-5000, 5000)


@given(
    boxes=st.lists(st.tuples(finite, finite, st.floats(0.001, 4000), st.floats(0.001, 4000)), min_size=1, max_size=5),
    points=st.lists(finite, min_size=10, max_size=10),
)
def test_a_track_survives_the_file(boxes, points) -> None:
    faces = tuple(Face(box, np.array(points).reshape(5, 2), 0.75) for box in boxes)
    scanned = ScannedTrack.of(Track(3, 7, faces, (True,) * len(faces)))
    again = ScannedTrack.model_validate_json(scanned.model_dump_json())
    assert again == scanned
    for index, face in enumerate(faces, 7):
        assert np.allclose(again.face(index).box, face.box, atol=0.0101)
        assert np.allclose(again.face(index).landmarks, face.landmarks, atol=0.006)
    with pytest.raises(IndexError):
        again.face(7 + len(faces))


def test_a_part_of_it_is_as_if_only_that_had_been_scanned() -> None:
    looks = track(1, 30, 5, strength=0.5).model_copy(update={"details": [(1, 0.1, 0.2)], "damages": [(4, 0.5)]})
    colours = [[0, 0, 0, 9, 9, 9], [1, 1, 1, 8, 8, 8]]
    whole = scan(60, shots=[(0, 20), (20, 60)], tracks=[track(0, 0, 20), looks, track(2, 50, 5)])
    whole = whole.model_copy(update={"colours": colours, "first": 7})
    origin, step = whole.pts[0] * whole.time_base, (whole.pts[1] - whole.pts[0]) * whole.time_base
    part = whole.within(15 * step, 34 * step, origin=origin)
    assert Scan(**json.loads(part.to_json())) == part
    assert (part.pts, part.first, part.shots) == (whole.pts[15:34], 22, [(0, 5), (5, 19)])
    assert [(one.id, one.start, one.stop) for one in part.tracks] == [(0, 0, 5), (1, 15, 19)]
    assert (part.tracks[1].details, part.tracks[1].damages, part.tracks[1].strength) == ([(1, 0.1, 0.2)], [], 0.5)
    assert part.tracks[0].boxes == whole.tracks[0].boxes[15:]
    assert (part.settings.start, part.settings.end) == (15 * step, 34 * step)
    tail = whole.within(31 * step, None, origin=origin)
    assert (tail.shots, tail.colours, tail.settings.end) == ([(0, 29)], colours[1:], None)
    assert (tail.tracks[0].details, tail.tracks[0].damages) == ([(0, 0.1, 0.2)], [(3, 0.5)])
    with pytest.raises(InputError, match=r"no frame of the scan lies between --start and --end: it is of 0:00\.0 to"):
        whole.within(90 * step, None, origin=origin)


def test_a_fingerprint_knows_content_and_not_names(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    one.write_bytes(b"x" * 5000)
    two.write_bytes(b"x" * 5000)
    three.write_bytes(b"x" * 4999 + b"y")
    assert fingerprint(one).same_content(fingerprint(two))
    assert not fingerprint(one).same_content(fingerprint(three))


def test_a_large_file_is_known_by_parts_from_first_byte_to_last(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(100 * 2**20)
    before = fingerprint(path)
    assert before.hashed == "parts"
    for place in (0, 100 * 2**20 - 1):
        with path.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"z")
        assert not fingerprint(path).same_content(before)
        with path.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"\0")
    assert fingerprint(path).same_content(before)
