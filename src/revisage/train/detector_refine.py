"""Training of the face detector's second stage, on what the first stage proposes.

    revisage train refiner RUN --set scenes=... --set detector=weights.safetensors

A run folder holds `config.json`, `log.jsonl`, `alarms.npz` (the first stage's false alarms), `checkpoint.pt` and
`weights.safetensors`: both stages in one file, with the threshold chosen on scenes held out of training.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from revisage.core import InputError
from revisage.faces import CloserLook, Found
from revisage.nets import REFINER_WIDTHS, CompactDetector, CompactRefiner
from revisage.train.detector import load_detector_weights, save_detector, split_scenes
from revisage.train.detector_data import LabelledImage, load_scenes
from revisage.train.detector_eval import Detections, DetectorMeasures, choose_threshold, find_faces, judge_all
from revisage.train.detector_refine_data import (
    RefineDataset,
    coded_copies,
    face_patches,
    load_patches,
    mine_false_alarms,
    save_patches,
)
from revisage.train.detector_run import DetectorRun, RunLog
from revisage.train.muon import Muon, split_parameters

__all__ = ["RefineTrainConfig", "refine_loss", "train_refiner"]

_LOWEST_PROPOSAL = 0.08


class RefineTrainConfig(BaseModel):
    """Everything that decides a run. Frozen; unknown keys are refused; saved beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenes: Path = Field(description="Folder of scenes with labels.json.")
    detector: Path = Field(description="Weights of the first stage.")
    portraits: Path | None = Field(None, description="Folder of portraits with labels.json, for landmarks.")
    likely: float | None = Field(None, gt=0, le=1, description="Score from which uncertain faces are learned as faces.")
    coded: bool = Field(False, description="Learn every scene once more as strongly compressed video shows it.")
    start: Path | None = Field(None, description="Weights of both stages, whose second is begun with.")
    held_out: int = Field(100, ge=1, description="Scenes kept out of training, those the first stage kept out.")
    views: int = Field(2, ge=0, description="Random views of each scene in which false alarms are looked for.")
    batch: int = Field(128, ge=1)
    steps: int = Field(20000, ge=1)
    warmup: int = Field(200, ge=0)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    muon: bool = Field(False, description="Orthogonalised steps for the kernels between hidden layers.")
    average: float = Field(0.999, ge=0, lt=1)
    seed: int = Field(5, ge=0)
    log_every: int = Field(50, ge=1)
    evaluate_every: int = Field(1000, ge=1)
    workers: int = Field(1, ge=0)
    threads: int = Field(1, ge=1)
    bf16: bool = True


