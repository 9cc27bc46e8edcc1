"""``revisage models``: which weights there are, fetch them, where they lie, whether they are sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from revisage.cli.show import print_lines, print_table, warn

if TYPE_CHECKING:
    from revisage.models import ModelEntry

__all__ = ["models_app"]

models_app = typer.Typer(help="The weights: list, pull, path, verify.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of `revisage models list`.")]


@models_app.command("list")
def list_models() -> None:
    """List the models that are known by name."""
    from revisage import models

    rows = [
        (entry.name, _state(entry, models.is_present(entry)), _size(entry.bytes), entry.licence)
        for entry in models.entries()
    ]
    print_table(("name", "here", "size", "licence"), rows)


def _state(entry: ModelEntry, present: bool) -> str:
    return "embedded" if entry.embedded and present else "yes" if present else "no"


def _size(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} MB"


@models_app.command()
def pull(names: Names, quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False) -> None:
    """Fetch models, resumed where they were cut off, and check their SHA-256."""
    from revisage.models import pull as fetch

    for name in names:
        with _byte_bar(name, quiet) as progress:
            path = fetch(name, progress=progress, on_licence=_say_licence, on_warning=warn)
        print_lines([str(path)])


def _say_licence(entry: ModelEntry) -> None:
    warn(f"fetching {entry.name} from {entry.url}; its licence: {entry.licence}")


@contextmanager
def _byte_bar(name: str, quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@models_app.command()
def path(names: Names) -> None:
    """Print where model files are, or will be once they are fetched."""
    from revisage import models

    print_lines(str(models.local_path(name)) for name in names)


@models_app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="By default all that are here.", show_default=False)
    ] = None,
) -> int:
    """Compare model files with their SHA-256."""
    from revisage import models

    chosen = names or [entry.name for entry in models.entries() if models.is_present(entry)]
    for name in chosen:
        models.find(name)
    sound = [_sound(name) for name in chosen]  # each is looked at, also behind a damaged one
    return 0 if all(sound) else 2


def _sound(name: str) -> bool:
    from revisage import models
    from revisage.core import ModelError

    try:
        found = models.verify(name)
    except ModelError as error:
        warn(f"error: {error}")
        return False
    print_lines([f"{name}: {found.sha256} ({_basis(found.source)})"])
    return True


def _basis(source: str) -> str:
    return {"registry": "as published", "recorded": "as at its first download"}.get(source, "nothing to compare with")
