"""``revisage train``: train the embedded networks, or others like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from revisage.cli.show import print_lines
from revisage.core.errors import ConfigError

__all__ = ["train_app"]

train_app = typer.Typer(help="Train a restorer or a detector of the compact kind.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder for checkpoints, weights and the log.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="JSON file with the settings.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; wins over the file. May be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in RUN.")]


@train_app.command()
def restorer(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train a face restorer."""
    from revisage.train.restorer import RestorerTrainConfig, train_restorer

    train_restorer(_settings(RestorerTrainConfig, config, set_), run, resume=resume, progress=_print_record)


@train_app.command()
def detector(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train a face detector."""
    from revisage.train.detector import DetectorTrainConfig, train_detector

    if not resume and run.is_dir() and any(run.glob("checkpoint*")):
        raise ConfigError(f"{run} holds a run already; go on with --resume, or name another folder")
    train_detector(_settings(DetectorTrainConfig, config, set_), run, report=_print_record)


def _settings(kind: Any, file: Path | None, pairs: list[str] | None) -> Any:
    """A settings record from a file and NAME=VALUE pairs.

    Raises:
        ConfigError: the file is no JSON object, a pair has no "=", or a value is not allowed.
    """
    from pydantic import ValidationError

    values = _read(file) if file is not None else {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set needs NAME=VALUE, got '{pair}'")
        values[name] = _value(text)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"setting {place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is not a JSON file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold one JSON object of settings")
    return values


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, lists), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _print_record(record: dict[str, Any]) -> None:
    print_lines([json.dumps(record)])
