"""What the commands print: a progress bar on stderr, results on stdout.

rich is loaded where something is drawn: a quiet command starts without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import ProgressCallback, format_seconds

if TYPE_CHECKING:
    from revisage.pipeline import BatchEntry, FileReport, Report, TrackLikeness

__all__ = ["as_option", "batch_bar", "counted", "print_lines", "print_table", "progress_bar", "report_lines", "warn"]

_NAMED = 10
"""Files left alone that are named; a folder may hold thousands."""


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines on stdout."""
    for line in lines:
        print(line)  # noqa: T201 - the command's result


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"revisage: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201


def as_option(text: str) -> str:
    """An error of one of several files, with the command line's words for replacing what is there."""
    return text.replace("pass overwrite=True", "use --overwrite")


def print_table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(soft_wrap=True).print(table)


def progress_bar(quiet: bool) -> AbstractContextManager[ProgressCallback | None]:
    """A callback that draws a bar on stderr; None when it is not wanted or stderr is no terminal."""
    if quiet:
        return nullcontext()
    from revisage.cli import progress_bars  # brings rich

    return progress_bars.progress_bar()


def batch_bar(
    quiet: bool,
) -> AbstractContextManager[tuple[ProgressCallback | None, Callable[[BatchEntry, int, int], None] | None]]:
    """Callbacks of a batch: a bar on stderr for the files at work and one for all; a line for each finished file
    where stderr is no terminal; nothing when it is not wanted."""
    if quiet:
        return nullcontext((None, None))
    from revisage.cli import progress_bars

    return progress_bars.batch_bar(warn)


def report_lines(report: Report) -> Iterator[str]:
    """What was done, for people."""
    for entry in report.files:
        if entry.error is None:
            yield from _planned_lines(entry) if report.dry_run else _done_lines(entry)
            if report.config.get("profile"):
                yield from _stage_lines(entry)
    if report.skipped:
        names = ", ".join(Path(path).name for path in report.skipped[:_NAMED])
        more = f" and {len(report.skipped) - _NAMED} more" if len(report.skipped) > _NAMED else ""
        yield f"left alone, as no video or picture has such a name: {names}{more}"


def _planned_lines(entry: FileReport) -> Iterator[str]:
    faces = entry.faces
    yield f"{entry.input['path']}: nothing written (--dry-run)"
    yield f"  {counted(entry.frames, 'frame')}, {counted(entry.shots, 'shot')}, {counted(entry.segments, 'segment')}"
    yield f"  {_people(entry)}; {faces.found - faces.left} of {counted(faces.found, 'face')} would be restored"
    yield from (f"  {line}" for line in _track_lines(entry))
    yield from (f"  note: {note}" for note in entry.notes)


def _done_lines(entry: FileReport) -> Iterator[str]:
    faces, timings = entry.faces, entry.timings
    assert entry.output is not None
    yield str(entry.output["path"])
    clean = f", {faces.clean} of them clean already and left as found (--fine keep restores all)" if faces.clean else ""
    yield f"  {counted(entry.frames, 'frame')}, {_people(entry)}, {counted(faces.restored, 'face')} restored{clean}"
    if faces.beyond:
        yield f"  {counted(faces.beyond, 'face')} left as found: more in one frame than --max-faces allows"
    if faces.left > faces.beyond:
        yield f"  {counted(faces.left - faces.beyond, 'face')} left as found (size, choice, strength, or cut off)"
    if faces.failed:
        yield f"  {counted(len(entry.failures), 'frame')} kept as found: the restoration failed there"
    yield f"  {format_seconds(timings.total_seconds)}, {timings.frames_per_second:g} frames/s"
    compared = [track.likeness for track in entry.tracks if track.likeness is not None]
    if compared:
        yield f"  {_likeness_line(compared)}"
    yield from (f"  note: {note}" for note in entry.notes)


def _likeness_line(compared: Sequence[TrackLikeness]) -> str:
    """Of all tracks in one line; each one's figures are in the report."""
    faces = sum(each.faces for each in compared)
    identity = sum(each.identity * each.faces for each in compared) / faces
    read = [(each.expression_kept, each.faces) for each in compared if each.expression_kept is not None]
    look = ""
    if read:
        look = f", eyes and mouth as before in {sum(k * n for k, n in read) / sum(n for _, n in read):.0%}"
    return f"identity kept to {identity:.2f} of 1{look} ({counted(faces, 'face')} compared)"


def _stage_lines(entry: FileReport) -> Iterator[str]:
    """Where the time went. Stages run side by side: the busiest is the one that all others wait for."""
    timings = entry.timings
    yield f"  {'stage':12}{'seconds':>9}{'ms a frame':>12}{'busy':>7}"
    yield f"  {'scan':12}{timings.scan_seconds:9.2f}{1000 * timings.scan_seconds / entry.frames:12.1f}"
    for stage, seconds in sorted(timings.stages.items(), key=lambda item: -item[1]):
        yield f"  {stage:12}{seconds:9.2f}{1000 * seconds / entry.frames:12.1f}{timings.busy[stage]:7.0%}"


def _track_lines(entry: FileReport) -> Iterator[str]:
    for track in entry.tracks:
        span = f"{format_seconds(max(0.0, track.first_seconds))} to {format_seconds(max(0.0, track.last_seconds))}"
        yield f"track {track.id}: {span}, {counted(track.frames, 'frame')}, about {track.mean_size:.0f} px"


def _people(entry: FileReport) -> str:
    return "no face found" if not entry.faces.tracks else counted(entry.faces.tracks, "face track")


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 shot``, ``2 shots``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
