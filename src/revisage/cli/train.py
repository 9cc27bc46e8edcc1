"""``revisage train``: train the embedded networks, or others like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from revisage import core, train
from revisage.cli.options import JsonOption
from revisage.cli.show import print_lines
from revisage.core import ConfigError, InputError

__all__ = ["train_app"]

train_app = typer.Typer(
    help="Train restorers, detectors and readers, and see how a run is doing.", no_args_is_help=True
)

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
def restorer(
    run: Run,
    config: ConfigFile = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Start from these weights: a model's name, a file, or another run.",
            show_default=False,
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option("--prior", metavar="PRIOR", help="A run of train prior for the decoder.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", metavar="NAME", help="Train on this damage alone: webcam, film, ...", show_default=False
        ),
    ] = None,
    set_: Settings = None,
    resume: Resume = False,
) -> None:
    """Train or fine-tune a face restorer: compact, or GFP-GAN's own net."""
    options = {
        **({"start": start} if start is not None else {}),
        **({"prior": str(prior)} if prior is not None else {}),
        **({"mixture": [(preset, 1.0)]} if preset is not None else {}),
    }
    settings = _settings(train.RestorerTrainConfig, _base(run, config, resume), set_, options)
    train.train_restorer(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def prior(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train the generative prior of a GFP-GAN: a StyleGAN2 of faces."""
    settings = _settings(train.PriorTrainConfig, _base(run, config, resume), set_)
    train.train_prior(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def status(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Tell how a run is doing: step, pace, time left, losses, measures, checkpoints."""
    found = train.read_status(run)
    print_lines([json.dumps(found.to_json(), indent=2)] if as_json else found.lines())


@train_app.command()
def detector(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train a face detector: its first stage, which proposes faces."""
    settings = _settings(train.DetectorTrainConfig, _base(run, config, resume), set_)
    train.train_detector(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def refiner(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train a face detector's second stage, which looks at each proposal closely."""
    settings = _settings(train.RefineTrainConfig, _base(run, config, resume), set_)
    train.train_refiner(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def lying(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train the branch of a face detector that finds faces which lie on their side or stand on their head."""
    settings = _settings(train.LyingTrainConfig, _base(run, config, resume), set_)
    train.train_lying(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def reader(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train a face reader by networks that teach it identity, pose, landmarks and expression."""
    settings = _settings(train.ReaderTrainConfig, _base(run, config, resume), set_)
    train.train_reader(settings, run, resume=resume, progress=_print_record)


@train_app.command()
def cover(run: Run, config: ConfigFile = None, set_: Settings = None, resume: Resume = False) -> None:
    """Train the branch of a face reader that says where something is before a face."""
    settings = _settings(train.CoverTrainConfig, _base(run, config, resume), set_)
    train.train_cover(settings, run, resume=resume, progress=_print_record)


def _base(run: Path, config: Path | None, resume: bool) -> dict[str, Any]:
    """The settings before any on the command line: those of a file, or those that a run to resume was begun with."""
    if config is not None:
        return _read(config)
    if not resume:
        return {}
    record = run / "config.json"
    if not record.is_file():
        raise InputError(f"no run to resume in {run}: config.json is not there")
    return _read(record)


def _settings(kind: Any, values: dict[str, Any], pairs: list[str] | None, options: dict[str, Any] | None = None) -> Any:
    """A settings record from those of a file, options and NAME=VALUE pairs, where a later one wins.

    Raises:
        ConfigError: a pair has no "=", or a value is not allowed.
    """
    from pydantic import ValidationError

    values = {**values, **(options or {})}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set needs NAME=VALUE, got '{pair}'")
        _put(values, name.split("."), _value(text))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        # An unknown name first: it may be the one that is missing, misspelt.
        problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ConfigError(_told(problems[0], kind)) from None


def _put(values: dict[str, Any], names: list[str], value: Any) -> None:
    """Set a value by its path: net.size=128 changes one setting of the net."""
    for name in names[:-1]:
        inner = values.get(name)
        values[name] = dict(inner) if isinstance(inner, dict) else {} if inner is None else {"architecture": inner}
        values = values[name]
    values[names[-1]] = value


def _told(problem: Any, kind: Any) -> str:
    """A refused setting in one line; an unknown one with the name that was probably meant."""
    place = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"the setting {place} is needed: --set {place}=VALUE, or in --config FILE"
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {place}{core.nearest(place, kind.model_fields)}"
    return f"setting {place}: {message[:1].lower()}{message[1:]}" if place else message


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
