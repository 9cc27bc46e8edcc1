"""From a run to a file that `revisage restore --model FILE` takes: the averaged weights, and a card about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from revisage.core.errors import InputError, OutputError
from revisage.nets.compact import CompactGFPGAN
from revisage.train.restorer import RestorerTrainConfig, read_checkpoint

__all__ = ["export_run"]


def export_run(run_dir: Path, output_path: Path) -> Path:
    """Write the averaged weights of a run's last checkpoint as float16 safetensors, and a model card beside them.

    What rebuilds the net (`arch`, `config`) and how it came about (`training`) stand as JSON in the metadata key
    "revisage". The card is `output_path` with the suffix .md. An older file of that name is replaced at the end.

    Raises InputError when the run has no readable checkpoint, OutputError when the file cannot be written.
    """
    checkpoint = read_checkpoint(run_dir)
    try:
        config = RestorerTrainConfig.model_validate_json(checkpoint["config"])
    except ValidationError as error:
        raise InputError(f"{run_dir / 'last.pt'} is of another kind or version of run") from error
    net = CompactGFPGAN(config.net)
    net.load_state_dict(checkpoint["average"])
    record = {
        "arch": "compact",
        "config": config.net.model_dump(mode="json"),
        "training": _training_record(config, int(checkpoint["step"]), run_dir),
    }
    halves = {name: value.to(torch.float16).contiguous() for name, value in net.state_dict().items()}
    card = _card(record, output_path.stem, _last_validation(run_dir))
    temporary = output_path.with_name(output_path.name + ".part")
    try:
        save_file(halves, temporary, metadata={"revisage": json.dumps(record)})
        temporary.replace(output_path)
        output_path.with_suffix(".md").write_text(card, encoding="utf-8")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {output_path}: {error.strerror}") from error
    return output_path


def _training_record(config: RestorerTrainConfig, step: int, run_dir: Path) -> dict[str, Any]:
    """The recipe without paths of the machine it ran on."""
    recipe = config.model_dump(mode="json", exclude={"data", "vgg", "validation", "net", "threads", "workers"})
    data = json.loads((run_dir / "data.json").read_text(encoding="utf-8"))
    data["skipped"] = len(data["skipped"])
    weights = {pattern: weight for source in config.data for pattern, weight in source.weights.items()}
    return {"step": step, "images_seen": step * config.batch, "recipe": recipe, "data": {**data, "weights": weights}}


def _last_validation(run_dir: Path) -> dict[str, dict[str, float]]:
    """The measures of the last check in the log, by level; empty where the run had none."""
    measures: dict[str, dict[str, float]] = {}
    for line in (run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines():
        measures = json.loads(line).get("validation", measures)
    return measures


def _card(record: dict[str, Any], name: str, validation: dict[str, dict[str, float]]) -> str:
    """The model card in Markdown: network, data with licences and counts, recipe, measures of the run."""
    training = record["training"]
    parts = [
        f"# {name}",
        f"Restores aligned faces (FFHQ frame) of {record['config']['size']} px. Architecture `{record['arch']}`: "
        "GFP-GAN's clean architecture, narrow (U-Net, one latent style, StyleGAN2 decoder, CS-SFT on half the "
        "channels), and a residual on the input. Weights: float16, exponential moving average.",
        _fenced("Network", record["config"]),
        "## Data",
        f"{training['data']['images']} aligned faces, SHA-256 of the pixels `{training['data']['sha256']}`; "
        f"{training['data']['skipped']} files left out. How often an image is drawn, by file name, "
        f"relative to 1: {training['data']['weights'] or 'all alike'}.",
        _licence_table(training["data"]["licences"]),
        _fenced(f"Recipe: {training['step']} steps, {training['images_seen']} images seen", training["recipe"]),
    ]
    if validation:
        parts.append(_fenced("Measures of the run's own check", validation))
    return "\n\n".join(parts) + "\n"


def _licence_table(licences: dict[str, int]) -> str:
    rows = [f"| {licence} | {count} |" for licence, count in sorted(licences.items(), key=lambda item: -item[1])]
    return "\n".join(["| licence, as the source states it | images |", "| --- | --- |", *rows])


def _fenced(title: str, values: dict[str, Any]) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join([f"## {title}", "", "```", *lines, "```"])
