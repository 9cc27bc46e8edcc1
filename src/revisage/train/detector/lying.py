"""Train the branch of a detector's first stage that finds faces which lie on their side or stand on their head.

The rest of the detector stays as it is, to the bit: the branch learns from its maps. A run leaves
``weights.safetensors``: the whole detector in float16, its averaged branch put beside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from revisage.core import ModelError
from revisage.faces import Found, suppressed
from revisage.nets import STRIDES, CompactDetector, LyingBranch, cell_centres, decode_lying_maps, rolls
from revisage.train.compute import Compute, started
from revisage.train.detector.scenes import (
    DetectorDataset,
    LabelledImage,
    claimed_cells,
    ignored_cells,
    seldom_far,
    warp_faces,
)
from revisage.train.detector.training import cells_of, load_detector_weights, rounded, split_scenes
from revisage.train.loop import Check, Draws, Losses, SampleStage, train
from revisage.train.networks import save_weights
from revisage.train.run_folder import WEIGHTS, Report, RunFolder
from revisage.train.settings import LyingTrainConfig

__all__ = ["LYING_COLUMNS", "any_lean", "assign_lying", "lying_loss", "train_lying"]

LYING_COLUMNS = 2 + 3
"""Per cell: score weight (0 = ignored), a face that lies here (0/1), its centre x, y and side in px."""

_LIES, _STANDS = math.radians(52), math.radians(40)
"""A face that leans further than the first lies, one that leans less than the second stands; between them it is neither
wanted nor unwanted."""
_UPRIGHT_SHARE = 0.3
"""Of the views these lean as pictures do: what stands must not be taken for lying."""
_CENTRE_WEIGHT, _SIDE_WEIGHT = 1.0, 0.5
_WANTED_ALARMS = 0.5
"""False hints in an upright picture, in the mean, at the score whose recall is told."""
_SMALLEST = 24.0
_MATCH = 0.3
"""Overlap (IoU) from which a hint leads to a face."""


def train_lying(
    config: LyingTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train the branch until ``config.steps``; arguments, result and errors as for
    :func:`revisage.train.train_restorer`."""
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="lying", resume=resume, leads=compute.group.leads, progress=progress)
        return train(_LyingStage(config, compute, run_dir), run)


def any_lean(rng: np.random.Generator) -> float:
    """How far a view leans, in degrees: any way, and at times as pictures do."""
    return seldom_far(rng) if rng.random() < _UPRIGHT_SHARE else float(rng.uniform(-180, 180))


