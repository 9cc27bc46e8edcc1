"""The store of consented faces: what is kept, kept once, found again, and truly deleted."""

from __future__ import annotations

import multiprocessing
import os
import stat
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from store_fakes import CONSENT, MADE, SOURCE, direction, frame, track

from revisage.core.errors import ConfigError, InputError, OutputError
from revisage.facestore import Consent, FaceSource
from revisage.facestore.contents import content_hash
from revisage.facestore.face_store import FaceStore, Pictures
from revisage.facestore.index import MARKER, URL_VARIABLE, check_place

OTHER = FaceSource("holiday.mp4", "6b" * 32, 99)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fill(folder: Path) -> None:
    """Person 1 in the interview, person 2 on holiday."""
    with FaceStore.create(folder) as store:
        store.add([track(0, frame(1), frame(2, number=9))], SOURCE, CONSENT, MADE)
        store.add([track(0, frame(3))], OTHER, Consent("they said yes", date(2026, 5, 6)), MADE)


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_is_kept_is_found_again(folder: Path) -> None:
    kept = frame(1, number=7)
    with FaceStore.create(folder) as store:
        assert store.add([track(3, kept)], SOURCE, CONSENT, MADE).kept == 1
    with FaceStore.open(folder) as store:
        (person,) = store.people()
    (face,) = person.faces
    assert (face.source, face.source_sha256, face.consent) == (SOURCE.name, SOURCE.sha256, CONSENT.text)
    assert (face.consent_date, face.track, face.frame, face.pts, face.time_base) == (
        CONSENT.stated_on,
        3,
        7,
        280,
        "1/1000",
    )
    assert face.box == kept.face.box
    np.testing.assert_allclose(face.landmarks, kept.face.landmarks, atol=0.01)
    for path, crop in ((face.before, kept.before), (face.after, kept.after)):
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), crop)
        assert path.stem == content_hash(crop)
    assert face.to_json()["consent_date"] == "2026-03-04"
    assert person.consents == (f"{CONSENT.text} (2026-03-04)",)


def test_the_same_faces_are_kept_once(folder: Path) -> None:
    faces = [track(0, frame(1), frame(2))]
    with FaceStore.create(folder) as store:
        store.add(faces, SOURCE, CONSENT, MADE)
        before = sorted(path.name for path in folder.rglob("*.webp"))
        again = store.add(faces, SOURCE, CONSENT, MADE)
        assert (again.kept, again.known) == (0, 2)
        assert len(store.people()) == 1
    assert sorted(path.name for path in folder.rglob("*.webp")) == before


def test_a_consent_needs_words() -> None:
    with pytest.raises(ValueError, match="words"):
        Consent("  ", date(2026, 1, 1))


@pytest.mark.skipif(os.name == "nt", reason="file modes are of POSIX")
def test_nobody_else_may_look_into_a_new_store(folder: Path) -> None:
    fill(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_forgetting_leaves_no_trace_in_any_file(folder: Path) -> None:
    fill(folder)
    with FaceStore.open(folder) as store:
        store.name("1", "Quokka")
        digests = [path.stem for face in store.faces(person="1") for path in (face.before, face.after)]
        traces = [b"Quokka", b"quokka", b"Zanzibar", SOURCE.sha256.encode(), *(digest.encode() for digest in digests)]
        assert all(trace in all_bytes(folder) for trace in (b"Zanzibar", SOURCE.sha256.encode(), b"Quokka"))
        assert store.forget("Quokka") == 2
        assert [person.id for person in store.people()] == [2]
    left = all_bytes(folder)
    assert [trace for trace in traces if trace in left] == []
    assert b"they said yes" in left
    assert {path.stem for path in folder.rglob("*.webp")}.isdisjoint(digests)
    assert len(list(folder.rglob("*.webp"))) == 2


def test_a_number_is_not_given_twice(folder: Path) -> None:
    fill(folder)
    with FaceStore.open(folder) as store:
        store.forget("2")
        assert store.add([track(0, frame(8))], OTHER, CONSENT, MADE).people == (3,)


def test_what_another_person_needs_is_left(folder: Path) -> None:
    with FaceStore.create(folder) as store:
        shared = FaceSource("both.mp4", "7c" * 32, 5)
        store.add([track(0, frame(1)), track(1, frame(2, left=200.0))], shared, CONSENT, MADE)
        assert len(store.people()) == 2
        store.forget("1")
        (face,) = store.faces()
    assert (face.source, face.consent) == ("both.mp4", CONSENT.text)


def test_purging_removes_the_store_and_nothing_else(folder: Path) -> None:
    fill(folder)
    with FaceStore.open(folder) as store:
        assert store.purge() == 3
    assert not folder.exists()
    fill(folder)
    (folder / "mine.txt").write_text("notes")
    with FaceStore.open(folder) as store:
        store.purge()
    assert [path.name for path in folder.rglob("*")] == ["mine.txt"]


def _killed_while_adding(folder: Path) -> None:
    real, count = Pictures.put, []

    def put(self: Pictures, digest: str, crop: np.ndarray) -> None:
        real(self, digest, crop)
        count.append(digest)
        if len(count) == 3:
            os._exit(9)

    Pictures.put = put  # type: ignore[method-assign]
    with FaceStore.create(folder) as store:
        store.add([track(0, frame(5), frame(6))], OTHER, CONSENT, MADE)


def test_a_killed_writer_leaves_nothing_once_the_next_one_came(folder: Path) -> None:
    with FaceStore.create(folder) as store:
        store.add([track(0, frame(1))], SOURCE, CONSENT, MADE)
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_adding, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list(folder.rglob("*.webp"))) == 5
    with FaceStore.create(folder) as store:
        assert len(store.faces()) == 1
        store.add([track(0, frame(5), frame(6))], OTHER, CONSENT, MADE)
        named = {path for face in store.faces() for path in (face.before, face.after)}
    assert set(folder.rglob("*.webp")) == named
    assert len(named) == 6
    assert not list(folder.glob(".pending*"))


