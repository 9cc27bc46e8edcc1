"""A segment as plain data, and carrying it out: the segment's video, its comparison, its pictures."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import media
from revisage.core import CancelToken, Crop, Levels, ProcessingError, RestoreConfig, output_error, trim_memory
from revisage.pipeline.plan import Segment
from revisage.pipeline.restoration import (
    Block,
    FrameInWork,
    Networks,
    PlannedFace,
    StageClock,
    Tally,
    Trace,
    restore_frames,
)
from revisage.pipeline.targets import Picks, PickTarget, Pictures, SideTargets, compared

if TYPE_CHECKING:
    from revisage.media import EncodeOptions, Frame, MediaInfo, Sink

__all__ = ["OnFrame", "SegmentJob", "SegmentResult", "as_found", "restore_segment"]

OnFrame = Callable[[int], None]
"""Told the number of faces restored in each frame as it is finished."""


@dataclass(frozen=True)
class SegmentJob:
    """All that a worker anywhere needs to know to restore and encode one segment: plain data that can be pickled.

    Attributes:
        segment: which frames of the scan.
        source: location of the file.
        info: of the file.
        config: of the run.
        first: number of the source's frames before the scan's first.
        pts: of each frame that the segment reads.
        step: usual time between two frames of the scan.
        planned: faces to restore in each frame that the segment reads.
        levels: of the colours of each of these frames; empty where they are left as they are.
        options: of the encoder.
        target: location of the segment's video, or of the whole where the output is an image.
        cuts: the first frames of shots.
        calibration: location of the crops that an int8 network is made with, or None.
        compare: location of the side-by-side, and the options of its video or the place in the segment of the one
            frame that is wanted as a picture; None without.
        pictures: folders for faces and frames, or None.
        picks: faces to pick for a store, or None.
    """

    segment: Segment
    source: str
    info: MediaInfo
    config: RestoreConfig
    first: int
    pts: tuple[int, ...]
    step: int
    planned: tuple[tuple[PlannedFace, ...], ...]
    options: EncodeOptions
    target: str
    levels: tuple[Levels | None, ...] = ()
    cuts: tuple[int, ...] = ()
    calibration: str | None = None
    compare: tuple[str, EncodeOptions | int] | None = None
    pictures: SideTargets | None = None
    picks: PickTarget | None = None

    @property
    def calibration_crops(self) -> Crop | None:
        """``(N, size, size, 3) uint8 RGB``, read from where they lie."""
        return None if self.calibration is None else np.load(self.calibration, allow_pickle=False)

    def moved(self, folder: Path) -> SegmentJob:
        """The same job, with all that it writes below another folder instead of the one that its target lies in."""
        here = Path(self.target).parent

        def there(path: Path | str) -> Path:
            return folder / Path(path).relative_to(here)

        pictures, picks = self.pictures, self.picks
        if pictures is not None:
            faces, frames = (path and there(path) for path in (pictures.faces, pictures.frames))
            pictures = replace(pictures, faces=faces, frames=frames)
        return replace(
            self,
            target=str(there(self.target)),
            compare=None if self.compare is None else (str(there(self.compare[0])), self.compare[1]),
            pictures=pictures,
            picks=None if picks is None else replace(picks, path=there(picks.path)),
        )


@dataclass
class SegmentResult:
    """What came of a job.

    Attributes:
        number: of the segment.
        tally: what became of its frames.
        notes: what its encoder could not keep, and what was done differently from what was asked.
        events: what each thread did when, where a profile is wanted; see :class:`Trace`.
        problem: why it was left as it was found; None where it was restored.
    """

    number: int
    tally: Tally
    notes: tuple[str, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    problem: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing is to be gained by doing it again: it was not left, and not every face in it given up."""
        return self.problem is None and not (self.tally.failures and not self.tally.changed)

    @classmethod
    def of(cls, values: dict[str, Any]) -> SegmentResult:
        """What :meth:`to_dict` gave."""
        return cls(values["number"], Tally.of(values["tally"]), tuple(values["notes"]), tuple(values["events"]))

    def left(self, job: SegmentJob, reason: str) -> SegmentResult:
        """This result of a segment that was left as it was found, with the job that could not be carried out."""
        segment = job.segment
        problem = f"frames {segment.start} to {segment.stop - 1} were left as they were found: {reason}"
        tally = replace(self.tally, failures=list(self.tally.failures))
        for index in range(segment.start, segment.stop):
            faces = len(job.planned[index - segment.read.start])
            tally.failed += faces
            if faces:
                tally.failures.append(f"frame {index} was kept as it was: {reason}")
        return replace(self, tally=tally, problem=problem)

    def to_dict(self) -> dict[str, Any]:
        """This result as JSON values, for the manifest."""
        return {
            "number": self.number,
            "tally": self.tally.to_dict(),
            "notes": list(self.notes),
            "events": list(self.events),
        }


def as_found(job: SegmentJob) -> SegmentJob:
    """A job that encodes the segment as it is, without any network."""
    config = job.config.model_copy(update={"background": "none"})
    return replace(job, planned=((),) * len(job.planned), config=config, picks=None)


