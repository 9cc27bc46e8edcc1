"""From a span of frames to files in the work folder: the segment's video, its comparison, its pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from revisage.core import CancelToken, output_error
from revisage.media import write_picture
from revisage.pipeline.collect import Picks, PickTarget
from revisage.pipeline.segment import Span, SpanResult, restore_span
from revisage.pipeline.side import Pictures, SideTargets, compared
from revisage.pipeline.stages import Item

if TYPE_CHECKING:
    from revisage.media import EncodeOptions, MediaInfo, Sink
    from revisage.pipeline.networks import Networks

__all__ = ["EncodeJob", "closing", "each", "run_job"]


@dataclass(frozen=True)
class EncodeJob:
    """A span and where its frames go.

    Attributes:
        span: what to restore.
        info: of the source.
        options: of the encoder.
        path: of the segment's video.
        compare: of the side-by-side, and the options of its video or the place in the segment of the one frame that
            is wanted as a picture; None without.
        pictures: folders for faces and frames, or None.
        picks: faces to pick for a store, or None.
    """

    span: Span
    info: MediaInfo
    options: EncodeOptions
    path: Path
    compare: tuple[Path, EncodeOptions | int] | None
    pictures: SideTargets | None
    picks: PickTarget | None = None


def run_job(job: EncodeJob, networks: Networks, cancel: CancelToken, on_frame: Callable[[int], None]) -> SpanResult:
    """Restore and encode one segment. On any error its files are removed.

    Raises:
        ProcessingError, OutputError, CancelledError: see :func:`revisage.pipeline.segment.restore_span`.
    """
    from revisage.media import open_segment

    with ExitStack() as stack:
        sink = stack.enter_context(closing(open_segment(job.path, job.info, job.options)))
        writers: list[Callable[[Item], None]] = [lambda item: sink.write(item.shown)]
        if job.compare is not None:
            writers.append(_comparison(stack, job, *job.compare))
        if job.pictures is not None:
            writers.append(Pictures(job.pictures, job.span.first + job.span.segment.start).write)
        picks = Picks(job.picks) if job.picks is not None else None
        if picks is not None:
            writers.append(picks.write)
        try:
            result = restore_span(job.span, networks, lambda item: each(writers, item), cancel, on_frame)
        except OSError as error:
            raise output_error(job.path, error) from error
        if picks is not None:
            picks.save()
        return result


def _comparison(stack: ExitStack, job: EncodeJob, path: Path, options: EncodeOptions | int) -> Callable[[Item], None]:
    """What writes the comparison: a video of all frames, or a picture of one."""
    from revisage.media import open_segment

    if isinstance(options, int):
        numbers = itertools.count()

        def write_one(item: Item) -> None:
            if next(numbers) == options:
                write_picture(path, compared(item).rgb())

        return write_one
    sink = stack.enter_context(closing(open_segment(path, job.info, options)))
    return lambda item: sink.write(compared(item))


def each(writers: list[Callable[[Item], None]], item: Item) -> None:
    for write in writers:
        write(item)


@contextmanager
def closing(sink: Sink) -> Iterator[Sink]:
    """Close a sink at the end, or remove what it wrote when something went wrong."""
    try:
        yield sink
        sink.close()
    except BaseException:
        sink.abort()
        raise
