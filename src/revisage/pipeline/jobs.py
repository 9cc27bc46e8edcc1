"""Write the output of one run: segment by segment for a video, in one pass for an animated image or a still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from revisage.core import CancelToken, ProcessingError, Progress, ProgressCallback, RestoreConfig
from revisage.pipeline.blocks import usual_step
from revisage.pipeline.collect import Picks, PickTarget, pick_target
from revisage.pipeline.encode import EncodeJob, closing, each, run_job
from revisage.pipeline.networks import Networks
from revisage.pipeline.plan import Plan, Segment, busiest_frame, planned_faces, whole
from revisage.pipeline.scan import Scan
from revisage.pipeline.segment import Span, SpanResult, restore_span
from revisage.pipeline.side import Pictures, SideTargets, compared
from revisage.pipeline.stages import Item
from revisage.pipeline.target import Target
from revisage.pipeline.work import WorkFolder
from revisage.pipeline.workers import run_in_processes

if TYPE_CHECKING:
    from revisage.media import EncodeOptions, MediaInfo

__all__ = ["Work", "Written", "write_output"]


@dataclass(frozen=True)
class Work:
    """All that writing an output needs to know."""

    source: Path
    info: MediaInfo
    config: RestoreConfig
    networks: Networks
    target: Target
    folder: WorkFolder
    scan: Scan
    plan: Plan
    cancel: CancelToken
    progress: ProgressCallback

    def span(self, segment: Segment) -> Span:
        """A segment with all that a worker needs."""
        frames = slice(segment.read.start, segment.read.stop)
        return Span(
            source=self.source,
            info=self.info,
            config=self.config,
            segment=segment,
            first=self.scan.first,
            pts=tuple(self.scan.pts[frames]),
            step=usual_step(self.scan.pts),
            planned=planned_faces(self.scan, self.plan, segment),
            size_hw=self.target.size_hw,
        )

    @property
    def pictures(self) -> SideTargets | None:
        """Where faces and frames are collected, if they are wanted."""
        faces, frames = self.config.save_faces, self.config.save_frames
        if faces is None and frames is None:
            return None
        return SideTargets(
            stem=self.source.stem,
            still=self.info.kind == "image",
            faces=self.folder.path / "faces" if faces else None,
            frames=self.folder.path / "frames" if frames else None,
        )

    def picks(self, segment: Segment) -> PickTarget | None:
        """Which faces of a segment are picked for a store, if one is wanted."""
        if self.config.collect is None:
            return None
        return pick_target(self.folder.path, self.scan, segment, self.config.collect_frames)

    @property
    def picked(self) -> list[Path]:
        """The files of picks, once everything is written."""
        segments = self.plan.segments if self.target.by_segments else (whole(self.scan),)
        return [target.path for segment in segments if (target := self.picks(segment)) is not None]


@dataclass
class Written:
    """What came of it: a result for each segment, in order; what could not be kept; segments taken over."""

    results: list[SpanResult]
    notes: list[str] = field(default_factory=list)
    reused: int = 0


def write_output(work: Work, finished: Path) -> Written:
    """Write the complete output to ``finished``, and the side outputs into the work folder.

    Raises:
        ProcessingError: every frame with faces failed, or a worker died.
        OutputError: it cannot be written.
        CancelledError: a stop was asked for.
    """
    counter = _Counter(work)
    written = _by_segments(work, finished, counter) if work.target.by_segments else _in_one(work, finished, counter)
    changed = sum(result.changed for result in written.results)
    failures = [line for result in written.results for line in result.failures]
    if failures and not changed:
        raise ProcessingError(f"{work.source}: no face could be restored; {failures[0]}")
    return written


class _Counter:
    """Tells the progress how many frames and faces are done."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._frames = self._faces = 0

    def __call__(self, faces: int, frames: int = 1) -> None:
        self._frames += frames
        self._faces += faces
        name = self._work.source.name
        self._work.progress(Progress("restore", self._frames, self._work.scan.frames, self._faces, name))


