"""``revisage models`` and ``revisage export``: weights by name, fetched and checked; a trained run as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisage import browser, models, train
from revisage.cli.options import OUTPUT
from revisage.cli.show import print_lines, print_table, warn
from revisage.core import ConfigError, ModelError

if TYPE_CHECKING:
    from revisage.models import ModelEntry

__all__ = ["export", "models_app"]

models_app = typer.Typer(help="The weights: list, pull, path, verify.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of `revisage models list`.")]


@models_app.command("list")
def list_models() -> None:
    """List the models that are known by name."""
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
    """Fetch models, resumed where they were cut off, and check their SHA-256.

    Without PyTorch GFP-GAN comes as ONNX, as `restore --model` takes it then.
    """
    for entry in map(models.find_usable, names):
        with _byte_bar(entry.name, quiet) as progress:
            path = models.pull(entry, progress=progress, on_licence=_say_licence, on_warning=warn)
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
    print_lines(str(models.local_path(models.find_usable(name))) for name in names)


@models_app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="By default all that are here.", show_default=False)
    ] = None,
) -> int:
    """Compare model files with their SHA-256."""
    chosen = names or [entry.name for entry in models.entries() if models.is_present(entry)]
    held = [models.find(name) for name in chosen]
    found = [entry if models.is_present(entry) else models.find_usable(entry.name) for entry in held]
    sound = [_sound(entry.name) for entry in found]  # each is looked at, also behind a damaged one
    return 0 if all(sound) else 2


def _sound(name: str) -> bool:
    try:
        found = models.verify(name)
    except ModelError as error:
        warn(f"error: {error}")
        return False
    print_lines([f"{name}: {found.sha256} ({_basis(found.source)})"])
    return True


def _basis(source: str) -> str:
    return {"registry": "as published", "recorded": "as at its first download"}.get(source, "nothing to compare with")


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Folder of a run of `revisage train`, or embedded model.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            *OUTPUT,
            metavar="FILE",
            help="NAME.safetensors, NAME.onnx, NAME.xml (OpenVINO) or NAME.npz (see --base).",
            show_default=False,
        ),
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(
            "--web",
            metavar="DIR",
            help="A page that restores faces in the browser itself, with the embedded models.",
            show_default=False,
        ),
    ] = None,
    ort: Annotated[
        Path | None,
        typer.Option(
            "--ort",
            metavar="PATH",
            help="For --web: the npm package onnxruntime-web, .tgz or folder; by default fetched (33 MB, MIT).",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="safetensors|onnx|openvino|difference",
            help="By default what FILE ends in.",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise an OpenVINO file; refused below 40 dB.")] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="For NAME.npz: the embedded model that the weights are told from, as the package ships a second look.",
            show_default=False,
        ),
    ] = None,
    without_lattice: Annotated[
        bool, typer.Option("--without-lattice", help="Take the lattice of rows and columns out of a compact's head.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="best|last", help="By default the best there is.", show_default=False),
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option("--faces", metavar="DIR", help="Aligned faces to check with; by default the run's own."),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Of an embedded model, as the package holds it: beside its weights.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Export a trained model, checked against the trained network, with a model card beside it.

    \b
    revisage export runs/mine -o mine.onnx      a run's averaged weights
    revisage export --web page                  a page for any web server that restores in the browser
    """
    if web is not None and (run is not None or output is not None):
        raise ConfigError("--web makes a page with the embedded models: leave RUN and --output out")
    if web is not None:
        print_lines([str(browser.export_page(web, runtime=ort, overwrite=overwrite))])
        return
    if run is None or output is None:
        raise ConfigError("name a RUN and an --output FILE, or a page's folder by --web DIR")
    if ort is not None:
        raise ConfigError("--ort is for --web DIR")
    _check_choice("--format", format_, tuple(train.FORMATS.values()))
    _check_choice("--checkpoint", checkpoint, ("best", "last"))
    alike: dict[str, Any] = {"int8": int8, "faces": faces, "overwrite": overwrite}
    if not run.exists() and str(run) in {entry.name for entry in models.entries()}:
        _export_model(str(run), output, base, shared=shared, **alike)
    else:
        own = {"format": format_, "base": base, "without_lattice": without_lattice, "checkpoint": checkpoint}
        _export_run(run, output, **own, **alike)


def _export_model(name: str, output: Path, base: str | None, **options: Any) -> None:
    if base is not None:
        raise ConfigError(f"--base is for the weights of a run, and {name} is an embedded model: leave it out")
    print_lines(str(path) for path in train.export_model(name, output, **options))


def _export_run(run: Path, output: Path, **options: Any) -> None:
    lines: list[str] = []
    written = train.export_run(run, output, **options, say=lines.append)
    print_lines([str(written), *(f"  {line}" for line in lines), f"  card: {train.card_path(written)}"])


def _check_choice(option: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError(f"{option} cannot be '{value}': choose one of {', '.join(allowed)}")
