"""Long films of a batch: found by one worker, scanned and restored by all, put together here, several at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from revisage.cluster.crew import Done
from revisage.cluster.worker import FileTask, ScanTask, SegmentTask
from revisage.core import CancelToken, ProcessingError, ProgressCallback, RevisageError
from revisage.pipeline import (
    FileReport,
    Networks,
    OnFrame,
    Outcome,
    ScanJob,
    ScanPart,
    SegmentJob,
    SegmentResult,
    restore_file,
)

__all__ = ["Films"]

_POLL = 0.2
"""Seconds between looks at the cancel token."""

_AT_ONCE = 2_000_000
"""Frames of the films that are at work together, at most: the scans of all of them are held here."""

Needs = Callable[..., Mapping[str, Any]]


class _FilmRunner:
    """The :class:`revisage.pipeline.Runner` of one film: its jobs go where those of all films go."""

    def __init__(self, number: int, films: Films) -> None:
        self._number, self._films = number, films
        self.news: queue.Queue[Done | list[int]] = queue.Queue()

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """See :meth:`revisage.pipeline.Runner.run`."""
        needs = self._films.needs
        tasks = (SegmentTask(job, needs(job.calibration, job.config.model), self._number) for job in jobs)
        for value in self._values(tasks, cancel, on_frame):
            yield SegmentResult.of(value)

    def scan(self, jobs: Iterable[ScanJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[ScanPart]:
        """See :meth:`revisage.pipeline.PartRunner.scan`."""
        tasks = (ScanTask(job, self._films.needs(job.config.model), self._number) for job in jobs)
        for parts in self._values(tasks, cancel, on_frame):
            yield from parts

    def _values(
        self, tasks: Iterator[SegmentTask] | Iterator[ScanTask], cancel: CancelToken, on_frame: OnFrame
    ) -> Iterator[Any]:
        open_tasks = 0
        for task in tasks:
            while open_tasks >= self._films.ahead():
                yield self._next(cancel, on_frame)
                open_tasks -= 1
            self._films.tasks.put(task)
            open_tasks += 1
        for _ in range(open_tasks):
            yield self._next(cancel, on_frame)

    def _next(self, cancel: CancelToken, on_frame: OnFrame) -> Any:
        while True:
            cancel.check()
            if self._films.is_ended:
                raise ProcessingError("the batch ended before this film; run it again to go on")
            try:
                news = self.news.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(news, Done):
                if isinstance(news.value, RevisageError):
                    raise news.value
                return news.value
            for faces in news:
                on_frame(faces)


class Films:
    """The films that are being restored by all, each in a thread of its own that scans, plans and assembles.

    Args:
        needs: gives what a job needs besides its source.
        ahead: tells how many jobs of a film are handed out together.
        cancel: stops them all.
        progress: told of each frame, from several threads.
    """

    def __init__(
        self, needs: Needs, ahead: Callable[[], int], cancel: CancelToken, progress: ProgressCallback | None
    ) -> None:
        self.tasks: queue.Queue[SegmentTask | ScanTask] = queue.Queue()
        self.needs, self.ahead = needs, ahead
        self.is_ended = False
        self._cancel, self._progress = cancel, progress
        self._runners: dict[int, _FilmRunner] = {}
        self._threads: list[threading.Thread] = []
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._frames = 0
        self._room = threading.Condition()
        self._networks: Networks | None = None

    def begin(self, task: FileTask, frames: int) -> None:
        """Begin to restore a film of about so many frames."""
        number = len(self._runners)
        self._networks = self._networks or Networks(task.config)
        runner = self._runners[number] = _FilmRunner(number, self)
        thread = threading.Thread(
            target=self._restore, args=(task, frames, runner, self._networks), name=f"film-{number}"
        )
        self._threads.append(thread)
        thread.start()

    def _restore(self, task: FileTask, frames: int, runner: _FilmRunner, networks: Networks) -> None:
        started = time.monotonic()
        found: FileReport | RevisageError
        with self._a_place(frames):
            try:
                found = restore_file(
                    task.source,
                    task.target,
                    task.config,
                    networks,
                    progress=self._progress,
                    cancel=self._cancel,
                    runner=runner,
                )
            except RevisageError as error:
                found = error
            except Exception as error:
                found = ProcessingError(f"{task.source}: {type(error).__name__}: {' '.join(str(error).split())}")
        self._outcomes.put((task.source, found, time.monotonic() - started))

    @contextmanager
    def _a_place(self, frames: int) -> Iterator[None]:
        """Wait until there is room for a film of so many frames; a very long one goes alone."""
        with self._room:
            self._room.wait_for(lambda: not self._frames or self._frames + frames <= _AT_ONCE)
            self._frames += frames
        try:
            yield
        finally:
            with self._room:
                self._frames -= frames
                self._room.notify_all()

    def hear(self, film: int, news: Done | list[int]) -> None:
        """Pass on what came of a film's segment, or how many faces were restored in frames of it."""
        self._runners[film].news.put(news)

    @property
    def are_busy(self) -> bool:
        """Whether a film is not finished."""
        return any(thread.is_alive() for thread in self._threads) or not self.tasks.empty()

    def finished(self) -> Iterator[Outcome]:
        """The films that have come to their end since the last call."""
        while not self._outcomes.empty():
            yield self._outcomes.get()

    def end(self) -> None:
        """Leave what is not finished for the next run."""
        self.is_ended = True
        for thread in self._threads:
            thread.join()
