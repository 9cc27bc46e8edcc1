"""The card of an exported model: what it is, what it learnt from, how, how well, and how the file was checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from revisage.train.run_record import TrainedRun

__all__ = ["model_card"]

_WHAT = {
    "compact": "GFP-GAN's clean architecture, narrow (U-Net, one latent style, StyleGAN2 decoder, CS-SFT on half the "
    "channels), and a residual on the input",
    "gfpgan_clean": "GFP-GAN's clean architecture (U-Net, StyleGAN2 decoder, CS-SFT)",
    "compact-detector": "a single-stage detector with five landmarks a face",
}


def model_card(run: TrainedRun, name: str, form: str, checks: Sequence[str], picture: str | None) -> str:
    """The card in Markdown.

    Args:
        name: of the model.
        form: of the file: its format and precision, in words.
        checks: lines on how the file was compared with the trained network.
        picture: file name of the sample grid beside the card.
    """
    parts = [f"# {name}", _purpose(run, form), _fenced("Network", run.settings), *_data(run), _recipe(run)]
    if run.measures:
        parts.append(_fenced("Measures of the run's own check", run.measures))
    if picture:
        parts.append(f"## Samples\n\nRows by turns: input, restored, source.\n\n![samples]({picture})")
    if checks:
        parts.append("\n".join(["## This file", "", *(f"* {line}" for line in checks)]))
    parts.append(
        "## Use\n\nWhat a restorer adds is plausible, not evidence: not for identification. Ask the people shown."
        if not run.is_detector
        else "## Use\n\nFinds faces; it does not tell whose they are."
    )
    return "\n\n".join(parts) + "\n"


def _purpose(run: TrainedRun, form: str) -> str:
    what = _WHAT.get(run.arch, "see the network below")
    job = "Finds faces" if run.is_detector else f"Restores aligned faces (FFHQ frame) of {run.size} px"
    return (
        f"{job}. Architecture `{run.arch}`: {what}. Input: (N, 3, H, W) float32 RGB in -1 to 1. "
        f"Weights: exponential moving average at step {run.step} (`{run.checkpoint}`). File: {form}."
    )


def _data(run: TrainedRun) -> list[str]:
    data = run.data
    if run.is_detector:
        return [_fenced("Data", {name: value for name, value in data.items() if value not in (None, "")})]
    digest = f", SHA-256 of the pixels `{data['sha256']}`" if data.get("sha256") else ""
    images = f"{data['images']} aligned faces{digest}" if "images" in data else "The run did not write down its data"
    weights = data.get("weights") or "all alike"
    return [
        "## Data",
        f"{images}; {data.get('skipped', 0)} files left out. How often an image is drawn, by file name, relative to 1: "
        f"{weights}.",
        _licence_table(data.get("licences") or {}),
    ]


def _licence_table(licences: dict[str, int]) -> str:
    rows = [f"| {_cell(name)} | {count} |" for name, count in sorted(licences.items(), key=lambda item: -item[1])]
    return "\n".join(["| licence, as the source states it | images |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _recipe(run: TrainedRun) -> str:
    seen = run.metadata.get("training", {}).get("images_seen")
    title = f"Recipe: {run.step} steps" + (f", {seen} images seen" if seen else "")
    revision = {"code": run.revision or "git revision not recorded"}
    return _fenced(title, {**run.recipe, **revision})


def _fenced(title: str, values: dict[str, Any]) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join([f"## {title}", "", "```", *lines, "```"])
