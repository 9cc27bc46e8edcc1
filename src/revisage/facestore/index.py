"""Where a store lies, and its index: tables in SQLite or PostgreSQL, one writer at a time, deletion that is one.

A store is a folder with a marker in it, pictures, and by default the index.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from revisage.core import ConfigError, InputError, MissingExtraError, OutputError, parse_json

__all__ = [
    "MARKER",
    "URL_VARIABLE",
    "Index",
    "Place",
    "check_place",
    "consents",
    "create_place",
    "faces",
    "find_place",
    "meta",
    "people",
    "sources",
]


MARKER = "store.json"
URL_VARIABLE = "REVISAGE_STORE_INDEX"
"""Environment variable with the address of a PostgreSQL database for the index. Not an option: options go into reports,
and an address may hold a password."""

_SQLITE = "index.sqlite"
_WHAT = "revisage face store"


@dataclass(frozen=True)
class Place:
    """A store's folder.

    Attributes:
        folder: it holds the marker, ``pictures/`` and, unless the index is elsewhere, ``index.sqlite``.
        id: of the store; the index has the same.
        url: SQLAlchemy URL of the index.
    """

    folder: Path
    id: str
    url: str

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "pictures"

    @property
    def sqlite(self) -> Path | None:
        """The index's file, when it is in the folder."""
        path = self.folder / _SQLITE
        return path if self.url == _sqlite_url(self.folder) else None


def find_place(folder: Path) -> Place:
    """The store in a folder.

    Raises:
        InputError: there is none, or its marker is damaged.
        ConfigError: its index is in a database whose address is not known.
        MissingExtraError: SQLAlchemy is not installed.
    """
    _refuse_address(folder)
    _need_sqlalchemy()
    if folder.is_file():
        raise InputError(f"{folder} is a file; a face store is a folder")
    marker = folder / MARKER
    try:
        values = parse_json(marker.read_text(encoding="utf-8"))
        identity, index = str(values["id"]), str(values["index"])
        right = values["what"] == _WHAT and values["version"] == 1
    except FileNotFoundError:
        raise InputError(f"{folder} is no face store; restore with --collect {folder} makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{marker} is damaged: {' '.join(str(error).split())}") from None
    if not right:
        raise InputError(f"{marker} is not of a face store that this version reads")
    return Place(folder, identity, _url(folder, index))


def check_place(folder: Path) -> None:
    """Refuse, before any work, a folder that cannot become or is no usable store.

    Raises:
        OutputError: it is a file, holds other things, or is read-only.
        UserError: as for :func:`find_place`.
    """
    _refuse_address(folder)
    _need_sqlalchemy()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a face store is a folder")
    if (folder / MARKER).exists():
        find_place(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} holds other files; name an empty or a new folder for the face store")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise OutputError(f"{folder}: the folder {existing} is read-only; name another for the face store")


def create_place(folder: Path) -> Place:
    """The store in a folder, made when there is none; nobody but this user may look into a new one.

    Raises:
        UserError: as for :func:`check_place`.
    """
    check_place(folder)
    marker = folder / MARKER
    if not marker.exists():
        index = "database" if os.environ.get(URL_VARIABLE) else "sqlite"
        values = {"what": _WHAT, "version": 1, "id": uuid.uuid4().hex, "index": index}
        partial = marker.with_name(f".{MARKER}.{values['id']}.part")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            partial.replace(marker)
        except OSError as error:
            raise OutputError(f"cannot write {marker}: {error.strerror or error}") from error
    return find_place(folder)


def _url(folder: Path, index: str) -> str:
    if index == "sqlite":
        return _sqlite_url(folder)
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise ConfigError(f"the index of {folder} is in a database: put its address into {URL_VARIABLE}")
    return url


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{(folder / _SQLITE).absolute()}"


def _refuse_address(folder: Path) -> None:
    if re.match(r"[A-Za-z][\w+]+:/", str(folder)):
        raise ConfigError(f"a face store is a folder; the address of a database for its index goes into {URL_VARIABLE}")


def _need_sqlalchemy() -> None:
    try:
        import sqlalchemy  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingExtraError("a face store", "store") from None


_BUSY_SECONDS = 60
"""How long a writer waits for another one of SQLite."""

