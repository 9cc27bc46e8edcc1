"""What runs on the machines of a cluster: it keeps its networks from task to task, and sends back what it wrote.

A worker shares no disk with whoever sent a task: files come and go as bytes. Only the source must be readable where it
stands, by an address or on a shared disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from revisage import media
from revisage._version import __version__
from revisage.core import CancelToken, InputError, ProcessingError, Progress, RestoreConfig, RevisageError
from revisage.pipeline import (
    LONGEST,
    JobNetworks,
    Networks,
    ScanJob,
    ScanPart,
    SegmentJob,
    plain_error,
    restore_file,
    restore_segment,
    scan_parts,
)

if TYPE_CHECKING:
    from revisage.media import MediaInfo

__all__ = ["LONG_FILM", "Answer", "FileTask", "LongFilm", "ScanTask", "SegmentTask", "Worker"]

_PART = 8 * 2**20
"""Bytes of a part in which a file travels."""

LONG_FILM = 24 * LONGEST
"""Frames of a film of a batch above which it is scanned and restored by several workers. As benchmarks/scaling.py
simulates 10,000 files and 1,000 workers: with more everybody waits for long films on slow workers, with fewer for the
one machine that joins segments."""

_PAUSE = 0.5
"""Seconds between two words about how far a file is."""

_FOLDER = "revisage-worker-"


@dataclass(frozen=True)
class SegmentTask:
    """A segment to restore.

    Attributes:
        job: its targets lie in one folder, and are sent back to there.
        needs: files that the job names by a path on the sender's machine, with their bytes (Ray's references).
        film: number of the film in a batch.
    """

    job: SegmentJob
    needs: Mapping[str, Any]
    film: int = 0

    @property
    def folder(self) -> Path:
        """Where what the worker wrote belongs."""
        return Path(self.job.target).parent

    @property
    def size(self) -> float:
        """How much work it is."""
        return self.job.segment.frames


@dataclass(frozen=True)
class ScanTask:
    """Parts of a source to look at.

    Attributes:
        job: what to look at; nothing is written.
        needs: as of :class:`SegmentTask`: the same networks serve both.
        film: number of the film in a batch.
    """

    job: ScanJob
    needs: Mapping[str, Any]
    film: int = 0

    @property
    def folder(self) -> Path:
        """Where what the worker wrote would belong."""
        return Path()

    @property
    def size(self) -> float:
        """How much work it is."""
        return self.job.frames


@dataclass(frozen=True)
class LongFilm:
    """The answer to a file that is work for several; how many frames it has, as far as it says."""

    frames: int


@dataclass(frozen=True)
class FileTask:
    """A whole file to restore; a long film is only found to be one.

    Attributes:
        source: where the worker reads it.
        target: where the output belongs.
        config: what to do.
        needs: as of :class:`SegmentTask`.
        size: how much work it is, as far as is known.
        long_film: frames above which it is one.
    """

    source: Path
    target: Path
    config: RestoreConfig
    needs: Mapping[str, Any]
    size: float
    long_film: int

    @property
    def folder(self) -> Path:
        """Where what the worker wrote belongs."""
        return self.target.parent


@dataclass(frozen=True)
class Answer:
    """What came of a task.

    Attributes:
        value: the result as plain data, or the error that the task ended with.
        said: all that was said on the way.
        files: what was written: path below the task's folder, with the parts of its content (Ray's references).
    """

    value: Any
    said: tuple[Any, ...] = ()
    files: tuple[tuple[str, tuple[Any, ...]], ...] = ()


class Worker:
    """One worker of a cluster. Its methods are called from several threads: one task at a time, and looks at it."""

    def __init__(self) -> None:
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self._loaded = JobNetworks()
        self._networks: tuple[RestoreConfig, Networks] | None = None
        self._lock = threading.Lock()
        self._current = -1
        self._told: list[Any] = []
        self._stops: dict[int, CancelToken] = {}

    def hello(self) -> tuple[str, str]:
        """The package's version here, and the machine's name."""
        return __version__, socket.gethostname()

    def restore(self, number: int, task: SegmentTask | ScanTask | FileTask) -> Answer:
        """Carry a task out; ``number`` names this attempt for :meth:`told` and :meth:`stop`."""
        with self._lock:
            cancel = self._stops.setdefault(number, CancelToken())
            self._current, self._told = number, []
        place = self._folder / "task"
        place.mkdir()
        try:
            return Answer(self._value(task, place, cancel), tuple(self._told), _sent(place))
        except RevisageError as error:
            return Answer(self._elsewhere(error, task))
        except Exception as error:
            return Answer(ProcessingError(f"a worker of the cluster failed: {type(error).__name__}: {error}"))
        finally:
            shutil.rmtree(place, ignore_errors=True)
            with self._lock:
                self._stops.pop(number, None)

    def _value(self, task: SegmentTask | ScanTask | FileTask, place: Path, cancel: CancelToken) -> Any:
        if isinstance(task, SegmentTask):
            return self._segment(task, place, cancel)
        return self._parts(task, cancel) if isinstance(task, ScanTask) else self._file(task, place, cancel)

    def _parts(self, task: ScanTask, cancel: CancelToken) -> list[ScanPart]:
        here = {path: str(self._fetched(path, data)) for path, data in task.needs.items()}
        job = replace(task.job, config=_with_model(task.job.config, here))
        return list(scan_parts(job, self._loaded(job), cancel, self._told.append))

    def _segment(self, task: SegmentTask, place: Path, cancel: CancelToken) -> dict[str, Any]:
        here = {path: str(self._fetched(path, data)) for path, data in task.needs.items()}
        job = task.job.moved(place)
        if job.calibration is not None:
            job = replace(job, calibration=here[job.calibration])
        job = replace(job, config=_with_model(job.config, here))
        return restore_segment(job, self._loaded(job), cancel, self._told.append).to_dict()

    def _file(self, task: FileTask, place: Path, cancel: CancelToken) -> dict[str, Any] | LongFilm:
        here = {path: str(self._fetched(path, data)) for path, data in task.needs.items()}
        config = _with_model(task.config, here)
        if self._networks is None or self._networks[0] != config:
            self._networks = config, Networks(config)
        target = task.target if media.is_address(task.target) else place / task.target.name
        told: list[Any] = self._told
        last = ("", 0.0)

        def tell(moment: Progress) -> None:
            nonlocal last
            if moment.stage != last[0] or time.monotonic() - last[1] > _PAUSE:
                last = moment.stage, time.monotonic()
                told.append(moment)

        frames = _frames(media.probe(task.source))
        if frames > task.long_film and task.target.suffix.lower() not in media.IMAGE_SUFFIXES:
            return LongFilm(frames)
        report = restore_file(task.source, target, config, self._networks[1], progress=tell, cancel=cancel)
        return report.model_dump(mode="json")

    def _fetched(self, path: str, data: Any) -> Path:
        """A file of the sender's and what belongs to it, under a name that stays the same from task to task."""
        reference, digest = data
        # Under its own name, which a result may tell.
        copy = self._folder / digest / Path(path).name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            for name, content in ray.get(reference).items():
                copy.with_name(name).write_bytes(content)
        return copy

    def _elsewhere(self, error: RevisageError, task: SegmentTask | ScanTask | FileTask) -> RevisageError:
        source = task.source if isinstance(task, FileTask) else media.as_path(task.job.source)
        if isinstance(error, InputError) and not source.exists():
            return InputError(
                f"{source}: the machine {socket.gethostname()} of the cluster cannot read it; put it on a disk that "
                "all machines have under this name, or name it by an address such as s3://"
            )
        return plain_error(error)

    def told(self, number: int, since: int) -> tuple[int, int, list[Any]]:
        """What there is to say of a running task since so many things were said, with both numbers."""
        with self._lock:
            return number, since, self._told[since:] if number == self._current else []

    def stop(self, number: int) -> None:
        """Ask a task to stop, whether it has begun or is about to."""
        with self._lock:
            self._stops.setdefault(number, CancelToken()).cancel()

    def leave(self) -> None:
        """Remove what lies here of this worker."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _with_model(config: RestoreConfig, here: Mapping[str, str]) -> RestoreConfig:
    return config.model_copy(update={"model": here.get(config.model, config.model)})


def _frames(info: MediaInfo) -> int:
    """How many frames a file has, as far as it says."""
    if info.frame_count is None and info.duration is not None and info.average_rate is not None:
        return int(info.duration * info.average_rate)
    return info.frame_count or 0


def _sent(place: Path) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """All files below a folder, put where the sender can fetch them."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return tuple((path.relative_to(place).as_posix(), tuple(map(ray.put, _parts(path)))) for path in files)


def _parts(path: Path) -> Iterable[bytes]:
    with path.open("rb") as stream:
        while part := stream.read(_PART):
            yield part


def _sweep() -> None:
    """Remove what workers left here that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        process = folder.name.removeprefix(_FOLDER).split("-")[0]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):
            continue
