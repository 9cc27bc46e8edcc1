"""A finished run as an export needs it: the averaged weights, and what there is to tell about how they came about.

Reads the run folders of `revisage train restorer` and `revisage train detector`. What a run did not write down is left
out; no path of the machine that trained is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from revisage.core import InputError
from revisage.train.checkpoint import read_checkpoint
from revisage.train.networks import NetConfig, architecture_of, build_restorer
from revisage.train.sources import FaceSource

__all__ = ["Choice", "TrainedRun", "read_run"]

Choice = Literal["best", "last"]
_ANY_NET: TypeAdapter[Any] = TypeAdapter(NetConfig)
_DETECTOR_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class TrainedRun:
    """A run to export.

    Attributes:
        folder: of the run.
        checkpoint: name of the file that the weights come from.
        net: the network, float32, its weights rounded to float16 as the exported file has them; in evaluation mode.
        arch, settings: what `revisage.nets.build` makes the same network of.
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
        return self.arch == "compact-detector"

    @property
    def size(self) -> int:
        """Side of a restorer's crops, px."""
        return int(self.settings.get("size") or self.settings["out_size"])


def read_run(folder: Path, checkpoint: Choice | None = None) -> TrainedRun:
    """The run in a folder; of its checkpoints the best where there is one, else the last.

    Raises InputError when there is no run, it has no such checkpoint, or one that is damaged or of another kind.
    """
    if not folder.is_dir():
        raise InputError(f"no such run: {folder} is {'a file' if folder.exists() else 'not there'}; name its folder")
    if (folder / _DETECTOR_WEIGHTS).is_file() and not (folder / "last.pt").is_file():
        return _detector(folder, checkpoint)
    return _restorer(folder, checkpoint)


def _restorer(folder: Path, checkpoint: Choice | None) -> TrainedRun:
    name = f"{checkpoint}.pt" if checkpoint else "best.pt" if (folder / "best.pt").is_file() else "last.pt"
    if not (folder / name).is_file():
        raise InputError(f"no checkpoint {name} in {folder}; train on until there is one, or choose another")
    content = read_checkpoint(folder / name)
    if content.get("stage", "restorer") != "restorer":
        raise InputError(f"{folder / name} is of a {content['stage']}; what is exported is a restorer or a detector")
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
    records = list(_log(folder))
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


def _detector(folder: Path, checkpoint: Choice | None) -> TrainedRun:
    from revisage import models
    from revisage.core import ModelError
    from revisage.nets import build

    if checkpoint == "best":
        raise InputError(f"{folder} is the run of a detector, which keeps its last weights only")
    path = folder / _DETECTOR_WEIGHTS
    try:
        about = models.metadata(path)
        net = build(str(about.get("arch")), about.get("config"))
        net.load_state_dict(models.load_state(path))
    except (ModelError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or of another architecture: {' '.join(str(error).split())}") from error
    known = _read_json(folder / "config.json")
    config = known.get("config", known)
    records = list(_log(folder))
    data: dict[str, Any] = {
        name: known[name] for name in ("scenes", "aligned", "held_out", "labels_sha256") if name in known
    }
    data["skipped"] = len(known.get("skipped", ()))
    step = int(about.get("step", 0))
    return TrainedRun(
        folder=folder,
        checkpoint=_DETECTOR_WEIGHTS,
        net=_rounded(net),
        arch=str(about["arch"]),
        settings=dict(about.get("config") or {}),
        step=step,
        metadata={name: value for name, value in about.items() if name not in ("arch", "config")},
        recipe=_without_paths(config),
        data=data,
        measures=dict(about.get("measures") or {}),
        revision=_revision(known, *records),
        faces=_detector_pictures(config),
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


def _log(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of the log; a line that a crash tore is left out."""
    try:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


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
