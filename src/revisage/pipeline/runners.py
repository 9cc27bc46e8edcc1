"""Who carries jobs out, segments to restore and parts to scan: this process, or several. The bytes are the same whoever
does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from revisage.core import (
    CancelToken,
    ProcessingError,
    Progress,
    ProgressCallback,
    RestoreConfig,
    RevisageError,
    give_back_freed_memory,
)
from revisage.engines import cpu_info, cuda_devices
from revisage.pipeline.restoration import Networks
from revisage.pipeline.scan_job import ScanJob, ScanPart, scan_parts
from revisage.pipeline.segment_job import OnFrame, SegmentJob, SegmentResult, as_found, restore_segment

__all__ = [
    "FrameCounter",
    "JobNetworks",
    "PartRunner",
    "ProcessRunner",
    "Runner",
    "SerialRunner",
    "plain_error",
    "worker_devices",
]

_POLL = 0.1
"""Seconds between looks at the cancel token while nobody tells anything."""

_TRIES = 3
"""How often a segment is begun whose worker dies or fails, before it is left as it was found."""

_CORES_EACH = 4
"""Cores for a worker of its own where their number is found out."""


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


@runtime_checkable
class PartRunner(Runner, Protocol):
    """A runner that looks at parts of a source too. One that does not leaves the scan to the process that asks it."""

    def scan(self, jobs: Iterable[ScanJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[ScanPart]:
        """Carry each job out, and yield its parts, in any order; otherwise as :meth:`Runner.run`.

        Args:
            jobs: plain data with locations; :func:`scan_parts` is what to do with one.
            cancel: looked at between frames.
            on_frame: told of each frame that was looked at, in the caller's thread.

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

    def __call__(self, job: SegmentJob | ScanJob) -> Networks:
        """Networks for a job."""
        calibration = job.calibration if isinstance(job, SegmentJob) else None
        asked = job.config.about("networks"), calibration
        if self._networks is None or asked != self._asked:
            crops = job.calibration_crops if isinstance(job, SegmentJob) else None
            self._asked, self._networks = asked, Networks(job.config, crops)
        return self._networks


class FrameCounter:
    """Tells the progress how many frames and faces are done; what a runner calls for each frame.

    Args:
        progress: told of it.
        total: frames in all.
        file: name of the file at work.
    """

    def __init__(self, progress: ProgressCallback, total: int, file: str) -> None:
        self._progress, self._total, self._file = progress, total, file
        self._frames = self._faces = 0

    def __call__(self, faces: int, frames: int = 1) -> None:
        self._frames += frames
        self._faces += faces
        self._progress(Progress("restore", self._frames, self._total, self._faces, self._file))


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


def worker_devices(config: RestoreConfig, segments: int) -> list[str]:
    """Where each worker of a run computes; one entry, where the work is for one.

    Several GPUs have a worker each, more of them in turn where more are asked for. On a CPU ``auto`` is one for four
    cores: a restoration by itself keeps about so many busy.

    Args:
        config: of the run; ``workers`` and ``device`` are looked at.
        segments: pieces of work there are; nobody begins for none.
    """
    named = config.device.startswith("cuda:")
    if config.workers == 1 and not named:
        return [config.device]
    gpus = cuda_devices(config.device, config.engine, config.precision)
    if config.workers == "auto":
        count = len(gpus) or cpu_info().cores // _CORES_EACH
    else:
        count = max(config.workers, len(gpus)) if named else config.workers
    devices = gpus or [config.device]
    return [devices[number % len(devices)] for number in range(max(1, min(count, segments)))]


