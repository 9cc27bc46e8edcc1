"""A worker process: takes jobs of one lane, one after another, until it is told to end.

    python -m revisage.service.worker --lane restore

Settings come from the environment (see ServiceSettings). SIGTERM and SIGINT end it after the frame at work: its job
goes back into the queue with all segments that are finished. It may be killed at any time: another worker takes the
job up at its last segment when the lease has run out.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from revisage.core import CancelledError, RevisageError
from revisage.service.leases import Leases
from revisage.service.limits import limit_process
from revisage.service.log import set_up_log
from revisage.service.public import error_code, public_error
from revisage.service.running import Heart, InterruptedWorkError, JobToken, Meter, out_of_time
from revisage.service.settings import ServiceSettings
from revisage.service.store import JobStore
from revisage.service.tasks import Loaded, Outcome, Task, carry_out
from revisage.service.values import Lane, Lease

__all__ = ["Worker", "main"]

_LOG = logging.getLogger("revisage.service")
_POLL = {"restore": 0.3, "quick": 0.1}
_SWEEP_SECONDS = 60.0
_TROUBLE_SECONDS = 2.0


class Worker:
    """Takes jobs until ``ending`` is set.

    Args:
        store: the jobs.
        lane: of the jobs to take.
        worker_id: under which it is known.
        idle_seconds: it ends when it had nothing to do for so long; None: never.
        parent: it ends when the process of this id is no longer its parent; None: never.
    """

    def __init__(
        self,
        store: JobStore,
        lane: Lane,
        *,
        worker_id: str | None = None,
        idle_seconds: float | None = None,
        parent: int | None = None,
    ) -> None:
        self.ending = threading.Event()
        self._store, self._lane = store, lane
        self._leases = Leases(store, lane, worker_id)
        self._idle_seconds, self._parent = idle_seconds, parent
        self._loaded = Loaded()
        self._warm = lane != "quick" or not store.settings.preload
        self._said = self._swept = -1e9

    def run(self) -> None:
        """Work until told to end."""
        if self._parent is not None:
            threading.Thread(target=self._watch_parent, name="revisage-parent", daemon=True).start()
        idle_since = time.monotonic()
        while not self._is_over(idle_since):
            try:
                self._keep_house()
                lease = self._leases.take()
                if lease is not None:
                    self._leases.announce(lease.job.id)
                    self._work(lease)
                    self._said, idle_since = -1e9, time.monotonic()
                    continue
                self._warm_up()
            except sa.exc.SQLAlchemyError as error:
                _LOG.warning("the job store does not answer (%s)", type(error).__name__)
                self.ending.wait(_TROUBLE_SECONDS)
            self.ending.wait(_POLL[self._lane])
        self._leases.leave()

    def _is_over(self, idle_since: float) -> bool:
        idle = time.monotonic() - idle_since
        return self.ending.is_set() or (self._idle_seconds is not None and idle > self._idle_seconds)

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
        token, meter = JobToken(), Meter()
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
            task.tidy()
        else:
            _LOG.warning("job %s: its lease was lost; its result is thrown away", lease.job.id)
            outcome.discard()

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


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="revisage worker", description="Work on the jobs of a store.")
    parser.add_argument("--lane", choices=("restore", "quick"), default="restore")
    parser.add_argument("--id", default=None)
    parser.add_argument("--idle-exit", type=float, default=None)
    parser.add_argument("--parent", type=int, default=None)
    given = parser.parse_args(arguments)
    set_up_log()
    try:
        run_worker(ServiceSettings.load(), given.lane, given.id, given.idle_exit, given.parent)
    except RevisageError as error:
        _LOG.error("the worker cannot start: %s", public_error(error, {}))
        return error.exit_code
    return 0


def run_worker(
    settings: ServiceSettings,
    lane: str,
    worker_id: str | None = None,
    idle_seconds: float | None = None,
    parent: int | None = None,
) -> None:
    """Work in this process until SIGTERM or SIGINT.

    Raises:
        RevisageError: the store cannot be opened.
    """
    os.umask(0o077)
    limit_process(settings, settings.niceness if lane == "restore" else settings.niceness // 2)
    store = JobStore(settings)
    worker = Worker(store, cast(Lane, lane), worker_id=worker_id, idle_seconds=idle_seconds, parent=parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.ending.set())
    try:
        worker.run()
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
