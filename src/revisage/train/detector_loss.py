"""The loss of the face detector: score with quality as its target, box overlap, landmark distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from revisage.nets import STRIDES, cell_centres

__all__ = ["detector_loss", "generalised_iou"]

_BOX_WEIGHT = 2.0
_LANDMARK_WEIGHT = 2.0
# Landmark distances count in tenths of the face's size; below a fifth of that (2 % of the face) quadratically.
_LANDMARK_UNIT = 0.1
_LANDMARK_BETA = 0.2


def detector_loss(maps: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of square views, and its parts for the log.

    maps: the network's (N, 15, rows, columns) maps, one per stride. targets: (N, cells, TARGET_COLUMNS) float32 of
    `detector_data.assign_targets`. The parts are averaged over the cells that hold a face: score (quality focal loss,
    Li et al. 2020, arXiv 2006.04388: the target is the box's overlap), box (1 - generalised IoU, Rezatofighi et al.
    2019), landmark (smooth L1 relative to the face's size).
    """
    raw = torch.cat([m.flatten(2).float() for m in maps], 2).transpose(1, 2)
    positive = targets[..., 1] > 0
    count = positive.sum().clamp(min=1)
    centres, strides = _cells(maps, raw.device)
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


def _cells(maps: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
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
