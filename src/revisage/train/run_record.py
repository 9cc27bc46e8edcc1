"""What a run wrote down, read back from its folder: how it is doing, and what there is to export and to tell about it.

For the status no network is loaded, and a run in progress is not disturbed. For an export, what a run did not write
down is left out, and no path of the machine that trained is passed on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from revisage import models, nets
from revisage.core import InputError, ModelError, format_seconds
from revisage.train.images import FaceSource
from revisage.train.networks import architecture_of, build_restorer
from revisage.train.run_folder import WEIGHTS, read_checkpoint
from revisage.train.settings import NetConfig

__all__ = ["Choice", "RunStatus", "TrainedRun", "read_run", "read_status"]

Choice = Literal["best", "last"]
_ANY_NET: TypeAdapter[Any] = TypeAdapter(NetConfig)
_NOT_LOSSES = {"step", "rate", "seconds", "images_per_second"}


@dataclass(frozen=True)
class RunStatus:
    """What a run's folder tells.

    Attributes:
        run: the folder.
        step, steps: done, and wanted.
        rate: images per second, as last logged; None before the first look.
        seconds_left: at that pace; None when it is not known or the run is done.
        idle_seconds: since the log was last written.
        losses: as last logged, with their weights in them.
        measures, measures_step: of the last check, by level; empty without one.
        best, best_step: the measure that best.pt was chosen by, and its step.
        checkpoints: names of the files to go on from or to export.
        skipped: training files that could not be used.
    """

    run: str
    step: int
    steps: int
    rate: float | None = None
    seconds_left: float | None = None
    idle_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    measures_step: int | None = None
    best: float | None = None
    best_step: int | None = None
    best_by: str = ""
    checkpoints: tuple[str, ...] = ()
    skipped: int = 0

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people, on one screen."""
        part = 100 * self.step / max(self.steps, 1)
        pace = "" if self.rate is None else f", {self.rate:g} images/s"
        left = "" if self.seconds_left is None else f", {format_seconds(self.seconds_left)} left"
        shown = [f"{self.run}: step {self.step} of {self.steps} ({part:.1f} %){pace}{left}"]
        if self.step < self.steps:
            shown.append(f"  last written to {format_seconds(self.idle_seconds)} ago")
        if self.losses:
            shown.append("  losses: " + ", ".join(f"{name} {value:g}" for name, value in self.losses.items()))
        for level, values in self.measures.items():
            if isinstance(values, dict):
                numbers = ", ".join(f"{name} {value:g}" for name, value in values.items())
                shown.append(f"  {level} at step {self.measures_step}: {numbers}")
        if self.best is not None:
            shown.append(f"  best: {self.best_by} {self.best:g} at step {self.best_step}")
        shown.append("  checkpoints: " + (", ".join(self.checkpoints) or "none yet"))
        if self.skipped:
            shown.append(f"  {self.skipped} training files could not be used; data.json names them")
        return shown


def read_status(folder: Path) -> RunStatus:
    """Read a run's settings and log.

    Raises:
        InputError: the folder holds no run.
    """
    config = _read_json(folder / "config.json")
    if not config:
        state = "damaged" if (folder / "config.json").is_file() else "not there"
        raise InputError(f"no run in {folder}: config.json is {state}")
    log = _log(folder)
    looks = [line for line in log if "step" in line and "validation" not in line and "event" not in line]
    checks = [line for line in log if "validation" in line]
    last, checked = (looks or [{}])[-1], (checks or [{}])[-1]
    step, steps = int(last.get("step", 0)), int(config.get("steps", 0))
    best = checked.get("best")
    return RunStatus(
        run=str(folder),
        step=step,
        steps=steps,
        rate=last.get("images_per_second"),
        seconds_left=_seconds_left(looks, steps),
        idle_seconds=round(_age(folder / "log.jsonl"), 1),
        losses={name: value for name, value in last.items() if name not in _NOT_LOSSES},
        measures=checked.get("validation", {}),
        measures_step=checked.get("step"),
        best=best,
        best_step=next((line["step"] for line in checks if best is not None and line.get("best") == best), None),
        best_by=" ".join(config.get("best_by", ())),
        checkpoints=tuple(name for name in ("last.pt", "best.pt") if (folder / name).is_file()),
        skipped=len(_read_json(folder / "data.json").get("skipped", ())),
    )