def train_refiner(
    config: RefineTrainConfig, run_dir: Path, *, report: Callable[[dict[str, Any]], None] | None = None
) -> DetectorMeasures:
    """Train, or go on where `run_dir` left off; the measures of both stages on the held-out scenes.

    report: called with each record of the log. Sets torch's seed and thread count for this process. Raises InputError
    when there are no scenes to learn from.
    """
    torch.set_num_threads(config.threads)
    # Before a data process is forked: it could not end OpenCV's threads, which it does not have.
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    first = load_detector_weights(config.detector)[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training, held_out = _load_data(config, run_dir, first)
    (run_dir / "config.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2), "utf-8")
    log = RunLog(run_dir / "log.jsonl", report)
    log.write({"event": "start", "faces": len(training.faces), "alarms": len(training.alarms)})

    model = (load_detector_weights(config.start)[0].refine if config.start else None) or CompactRefiner()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = CompactRefiner()
    averaged.load_state_dict(model.state_dict())
    averaged.eval()
    weights = run_dir / "weights.safetensors"
    run = DetectorRun(
        run_dir,
        config,
        model,
        averaged,
        _optimisers(model, config),
        log,
        loss_of=lambda outputs, targets: refine_loss(outputs.float(), targets),
        evaluate=lambda: _evaluate(averaged, held_out),
        save=lambda step, measures: save_detector(_joined(first, averaged), weights, step=step, measures=measures),
    )
    return run.train(_batches(training, config, first_step=run.step))


def _batches(
    training: RefineDataset, config: RefineTrainConfig, *, first_step: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The batches from `first_step` on: they are functions of their number."""
    return DataLoader(
        training,
        batch_size=None,
        sampler=range(first_step, config.steps),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
    )


def _optimisers(model: nn.Module, config: RefineTrainConfig) -> list[torch.optim.Optimizer]:
    kernels, rest = split_parameters(model) if config.muon else ([], list(model.parameters()))
    adam = torch.optim.AdamW(rest, lr=config.learning_rate, weight_decay=config.weight_decay)
    return [adam, Muon(kernels, lr=config.learning_rate)] if kernels else [adam]


def refine_loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of crops, and its parts for the log.

    outputs: (N, 15) of the network. targets: (N, TARGET_COLUMNS) of `RefineDataset`. score: cross entropy, over the
    harder half of the false alarms. box: smooth L1 of centre and log size. landmark: the mean distance in the
    landmarks' unit, which is what the measures count.
    """
    face = targets[:, 0] > 0.5
    entropy = F.binary_cross_entropy_with_logits(outputs[:, 0], targets[:, 0], reduction="none")
    alarms = entropy[~face]
    hard = alarms.topk(max(1, len(alarms) // 2)).values if len(alarms) else alarms
    score_loss = (entropy[face].sum() + hard.sum()) / max(1, int(face.sum()) + len(hard))
    found, wanted = outputs[face], targets[face]
    count = max(1, len(found))
    box_loss = F.smooth_l1_loss(found[:, 1:5], wanted[:, 2:6], beta=0.02, reduction="sum") / (4 * count)
    difference = (found[:, 5:] - wanted[:, 6:16]).reshape(-1, 5, 2) * wanted[:, 16, None, None]
    distance = (difference.square().sum(2) + 1e-4).sqrt().mean(1)
    # A face of which the label itself is wrong would pull on all others.
    landmark_loss = (distance.clamp(max=1.0) * wanted[:, 1]).sum() / count
    total = score_loss + 2 * box_loss + 4 * landmark_loss
    parts = {"score": score_loss, "box": box_loss, "landmark": landmark_loss}
    return total, {name: value.detach() for name, value in parts.items()}


def _load_data(
    config: RefineTrainConfig, run_dir: Path, first: CompactDetector
) -> tuple[RefineDataset, list[tuple[LabelledImage, Found]]]:
    """What to learn from, and the held-out scenes with the first stage's proposals."""

    def propose(image: npt.NDArray[np.uint8]) -> Found:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            return Found(*find_faces(first, image, min_score=_LOWEST_PROPOSAL, overlap=0.6))

    kept_out, kept = split_scenes(config.scenes, config.held_out)
    held_out = [(scene, propose(scene.image)) for scene in load_scenes(config.scenes, files=kept_out)[0]]
    scenes, _ = load_scenes(config.scenes, files=kept)
    if not held_out or not any(scene.certain.any() for scene in scenes):
        raise InputError(f"{config.scenes} has too few readable scenes with faces: add some, or lower held_out")
    run_dir.mkdir(parents=True, exist_ok=True)
    coded = list(coded_copies(scenes, config.seed)) if config.coded else []
    if not (run_dir / "alarms.npz").is_file():
        alarms = mine_false_alarms(scenes, propose, views=config.views, seed=config.seed)
        save_patches(alarms + mine_false_alarms(coded, propose, views=0, seed=config.seed), run_dir / "alarms.npz")
    faces = face_patches(scenes) + face_patches(coded)
    if config.portraits:
        faces += face_patches(load_scenes(config.portraits)[0])
    if config.likely is not None:
        faces += face_patches(load_scenes(config.scenes, files=kept, likely=config.likely)[0], sure=False)
    alarms = load_patches(run_dir / "alarms.npz")
    return RefineDataset(faces, alarms, batch=config.batch, length=config.steps, seed=config.seed), held_out


def _evaluate(model: CompactRefiner, held_out: list[tuple[LabelledImage, Found]]) -> DetectorMeasures:
    """Measures of both stages at the best threshold."""

    def net(batch: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [model(torch.from_numpy(batch)).numpy()]

    look = CloserLook(net)
    scenes = [scene for scene, _ in held_out]
    found = iter([look(scene.image, proposals, 0.05) for scene, proposals in held_out])

    def detect(_: npt.NDArray[np.uint8]) -> Detections:
        faces = next(found)
        return faces.boxes_xyxy, faces.landmarks, faces.scores

    return choose_threshold(judge_all(scenes, detect))


def _joined(first: CompactDetector, second: CompactRefiner) -> CompactDetector:
    """Both stages as one network."""
    whole = CompactDetector(replace(first.config, refine=REFINER_WIDTHS))
    whole.load_state_dict(first.state_dict(), strict=False)
    assert whole.refine is not None
    whole.refine.load_state_dict(second.state_dict())
    return whole
