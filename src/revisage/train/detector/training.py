"""Train the embedded face detector: its first stage, which proposes faces, and its second, which looks at each closely.

Both leave ``weights.safetensors`` in their run's folder beside what every run has: the averaged weights in float16,
with the threshold and the measures on scenes held out of training. The second stage's file holds both stages; its
folder also keeps ``alarms.npz``, the first stage's false alarms.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from revisage.core import Image, InputError, ModelError
from revisage.faces import CloserLook, Found
from revisage.models import load_state, metadata
from revisage.nets import (
    REFINER_WIDTHS,
    STRIDES,
    CompactDetector,
    CompactDetectorConfig,
    CompactRefiner,
    cell_centres,
)
from revisage.train.compute import Compute, started
from revisage.train.detector.accuracy import (
    DetectorMeasures,
    choose_threshold,
    find_faces,
    judge_all,
)
from revisage.train.detector.hands import scenes_of_hands
from revisage.train.detector.patches import (
    RefineDataset,
    RefinePatch,
    coded_copies,
    face_patches,
    load_patches,
    mine_false_alarms,
    save_patches,
    weighed,
)
from revisage.train.detector.scenes import DetectorDataset, LabelledImage, load_aligned_faces, load_scenes
from revisage.train.loop import Check, Draws, Losses, SampleStage, train
from revisage.train.networks import Muon, save_weights, split_parameters
from revisage.train.run_folder import WEIGHTS, Report, RunFolder
from revisage.train.settings import DetectorTrainConfig, RefineTrainConfig, SceneConfig

__all__ = [
    "SceneStage",
    "cells_of",
    "detector_loss",
    "generalised_iou",
    "load_detector_weights",
    "refine_loss",
    "rounded",
    "save_detector",
    "split_scenes",
    "train_detector",
    "train_refiner",
]

_ALARMS = "alarms.npz"
_LOWEST_PROPOSAL = 0.08
"""Far below any threshold, so that the second stage meets the first one's false alarms."""

_MAY_BE_A_FACE = 0.9
"""What labels lack and a second stage gives such a score: some of it are faces."""

_BOX_WEIGHT = 2.0
_LANDMARK_WEIGHT = 2.0
_LANDMARK_UNIT = 0.1
"""Landmark distances count in tenths of the face's size."""

_LANDMARK_BETA = 0.2
"""Below a fifth of that (2 % of the face) they count quadratically."""


def train_detector(
    config: DetectorTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train a first stage; arguments, result and errors as for :func:`revisage.train.train_restorer`.

    What ``run_dir`` holds beside a run's usual files stands above.
    """
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="detector", resume=resume, leads=compute.group.leads, progress=progress)
        return train(_FirstStage(config, compute, run_dir), run)


def train_refiner(
    config: RefineTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train a second stage on what the first proposes; as :func:`train_detector`."""
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="refiner", resume=resume, leads=compute.group.leads, progress=progress)
        return train(_SecondStage(config, compute, run_dir), run)


class SceneStage(SampleStage):
    """What both stages share: they learn from scenes, and are measured on scenes held out."""

    config: SceneConfig
    gradient_norm = 10.0
    folder: Path

    def check(self, step: int) -> Check:
        """See :meth:`Stage.check`; writes the weights with what was measured."""
        measures = self.measured()
        save_detector(self.whole(), self.folder / WEIGHTS, step=step, measures=measures)
        return Check({"held_out": rounded(asdict(measures))})

    def measured(self) -> DetectorMeasures:
        """The averaged net on the scenes held out, at the best threshold."""
        raise NotImplementedError

    def whole(self) -> CompactDetector:
        """The detector to write: the averaged net, with the other stage where there is one."""
        raise NotImplementedError


