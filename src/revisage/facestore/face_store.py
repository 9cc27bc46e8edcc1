"""A store of consented faces: add, list, name, forget, purge.

What holds whatever happens: no row without consent; the same pictures are kept once; pictures that a killed writer
left without a row are removed by the next one; what is forgotten is gone from pictures, rows and the database's files.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image

from revisage.core import Crop, InputError, OutputError, output_error
from revisage.facestore.contents import (
    Added,
    Consent,
    FaceSource,
    KeptFrame,
    KeptTrack,
    MadeWith,
    Person,
    StoredFace,
    content_hash,
)
from revisage.facestore.index import (
    MARKER,
    Index,
    Place,
    consents,
    create_place,
    faces,
    find_place,
    meta,
    people,
    sources,
)
from revisage.facestore.person_match import Sighting, find_person

__all__ = ["FaceStore", "Pictures"]

_PENDING = ".pending-"


class Pictures:
    """Lossless WebP files below one folder. A file appears under its name when it is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the picture with that content is, or would be."""
        return self._folder / sha256[:2] / f"{sha256}.webp"

    def put(self, sha256: str, crop: Crop) -> None:
        """Write a picture unless it is there.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(sha256)
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._partial(path)
        try:
            Image.fromarray(crop).save(partial, format="WEBP", lossless=True, method=4)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def remove(self, hashes: Iterable[str]) -> None:
        """Delete pictures, begun ones too, and folders that are empty then.

        Raises:
            OSError: one cannot be deleted.
        """
        for sha256 in hashes:
            path = self.path(sha256)
            path.unlink(missing_ok=True)
            self._partial(path).unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def hashes(self) -> set[str]:
        """The content hashes of all pictures that are there."""
        return {path.stem for path in self._folder.glob("??/*.webp")}

    def _partial(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.part")


class FaceStore:
    """A store that is open. A context manager; see :meth:`open` and :meth:`create`.

    Raises:
        OutputError: in every method, when the index or a file cannot be read or written.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._index = Index(place.url, place.folder)
        self._pictures = Pictures(place.pictures)

    @classmethod
    def open(cls, folder: Path) -> FaceStore:
        """The store in a folder.

        Raises:
            InputError: there is none, or its index is of another store.
            ConfigError: its index is in a database whose address is not known.
            MissingExtraError: the extra ``store`` is not installed.
        """
        return cls(find_place(folder))._checked()

    @classmethod
    def create(cls, folder: Path) -> FaceStore:
        """The store in a folder, made when the folder is new or empty.

        Raises:
            UserError: as :meth:`open`, and when the folder holds other things or cannot be written.
        """
        return cls(create_place(folder))._checked(new=True)

    def __enter__(self) -> FaceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def add(self, tracks: Sequence[KeptTrack], source: FaceSource, consent: Consent, made: MadeWith) -> Added:
        """Keep the faces of tracks of one source; faces that are there already, pixel for pixel, stay as they are."""
        kept = known = 0
        seen: list[Sighting] = []
        with self._writing(tracks) as connection:
            for track in tracks:
                fresh = [frame for frame in track.frames if not _is_known(connection, frame)]
                known += len(track.frames) - len(fresh)
                if not fresh:
                    continue
                person = find_person(connection, track, source, seen)
                seen.append(Sighting(person, track.start, track.stop))
                for frame in fresh:
                    self._keep(connection, track, frame, person, source, consent, made)
                kept += len(fresh)
        return Added(kept, known, tuple(sorted({sighting.person for sighting in seen})))

    def people(self, person: str | None = None) -> list[Person]:
        """Everybody in the store with their faces, by number; or one of them, by number or label.

        Raises:
            InputError: the person is not there.
        """
        found: dict[int, list[StoredFace]] = {}
        for face in self.faces(person=person):
            found.setdefault(face.person, []).append(face)
        return [Person(number, found[number][0].label, tuple(found[number])) for number in sorted(found)]

    def faces(self, *, person: str | None = None, since: date | None = None) -> list[StoredFace]:
        """Faces in the order they were kept: of one person (number or label), from a day (UTC) on, or all.

        Raises:
            InputError: the person is not there.
        """
        columns = (faces, people.c.label, sources.c.name, sources.c.sha256, consents.c.text, consents.c.stated_on)
        query = sa.select(*columns).join(people).join(sources).join(consents).order_by(faces.c.id)
        with self._index.reading() as connection:
            if person is not None:
                query = query.where(faces.c.person_id == _person_number(connection, person))
            if since is not None:
                start = datetime(since.year, since.month, since.day, tzinfo=timezone.utc)
                query = query.where(faces.c.kept_at >= start)
            return [self._face(row) for row in connection.execute(query).mappings()]

    def name(self, person: str, label: str) -> int:
        """Give a person a label, which works wherever their number does; returns the number.

        Raises:
            InputError: the person is not there, or the label is taken, empty, or a number.
        """
        label = label.strip()
        if not label or label.isdigit():
            raise InputError(f"a label needs letters, got '{label}'")
        with self._writing() as connection:
            number = _person_number(connection, person)
            taken = connection.scalar(sa.select(people.c.id).where(people.c.label == label))
            if taken not in (None, number):
                raise InputError(f"person {taken} is called '{label}' already")
            connection.execute(sa.update(people).where(people.c.id == number).values(label=label))
        return number

    def forget(self, person: str) -> int:
        """Delete all that the store has of a person; returns the number of faces.

        Pictures go first, then rows, with sources and consents that nobody else needs: a deletion that is cut short
        is ended by calling this again, and never leaves a picture without a row.

        Raises:
            InputError: the person is not there.
        """
        with self._writing() as connection:
            number = _person_number(connection, person)
            count = self._delete(connection, number)
        self._index.compact()
        return count

    def purge(self) -> int:
        """Delete everything, the store itself included; returns the number of faces. Other files in it are left."""
        with self._writing() as connection:
            count = connection.scalar(sa.select(sa.func.count()).select_from(faces)) or 0
            self._remove(self._pictures.hashes())
            for table in (faces, people, sources, consents):
                connection.execute(sa.delete(table))
        self._index.compact()
        self._index.drop()
        self._index.close()
        leavings = [self._place.folder / MARKER, *([self._place.sqlite] if self._place.sqlite else [])]
        with contextlib.suppress(OSError):  # folders that hold other things stay
            for path in leavings:
                path.unlink(missing_ok=True)
            for folder in (self._place.pictures, self._place.folder):
                folder.rmdir()
        return count

    def _checked(self, *, new: bool = False) -> FaceStore:
        """This store, its tables made where they may be ``new``; closed when its index is not the right one."""
        try:
            if new:
                self._index.create()
            self._check_index(claim=new)
        except BaseException:
            self._index.close()
            raise
        return self

    def _check_index(self, *, claim: bool = False) -> None:
        """Make sure that index and folder belong together; a new index is claimed for the folder."""
        with self._index.writing() if claim else self._index.reading() as connection:
            there = sa.inspect(connection).has_table(meta.name)
            found = connection.scalar(sa.select(meta.c.store)) if there else None
            if found is None and claim:
                connection.execute(sa.insert(meta).values(store=self._place.id))
            elif found != self._place.id:
                whose = "is of another store" if found else "has nothing of it"
                raise InputError(f"{self._place.folder} and its index do not belong together: the index {whose}")

    @contextmanager
    def _writing(self, tracks: Iterable[KeptTrack] = ()) -> Iterator[sa.Connection]:
        """One writer at a time; pictures that end without a row, now or in a run that was killed, are removed."""
        pictures = sorted({digest for track in tracks for frame in track.frames for digest in _digests(frame)})
        announced = self._place.folder / f"{_PENDING}{uuid.uuid4().hex}.json"
        try:
            with self._index.writing() as connection:
                self._sweep(connection)
                if pictures:
                    self._announce(announced, pictures)
                yield connection
        except BaseException:
            with contextlib.suppress(OutputError), self._index.writing() as connection:
                self._sweep(connection)
            raise
        announced.unlink(missing_ok=True)

    def _announce(self, file: Path, pictures: list[str]) -> None:
        """Note which pictures are about to be written, so that they can be found when this process is killed."""
        partial = file.with_suffix(".part")
        try:
            partial.write_text(json.dumps(pictures), encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise output_error(file, error) from error

    def _sweep(self, connection: sa.Connection) -> None:
        """Remove announced pictures that no row names. Only whoever holds the writer's lock may."""
        for partial in self._place.folder.glob(f"{_PENDING}*.part"):
            partial.unlink(missing_ok=True)
        for file in self._place.folder.glob(f"{_PENDING}*.json"):
            try:
                announced = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise OutputError(f"{file} cannot be read: {error}") from error
            self._remove(digest for digest in announced if not _is_used(connection, digest))
            file.unlink(missing_ok=True)

    def _keep(
        self,
        connection: sa.Connection,
        track: KeptTrack,
        frame: KeptFrame,
        person: int,
        source: FaceSource,
        consent: Consent,
        made: MadeWith,
    ) -> None:
        digests = _digests(frame)
        try:
            for digest, crop in zip(digests, (frame.before, frame.after), strict=True):
                self._pictures.put(digest, crop)
        except OSError as error:
            raise output_error(self._place.pictures, error) from error
        values = {
            "person_id": person,
            "source_id": _row(connection, sources, sha256=source.sha256, otherwise=_source_values(source)),
            "consent_id": _row(connection, consents, text=consent.text, stated_on=consent.stated_on),
            "track": track.track,
            "frame": frame.frame,
            "pts": frame.pts,
            "time_base": frame.time_base,
            "box": [round(value, 2) for value in frame.face.box],
            "landmarks": [[round(float(v), 2) for v in point] for point in frame.face.landmarks],
            "score": frame.face.score,
            "strength": frame.strength,
            "size": int(frame.before.shape[0]),
            "native_px": frame.native_px,
            "sharpness": frame.sharpness,
            "before_sha256": digests[0],
            "after_sha256": digests[1],
            "model": made.model,
            "model_sha256": made.model_sha256,
            "config_sha256": made.config_sha256,
            "embedding": _packed(track.embedding),
            "kept_at": datetime.now(timezone.utc),
        }
        connection.execute(sa.insert(faces).values(values))

    def _delete(self, connection: sa.Connection, person: int) -> int:
        query = sa.select(faces.c.before_sha256, faces.c.after_sha256).where(faces.c.person_id == person)
        rows = connection.execute(query).all()
        others = sa.select(faces.c.id).where(faces.c.person_id != person)
        doomed = {digest for row in rows for digest in row}
        self._remove(digest for digest in doomed if connection.scalar(others.where(_names(digest)).limit(1)) is None)
        connection.execute(sa.delete(faces).where(faces.c.person_id == person))
        connection.execute(sa.delete(people).where(people.c.id == person))
        for table, column in ((sources, faces.c.source_id), (consents, faces.c.consent_id)):
            connection.execute(sa.delete(table).where(table.c.id.not_in(sa.select(column))))
        return len(rows)

    def _remove(self, digests: Iterable[str]) -> None:
        try:
            self._pictures.remove(digests)
        except OSError as error:
            raise OutputError(f"cannot delete from {self._place.pictures}: {error.strerror or error}") from error

    def _face(self, row: Any) -> StoredFace:
        return StoredFace(
            person=row["person_id"],
            source=row["name"],
            source_sha256=row["sha256"],
            consent=row["text"],
            consent_date=row["stated_on"],
            kept_at=_utc(row["kept_at"]),
            box=tuple(row["box"]),
            landmarks=tuple((x, y) for x, y in row["landmarks"]),
            before=self._pictures.path(row["before_sha256"]),
            after=self._pictures.path(row["after_sha256"]),
            **{name: row[name] for name in _SAME_NAME},
        )


_SAME_NAME = (
    *("id", "label", "track", "frame", "pts", "time_base", "score", "strength", "size", "native_px", "sharpness"),
    *("model", "model_sha256", "config_sha256"),
)


def _digests(frame: KeptFrame) -> tuple[str, str]:
    return content_hash(frame.before), content_hash(frame.after)


def _names(digest: str) -> sa.ColumnElement[bool]:
    return sa.or_(faces.c.before_sha256 == digest, faces.c.after_sha256 == digest)


def _is_used(connection: sa.Connection, digest: str) -> bool:
    return connection.scalar(sa.select(faces.c.id).where(_names(digest)).limit(1)) is not None


def _is_known(connection: sa.Connection, frame: KeptFrame) -> bool:
    before, after = _digests(frame)
    both = (faces.c.before_sha256 == before) & (faces.c.after_sha256 == after)
    return connection.scalar(sa.select(faces.c.id).where(both)) is not None


def _source_values(source: FaceSource) -> dict[str, Any]:
    return {"name": source.name, "bytes": source.bytes}


def _row(connection: sa.Connection, table: sa.Table, *, otherwise: dict[str, Any] | None = None, **key: Any) -> int:
    """The id of the row with these values, added with ``otherwise`` when there is none."""
    matches = sa.and_(*(table.c[name] == value for name, value in key.items()))
    found = connection.scalar(sa.select(table.c.id).where(matches))
    if found is None:
        found = connection.scalar(sa.insert(table).values(**key, **(otherwise or {})).returning(table.c.id))
    return int(found)


def _person_number(connection: sa.Connection, person: str) -> int:
    """The number of a person given by number or label.

    Raises:
        InputError: there is none.
    """
    wanted = person.strip()
    query = sa.select(people.c.id).where(
        people.c.id == int(wanted) if wanted.isdigit() and len(wanted) < 10 else people.c.label == wanted
    )
    found = connection.scalar(query)
    if found is None:
        raise InputError(f"there is no person '{wanted}' in the store; `revisage store list` shows who is")
    return int(found)


def _utc(moment: datetime) -> datetime:
    """In UTC; SQLite has no time zones, and what was written was UTC."""
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _packed(embedding: NDArray[np.float32] | None) -> bytes | None:
    return None if embedding is None else np.asarray(embedding, "<f4").tobytes()
