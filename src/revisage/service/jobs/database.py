"""The tables of the job store, and connections to SQLite or PostgreSQL that behave the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from revisage.core import ConfigError, MissingExtraError
from revisage.service.settings import ServiceSettings

__all__ = ["SCHEMA_VERSION", "Database", "inputs", "jobs", "meta", "tokens", "workers"]

try:
    import sqlalchemy as sa
except ModuleNotFoundError:
    raise MissingExtraError("The service", "service") from None


SCHEMA_VERSION = 1

_BUSY_SECONDS = 30
"""How long a writer waits for another one of SQLite."""

_metadata = sa.MetaData()

meta = sa.Table(
    "revisage_meta",
    _metadata,
    sa.Column("key", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)

inputs = sa.Table(
    "revisage_inputs",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("created", sa.Float(53), nullable=False),
)

jobs = sa.Table(
    "revisage_jobs",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("lane", sa.String(16), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("input_id", sa.String(32), sa.ForeignKey("revisage_inputs.id"), nullable=False, index=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("error_code", sa.String(40)),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("lease", sa.String(32)),
    sa.Column("lease_until", sa.Float(53)),
    sa.Column("owner", sa.String(100)),
    sa.Column("idempotency_key", sa.String(300), unique=True),
    sa.Column("request_digest", sa.String(64)),
    sa.Column("keep_seconds", sa.Float(53)),
    sa.Column("created", sa.Float(53), nullable=False),
    sa.Column("started", sa.Float(53)),
    sa.Column("finished", sa.Float(53)),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    sa.Index("revisage_jobs_queue", "lane", "status", "created"),
    sa.Index("revisage_jobs_list", "kind", "created", "id"),
)

workers = sa.Table(
    "revisage_workers",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("lane", sa.String(16), nullable=False),
    sa.Column("job", sa.String(32)),
    sa.Column("started", sa.Float(53), nullable=False),
    sa.Column("seen", sa.Float(53), nullable=False),
)

tokens = sa.Table(
    "revisage_tokens",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created", sa.Float(53), nullable=False),
    sa.Column("revoked", sa.Float(53)),
)


class Database:
    """Short transactions on the store's tables.

    Args:
        settings: name the database; its tables are created when they are not there.

    Raises:
        ConfigError: it cannot be reached, is of another kind, or its tables are of a later version.
        MissingExtraError: the driver is not installed.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._engine = _make_engine(settings)
        self._writing = self._engine.execution_options(revisage_writes=True)
        try:
            _prepare(self._writing)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to look with."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its start (SQLite), committed at the end of the block."""
        with self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


def _make_engine(settings: ServiceSettings) -> sa.Engine:
    if settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        url = sa.URL.create("sqlite", database=str(settings.data_dir / "jobs.db"))
    else:
        url = _given_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, pool_size=8, max_overflow=40)
        _prepare_sqlite(engine)
        return engine
    try:
        return sa.create_engine(url, pool_size=8, max_overflow=40, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise MissingExtraError("A job store in PostgreSQL", "postgres") from None


def _given_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError(
            "the database URL cannot be read; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"the job store cannot live in {backend}; choose sqlite or postgresql")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Write-ahead logging, and transactions that begin when they are told to."""

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late to hold the lock
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS}000")
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("revisage_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare(engine: sa.Engine) -> None:
    """Create the tables, or check that those that are there are of this version."""
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":  # two that start at once must not both create
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7293561)"))
            _metadata.create_all(connection)
            found = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "schema_version"))
            if found is None:
                connection.execute(meta.insert().values(key="schema_version", value=str(SCHEMA_VERSION)))
    except sa.exc.OperationalError:
        raise ConfigError("the database of the job store cannot be reached or written; check its URL") from None
    if found is not None and int(found) != SCHEMA_VERSION:
        raise ConfigError(
            f"the job store has schema {found}, this revisage reads {SCHEMA_VERSION}; use another data folder "
            "or the revisage that made it"
        )