def _by_segments(work: Work, finished: Path, counter: _Counter) -> Written:
    suffix = work.target.output.suffix
    results = _reusable(work, suffix)
    for result in results.values():
        counter(sum(count for count, _ in result.restored.values()), result.frames)
    reused = len(results)
    jobs = (_job(work, segment, suffix) for segment in work.plan.segments if segment.number not in results)
    for number, result in _run(work, jobs, counter):
        work.folder.record(number, suffix, result.to_dict())
        results[number] = result
    work.progress(Progress("finish", 0, None, 0, work.source.name))
    notes = _assembled(work, suffix, finished)
    return Written([results[segment.number] for segment in work.plan.segments], notes, reused)


def _reusable(work: Work, suffix: str) -> dict[int, SpanResult]:
    """Results of the segments that an interrupted run has finished."""
    found = ((segment.number, work.folder.finished(segment.number, suffix)) for segment in work.plan.segments)
    return {number: SpanResult(**result) for number, result in found if result is not None}


def _job(work: Work, segment: Segment, suffix: str) -> EncodeJob:
    compare: tuple[Path, EncodeOptions | int] | None = None
    if work.target.compare is not None:
        path, options = work.target.compare
        busiest = busiest_frame(work.scan, work.plan)
        if options is not None:
            compare = (_compare_path(work, segment), options)
        elif segment.start <= busiest < segment.stop:
            compare = (work.folder.path / f"compare{path.suffix}", busiest - segment.start)
    return EncodeJob(
        span=work.span(segment),
        info=work.info,
        options=work.target.options,
        path=work.folder.segment_path(segment.number, suffix),
        compare=compare,
        pictures=work.pictures,
        picks=work.picks(segment),
    )


def _run(work: Work, jobs: Iterator[EncodeJob], counter: Callable[[int], None]) -> Iterator[tuple[int, SpanResult]]:
    if work.config.workers > 1 and len(work.plan.segments) > 1:
        yield from run_in_processes(jobs, work.config, work.networks.calibration, work.cancel, counter)
        return
    for job in jobs:
        work.cancel.check()
        yield job.span.segment.number, run_job(job, work.networks, work.cancel, counter)


def _assembled(work: Work, suffix: str, finished: Path) -> list[str]:
    """Join the segments and copy everything else of the source."""
    from revisage.media import assemble

    segments = [work.folder.segment_path(segment.number, suffix) for segment in work.plan.segments]
    result = assemble(segments, work.source, finished, source_info=work.info, options=work.target.options)
    if work.target.compare_file is not None:
        path, options = work.target.compare_file
        parts = [_compare_path(work, segment) for segment in work.plan.segments]
        assemble(parts, work.source, work.folder.path / f"compare{path.suffix}", source_info=work.info, options=options)
    return list(result.notes)


def _compare_path(work: Work, segment: Segment) -> Path:
    assert work.target.compare is not None
    return work.folder.path / f"compare-{segment.number:05d}{work.target.compare[0].suffix}"


def _in_one(work: Work, finished: Path, counter: Callable[[int], None]) -> Written:
    """An animated image or a still: one pass into one file."""
    from revisage.media import open_image_sink

    with ExitStack() as stack:
        sink = stack.enter_context(closing(open_image_sink(finished, work.info)))
        writers: list[Callable[[Item], None]] = [lambda item: sink.write(item.shown)]
        if work.target.compare_file is not None:
            path, _ = work.target.compare_file
            pair = work.folder.path / f"compare{path.suffix}"
            second = stack.enter_context(closing(open_image_sink(pair, work.info)))
            writers.append(lambda item: second.write(compared(item)))
        if work.pictures is not None:
            writers.append(Pictures(work.pictures, work.scan.first).write)
        target = work.picks(whole(work.scan))
        picks = Picks(target) if target is not None else None
        if picks is not None:
            writers.append(picks.write)
        span = work.span(whole(work.scan, work.config))
        result = restore_span(span, work.networks, lambda item: each(writers, item), work.cancel, counter)
        if picks is not None:
            picks.save()
    return Written([result], list(getattr(sink, "notes", ())))