def test_a_full_disk_leaves_the_store_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    before = sorted(path.name for path in folder.rglob("*"))
    real, count = Pictures.put, []

    def put(self: Pictures, digest: str, crop: np.ndarray) -> None:
        count.append(digest)
        if len(count) == 2:
            raise OSError(28, "No space left on device")
        real(self, digest, crop)

    monkeypatch.setattr(Pictures, "put", put)
    with FaceStore.open(folder) as store, pytest.raises(OutputError, match=r"no space left for .*pictures; free some"):
        store.add([track(0, frame(11))], SOURCE, CONSENT, MADE)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_person_is_known_by_pixels_place_or_likeness(folder: Path) -> None:
    with FaceStore.create(folder) as store:
        first = store.add([track(0, frame(1), embedding=direction(0.0))], SOURCE, CONSENT, MADE)
        same_place = store.add([track(4, frame(2))], SOURCE, CONSENT, MADE)
        beside = store.add([track(5, frame(3, left=200.0))], SOURCE, CONSENT, MADE)
        alike = store.add([track(0, frame(4), embedding=direction(0.8))], OTHER, CONSENT, MADE)
        unlike = store.add([track(1, frame(5, left=300.0), embedding=direction(1.5))], OTHER, CONSENT, MADE)
    assert first.people == same_place.people == alike.people == (1,)
    assert beside.people == (2,)
    assert unlike.people == (3,)


def test_nobody_is_twice_in_one_frame(folder: Path) -> None:
    twins = [track(n, frame(n, left=150.0 * n), embedding=direction(0.1 * n)) for n in range(2)]
    later = track(2, frame(9, number=80), start=60, stop=90, embedding=direction(0.0))
    with FaceStore.create(folder) as store:
        added = store.add([*twins, later], SOURCE, CONSENT, MADE)
    assert added.people == (1, 2)


def test_faces_by_person_and_day(folder: Path) -> None:
    fill(folder)
    with FaceStore.open(folder) as store:
        today = store.faces()[0].kept_at.date()
        assert len(store.faces(since=today)) == 3
        assert store.faces(since=today + timedelta(days=1)) == []
        assert [face.source for face in store.faces(person="2")] == ["holiday.mp4"]
        with pytest.raises(InputError, match="no person 'Bob'"):
            store.faces(person="Bob")
        store.name("2", "Bob")
        assert store.people("Bob")[0].id == 2
        with pytest.raises(InputError, match="person 2 is called 'Bob' already"):
            store.name("1", "Bob")
        with pytest.raises(InputError, match="letters"):
            store.name("1", "12")


def test_folders_that_are_no_store_are_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no face store"):
        FaceStore.open(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        check_place(tmp_path / "file")
    with pytest.raises(OutputError, match="holds other files"):
        check_place(tmp_path)
    with pytest.raises(ConfigError, match=URL_VARIABLE):
        check_place(Path("postgresql://somewhere/faces"))
    fill(folder)
    (folder / MARKER).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        FaceStore.open(folder)


def test_an_index_of_another_store_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    fill(tmp_path / "b")
    (tmp_path / "a" / "index.sqlite").replace(tmp_path / "b" / "index.sqlite")
    with pytest.raises(InputError, match="do not belong together"):
        FaceStore.open(tmp_path / "b")


def test_a_damaged_index_says_so(folder: Path) -> None:
    fill(folder)
    (folder / "index.sqlite").write_bytes(b"not a database, long enough to be read as one" * 100)
    with pytest.raises(OutputError, match="its index cannot be used"):
        FaceStore.open(folder)


def test_the_address_of_a_database_is_needed_and_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "mysql://host/faces")
    with pytest.raises(ConfigError, match="SQLite or PostgreSQL, not mysql"):
        FaceStore.create(folder)
    monkeypatch.delenv(URL_VARIABLE)
    with pytest.raises(ConfigError, match=f"put its address into {URL_VARIABLE}"):
        FaceStore.open(folder)
