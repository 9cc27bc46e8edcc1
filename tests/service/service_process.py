"""A live service for tests: a real server process on a free port of this machine, and a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

_START_SECONDS = 90


@dataclass
class LiveService:
    """A running server."""

    address: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.address + path, timeout=60, **options)  # type: ignore[arg-type]


@contextmanager
def live_service(data_dir: Path, *arguments: str, settings: dict[str, str] | None = None) -> Iterator[LiveService]:
    """Run `revisage serve` until the block ends."""
    values = {"PRELOAD": "false", "NICENESS": "0", "LEASE_SECONDS": "4", **(settings or {})}
    environment = {**os.environ, **{f"REVISAGE_SERVICE_{name}": value for name, value in values.items()}}
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "server.log"
    command = [sys.executable, "-m", "revisage", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments]
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stream, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("revisage serves at "), log.read_text()
        service = LiveService(line.split()[-1], data_dir, process, log)
        wait_until(lambda: _answers(service), "the server does not answer")
        yield service
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def _answers(service: LiveService) -> bool:
    try:
        return service.get("/healthz").is_success
    except httpx.TransportError:
        return False


def wait_until(is_so: object, problem: str, seconds: float = _START_SECONDS) -> None:
    """Wait for something that will be so, with a generous end."""
    deadline = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)


@contextmanager
def live_postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of the distribution's packages with data in ``folder``; gives its URL.

    Listens at a socket in the folder only. PostgreSQL refuses to run as root: then the user `postgres` runs it.
    """
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("needs PostgreSQL's initdb and postgres: install the package postgresql")
    user = _unprivileged()
    data, socket = folder / "data", folder / "socket"
    for place in (folder, socket):
        place.mkdir(exist_ok=True)
        if user is not None:
            os.chown(place, user.pw_uid, user.pw_gid)
    base = {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []} if user else {}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    make = [initdb, "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"]
    subprocess.run(make, check=True, cwd="/", **base, **quiet)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={socket}"]
    process = subprocess.Popen([server, "-D", str(data), *options], cwd="/", **base, **quiet)  # type: ignore[call-overload]
    try:
        wait_until(lambda: (socket / ".s.PGSQL.5432").exists(), "PostgreSQL does not start")
        url = f"postgresql://tester@/postgres?host={socket}"
        wait_until(lambda: _connects(url), "PostgreSQL does not answer")
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # "fast": without waiting for clients
        process.wait(60)


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _unprivileged() -> pwd.struct_passwd | None:
    """The user to run a database as; None: this one."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")


def _connects(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
