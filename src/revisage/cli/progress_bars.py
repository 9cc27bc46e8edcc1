"""The bars that commands draw on stderr while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from revisage.core import Progress as Moment
from revisage.core import ProgressCallback

if TYPE_CHECKING:
    from revisage.pipeline import BatchEntry

__all__ = ["batch_bar", "progress_bar"]

STAGES = {
    "scan": "Looking for faces",
    "people": "Telling people apart",
    "restore": "Restoring",
    "finish": "Putting together",
    "evaluate": "Measuring",
}


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        """The column's text for a task."""
        return Text(f"{task.speed:.1f} fps" if task.speed else "- fps", style="cyan")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback | None]:
    """A callback that draws a bar on stderr; None when that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:g}/{task.fields[frames]} frames"),
        _Rate(),
        TextColumn("{task.fields[faces]} faces"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Drawer(bar)


@contextmanager
def batch_bar(
    say: Callable[[str], None],
) -> Iterator[tuple[ProgressCallback | None, Callable[[BatchEntry, int, int], None] | None]]:
    """Callbacks of a batch: a bar on stderr for the files at work and one for all; a line that is said for each
    finished file where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None, lambda entry, done, total: say(f"{done}/{total} {entry.state} {entry.source}")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:g}/{task.fields[frames]} {task.fields[noun]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        drawer = _BatchDrawer(bar)
        yield drawer.draw, drawer.finished


class _BatchDrawer:
    """A bar for all files, whose end is told from the files so far, and one for each file at work."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._all = bar.add_task("All", total=None, frames="?", noun="files")
        self._tasks: dict[str, tuple[str, TaskID]] = {}

    def draw(self, moment: Moment) -> None:
        """Take a moment of one file's work."""
        stage, task = self._tasks.get(moment.file, ("", self._all))
        if stage != moment.stage:
            self._remove(moment.file)
            text = f"{STAGES.get(moment.stage, moment.stage)} {moment.file}".rstrip()
            task = self._bar.add_task(text, total=moment.total, frames="?", noun="frames")
            self._tasks[moment.file] = (moment.stage, task)
        frames = "?" if moment.total is None else str(moment.total)
        self._bar.update(task, completed=moment.done, total=moment.total, frames=frames)

    def finished(self, entry: BatchEntry, done: int, total: int) -> None:
        """Take a file that is finished."""
        self._remove(entry.source.name)
        self._bar.update(self._all, completed=done, total=total, frames=total)

    def _remove(self, file: str) -> None:
        if file in self._tasks:
            self._bar.remove_task(self._tasks.pop(file)[1])


class _Drawer:
    """One bar for each file and stage."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, moment: Moment) -> None:
        key = (moment.file, moment.stage)
        if key not in self._tasks:
            for task in self._tasks.values():
                self._bar.remove_task(task)
            text = f"{STAGES.get(moment.stage, moment.stage)} {moment.file}".rstrip()
            self._tasks = {key: self._bar.add_task(text, total=moment.total, frames="?", faces=0)}
        frames = "?" if moment.total is None else str(moment.total)
        task = self._tasks[key]
        self._bar.update(task, completed=moment.done, total=moment.total, frames=frames, faces=moment.faces)