def _seconds_left(looks: list[dict[str, Any]], steps: int) -> float | None:
    """At the pace of the last looks of the same start; the clock begins anew with each."""
    if len(looks) < 2 or looks[-1]["step"] >= steps:
        return None
    now = looks[-1]
    before = [look for look in looks[-6:-1] if look["seconds"] < now["seconds"] and look["step"] < now["step"]]
    if not before:
        return None
    first = before[0]
    pace = (now["seconds"] - first["seconds"]) / (now["step"] - first["step"])
    return round(pace * (steps - int(now["step"])), 1)


def _age(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


@dataclass(frozen=True)
class TrainedRun:
    """A run to export.

    Attributes:
        folder: of the run.
        checkpoint: name of the file that the weights come from.
        net: the network, float32, its weights rounded to float16 as the exported file has them; in evaluation mode.
        arch, settings: what ``revisage.nets.build`` makes the same network of.
        step: optimiser steps behind the weights.
        metadata: what the exported file says about itself besides architecture and settings.
        recipe: the settings of the run, without paths.
        data: images, hash, licences, files left out, as far as the run wrote them down.
        measures: of the check that belongs to the weights, by level or by name.
        revision: git revision of the training code.
        grid: picture of that check.
        faces: where the run's faces were.
    """

    folder: Path
    checkpoint: str
    net: nn.Module
    arch: str
    settings: dict[str, Any]
    step: int
    metadata: dict[str, Any]
    recipe: dict[str, Any]
    data: dict[str, Any]
    measures: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None
    grid: Path | None = None
    faces: tuple[FaceSource, ...] = ()

    @property
    def is_detector(self) -> bool:
        """Whether the net finds faces instead of restoring them."""
        return nets.architecture(self.arch).role == "face detector"

    @property
    def is_reader(self) -> bool:
        """Whether it reads faces."""
        return nets.architecture(self.arch).role == "face reader"

    @property
    def size(self) -> int:
        """Side of a restorer's crops, or of what a reader is shown, px."""
        return nets.architecture(self.arch).size(self.settings)


def read_run(folder: Path, checkpoint: Choice | None = None) -> TrainedRun:
    """The run in a folder; of its checkpoints the best where there is one, else the last.

    Raises:
        InputError: there is no run, it has no such checkpoint, or one that is damaged or of another kind.
    """
    if not folder.is_dir():
        raise InputError(f"no such run: {folder} is {'a file' if folder.exists() else 'not there'}; name its folder")
    left_weights = _leaves_weights(folder) if (folder / WEIGHTS).is_file() else False
    return _of_weights(folder, checkpoint) if left_weights else _restorer(folder, checkpoint)


def _leaves_weights(folder: Path) -> bool:
    """Whether a file of weights is what the run itself left: a restorer may have been exported by that name."""
    last = folder / "last.pt"
    return not last.is_file() or read_checkpoint(last).get("stage") in (
        "detector",
        "refiner",
        "lying",
        "reader",
        "cover",
    )


def _restorer(folder: Path, checkpoint: Choice | None) -> TrainedRun:
    name = f"{checkpoint}.pt" if checkpoint else "best.pt" if (folder / "best.pt").is_file() else "last.pt"
    if not (folder / name).is_file():
        raise InputError(f"no checkpoint {name} in {folder}; train on until there is one, or choose another")
    content = read_checkpoint(folder / name)
    if content.get("stage", "restorer") != "restorer":
        raise InputError(
            f"{folder / name} is of a {content['stage']}; what is exported is a restorer, a detector or a reader"
        )
    try:
        config = json.loads(content["config"])
        net_config = _ANY_NET.validate_python(config["net"])
        net = build_restorer(net_config)
        net.load_state_dict(content["average"])
    except (ValidationError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder / name} is of another kind or version of run") from error
    arch, settings = architecture_of(net_config)
    step = int(content["step"])
    data = _read_json(folder / "data.json")
    data["weights"] = {pattern: w for source in config["data"] for pattern, w in (source.get("weights") or {}).items()}
    recipe = _without_paths({name: value for name, value in config.items() if name not in ("data", "net")})
    batch = int(config.get("batch", 1)) * int(config.get("accumulate", 1))
    training = {"step": step, "images_seen": step * batch, "recipe": recipe, "data": _counted(data)}
    records = _log(folder)
    revision = _revision(config, data, *records)
    return TrainedRun(
        folder=folder,
        checkpoint=name,
        net=_rounded(net),
        arch=arch,
        settings=settings,
        step=step,
        metadata={"training": {**training, **({"revision": revision} if revision else {})}},
        recipe=recipe,
        data=_counted(data),
        measures=_measures(records, step, "validation"),
        revision=revision,
        grid=_grid(folder, step),
        faces=_sources(config),
    )


def _of_weights(folder: Path, checkpoint: Choice | None) -> TrainedRun:
    """The run of a detector or of a reader."""
    if checkpoint == "best":
        raise InputError(f"{folder} is the run of a detector or a reader, which keep their last weights only")
    path = folder / WEIGHTS
    try:
        about = models.metadata(path)
        net = nets.build(str(about.get("arch")), about.get("config"))
        net.load_state_dict(models.load_state(path))
    except (ModelError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or of another architecture: {' '.join(str(error).split())}") from error
    known, data, records = _read_json(folder / "config.json"), _read_json(folder / "data.json"), _log(folder)
    # Former runs kept their settings among what they were trained on.
    config = known.get("config", known)
    step = int(about.get("step", 0))
    return TrainedRun(
        folder=folder,
        checkpoint=WEIGHTS,
        net=_rounded(net),
        arch=str(about["arch"]),
        settings=dict(about.get("config") or {}),
        step=step,
        metadata={name: value for name, value in about.items() if name not in ("arch", "config")},
        recipe=_without_paths(config),
        data={name: value for name, value in _counted(data).items() if name != "revision"},
        measures=dict(about.get("measures") or {}),
        revision=_revision(data, known, *records),
        faces=_detector_pictures(config) or _sources(config),
    )


def _rounded(net: nn.Module) -> nn.Module:
    """The net with the values that float16 can hold, in float32 arithmetic."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return net.eval().requires_grad_(False)


def _read_json(path: Path) -> dict[str, Any]:
    """A record of the run; empty when it is not there or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _log(folder: Path) -> list[dict[str, Any]]:
    """The records of the log; a line that is being written or that a crash tore is left out."""
    try:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def _measures(records: list[dict[str, Any]], step: int, name: str) -> dict[str, Any]:
    """The check at the step of the weights, or the last one before it."""
    found = [record[name] for record in records if name in record and int(record.get("step", 0)) <= step]
    return found[-1] if found and isinstance(found[-1], dict) else {}


def _grid(folder: Path, step: int) -> Path | None:
    pictures = [path for path in sorted((folder / "grids").glob("*.png")) if path.stem.isdigit()]
    fitting = [path for path in pictures if int(path.stem) <= step]
    return fitting[-1] if fitting else None


def _revision(*records: dict[str, Any]) -> str | None:
    for record in records:
        for name in ("revision", "git_revision", "commit"):
            if isinstance(record.get(name), str):
                return str(record[name])
    return None


def _counted(data: dict[str, Any]) -> dict[str, Any]:
    """The record of the data with the number of files left out, for their names are paths."""
    skipped = data.get("skipped", [])
    return {**data, "skipped": len(skipped) if isinstance(skipped, list) else skipped}


def _sources(config: dict[str, Any]) -> tuple[FaceSource, ...]:
    """Where to find faces of the run: first those of its check, which no training saw."""
    listed = [config.get("validation"), *config.get("data", ())]
    return tuple(FaceSource.model_validate(source) for source in listed if source)


def _detector_pictures(config: dict[str, Any]) -> tuple[FaceSource, ...]:
    named = (config.get("scenes"), config.get("aligned"))
    return tuple(FaceSource(path=Path(name)) for name in named if isinstance(name, str))


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not _names_path(value)}


def _names_path(value: Any) -> bool:
    """Whether a setting tells of a place on the machine that trained."""
    if isinstance(value, dict):
        return "path" in value
    if not isinstance(value, str):
        return False
    return PurePosixPath(value).name != value or PureWindowsPath(value).name != value
