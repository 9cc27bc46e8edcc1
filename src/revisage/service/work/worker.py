"""Worker processes: what one does, and how others start them and see to it that there are enough.

    python -m revisage.service.work.worker --lane restore

Settings come from the environment (see ServiceSettings). SIGTERM and SIGINT end a worker after the frame at work: its
job goes back into the queue with all segments that are finished. It may be killed at any time: another worker takes
the job up at its last segment when the lease has run out.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from revisage.core import CancelledError, RevisageError
from revisage.service.jobs import (
    JobStore,
    Kind,
    Lane,
    Lease,
    Leases,
    error_code,
    public_error,
)
from revisage.service.settings import ServiceSettings, limit_process, set_up_log
from revisage.service.work.analysis import analyze, drop_photos
from revisage.service.work.inspection import look, preview, scan, verify
from revisage.service.work.restoration import restore
from revisage.service.work.task import Heart, InterruptedWorkError, JobToken, Loaded, Meter, Outcome, Task, out_of_time
from revisage.service.work.work_copy import work_kept_in_store

__all__ = ["Supervisor", "Worker", "carry_out", "main", "run_worker"]

_LOG = logging.getLogger("revisage.service")
_POLL = {"restore": 0.3, "quick": 0.1}
_SWEEP_SECONDS = 60.0
_TROUBLE_SECONDS = 2.0
"""Between two looks for what may be deleted; and after an error of the store, before the next try."""


_WORK: dict[Kind, Callable[[Task], Outcome]] = {
    "restore": restore,
    "analyze": analyze,
    "image": restore,
    "look": look,
    "scan": scan,
    "preview": preview,
    "verify": verify,
}


_KEEPS_WORK: frozenset[Kind] = frozenset(("restore", "analyze", "scan"))
"""What may take so long that a worker of another machine should not begin it anew."""


def carry_out(task: Task) -> Outcome:
    """Do the work of a job.

    Raises:
        RevisageError: it cannot be done, or was stopped.
    """
    task.open()
    with work_kept_in_store(task.work, task.stored_work if task.job.kind in _KEEPS_WORK else None):
        outcome = _WORK[task.job.kind](task)
    task.store.folder.keep(task.job.id, outcome.files)
    return outcome


class Worker:
    """Takes jobs until ``ending`` is set.

    Args:
        store: the jobs.
        lane: of the jobs to take.
        parent: it ends when the process of this id is no longer its parent; None: never.
    """

    def __init__(self, store: JobStore, lane: Lane, *, parent: int | None = None) -> None:
        self.ending = threading.Event()
        self._store, self._lane = store, lane
        self._leases = Leases(store, lane)
        self._parent = parent
        self._loaded = Loaded()
        self._warm = lane != "quick" or not store.settings.preload
        self._said = self._swept = -1e9

    def run(self) -> None:
        """Work until told to end."""
        if self._parent is not None:
            threading.Thread(target=self._watch_parent, name="revisage-parent", daemon=True).start()
        while not self.ending.is_set():
            try:
                self._keep_house()
                lease = self._leases.take()
                if lease is not None:
                    self._leases.announce(lease.job.id)
                    self._work(lease)
                    self._said = -1e9
                    continue
                self._warm_up()
            except sa.exc.SQLAlchemyError as error:
                _LOG.warning("the job store does not answer (%s)", type(error).__name__)
                self.ending.wait(_TROUBLE_SECONDS)
            self.ending.wait(_POLL[self._lane])
        self._leases.leave()

    def _warm_up(self) -> None:
        if not self._warm:
            self._warm = True
            try:
                self._loaded.warm_up()
            except RevisageError as error:
                _LOG.warning("the default networks cannot be loaded (%s)", error_code(error))

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._said > self._store.settings.lease_seconds / 3:
            self._leases.announce()
            self._said = now
        if now - self._swept > _SWEEP_SECONDS:
            self._swept = now
            self._store.sweep()

    def _work(self, lease: Lease) -> None:
        job, settings = lease.job, self._store.settings
        token, meter = JobToken(), Meter(job.kind)
        limit = settings.max_job_seconds if self._lane == "restore" else settings.max_quick_seconds
        task = Task(self._store, lease, token, meter, self._loaded)
        _LOG.info("job %s: %s, attempt %d", job.id, job.kind, lease.attempt)
        began = time.monotonic()
        try:
            with Heart(self._leases, lease, token, meter, ending=self.ending, limit=limit, settings=settings):
                outcome = carry_out(task)
        except BaseException as error:
            if not isinstance(error, Exception):
                self.ending.set()
            self._ended(lease, token, error, limit, task)
            return
        self._publish(lease, outcome, task)
        _LOG.info("job %s: done in %.1f s", job.id, time.monotonic() - began)

    def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            if self.ending.wait(1.0):
                return
        self.ending.set()

    def _publish(self, lease: Lease, outcome: Outcome, task: Task) -> None:
        if self._leases.done(lease, outcome.result, outcome.size):
            drop_photos(task)
            task.tidy()
        else:
            _LOG.warning("job %s: its lease was lost; its result is thrown away", lease.job.id)
            self._store.folder.discard(lease.job.id, outcome.files)

    def _ended(self, lease: Lease, token: JobToken, error: BaseException, limit: float, task: Task) -> None:
        job = lease.job
        if token.reason == "lost":
            _LOG.warning("job %s: its lease was lost", job.id)
        elif token.reason == "ending" or not isinstance(error, Exception):
            self._leases.give_back(lease)
            _LOG.info("job %s: given back", job.id)
        elif token.reason == "time" and isinstance(error, InterruptedWorkError):
            self._leases.failed(lease, *out_of_time(limit))
        elif isinstance(error, CancelledError):
            self._leases.cancelled(lease)
            _LOG.info("job %s: cancelled", job.id)
        else:
            code = error_code(error)
            self._leases.failed(lease, public_error(error, task.names), code)
            _LOG.warning("job %s: failed (%s%s)", job.id, code, _place(error))


def _place(error: BaseException) -> str:
    """Where an unexpected error came from: its type and our own lines, without its message or any path."""
    if isinstance(error, RevisageError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).stem}:{f.lineno}" for f in frames if "revisage" in f.filename]
    return f", {type(error).__name__} at {' > '.join(ours[-4:])}"


_WATCH = 1.0
_PATIENCE = 30.0
"""Seconds that workers get to stop at a frame and give their jobs back."""


def _start_worker(store: JobStore, lane: Lane) -> subprocess.Popen[bytes]:
    """Start a worker process that ends with this one. Its settings travel in the environment: they may hold a
    password, and a command line could be read by everybody."""
    command = [sys.executable, "-m", "revisage.service.work.worker", "--lane", lane, "--parent", str(os.getpid())]
    environment = {**os.environ, **store.settings.environment()}
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


class Supervisor:
    """Keeps worker processes alive for a server or a page: restarts those that die, and ends them all with it.

    The workers end by themselves, too, when the server has been killed. A job at work is given back, and goes on
    where it stopped when there are workers again.

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
                    self._processes[number] = _start_worker(self._store, lane)
            if self._over.wait(_WATCH):
                return


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="revisage worker", description="Work on the jobs of a store.")
    parser.add_argument("--lane", choices=("restore", "quick"), default="restore")
    parser.add_argument("--parent", type=int, default=None)
    given = parser.parse_args(arguments)
    set_up_log()
    try:
        run_worker(ServiceSettings.load(), given.lane, parent=given.parent)
    except RevisageError as error:
        _LOG.error("the worker cannot start: %s", public_error(error, {}))
        return error.exit_code
    return 0


def run_worker(settings: ServiceSettings, lane: str, *, parent: int | None = None) -> None:
    """Work in this process until SIGTERM or SIGINT.

    Raises:
        RevisageError: the store cannot be opened.
    """
    os.umask(0o077)
    limit_process(settings, settings.niceness if lane == "restore" else settings.niceness // 2)
    store = JobStore(settings)
    worker = Worker(store, cast(Lane, lane), parent=parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.ending.set())
    try:
        worker.run()
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
