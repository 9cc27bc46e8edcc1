"""Who carries segment jobs out: this process, or several. The bytes are the same whoever does."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

from revisage.core import CancelToken, ProcessingError, RevisageError
from revisage.pipeline.restoration import Networks
from revisage.pipeline.segment_job import OnFrame, SegmentJob, SegmentResult, restore_segment

__all__ = ["JobNetworks", "ProcessRunner", "Runner", "SerialRunner", "plain_error"]

_POLL = 0.1
"""Seconds between looks at results, at the cancel token and at whether the workers live."""


class Runner(Protocol):
    """Carries jobs out, wherever that may be."""

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """Carry each job out, and yield its result when its files are complete, in any order.

        Jobs are taken as there is somebody to do them: a long film's plan is never copied as a whole. Whatever was
        started ends when the iterator is left, by whatever way.

        Args:
            jobs: plain data with locations; :func:`restore_segment` is what to do with one.
            cancel: looked at between frames.
            on_frame: told of each finished frame, in the caller's thread.

        Raises:
            RevisageError: a job failed, or who did it is gone.
            CancelledError: a stop was asked for.
        """
        ...


class JobNetworks:
    """The networks that a job asks for, kept from job to job for as long as they ask for the same."""

    def __init__(self) -> None:
        self._asked: tuple[dict[str, Any], str | None] | None = None
        self._networks: Networks | None = None

    def __call__(self, job: SegmentJob) -> Networks:
        """Networks for a job."""
        asked = job.config.about("networks"), job.calibration
        if self._networks is None or asked != self._asked:
            self._asked, self._networks = asked, Networks(job.config, job.calibration_crops)
        return self._networks


class SerialRunner:
    """One job after another, in this process.

    Args:
        networks: loaded for all jobs that will come; without, each job's own are loaded when it comes.
    """

    def __init__(self, networks: Networks | None = None) -> None:
        self._given = networks
        self._loaded = JobNetworks()

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """See :meth:`Runner.run`."""
        for job in jobs:
            cancel.check()
            yield restore_segment(job, self._given or self._loaded(job), cancel, on_frame)


class ProcessRunner:
    """Several jobs at once, in spawned processes of their own.

    Args:
        workers: number of processes. They live for one :meth:`run`.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """See :meth:`Runner.run`. At most two jobs for each worker are handed out ahead.

        Raises:
            ProcessingError: a worker failed or died.
            CancelledError: a stop was asked for.
        """
        pool = _Pool(self._workers)
        try:
            yield from pool.run(iter(jobs), cancel, on_frame)
        finally:
            pool.stop()


class _Pool:
    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks: Any = context.Queue()
        self._news: Any = context.Queue()
        threads = max(1, (os.cpu_count() or 1) // workers)
        self._processes = [
            context.Process(target=_work, args=(self._tasks, self._news, threads), daemon=True) for _ in range(workers)
        ]
        for process in self._processes:
            process.start()

    def run(self, jobs: Iterator[SegmentJob], cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        open_jobs = 0
        more = True
        while more or open_jobs:
            while more and open_jobs < 2 * len(self._processes):
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    open_jobs += 1
                    self._tasks.put(job)
            if open_jobs:
                result = self._next_result(cancel, on_frame)
                open_jobs -= 1
                yield result

    def _next_result(self, cancel: CancelToken, on_frame: OnFrame) -> SegmentResult:
        while True:
            cancel.check()
            try:
                kind, value = self._news.get(timeout=_POLL)
            except queue.Empty:
                self._check_alive()
                continue
            if kind == "frame":
                on_frame(value)
            elif kind == "failed":
                raise value
            else:
                return cast(SegmentResult, value)

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


def _work(tasks: Any, news: Any, threads: int) -> None:
    """The life of a worker process: one job after another until it is terminated."""
    # Ctrl-C reaches the whole process group; the parent decides and terminates.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    parent = multiprocessing.parent_process()
    loaded = JobNetworks()

    def tell(faces: int) -> None:
        # A parent that was terminated may be followed by another run, which writes the same segments.
        if parent is not None and not parent.is_alive():
            os._exit(1)
        news.put(("frame", faces))

    while parent is None or parent.is_alive():
        try:
            job = tasks.get(timeout=1)
        except queue.Empty:
            continue
        try:
            result = restore_segment(job, loaded(job), CancelToken(), tell)
            news.put(("done", result))
        except RevisageError as error:
            news.put(("failed", plain_error(error)))
        except BaseException:
            news.put(("failed", ProcessingError(f"a worker failed:\n{traceback.format_exc()}")))


def plain_error(error: RevisageError) -> RevisageError:
    """The same error as the nearest class that is made from a message alone, so that it can be pickled."""
    kind = next(kind for kind in type(error).__mro__ if "__init__" not in vars(kind))
    return cast(RevisageError, kind(str(error)))
