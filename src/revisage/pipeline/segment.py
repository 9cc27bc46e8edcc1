"""Restore one span of frames: decode, align, restore, composite and hand over, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import CancelToken, ProcessingError, RestoreConfig
from revisage.pipeline.plan import PlannedFace, Segment
from revisage.pipeline.stages import Item, StageClock, align_faces, restore_faces, show_faces
from revisage.pipeline.steady import steady_inputs, steady_restored
from revisage.pipeline.threads import Stages

if TYPE_CHECKING:
    from revisage.media import MediaInfo
    from revisage.pipeline.networks import Networks

__all__ = ["Span", "SpanResult", "restore_span"]

_AHEAD = 4
"""Frames that each stage may run ahead of the next."""


@dataclass(frozen=True)
class Span:
    """What a worker needs to know to restore a segment.

    Attributes:
        source: the file.
        info: of the file.
        config: of the run.
        segment: which frames of the scan.
        first: number of the source's frames before the scan's first.
        pts: of each frame that the segment reads.
        step: usual time between two frames of the scan.
        planned: faces to restore in each frame that the segment reads.
        size_hw: of the output's frames (px).
    """

    source: Path
    info: MediaInfo
    config: RestoreConfig
    segment: Segment
    first: int
    pts: tuple[int, ...]
    step: int
    planned: tuple[tuple[PlannedFace, ...], ...]
    size_hw: tuple[int, int]


@dataclass
class SpanResult:
    """What became of a span; JSON values, for the manifest and the report.

    Attributes:
        frames, changed: frames written, and those with a restored face.
        restored: for each track id (as text, as JSON has it) how many faces, and the sum of their strengths.
        failed: faces given up.
        failures: one line for each frame kept as it was.
        seconds: of work by stage.
        full, got: sums over the measured faces of the mean change (1/255) that a full restoration would make, and of
            the change found in the output; ``measured`` faces.
        quality: sums of what :class:`revisage.pipeline.quality.QualitySums` holds.
    """

    frames: int = 0
    changed: int = 0
    restored: dict[str, tuple[int, float]] = field(default_factory=dict)
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    full: float = 0.0
    got: float = 0.0
    measured: int = 0
    quality: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """This result as JSON values."""
        return asdict(self)

    def count(self, item: Item, index: int) -> None:
        """Note what became of a frame, the ``index``-th of the scan."""
        self.frames += 1
        if item.problem:
            self.failed += len(item.planned)
            self.failures.append(f"frame {index} was kept as it was: {item.problem}")
            return
        self.changed += bool(item.planned)
        for planned in item.planned:
            count, strength = self.restored.get(str(planned.track), (0, 0.0))
            self.restored[str(planned.track)] = (count + 1, strength + planned.strength)


def restore_span(
    span: Span,
    networks: Networks,
    write: Callable[[Item], None],
    cancel: CancelToken,
    on_frame: Callable[[int], None],
) -> SpanResult:
    """Restore the frames of a span in order.

    Args:
        span: what to do.
        networks: what to do it with.
        write: takes each finished item, in the caller's thread.
        cancel: looked at between frames.
        on_frame: told the number of faces of each finished frame.

    Raises:
        ProcessingError: the source does not give the frames that the scan saw.
        CancelledError: a stop was asked for.
    """
    from revisage.pipeline.facework import FaceWork

    clock, result = StageClock(), SpanResult()
    work = FaceWork(span.config, networks, span.size_hw)
    faces = any(span.planned)
    restorer = networks.restorer if faces else None
    with Stages(cancel) as stages:
        aligned = stages.ahead(lambda: align_faces(_items(span, clock), work.align, clock), depth=_AHEAD, name="decode")
        steady = _steadied(aligned, span, networks, stages, clock)
        restored = stages.ahead(
            lambda: restore_faces(steady, restorer, span.config.batch, clock), depth=_AHEAD, name="restore"
        )
        kept = steady_restored(restored, span.size_hw, clock) if span.config.recurrent else restored
        shown = stages.ahead(lambda: show_faces(kept, work.canvas, work.show, clock), depth=_AHEAD, name="composite")
        for index, item in enumerate(shown, span.segment.start):
            with clock("encode"):
                write(item)
            result.count(item, index)
            on_frame(0 if item.problem else len(item.planned))
    if result.frames != span.segment.frames:
        raise ProcessingError(_lost(span, result.frames))
    result.seconds = {name: round(value, 4) for name, value in clock.seconds.items()}
    result.full, result.got, result.measured = work.change.full, work.change.got, work.change.measured
    result.quality = asdict(work.quality.sums)
    return result


def _steadied(
    items: Iterator[Item], span: Span, networks: Networks, stages: Stages, clock: StageClock
) -> Iterator[Item]:
    """The items with their crops averaged over time, where that is asked for and there are faces."""
    if not span.config.recurrent:
        return items
    passes = span.config.temporal_passes
    return stages.ahead(lambda: steady_inputs(items, networks.flow, passes, clock), depth=_AHEAD, name="follow")


def _items(span: Span, clock: StageClock) -> Iterator[Item]:
    """The frames that the span reads as the scan saw them, with the faces planned for them."""
    from revisage.media import open_source

    read = span.segment.read
    first = span.first + read.start
    with open_source(span.source, deinterlace=span.config.deinterlace, info=span.info) as source:
        frames = source.frames(first, first + len(read), first_pts=span.segment.first_pts)
        for number, frame in enumerate(clock.timed("decode", frames)):
            if frame.pts != span.pts[number]:
                raise ProcessingError(_lost(span, number))
            index = read[number]
            blocks = tuple(block for block in span.segment.blocks if block.first <= index < block.last)
            lapse = max(1.0, (frame.pts - span.pts[max(0, number - 1)]) / span.step)
            yield Item(frame, span.planned[number], index=index, blocks=blocks, lapse=lapse)


def _lost(span: Span, number: int) -> str:
    return (
        f"{span.source}: frame {span.segment.read[0] + number} is not where the scan saw it; "
        "the file is damaged there or changed while it was read"
    )