class ProcessRunner:
    """Several jobs at once, in spawned processes of their own.

    A process that dies is replaced. The segment that it was at, and one that fails by no fault of the user's, is begun
    again, twice; then it is left as it was found, which its result says.

    Args:
        workers: number of processes, or where each of them computes. They live for one :meth:`run`.
    """

    def __init__(self, workers: int | Sequence[str]) -> None:
        self._devices = [None] * workers if isinstance(workers, int) else list(workers)

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """See :meth:`Runner.run`. A job is handed out when there is a worker for it.

        Raises:
            ProcessingError: workers cannot be started, or a segment could not even be copied as it is.
            CancelledError: a stop was asked for.
        """
        yield from self._work(map(_Task, jobs), cancel, on_frame)

    def scan(self, jobs: Iterable[ScanJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[ScanPart]:
        """See :meth:`PartRunner.scan`.

        Raises:
            ProcessingError: workers cannot be started, or a part failed three times.
            CancelledError: a stop was asked for.
        """
        for parts in self._work(map(_ScanTask, jobs), cancel, on_frame):
            yield from parts

    def _work(
        self, tasks: Iterator[_Task] | Iterator[_ScanTask], cancel: CancelToken, on_frame: OnFrame
    ) -> Iterator[Any]:
        crew = _Crew(self._devices)
        try:
            yield from crew.run(tasks, cancel, on_frame)
        finally:
            crew.stop()


@dataclass
class _Tries:
    """What came of the tries at a job so far.

    Attributes:
        failures: why each try failed.
        told: frames that the caller knows to be finished.
        at: frames that the present try has finished.
    """

    job: SegmentJob | ScanJob
    failures: list[str] = field(default_factory=list)
    told: int = 0
    at: int = 0

    @property
    def given_up(self) -> bool:
        return len(self.failures) >= _TRIES


@dataclass
class _ScanTask(_Tries):
    """Parts to look at."""

    job: ScanJob

    def failed(self, reason: str) -> None:
        """Note a try that failed.

        Raises:
            ProcessingError: it was the last one.
        """
        self.failures.append(reason)
        self.at = 0
        if self.given_up:
            raise ProcessingError(f"{self.job.source} could not be looked at from part {self.job.first} on: {reason}")

    @property
    def doable(self) -> ScanJob:
        """What is to be done now."""
        return self.job

    def result(self, parts: list[ScanPart]) -> list[ScanPart]:
        """What came of the job."""
        return parts


@dataclass
class _Task(_Tries):
    """A segment to restore."""

    job: SegmentJob

    def failed(self, reason: str) -> None:
        """Note a try that failed.

        Raises:
            ProcessingError: the segment was only to be copied, and not even that can be done.
        """
        number = self.job.segment.number
        if self.given_up:
            raise ProcessingError(f"segment {number} of {self.job.source} could not even be copied: {reason}")
        self.failures.append(reason)
        self.at = 0

    @property
    def doable(self) -> SegmentJob:
        """What is to be done now: in the end no more than to copy the segment."""
        return as_found(self.job) if self.given_up else self.job

    def result(self, result: SegmentResult) -> SegmentResult:
        """What came of the job, which says so where the segment was left as it was found."""
        return result.left(self.job, self.failures[-1]) if self.given_up else result


class _Worker:
    """A process that does one job at a time, and this end of the line to it.

    A line for each: a process that is killed while it tells something must not hold a queue of all.
    """

    def __init__(self, device: str | None, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, other_end = context.Pipe()
        self.process = context.Process(target=_work, args=(other_end, threads), daemon=True)
        self.process.start()
        other_end.close()
        self.device = device
        self.task: _Task | _ScanTask | None = None
        self.was_ready = False

    def begin(self, task: _Task | _ScanTask) -> None:
        """Hand a task out; a worker that is gone shows when it is asked for news."""
        self.task = task
        job = task.doable
        if self.device is not None and self.device != job.config.device:
            job = replace(job, config=job.config.model_copy(update={"device": self.device}))
        try:
            self.line.send(job)
        except OSError:
            return

    def news(self) -> tuple[str, Any]:
        """The next thing that it tells: a kind, and what there is to it."""
        try:
            return cast("tuple[str, Any]", self.line.recv())
        except (EOFError, OSError):
            self.process.join()
            return "lost", f"its worker ended with code {self.process.exitcode}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(timeout=1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.line.close()


class _Crew:
    def __init__(self, devices: Sequence[str | None]) -> None:
        self._threads = max(1, cpu_info().cores // len(devices))
        self._workers = [_Worker(device, self._threads) for device in devices]

    def run(
        self, tasks: Iterator[_Task] | Iterator[_ScanTask], cancel: CancelToken, on_frame: OnFrame
    ) -> Iterator[Any]:
        again: deque[_Task | _ScanTask] = deque()
        while True:
            for worker in self._workers:
                if worker.task is None:
                    task = again.popleft() if again else next(tasks, None)
                    if task is not None:
                        worker.begin(task)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                return
            for worker in self._heard(busy, cancel):
                result = self._listen(worker, again, on_frame)
                if result is not None:
                    yield result

    def _heard(self, busy: list[_Worker], cancel: CancelToken) -> list[_Worker]:
        """Those who have something to tell."""
        while True:
            cancel.check()
            ready = wait([worker.line for worker in busy], timeout=_POLL)
            if ready:
                return [worker for worker in busy if worker.line in ready]

    def _listen(self, worker: _Worker, again: deque[_Task | _ScanTask], on_frame: OnFrame) -> Any | None:
        """Hear one thing from a worker; gives the result if it was one."""
        task = worker.task
        assert task is not None
        kind, value = worker.news()
        if kind == "ready":
            worker.was_ready = True
        elif kind == "frame":
            task.at += 1
            if task.at > task.told:
                task.told = task.at
                on_frame(value)
        elif kind == "refused":
            raise value
        elif kind == "done":
            worker.task = None
            return task.result(value)
        else:
            task.failed(value)
            again.append(task)
            worker.task = None
            if kind == "lost":
                self._replace(worker)
        return None

    def _replace(self, worker: _Worker) -> None:
        """Start a worker in the place of one that died.

        Raises:
            ProcessingError: it had never got to work; another would fare no better.
        """
        if not worker.was_ready:
            raise ProcessingError(
                f"a worker process ended with code {worker.process.exitcode} before it began; use fewer --workers if "
                "memory is short, and call revisage.restore from under `if __name__ == '__main__':`"
            )
        worker.stop()
        self._workers[self._workers.index(worker)] = _Worker(worker.device, self._threads)

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.stop()


def _work(line: Connection, threads: int) -> None:
    """The life of a worker process: one job after another until it is terminated, or nobody listens any more."""
    # Ctrl-C reaches the whole process group; the parent decides and terminates.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    give_back_freed_memory()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    loaded = JobNetworks()

    def tell(kind: str, value: Any = None) -> None:
        try:
            line.send((kind, value))
        except OSError:  # the parent is gone, and may be followed by another run, which writes the same segments
            os._exit(1)

    tell("ready")
    while True:
        tell(*_tried(line, loaded, lambda faces: tell("frame", faces)))


def _tried(line: Connection, loaded: JobNetworks, on_frame: OnFrame) -> tuple[str, Any]:
    """Take the next job up; gives what there is to tell of it."""
    try:
        job = line.recv()
        carry_out = _scanned if isinstance(job, ScanJob) else restore_segment
        return "done", carry_out(job, loaded(job), CancelToken(), on_frame)
    except EOFError:
        os._exit(0)
    except RevisageError as error:
        return "refused", plain_error(error)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return "failed", f"{reason} (in {Path(place.filename).name}, line {place.lineno})"


def _scanned(job: ScanJob, networks: Networks, cancel: CancelToken, on_frame: OnFrame) -> list[ScanPart]:
    return list(scan_parts(job, networks, cancel, on_frame))


def plain_error(error: RevisageError) -> RevisageError:
    """The same error as the nearest class that is made from a message alone, so that it can be pickled."""
    kind = next(kind for kind in type(error).__mro__ if "__init__" not in vars(kind))
    return cast(RevisageError, kind(str(error)))
