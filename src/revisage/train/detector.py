"""Training of the embedded face detector, from scenes with boxes and landmarks to a small fp16 weight file.

    revisage train detector RUN --set scenes=... --set steps=...

A run folder holds `config.json` (settings and provenance), `log.jsonl` (a line per record), `checkpoint.pt` (to go on
after a stop) and `weights.safetensors` (the averaged weights, measured on scenes held out of training).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from revisage.core import InputError, ModelError
from revisage.models import load_state, metadata
from revisage.nets import CompactDetector, CompactDetectorConfig
from revisage.train.detector_data import DetectorDataset, LabelledImage, load_aligned_faces, load_scenes
from revisage.train.detector_eval import DetectorMeasures, choose_threshold, find_faces, judge_all
from revisage.train.detector_loss import detector_loss
from revisage.train.detector_run import DetectorRun, RunLog, rounded

__all__ = ["DetectorTrainConfig", "train_detector"]


class DetectorTrainConfig(BaseModel):
    """Everything that decides a detector run. Frozen; unknown keys are refused; saved beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenes: Path = Field(description="Folder of scenes with labels.json.")
    aligned: Path | None = Field(None, description="Folder of FFHQ-aligned faces, to add large faces.")
    aligned_pattern: str = Field("*", description="Which files of that folder.")
    start: Path | None = Field(None, description="Detector weights to begin with; without them, at random.")
    held_out: int = Field(150, ge=1, description="Scenes kept out of training, to choose the threshold by.")
    size: int = Field(320, ge=64, multiple_of=64, description="Side of the square training views, px.")
    batch: int = Field(16, ge=1)
    steps: int = Field(20000, ge=1, description="Optimiser steps in the whole run.")
    warmup: int = Field(300, ge=0, description="Steps of linear warm-up.")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    average: float = Field(0.9995, ge=0, lt=1, description="Decay of the moving average of the weights.")
    seed: int = Field(3, ge=0)
    log_every: int = Field(50, ge=1)
    evaluate_every: int = Field(1000, ge=1, description="Steps between measures, weight files and checkpoints.")
    workers: int = Field(1, ge=0, description="Data processes.")
    threads: int = Field(1, ge=1)
    bf16: bool = Field(True, description="Compute in bfloat16 where the network allows it.")


def train_detector(
    config: DetectorTrainConfig, run_dir: Path, *, report: Callable[[dict[str, Any]], None] | None = None
) -> DetectorMeasures:
    """Train, or go on where `run_dir` left off, and return the measures on the held-out scenes.

    report: called with each record of the log. Sets torch's seed and thread count for this process. Raises InputError
    when there are no scenes to learn from, or a run in the folder that this one cannot go on with; ProcessingError when
    the loss is no number.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    training, held_out, provenance = _load_data(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    record = {"config": config.model_dump(mode="json"), **provenance}
    (run_dir / "config.json").write_text(json.dumps(record, indent=2), "utf-8")
    log = RunLog(run_dir / "log.jsonl", report)
    log.write({"event": "start", **provenance})

    model = load_detector_weights(config.start)[0] if config.start else CompactDetector()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = CompactDetector()
    averaged.load_state_dict(model.state_dict())
    averaged.eval()
    weights = run_dir / "weights.safetensors"
    run = DetectorRun(
        run_dir,
        config,
        model,
        averaged,
        [torch.optim.AdamW(_decay_groups(model, config.weight_decay), lr=config.learning_rate)],
        log,
        loss_of=detector_loss,
        evaluate=lambda: choose_threshold(judge_all(held_out, lambda image: find_faces(averaged, image))),
        save=lambda step, measures: save_detector(averaged, weights, step=step, measures=measures),
    )
    return run.train(_batches(training, config, first_step=run.step))


def save_detector(model: CompactDetector, path: Path, *, step: int, measures: DetectorMeasures) -> None:
    """Write fp16 weights as safetensors, complete or not at all, with their architecture, step, threshold and measures.

    The metadata's key "revisage" holds JSON: arch, config, step, threshold, measures.
    """
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {
        "arch": "compact-detector",
        "config": model.config.to_dict(),
        "step": step,
        "threshold": round(measures.threshold, 3),
        "measures": rounded(asdict(measures)),
    }
    partial = path.with_name(path.name + ".partial")
    save_file(state, partial, metadata={"revisage": json.dumps(about)})
    partial.replace(path)


def load_detector_weights(path: Path) -> tuple[CompactDetector, dict[str, Any]]:
    """A detector in evaluation mode from a file of `save_detector`, and what the file says about itself.

    Raises ModelError when the file is missing, damaged or holds another network.
    """
    about = metadata(path)
    if about.get("arch") != "compact-detector":
        raise ModelError(f"{path} does not hold a compact detector; give a file that its training wrote")
    model = CompactDetector(CompactDetectorConfig.from_dict(about["config"]))
    model.load_state_dict(load_state(path))
    return model.float().eval(), about


def _load_data(config: DetectorTrainConfig) -> tuple[DetectorDataset, list[LabelledImage], dict[str, Any]]:
    kept_out, kept = split_scenes(config.scenes, config.held_out)
    held_out, skipped_held_out = load_scenes(config.scenes, files=kept_out)
    scenes, skipped = load_scenes(config.scenes, files=kept)
    if not held_out or not any(scene.certain.any() for scene in scenes):
        raise InputError(f"{config.scenes} has too few readable scenes with faces: add some, or lower held_out")
    files = sorted(config.aligned.glob(config.aligned_pattern)) if config.aligned else []
    aligned, skipped_aligned = load_aligned_faces(files)
    training = DetectorDataset(scenes, aligned, size=config.size, length=config.steps * config.batch, seed=config.seed)
    provenance = {
        "commit": _git_commit(),
        "labels_sha256": hashlib.sha256((config.scenes / "labels.json").read_bytes()).hexdigest(),
        "scenes": len(scenes),
        "aligned": len(aligned),
        "held_out": len(held_out),
        "skipped": skipped + skipped_held_out + skipped_aligned,
        "torch": torch.__version__,
    }
    return training, held_out, provenance


def split_scenes(folder: Path, held_out: int) -> tuple[list[str], list[str]]:
    """The names of scenes to judge by and of those to learn from: the same for every run and stage.

    Raises InputError without labels.
    """
    labels = folder / "labels.json"
    if not labels.is_file():
        raise InputError(f"{labels} is missing: give a folder of scenes with their labels")
    names = np.array(sorted(json.loads(labels.read_text("utf-8"))))
    np.random.default_rng(0).shuffle(names)
    return names[:held_out].tolist(), names[held_out:].tolist()


def _git_commit() -> str | None:
    """The commit of the code that trains, or None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _batches(
    training: DetectorDataset, config: DetectorTrainConfig, *, first_step: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The batches from `first_step` on: samples are functions of their number, so a resumed run sees what it missed."""
    return DataLoader(
        training,
        batch_size=config.batch,
        sampler=range(first_step * config.batch, config.steps * config.batch),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        # Forked workers share the decoded images; elsewhere they are copied.
        multiprocessing_context="fork" if config.workers and hasattr(os, "fork") else None,
    )


def _decay_groups(model: CompactDetector, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for convolution kernels only."""
    kernels = [p for p in model.parameters() if p.ndim == 4]
    others = [p for p in model.parameters() if p.ndim != 4]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
