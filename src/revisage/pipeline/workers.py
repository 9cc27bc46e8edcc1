"""Run several segments at once, in processes of their own: the same bytes as one after another."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

from revisage.core import CancelToken, ProcessingError, RestoreConfig, RevisageError
from revisage.pipeline.encode import EncodeJob, run_job
from revisage.pipeline.networks import Networks
from revisage.pipeline.segment import SpanResult
from revisage.pipeline.stages import Crop

__all__ = ["run_in_processes"]

_POLL = 0.1
"""Seconds between looks at results, at the cancel token and at whether the workers live."""

OnFrame = Callable[[int], None]
"""Told the number of faces of each frame as it is finished."""


def run_in_processes(
    jobs: Iterator[EncodeJob],
    config: RestoreConfig,
    calibration: Crop | None,
    cancel: CancelToken,
    on_frame: OnFrame,
) -> Iterator[tuple[int, SpanResult]]:
    """Run jobs in ``config.workers`` spawned processes, yielding the number of each segment and its result
    as it is finished, in any order. ``calibration`` is what :class:`Networks` takes.

    At most two jobs for each worker are handed out ahead, so that a long film's plan is never copied as a whole. The
    workers are terminated when this iterator is left, whatever the reason.

    Raises:
        ProcessingError: a worker failed or died.
        CancelledError: a stop was asked for.
    """
    pool = _Pool(config, calibration)
    try:
        yield from pool.run(jobs, cancel, on_frame)
    finally:
        pool.stop()


class _Pool:
    def __init__(self, config: RestoreConfig, calibration: Crop | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks: Any = context.Queue()
        self._news: Any = context.Queue()
        threads = max(1, (os.cpu_count() or 1) // config.workers)
        self._processes = [
            context.Process(target=_work, args=(config, calibration, self._tasks, self._news, threads), daemon=True)
            for _ in range(config.workers)
        ]
        for process in self._processes:
            process.start()

    def run(
        self, jobs: Iterator[EncodeJob], cancel: CancelToken, on_frame: OnFrame
    ) -> Iterator[tuple[int, SpanResult]]:
        open_jobs: set[int] = set()
        more = True
        while more or open_jobs:
            while more and len(open_jobs) < 2 * len(self._processes):
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    open_jobs.add(job.span.segment.number)
                    self._tasks.put(job)
            if open_jobs:
                number, result = self._next_result(cancel, on_frame)
                open_jobs.remove(number)
                yield number, result

    def _next_result(self, cancel: CancelToken, on_frame: OnFrame) -> tuple[int, SpanResult]:
        while True:
            cancel.check()
            try:
                kind, *values = self._news.get(timeout=_POLL)
            except queue.Empty:
                self._check_alive()
                continue
            if kind == "frame":
                on_frame(values[0])
            elif kind == "failed":
                raise values[0]
            else:
                return values[0], values[1]

    def _check_alive(self) -> None:
        for process in self._processes:
            if process.exitcode is not None:
                raise ProcessingError(
                    f"a worker process ended with code {process.exitcode}; use fewer --workers if memory is short, "
                    "and call revisage.restore from under `if __name__ == '__main__':`"
                )

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(timeout=1)
        for channel in (self._tasks, self._news):
            channel.cancel_join_thread()
            channel.close()


def _work(config: RestoreConfig, calibration: Crop | None, tasks: Any, news: Any, threads: int) -> None:
    """The life of a worker process: one job after another until it is terminated."""
    # Ctrl-C reaches the whole process group; the parent decides and terminates.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    parent = multiprocessing.parent_process()
    networks = Networks(config, calibration)
    while parent is None or parent.is_alive():
        try:
            job = tasks.get(timeout=1)
        except queue.Empty:
            continue
        try:
            result = run_job(job, networks, CancelToken(), lambda faces: news.put(("frame", faces)))
            news.put(("done", job.span.segment.number, result))
        except RevisageError as error:
            news.put(("failed", _plain(error)))
        except BaseException:
            news.put(("failed", ProcessingError(f"a worker failed:\n{traceback.format_exc()}")))


def _plain(error: RevisageError) -> RevisageError:
    """The same error as the nearest class that is made from a message alone, so that it can be pickled."""
    kind = next(kind for kind in type(error).__mro__ if "__init__" not in vars(kind))
    return cast(RevisageError, kind(str(error)))
