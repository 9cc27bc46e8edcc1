"""Start worker processes, and see to it that there are enough of them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from revisage.service.store import JobStore
from revisage.service.tables import workers
from revisage.service.values import Lane

__all__ = ["ensure_workers", "start_worker"]

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
) -> subprocess.Popen[bytes]:
    """Start one worker process on a store. Its settings travel in the environment: they may hold a password.

    Args:
        store: which jobs.
        lane: of the jobs it takes.
        worker_id: under which it is known; its own choice when None.
        idle_seconds: it ends when it had nothing to do for so long; None: never.
        detached: it outlives this process, and writes its log to the data folder.
    """
    command = [sys.executable, "-m", "revisage.service.worker", "--lane", lane]
    if worker_id is not None:
        command += ["--id", worker_id]
    if idle_seconds is not None:
        command += ["--idle-exit", f"{idle_seconds:g}"]
    environment = {**os.environ, **store.settings.environment()}
    if not detached:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    with (store.settings.data_dir / "workers.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