def restore_segment(job: SegmentJob, networks: Networks, cancel: CancelToken, on_frame: OnFrame) -> SegmentResult:
    """Restore and encode one segment. On any error its files are removed.

    Args:
        job: what to do.
        networks: loaded for the job's config.
        cancel: looked at between frames.
        on_frame: told of each finished frame.

    Raises:
        ProcessingError: the source does not give the frames that the scan saw.
        OutputError: a file cannot be written.
        CancelledError: a stop was asked for.
    """
    tally = Tally()
    trace = None if job.config.profile is None else Trace()
    clock = StageClock(tally.seconds, trace)
    with ExitStack() as stack:
        sink, write = _writers(stack, job)
        size_hw = job.options.size_hw or job.info.size_hw
        items = stack.enter_context(
            closing(
                restore_frames(
                    _frames(job),
                    _Planner(job),
                    networks,
                    job.config,
                    size_hw=size_hw,
                    cancel=cancel,
                    tally=tally,
                    trace=trace,
                )
            )
        )
        try:
            for item in items:
                with clock("encode"):
                    write(item)
                on_frame(0 if item.problem else len(item.planned))
        except OSError as error:
            raise output_error(Path(job.target), error) from error
        if tally.frames != job.segment.frames:
            raise ProcessingError(_lost(job, tally.frames))
    trim_memory()  # the next segment's threads would begin beside what these left, and more so with each
    events = () if trace is None else tuple(trace.events())
    return SegmentResult(job.segment.number, tally, (*getattr(sink, "notes", ()), *networks.notes), events)


def _writers(stack: ExitStack, job: SegmentJob) -> tuple[Sink, Callable[[FrameInWork], None]]:
    """The sink of the segment, and what takes each finished frame to all that is written."""
    sink = stack.enter_context(_written(Path(job.target), job, job.options))
    writers: list[Callable[[FrameInWork], None]] = [lambda item: sink.write(item.shown)]
    if job.compare is not None:
        writers.append(_comparison(stack, job, *job.compare))
    if job.pictures is not None:
        writers.append(Pictures(job.pictures, job.first + job.segment.start).write)
    if job.picks is not None:
        picks = stack.enter_context(_saved(Picks(job.picks)))
        writers.append(picks.write)

    def write(item: FrameInWork) -> None:
        for each in writers:
            each(item)

    return sink, write


def _open_sink(path: Path, job: SegmentJob, options: EncodeOptions) -> Sink:
    if path.suffix.lower() in media.IMAGE_SUFFIXES:
        return media.open_image_sink(path, job.info)
    return media.open_segment(path, job.info, options)


def _comparison(
    stack: ExitStack, job: SegmentJob, location: str, options: EncodeOptions | int
) -> Callable[[FrameInWork], None]:
    """What writes the comparison: a video or animation of all frames, or a picture of one."""
    path = Path(location)
    if isinstance(options, int):
        numbers = itertools.count()

        def write_one(item: FrameInWork) -> None:
            if next(numbers) == options:
                media.write_picture(path, compared(item).rgb())

        return write_one
    sink = stack.enter_context(_written(path, job, options))
    return lambda item: sink.write(compared(item))


@contextmanager
def _written(path: Path, job: SegmentJob, options: EncodeOptions) -> Iterator[Sink]:
    """A sink whose file has its name once it is complete, and is removed when something went wrong.

    Until then the name is this process's own: a worker of a run that was killed may still be at the same segment.
    """
    partial = path.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
    sink = _open_sink(partial, job, options)
    try:
        yield sink
        sink.close()
        partial.replace(path)
    except BaseException:
        sink.abort()
        raise


@contextmanager
def _saved(picks: Picks) -> Iterator[Picks]:
    yield picks
    picks.save()


def _frames(job: SegmentJob) -> Iterator[Frame]:
    """The frames that a segment reads."""
    read = job.segment.read
    first = job.first + read.start
    with media.open_source(job.source, deinterlace=job.config.deinterlace, info=job.info) as source:
        yield from source.frames(first, first + len(read), first_pts=job.segment.first_pts)


class _Planner:
    """Gives each frame that a segment reads the faces planned for it, if it is the frame that the scan saw."""

    def __init__(self, job: SegmentJob) -> None:
        self._job = job
        self._number = 0
        self._ahead = deque(job.segment.blocks)
        self._open: list[Block] = []

    def __call__(self, frame: Frame) -> FrameInWork:
        job, number = self._job, self._number
        if frame.pts != job.pts[number]:
            raise ProcessingError(_lost(job, number))
        self._number += 1
        index = job.segment.read[number]
        lapse = max(1.0, (frame.pts - job.pts[max(0, number - 1)]) / job.step)
        levels = job.levels[number] if job.levels else None
        blocks = self._blocks(index)
        return FrameInWork(
            frame,
            job.planned[number],
            index=index,
            blocks=blocks,
            lapse=lapse,
            levels=levels,
            begins_shot=index in job.cuts,
            is_neighbour=index not in job.segment.worked,
        )

    def _blocks(self, index: int) -> tuple[Block, ...]:
        """Those that read a frame. They follow one another: each is looked at while it is open, and no longer."""
        while self._ahead and self._ahead[0].first <= index:
            self._open.append(self._ahead.popleft())
        self._open = [block for block in self._open if index < block.last]
        return tuple(self._open)


def _lost(job: SegmentJob, number: int) -> str:
    return (
        f"{job.source}: frame {job.segment.read[0] + number} is not where the scan saw it; "
        "the file is damaged there or changed while it was read"
    )
