"""The index of a store: a connection to SQLite or PostgreSQL, one writer at a time, and deletion that is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from revisage.core import ConfigError, MissingExtraError, OutputError
from revisage.facestore.place import URL_VARIABLE
from revisage.facestore.tables import metadata

__all__ = ["Index"]

_BUSY_SECONDS = 60
_LOCK = 0x66616365  # any number that only this room takes


class Index:
    """A database with the tables of :mod:`revisage.facestore.tables`.

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
        """A connection that sees one state of the index. Raises OutputError when the database fails."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer interferes with, committed at the end, undone on an error.

        Raises OutputError when the database fails.
        """
        writer = self._engine.execution_options(revisage_writes=True)
        with self._translated(), writer.begin() as connection:
            if not self._sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def create(self) -> None:
        """Make the tables where they are not there."""
        with self.writing() as connection:
            metadata.create_all(connection)

    def drop(self) -> None:
        """Remove the tables with all that is in them."""
        with self.writing() as connection:
            metadata.drop_all(connection)

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
                for table in metadata.sorted_tables:
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
