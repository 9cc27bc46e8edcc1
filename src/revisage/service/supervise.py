"""Start worker processes, and see to it that there are enough of them."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from revisage.service.store import JobStore
from revisage.service.tables import workers
from revisage.service.values import Lane

__all__ = ["Supervisor", "ensure_workers", "start_worker"]

_LOG = logging.getLogger("revisage.service")
_WATCH = 1.0
_PATIENCE = 30.0
"""Seconds that workers get to stop at a frame and give their jobs back."""

IDLE_SECONDS = 900.0
"""Workers that nobody supervises end when they have had nothing to do for so long."""


def ensure_workers(store: JobStore, *, restore: int = 1, quick: int = 1) -> int:
    """Start worker processes on this machine until there are as many as asked for; returns the number started.

    They are detached: they outlive whoever started them, finish what is queued, and end after a quarter of an hour
    without work. Cheap enough to be called at every look at the page. A killed worker's job is taken up again by the
    next.
    """
    wanted: tuple[tuple[Lane, int], ...] = (("restore", restore), ("quick", quick))
    started = 0
    for lane, count in wanted:
        for worker_id in _missing(store, lane, count):
            process = start_worker(store, lane, worker_id=worker_id, idle_seconds=IDLE_SECONDS, detached=True)
            with store.database.write() as connection:
                mine = sa.and_(workers.c.id == worker_id, workers.c.pid == 0)
                connection.execute(workers.update().where(mine).values(pid=process.pid))
            started += 1
    return started


def _missing(store: JobStore, lane: Lane, count: int) -> list[str]:
    """Ids for the workers to start, noted in the store so that nobody else starts them too."""
    host, now = socket.gethostname(), store.clock()
    since = now - 3 * store.settings.lease_seconds
    with store.database.write() as connection:
        rows = connection.execute(sa.select(workers).where(workers.c.lane == lane, workers.c.host == host)).all()
        for row in rows:
            if row.seen < since or not _lives(row.pid):
                connection.execute(workers.delete().where(workers.c.id == row.id))
        alive = sum(row.seen >= since and _lives(row.pid) for row in rows)
        made = [secrets.token_hex(8) for _ in range(count - alive)]
        for worker_id in made:
            row_values = {"id": worker_id, "host": host, "pid": 0, "lane": lane, "started": now, "seen": now}
            connection.execute(workers.insert().values(**row_values))
    return made


def _lives(pid: int) -> bool:
    """Whether a process of this machine lives; 0 stands for one that is being started."""
    if pid == 0:
        return True
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return stat.read_text().rsplit(")", 1)[-1].split()[0] != "Z"  # a zombie waits for its parent only
    if Path("/proc/self/stat").exists():
        return False
    if os.name == "nt":
        return True  # there os.kill would end it; its silence will tell
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def start_worker(
    store: JobStore,
    lane: Lane,
    *,
    worker_id: str | None = None,
    idle_seconds: float | None = None,
    detached: bool = False,
    parent: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start one worker process on a store. Its settings travel in the environment: they may hold a password.

    Args:
        store: which jobs.
        lane: of the jobs it takes.
        worker_id: under which it is known; its own choice when None.
        idle_seconds: it ends when it had nothing to do for so long; None: never.
        parent: id of the process without which it ends.
        detached: it outlives this process, and writes its log to the data folder.
    """
    command = [sys.executable, "-m", "revisage.service.worker", "--lane", lane]
    if worker_id is not None:
        command += ["--id", worker_id]
    if idle_seconds is not None:
        command += ["--idle-exit", f"{idle_seconds:g}"]
    if parent is not None:
        command += ["--parent", str(parent)]
    environment = {**os.environ, **store.settings.environment()}
    if not detached:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    with (store.settings.data_dir / "workers.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


class Supervisor:
    """Keeps worker processes alive for a server: restarts those that die, and ends them all with it.

    The workers end by themselves, too, when the server has been killed.

    Args:
        store: which jobs.
        restore: number of workers for restorations; with any, there is one more for quick jobs.
    """

    def __init__(self, store: JobStore, restore: int) -> None:
        self._store = store
        slow: list[Lane] = ["restore"]
        quick: list[Lane] = ["quick"] if restore else []
        self._lanes = slow * restore + quick
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="revisage-supervisor", daemon=True)

    def start(self) -> None:
        """Start the workers and watch over them."""
        self._thread.start()

    def stop(self) -> None:
        """End the workers; each gives its job back."""
        self._over.set()
        self._thread.join()
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in self._processes.values():
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill()
            process.wait()

    def _watch(self) -> None:
        while self._lanes:
            for number, lane in enumerate(self._lanes):
                process = self._processes.get(number)
                if process is None or process.poll() is not None:
                    if process is not None:
                        _LOG.warning("a worker ended with code %s; starting another", process.returncode)
                    self._processes[number] = start_worker(self._store, lane, parent=os.getpid())
            if self._over.wait(_WATCH):
                return
