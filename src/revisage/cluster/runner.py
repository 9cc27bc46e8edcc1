"""Restoring on a cluster: the segments of one file, or the files of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from revisage.cluster.crew import Crew, Done, Task
from revisage.cluster.films import Films
from revisage.cluster.worker import LONG_FILM, FileTask, LongFilm, ScanTask, SegmentTask
from revisage.core import CancelToken, ConfigError, ProgressCallback, RestoreConfig, RevisageError
from revisage.pipeline import FileReport, OnFrame, Outcome, ScanJob, ScanPart, SegmentJob, SegmentResult, told_where

__all__ = ["RayRunner"]

_OF_THIS_MACHINE = ("collect", "save_faces", "save_frames")
"""Options that name folders here, which a file restored as a whole elsewhere cannot write to."""


class RayRunner:
    """A :class:`revisage.pipeline.Runner` on a Ray cluster; a context manager.

    Workers keep their networks for as long as the runner is open. They share no disk with this process: a job's files
    travel through Ray's object store. Only the source must be readable on each machine, by its path or an address.

    Args:
        address: ``auto``, ``ray://HOST:PORT`` or ``HOST:PORT``.
        workers: number of them; as many as the cluster has room for when None.
        gpus: whether each needs a GPU; by default where the cluster has any.
        cpus: of each; by default four, or all of the smallest machine.
        long_film: frames of a film of a batch above which its segments are spread over the workers.

    Raises:
        ConfigError: there is no such cluster.
    """

    def __init__(
        self,
        address: str = "auto",
        *,
        workers: int | None = None,
        gpus: bool | None = None,
        cpus: int | None = None,
        long_film: int = LONG_FILM,
    ) -> None:
        self._long_film = long_film
        self._crew = Crew(address, workers=workers, gpus=gpus, cpus=cpus)

    def __enter__(self) -> RayRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._crew.close()

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[SegmentResult]:
        """See :meth:`revisage.pipeline.Runner.run`. A segment whose worker died is restored by another.

        Raises:
            RevisageError: a job failed, or three workers died over it.
            CancelledError: a stop was asked for.
        """
        tasks = (SegmentTask(job, self._crew.needs(job.calibration, job.config.model)) for job in jobs)
        for value in self._values(tasks, cancel, on_frame):
            yield SegmentResult.of(value)

    def scan(self, jobs: Iterable[ScanJob], *, cancel: CancelToken, on_frame: OnFrame) -> Iterator[ScanPart]:
        """See :meth:`revisage.pipeline.PartRunner.scan`; otherwise as :meth:`run`."""
        tasks = (ScanTask(job, self._crew.needs(job.config.model)) for job in jobs)
        for parts in self._values(tasks, cancel, on_frame):
            yield from parts

    def _values(self, tasks: Iterator[Task], cancel: CancelToken, on_frame: OnFrame) -> Iterator[Any]:
        """What came of each task, in any order."""

        def told(_: Any, faces: list[int]) -> None:
            for count in faces:
                on_frame(count)

        for done in self._crew.work(tasks, cancel, told):
            if done is None:
                continue
            if isinstance(done.value, RevisageError):
                raise done.value
            yield done.value

    def restore_files(
        self,
        files: Iterable[tuple[Path, Path]],
        config: RestoreConfig,
        *,
        cancel: CancelToken,
        progress: ProgressCallback | None = None,
    ) -> Iterator[Outcome]:
        """See :meth:`revisage.pipeline.FileRunner.restore_files`. The largest are begun first, and
        long films are spread over the workers, scan and all: nobody waits for them at the end.

        Raises:
            ConfigError: the config names folders of this machine.
            ProcessingError: the cluster cannot run the package.
            CancelledError: a stop was asked for.
        """
        for name in _OF_THIS_MACHINE:
            if getattr(config, name) is not None:
                raise ConfigError(f"{name} cannot be had from a batch on a cluster; restore such files one by one")
        config = config.model_copy(update={"report": None, "workers": 1, "work_dir": None, "keep_work": False})
        needs = self._crew.needs(config.model)

        def told(task: Task, said: list[Any]) -> None:
            if not isinstance(task, FileTask):
                films.hear(task.film, said)
            elif progress is not None:
                for moment in said:
                    progress(moment)

        ordered = sorted(((_size(source), source, target) for source, target in files), key=lambda file: -file[0])
        tasks = (
            FileTask(source.absolute(), target, config, needs, size, self._long_film)
            for size, source, target in ordered
        )
        films = Films(self._crew.needs, lambda: 2 * self._crew.places, cancel, progress)
        try:
            for done in self._crew.work(tasks, cancel, told, more=films.tasks, is_open=lambda: films.are_busy):
                if done is not None:
                    yield from _outcome(done, films)
                yield from films.finished()
            yield from films.finished()
        finally:
            films.end()


def _outcome(done: Done, films: Films) -> Iterator[Outcome]:
    """What came of a file; nothing yet of a film that goes on by its segments."""
    if not isinstance(done.task, FileTask):
        films.hear(done.task.film, done)
    elif isinstance(done.value, LongFilm):
        films.begin(done.task, done.value.frames)
    elif isinstance(done.value, RevisageError):
        yield done.task.source, done.value, done.seconds
    else:
        yield done.task.source, told_where(FileReport.model_validate(done.value), done.task.target), done.seconds


def _size(source: Path) -> float:
    """Bytes of a file, in whose proportion its restoration is expected to take time."""
    try:
        return max(1.0, float(source.stat().st_size))
    except OSError:
        return 1.0