class _FirstStage(SceneStage):
    name = "detector"
    config: DetectorTrainConfig

    def __init__(self, config: DetectorTrainConfig, compute: Compute, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.folder = folder
        scenes, self.held_out, data = split_scenes(config)
        files = sorted(config.aligned.glob(config.aligned_pattern)) if config.aligned else []
        aligned, skipped = load_aligned_faces(files)
        data.update(aligned=len(aligned), skipped=data["skipped"] + skipped)
        self.dataset = DetectorDataset(scenes, aligned, size=config.size, seed=config.seed)
        self.net = (load_detector_weights(config.start)[0] if config.start else CompactDetector()).train()
        self.average = CompactDetector()
        self.average.load_state_dict(self.net.state_dict())
        self.average.eval()
        compute.place(self.net, self.average)
        kernels = [p for p in self.net.parameters() if p.ndim == 4]
        others = [p for p in self.net.parameters() if p.ndim != 4]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        adam = torch.optim.AdamW(groups, lr=config.learning_rate)
        super().__init__(config, compute, data, {"net": self.net, "average": self.average}, {"optimiser": adam})

    def learn(self, batch: Any, draws: Draws) -> Losses:  # noqa: ARG002 - nothing is drawn on the way
        """See :meth:`Stage.learn`."""
        views, targets = batch
        with self.compute.autocast():
            maps = self.net(self.compute.images(views))
        loss, parts = detector_loss(maps, targets.to(self.compute.device))
        self.backward(loss)
        return {"loss": loss, **parts}

    def measured(self) -> DetectorMeasures:
        """See :meth:`SceneStage.measured`."""
        return choose_threshold(judge_all(self.held_out, lambda image: find_faces(self.average, image)))

    def whole(self) -> CompactDetector:
        """See :meth:`SceneStage.whole`."""
        return self.average


class _SecondStage(SceneStage):
    name = "refiner"
    config: RefineTrainConfig

    def __init__(self, config: RefineTrainConfig, compute: Compute, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.folder = folder
        self.first = load_detector_weights(config.detector)[0]
        compute.place(self.first)
        scenes, held_out, data = split_scenes(config)
        self.held_out = [(scene, self._proposals(scene.image, compute)) for scene in held_out]
        coded = list(coded_copies(scenes, config.seed)) if config.coded else []
        start = load_detector_weights(config.start)[0].refine if config.start else None
        alarms = self._alarms(scenes, coded, start, config, compute)
        faces = [*face_patches(scenes), *face_patches(coded), *_more_faces(config)]
        self.dataset = RefineDataset(faces, alarms, seed=config.seed, hands=config.hands > 0, cut=config.cut)
        data.update(faces=len(faces), alarms=len(alarms))
        self.net = (start or CompactRefiner()).train()
        self.average = CompactRefiner()
        self.average.load_state_dict(self.net.state_dict())
        self.average.eval()
        compute.place(self.net, self.average)
        kernels, rest = split_parameters(self.net) if config.optimiser == "muon" else ([], list(self.net.parameters()))
        optimisers: dict[str, torch.optim.Optimizer] = {
            "optimiser": torch.optim.AdamW(rest, lr=config.learning_rate, weight_decay=config.weight_decay)
        }
        if kernels:
            optimisers["kernels_optimiser"] = Muon(kernels, lr=config.learning_rate)
        super().__init__(config, compute, data, {"net": self.net, "average": self.average}, optimisers)

    def learn(self, batch: Any, draws: Draws) -> Losses:  # noqa: ARG002 - nothing is drawn on the way
        """See :meth:`Stage.learn`."""
        crops, targets = batch
        with self.compute.autocast():
            outputs = self.net(self.compute.images(crops))
        loss, parts = refine_loss(outputs.float(), targets.to(self.compute.device))
        self.backward(loss)
        return {"loss": loss, **parts}

    def measured(self) -> DetectorMeasures:
        """See :meth:`SceneStage.measured`: both stages together."""
        device = self.compute.device

        def net(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            with torch.inference_mode():
                return [self.average(torch.from_numpy(batch).to(device)).cpu().numpy()]

        look = CloserLook(net)
        found = iter([look(scene.image, proposals, 0.05) for scene, proposals in self.held_out])
        return choose_threshold(judge_all([scene for scene, _ in self.held_out], lambda _: next(found)))

    def whole(self) -> CompactDetector:
        """See :meth:`SceneStage.whole`."""
        whole = CompactDetector(replace(self.first.config, refine=REFINER_WIDTHS))
        whole.load_state_dict(self.first.state_dict(), strict=False)
        assert whole.refine is not None
        whole.refine.load_state_dict(self.average.state_dict())
        return whole

    def _proposals(self, image: Image, compute: Compute) -> Found:
        with compute.autocast():
            return find_faces(self.first, image, min_score=_LOWEST_PROPOSAL, overlap=0.6)

    def _alarms(
        self,
        scenes: Sequence[LabelledImage],
        coded: Sequence[LabelledImage],
        start: CompactRefiner | None,
        config: RefineTrainConfig,
        compute: Compute,
    ) -> list[RefinePatch]:
        """The first stage's false alarms, looked for once in a run: it takes long."""
        path = self.folder / _ALARMS
        if path.is_file():
            return load_patches(path)

        def propose(image: Image) -> Found:
            return self._proposals(image, compute)

        alarms = mine_false_alarms(scenes, propose, views=config.views, seed=config.seed)
        alarms += mine_false_alarms(coded, propose, views=0, seed=config.seed)
        drawn = scenes_of_hands(scenes, config.hands, seed=config.seed)
        hands = mine_false_alarms(drawn, propose, views=0, seed=config.seed)
        if config.hard and start is not None:
            certainty = _certainty_of(start)
            alarms, hands = weighed(alarms, certainty, surest=_MAY_BE_A_FACE), weighed(hands, certainty)
        if compute.group.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_patches([*alarms, *hands], path)
        return [*alarms, *hands]


def _certainty_of(net: CompactRefiner) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The scores of a second stage, 0 to 1, for ``(N, 64, 64, 3) uint8`` crops."""

    def certainty(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            planes = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
            return np.asarray(net(planes)[:, 0].sigmoid().numpy(), np.float32)

    return certainty


def _more_faces(config: RefineTrainConfig) -> list[RefinePatch]:
    """Faces of the portraits, and uncertain ones of the scenes, where the settings ask for them."""
    faces: list[RefinePatch] = []
    if config.portraits:
        faces += face_patches(load_scenes(config.portraits)[0])
    if config.likely is not None:
        _, kept = _split_names(config.scenes, config.held_out)
        faces += face_patches(load_scenes(config.scenes, files=kept, likely=config.likely)[0], sure=False)
    return faces


def split_scenes(config: SceneConfig) -> tuple[list[LabelledImage], list[LabelledImage], dict[str, Any]]:
    """Scenes to learn from, scenes to judge by, and what a run writes down about them.

    Raises:
        InputError: there are too few.
    """
    kept_out, kept = _split_names(config.scenes, config.held_out)
    held_out, skipped_held_out = load_scenes(config.scenes, files=kept_out)
    scenes, skipped = load_scenes(config.scenes, files=kept)
    if not held_out or not any(scene.certain.any() for scene in scenes):
        raise InputError(f"{config.scenes} has too few readable scenes with faces: add some, or lower held_out")
    digest = hashlib.sha256((config.scenes / "labels.json").read_bytes()).hexdigest()
    counts = {"scenes": len(scenes), "held_out": len(held_out), "labels_sha256": digest}
    return scenes, held_out, {**counts, "skipped": skipped + skipped_held_out}


def _split_names(folder: Path, held_out: int) -> tuple[list[str], list[str]]:
    """The names of scenes to judge by and of those to learn from: the same for every run and stage.

    Raises:
        InputError: there are no labels.
    """
    labels = folder / "labels.json"
    if not labels.is_file():
        raise InputError(f"{labels} is missing: give a folder of scenes with their labels")
    names = np.array(sorted(json.loads(labels.read_text("utf-8"))))
    np.random.default_rng(0).shuffle(names)
    return names[:held_out].tolist(), names[held_out:].tolist()


def save_detector(model: CompactDetector, path: Path, *, step: int, measures: DetectorMeasures) -> None:
    """Write float16 weights as safetensors, complete or not at all, with architecture, step, threshold and measures.

    The metadata's key "revisage" holds JSON: arch, config, step, threshold, measures.
    """
    about = {
        "arch": "compact-detector",
        "config": model.config.to_dict(),
        "step": step,
        "threshold": round(measures.threshold, 3),
        "measures": rounded(asdict(measures)),
    }
    save_weights(model, path, about)


def load_detector_weights(path: Path) -> tuple[CompactDetector, dict[str, Any]]:
    """A detector in evaluation mode from a file of :func:`save_detector`, and what the file says about itself.

    Raises:
        ModelError: the file is missing, damaged or holds another network.
    """
    about = metadata(path)
    if about.get("arch") != "compact-detector":
        raise ModelError(f"{path} does not hold a compact detector; give a file that its training wrote")
    model = CompactDetector(CompactDetectorConfig.from_dict(about["config"]))
    model.load_state_dict(load_state(path))
    return model.float().eval(), about


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Floats to five places, for a log."""
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}


def detector_loss(maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of square views, and its parts for the log.

    maps: the network's (N, 15, rows, columns) maps, one per stride. targets: (N, cells, TARGET_COLUMNS) float32, see
    :func:`~revisage.train.detector.scenes.assign_targets`. The parts are averaged over the cells that hold a face:
    score (quality focal loss, Li et al. 2020, arXiv 2006.04388: the target is the box's overlap), box (1 - generalised
    IoU, Rezatofighi et al. 2019), landmark (smooth L1 relative to the face's size).
    """
    raw = torch.cat([m.flatten(2).float() for m in maps], 2).transpose(1, 2)
    positive = targets[..., 1] > 0
    count = positive.sum().clamp(min=1)
    centres, strides = cells_of(maps, raw.device)
    index = positive.nonzero(as_tuple=True)
    found, wanted = raw[index], targets[index]
    centres, strides = centres[index[1]], strides[index[1]]

    distances = found[:, 1:5].clamp(max=5.0).exp() * strides
    boxes = torch.cat((centres - distances[:, :2], centres + distances[:, 2:]), 1)
    overlap, generalised = generalised_iou(boxes, wanted[:, 2:6])
    box_loss = (1 - generalised).sum() / count

    size = ((wanted[:, 4] - wanted[:, 2]) * (wanted[:, 5] - wanted[:, 3])).clamp(min=1).sqrt()
    points = centres.repeat(1, 5) + found[:, 5:] * strides
    distance = (points - wanted[:, 6:16]) / (size[:, None] * _LANDMARK_UNIT)
    per_face = F.smooth_l1_loss(distance, torch.zeros_like(distance), beta=_LANDMARK_BETA, reduction="none").mean(1)
    landmark_loss = (per_face * wanted[:, 16]).sum() / wanted[:, 16].sum().clamp(min=1)

    quality = torch.zeros_like(raw[..., 0])
    quality[index] = overlap.detach().clamp(0, 1)
    logit = raw[..., 0]
    focus = (quality - logit.sigmoid()).abs().square()
    entropy = F.binary_cross_entropy_with_logits(logit, quality, reduction="none")
    score_loss = (entropy * focus * targets[..., 0]).sum() / count

    total = score_loss + _BOX_WEIGHT * box_loss + _LANDMARK_WEIGHT * landmark_loss
    parts = {"score": score_loss, "box": box_loss, "landmark": landmark_loss}
    return total, {name: value.detach() for name, value in parts.items()}


def cells_of(maps: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres (cells, 2) and strides (cells, 1) of all cells, in the order of the flattened maps."""
    grids = [cell_centres(m.shape[2], m.shape[3], stride) for m, stride in zip(maps, STRIDES, strict=True)]
    strides = [np.full((len(grid), 1), stride, np.float32) for grid, stride in zip(grids, STRIDES, strict=True)]
    return torch.from_numpy(np.concatenate(grids)).to(device), torch.from_numpy(np.concatenate(strides)).to(device)


def generalised_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of paired boxes (N, 4) left, top, right, bottom: two (N,) tensors."""
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    union = _area(first) + _area(second) - common
    overlap = common / union.clamp(min=1e-6)
    hull_size = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    hull = hull_size.prod(1).clamp(min=1e-6)
    return overlap, overlap - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def refine_loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of crops, and its parts for the log.

    outputs: (N, 15) of the network. targets: (N, TARGET_COLUMNS) of ``RefineDataset``. score: cross entropy, over the
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
