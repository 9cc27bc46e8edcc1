"""Who is in view when, in films of people made of colours."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from colour_people import film, identities, recogniser

from revisage.core import CancelledError, CancelToken, ProcessingError
from revisage.people import Analysis, KnownPerson, analysis_page, find_people

SHOTS = [["red"], ["green", "red"], ["blue"], ["green"]]


@pytest.fixture(scope="module")
def found() -> Analysis:
    return find_people(film(SHOTS), recogniser())


def known(name: str, colour: tuple[int, int, int]) -> KnownPerson:
    crop = np.full((1, 256, 256, 3), colour, np.uint8)
    return KnownPerson(name, identities(crop)[0])


def test_people_are_found_over_shots(found: Analysis) -> None:
    assert [(p.label, p.seconds, p.tracks) for p in found.people] == [
        ("person 1", 1.0, [0, 2]),
        ("person 2", 1.0, [1, 4]),
        ("person 3", 0.5, [3]),
    ]
    assert found.labels == {0: "person 1", 2: "person 1", 1: "person 2", 4: "person 2", 3: "person 3"}


def test_appearances_that_follow_at_once_are_one(found: Analysis) -> None:
    red, green, _ = found.people
    assert [(a.start, a.end, a.tracks) for a in red.appearances] == [(0, 1.0, [0, 2])]
    assert [(a.start, a.end) for a in green.appearances] == [(0.5, 1.0), (1.5, 2.0)]


def test_names_come_from_photos_and_whom_nobody_looks_like_is_told() -> None:
    people = [known("Ann", (200, 40, 40)), known("Zoe", (120, 200, 200))]
    analysis = find_people(film(SHOTS), recogniser(), known=people)
    assert [p.label for p in analysis.people] == ["Ann", "person 1", "person 2"]
    assert analysis.people[0].likeness == pytest.approx(1, abs=0.05)
    assert analysis.notes == ["nobody looks like Zoe"]


def test_one_name_joins_groups_but_not_two_people_in_one_frame() -> None:
    """Two reds side by side: a name goes to one of them."""
    analysis = find_people(film([["red", "red"]]), recogniser(), known=[known("Ann", (200, 40, 40))])
    assert sorted(p.label for p in analysis.people) == ["Ann", "person 1"]


def test_shadows_that_tell_nothing_are_joined_to_nobody() -> None:
    analysis = find_people(film([["shadow"], ["red"], ["shadow"]]), recogniser(), known=[known("Ann", (90, 99, 90))])
    assert [p.tracks for p in analysis.people] == [[0], [1], [2]]
    assert analysis.notes == ["nobody looks like Ann"]


def test_profiles_tell_nothing() -> None:
    footage = film([["red"], ["red"]])
    face = footage.tracks[0].faces[0]
    middle = face.landmarks[:, 0].mean()
    narrow = face.moved(np.stack([middle + 0.1 * (face.landmarks[:, 0] - middle), face.landmarks[:, 1]], axis=1))
    turned = replace(footage.tracks[0], faces=(narrow,) * 5)
    analysis = find_people(replace(footage, tracks=[turned, footage.tracks[1]]), recogniser())
    assert len(analysis.people) == 2


def test_samples_are_taken_in_steps(found: Analysis) -> None:
    red = found.people[0].samples
    assert red.seconds == pytest.approx([0, 0.2, 0.4, 0.5, 0.7, 0.9])
    assert set(red.yaw) == {10} and set(red.pitch) == {-5}
    # The faces stand upright in the frame, so that the crops are not turned.
    assert red.roll == pytest.approx([2] * 6, abs=0.5)
    assert red.expressions["happy"] == pytest.approx([0.3] * 6)


def test_without_a_reader_there_are_people_and_no_samples() -> None:
    analysis = find_people(film(SHOTS), recogniser(reads=False))
    assert len(analysis.people) == 3
    assert all(not person.samples.seconds for person in analysis.people)
    rows = list(csv.DictReader(analysis.to_csv().splitlines()))
    assert {row["yaw"] for row in rows} == {""}


def test_csv_has_a_row_for_each_second_in_view(found: Analysis) -> None:
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    assert [(r["person"], r["second"], float(r["in_view"])) for r in rows] == [
        ("person 1", "0", 1.0),
        ("person 2", "0", 0.5),
        ("person 2", "1", 0.5),
        ("person 3", "1", 0.5),
    ]
    assert {(r["yaw"], r["neutral"]) for r in rows} == {("10.0", "0.5")}


def test_vtt_has_a_cue_for_each_appearance() -> None:
    analysis = find_people(film(SHOTS), recogniser(), known=[known("A & <B>", (200, 40, 40))])
    text = analysis.to_vtt()
    assert text.startswith("WEBVTT\n")
    assert len(re.findall(r"^\d\d:\d\d:\d\d\.\d{3} --> ", text, re.M)) == 4
    assert "00:00:00.000 --> 00:00:01.000\n<v A &amp; &lt;B&gt;>A &amp; &lt;B&gt;" in text


def test_json_can_be_read_back(found: Analysis) -> None:
    assert Analysis(**json.loads(found.to_json())).labels == found.labels
    assert "feels" in found.caution


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    analysis = find_people(film(SHOTS), recogniser(), known=[known("<script>x", (200, 40, 40))])
    page = analysis_page(analysis)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|url\(", page)
    assert page.count("data:image/jpeg;base64,") == 5
    assert "do not say what somebody feels" in page


def test_a_film_without_faces_has_no_people() -> None:
    footage = film([[]])
    analysis = find_people(footage, recogniser())
    assert analysis.people == []
    assert "No face was found" in analysis_page(analysis)
    assert analysis.to_csv().count("\n") == 1


def test_a_source_that_changed_is_refused() -> None:
    footage = film([["red"]])
    with pytest.raises(ProcessingError, match="frame 1 is not where the scan saw it"):
        find_people(replace(footage, pts=[0, 7, 8, 9, 10]), recogniser())
    with pytest.raises(ProcessingError, match="frame 3 is not where"):
        find_people(replace(footage, held=footage.held[:3]), recogniser())


def test_stopping_is_heard() -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        find_people(film([["red"]]), recogniser(), cancel=cancel)