def assign_lying(view: LabelledImage, size: int) -> NDArray[np.float32]:
    """Dense targets of a size x size view: (cells of all strides, LYING_COLUMNS) float32."""
    leans = rolls(view.landmarks)
    known = view.certain & np.isfinite(leans)
    lies, stands = known & (np.abs(leans) > _LIES), known & (np.abs(leans) < _STANDS)
    # An upright face is background like any other, but what is known of no lean is nothing at all.
    unsure = replace(view, certain=lies | stands)
    sides = np.sqrt((view.boxes[:, 2:] - view.boxes[:, :2]).prod(axis=1))
    order = np.argsort(-sides)
    levels = []
    for stride in STRIDES:
        centres = cell_centres(size // stride, size // stride, stride)
        target = np.zeros((len(centres), LYING_COLUMNS), np.float32)
        target[:, 0] = 1.0
        target[ignored_cells(centres, stride, unsure), 0] = 0.0
        for face in order[lies[order]]:
            middle = (view.boxes[face, :2] + view.boxes[face, 2:]) / 2
            target[claimed_cells(centres, stride, view.boxes[face])] = [1.0, 1.0, *middle, sides[face]]
        levels.append(target)
    return np.concatenate(levels)


def lying_loss(maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of square views, and its parts for the log.

    maps: the branch's (N, 4, rows, columns) maps, one per stride. targets: (N, cells, LYING_COLUMNS) float32. The parts
    are averaged over the cells that hold a face that lies: score (focal loss, Lin et al. 2017), centre and log side
    (smooth L1, in parts of the side).
    """
    raw = torch.cat([m.flatten(2).float() for m in maps], 2).transpose(1, 2)
    positive = targets[..., 1] > 0
    count = positive.sum().clamp(min=1)
    centres, strides = cells_of(maps, raw.device)
    index = positive.nonzero(as_tuple=True)
    found, wanted = raw[index], targets[index]
    centres, strides = centres[index[1]], strides[index[1]]

    sides = wanted[:, 4:5]
    away = (centres + found[:, 1:3] * strides - wanted[:, 2:4]) / sides
    centre_loss = F.smooth_l1_loss(away, torch.zeros_like(away), beta=0.1, reduction="sum") / count
    logs = found[:, 3:4] - (sides / strides).log()
    side_loss = F.smooth_l1_loss(logs, torch.zeros_like(logs), beta=0.1, reduction="sum") / count

    logit, face = raw[..., 0], positive.float()
    focus = (face - logit.sigmoid()).square()
    entropy = F.binary_cross_entropy_with_logits(logit, face, reduction="none")
    score_loss = (entropy * focus * targets[..., 0]).sum() / count

    total = score_loss + _CENTRE_WEIGHT * centre_loss + _SIDE_WEIGHT * side_loss
    parts = {"score": score_loss, "centre": centre_loss, "side": side_loss}
    return total, {name: value.detach() for name, value in parts.items()}


class _LyingStage(SampleStage):
    name = "lying"
    config: LyingTrainConfig
    gradient_norm = 10.0

    def __init__(self, config: LyingTrainConfig, compute: Compute, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.folder = folder
        scenes, self.held_out, data = split_scenes(config)
        self.dataset = DetectorDataset(
            scenes, (), size=config.size, seed=config.seed, lean=any_lean, assign=assign_lying
        )
        self.detector, self.about = _detector(config)
        self.net, self.average = _branch(self.detector), _branch(_detector(config)[0]).eval()
        self.average.load_state_dict(self.net.state_dict())
        compute.place(self.detector, self.net, self.average)
        adam = torch.optim.AdamW(self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        super().__init__(config, compute, data, {"net": self.net, "average": self.average}, {"optimiser": adam})

    def learn(self, batch: Any, draws: Draws) -> Losses:  # noqa: ARG002 - nothing is drawn on the way
        """See :meth:`Stage.learn`."""
        views, targets = batch
        with self.compute.autocast():
            with torch.no_grad():
                backbone, pyramid = self.detector.maps(self.compute.images(views))
            maps = self.net(backbone, pyramid)
        loss, parts = lying_loss(maps, targets.to(self.compute.device))
        self.backward(loss)
        return {"loss": loss, **parts}

    def check(self, step: int) -> Check:
        """See :meth:`Stage.check`; writes the whole detector with what was measured."""
        measures = rounded(self._measured())
        whole, about = _detector(self.config)
        _branch(whole).load_state_dict(self.average.state_dict())
        about |= {"config": whole.config.to_dict(), "lying": {"step": step, **measures}}
        save_weights(whole, self.folder / WEIGHTS, about)
        return Check({"held_out": measures})

    def _measured(self) -> dict[str, Any]:
        """Of the scenes held out, turned by quarters: the part of the certain faces that hints lead to, at the score at
        which upright ones have one false hint in two pictures."""
        upright = np.concatenate([self._hints(scene).scores for scene in self.held_out])
        allowed = int(_WANTED_ALARMS * len(self.held_out))
        score = float(np.sort(upright)[-allowed]) if len(upright) >= allowed else 0.0
        recalls = {f"recall_{90 * quarters}": self._recall(quarters, score) for quarters in (1, 2, 3)}
        return {"score": score, **recalls}

    def _recall(self, quarters: int, score: float) -> float:
        found = [is_met for scene in self.held_out for is_met in self._met(quarter_turned(scene, quarters), score)]
        return float(np.mean(found)) if found else 0.0

    def _met(self, scene: LabelledImage, score: float) -> list[bool]:
        """For each certain face of a scene whether a hint leads to it."""
        hints = self._hints(scene)
        boxes = hints.boxes_xyxy[hints.scores >= score]
        large = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1, initial=0) >= _SMALLEST
        return [bool((_overlaps(boxes, box) > _MATCH).any()) for box in scene.boxes[scene.certain & large]]

    def _hints(self, scene: LabelledImage) -> Found:
        height, width = scene.image.shape[:2]
        padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.uint8)
        padded[:height, :width] = scene.image
        view = torch.from_numpy(padded).permute(2, 0, 1)[None]
        with torch.inference_mode():
            maps = [m.float().cpu().numpy() for m in self.average(*self.detector.maps(self.compute.images(view)))]
        return suppressed(Found(*decode_lying_maps(maps, min_score=0.02)), _MATCH)


def _overlaps(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of each of ``(N, 4)`` boxes with one."""
    sides = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])).clip(0)
    shared = sides.prod(axis=1)
    areas, area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), (box[2:] - box[:2]).prod()
    return np.asarray(shared / np.maximum(areas + area - shared, 1e-6), np.float32)


def quarter_turned(scene: LabelledImage, quarters: int) -> LabelledImage:
    """A scene turned counter-clockwise by some quarters."""
    height, width = scene.image.shape[:2]
    turn = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), quarters)
    shift = {1: (0, width - 1), 2: (width - 1, height - 1), 3: (height - 1, 0)}[quarters]
    turned = warp_faces(scene, np.column_stack((turn, shift)), max(height, width))
    return replace(turned, image=np.ascontiguousarray(np.rot90(scene.image, quarters)))


def _detector(config: LyingTrainConfig) -> tuple[CompactDetector, dict[str, Any]]:
    """The detector that the settings name, frozen, with a new branch, or the one that it has, to be learnt."""
    start, about = load_detector_weights(config.start)
    whole = CompactDetector(replace(start.config, lying=config.width))
    try:
        whole.load_state_dict(start.state_dict(), strict=False)
    except RuntimeError as error:
        raise ModelError(f"{config.start} holds a detector with a branch of another width") from error
    whole.eval().requires_grad_(False)
    _branch(whole).train().requires_grad_(True)
    return whole, about


def _branch(detector: CompactDetector) -> LyingBranch:
    assert detector.lying is not None
    return detector.lying
