"""Stores on both databases, and one live server for the tests that need one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_process import LiveService, live_postgres, live_service

from revisage.service.jobs.job_store import JobStore
from revisage.service.settings import ServiceSettings

Opened = Callable[..., JobStore]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with tempfile.TemporaryDirectory(prefix="revisage-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # its user must get through
        with live_postgres(Path(folder) / "server") as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Opened]:
    """Opens the one store of a test, once per call, on each kind of database."""
    url: str | None = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
        _empty(url)
    opened: list[JobStore] = []

    def open_one(**settings: object) -> JobStore:
        values = {"data_dir": tmp_path / "data", "database_url": url, **settings}
        opened.append(JobStore(ServiceSettings.model_validate(values), clock=clock))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def _empty(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, face_clip: Path) -> Iterator[LiveService]:
    """A server with a worker of each lane."""
    folder = face_clip.parent
    settings = {"MAX_UPLOAD_BYTES": "2000000", "MAX_SECONDS": "20", "MAX_FRAMES": "200", "MAX_PIXELS": "1000000"}
    with live_service(tmp_path_factory.mktemp("service"), "--allow-folder", str(folder), settings=settings) as running:
        yield running