_LOCK = 0x66616365
"""Any number that only this room takes."""

_metadata = sa.MetaData()


def _hash(name: str, **options: bool) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), nullable=False, **options)  # type: ignore[arg-type]


meta = sa.Table(
    "facestore_meta",
    _metadata,
    sa.Column("store", sa.String(32), primary_key=True),
)

# Without AUTOINCREMENT, SQLite would give the number of a forgotten person to the next one.
people = sa.Table(
    "facestore_people",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("label", sa.String(200), unique=True),
    sqlite_autoincrement=True,
)

sources = sa.Table(
    "facestore_sources",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _hash("sha256", unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

consents = sa.Table(
    "facestore_consents",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("stated_on", sa.Date, nullable=False),
)

faces = sa.Table(
    "facestore_faces",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person_id", sa.ForeignKey("facestore_people.id"), nullable=False, index=True),
    sa.Column("source_id", sa.ForeignKey("facestore_sources.id"), nullable=False, index=True),
    sa.Column("consent_id", sa.ForeignKey("facestore_consents.id"), nullable=False),
    sa.Column("track", sa.Integer, nullable=False),
    sa.Column("frame", sa.Integer, nullable=False),
    sa.Column("pts", sa.BigInteger, nullable=False),
    sa.Column("time_base", sa.String(40), nullable=False),
    sa.Column("box", sa.JSON, nullable=False),
    sa.Column("landmarks", sa.JSON, nullable=False),
    sa.Column("score", sa.Float(53), nullable=False),
    sa.Column("strength", sa.Float(53), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("native_px", sa.Float(53), nullable=False),
    sa.Column("sharpness", sa.Float(53), nullable=False),
    _hash("before_sha256", index=True),
    _hash("after_sha256"),
    sa.Column("model", sa.Text, nullable=False),
    _hash("model_sha256"),
    _hash("config_sha256"),
    sa.Column("embedding", sa.LargeBinary),
    sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("before_sha256", "after_sha256", name="facestore_faces_content"),
)


class Index:
    """A database with the tables of a store.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL.
        place: what errors name.

    Raises:
        ConfigError: the URL is of another kind.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """

    def __init__(self, url: str | sa.URL, place: Path) -> None:
        self._place = place
        self._engine = _engine(url)
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the index.

        Raises:
            OutputError: the database fails.
        """
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer interferes with, committed at the end, undone on an error.

        Raises:
            OutputError: the database fails.
        """
        writer = self._engine.execution_options(revisage_writes=True)
        with self._translated(), writer.begin() as connection:
            if not self._sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def create(self) -> None:
        """Make the tables where they are not there."""
        with self.writing() as connection:
            _metadata.create_all(connection)

    def drop(self) -> None:
        """Remove the tables with all that is in them."""
        with self.writing() as connection:
            _metadata.drop_all(connection)

    def compact(self) -> None:
        """Rewrite the database's files without what was deleted."""
        with self._translated():
            if self._sqlite:
                raw = self._engine.raw_connection()
                try:
                    raw.cursor().execute("VACUUM")
                finally:
                    raw.close()
                return
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in _metadata.sorted_tables:
                    connection.execute(sa.text(f"VACUUM FULL {table.name}"))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise OutputError(f"{self._place}: its index cannot be used: {reason}") from error


def _engine(url: str | sa.URL) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(f"{URL_VARIABLE}: the index may be in SQLite or PostgreSQL, not {parsed.drivername}")
        options = {"timeout": _BUSY_SECONDS} if parsed.get_backend_name() == "sqlite" else {}
        return sa.create_engine(parsed, connect_args=options)
    except (ArgumentError, NoSuchModuleError):
        raise ConfigError(f"{URL_VARIABLE} is no database address; expected postgresql://USER@HOST/NAME") from None
    except ImportError:
        raise MissingExtraError("an index in PostgreSQL", "postgres") from None


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says so
    cursor = connection.cursor()
    # What is deleted is overwritten, and no copies of rows are put into the system's folder for temporary files.
    for pragma in ("secure_delete = ON", "foreign_keys = ON", "temp_store = MEMORY", "journal_mode = DELETE"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("revisage_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
