"""Measures of a face detector on labelled scenes: recall, precision, landmark error, and the threshold to use.

A detection matches a certain face at IoU >= 0.5, the best score first, each face once. A detection that matches none
but lies in an ignore region is left out of the count; any other is a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from revisage.core import Image
from revisage.faces import Found, suppressed
from revisage.nets import STRIDES, CompactDetector, decode_maps
from revisage.train.detector.scenes import LabelledImage

__all__ = [
    "DetectorMeasures",
    "choose_threshold",
    "find_faces",
    "judge_all",
    "measure_detector",
    "measures_at",
]

Float = npt.NDArray[np.float32]

_MATCH_IOU = 0.5
"""Overlap from which a detection is that face, as in WIDER FACE."""

_IGNORED_PART = 0.5
"""The part of a detection that must lie in an ignore region for it to be left out."""


@dataclass(frozen=True)
class DetectorMeasures:
    """What a detector achieves at one threshold.

    recall: found part of the certain faces of the smallest counted size or more. precision: part of the counted
    detections that are certain faces of any size. landmark_error: mean distance in parts of the inter-ocular distance,
    over the found faces that count for recall. faces, detections: the two denominators.
    """

    threshold: float
    recall: float
    precision: float
    landmark_error: float
    faces: int
    detections: int


def find_faces(model: CompactDetector, image: Image, *, min_score: float = 0.05, overlap: float = 0.45) -> Found:
    """Faces in one (H, W, 3) uint8 RGB image at its own size, the best first, without duplicates."""
    height, width = image.shape[:2]
    padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.uint8)
    padded[:height, :width] = image
    tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        outputs = model(tensor.to(next(model.parameters()).device))[: len(STRIDES)]
        maps = [m.float().cpu().numpy() for m in outputs]
    return suppressed(Found(*decode_maps(maps, min_score=min_score)), overlap)


def _intersections(first: Float, second: Float) -> Float:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(2), np.float32)


def _areas(boxes: Float) -> Float:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1), np.float32)


def _overlaps(first: Float, second: Float) -> Float:
    """IoU of each of the first (A, 4) with each of the second (B, 4) boxes: (A, B)."""
    common = _intersections(first, second)
    union = _areas(first)[:, None] + _areas(second)[None] - common
    return np.asarray(common / np.maximum(union, 1e-6), np.float32)


@dataclass(frozen=True)
class _Verdicts:
    """One image's outcome: per counted detection its score, and per large certain face how it was found."""

    scores: Float
    true: npt.NDArray[np.bool_]
    found_at: Float  # score of the detection that found the face; -1 where none did
    landmark_errors: Float  # NaN where not found


def _judge(scene: LabelledImage, detections: Found, smallest: float) -> _Verdicts:
    boxes, landmarks, scores = detections.boxes_xyxy, detections.landmarks, detections.scores
    certain = np.flatnonzero(scene.certain)
    overlaps = _overlaps(boxes, scene.boxes[certain])
    found_at = np.full(len(certain), -1.0, np.float32)
    errors = np.full(len(certain), np.nan, np.float32)
    true = np.zeros(len(scores), bool)
    for index in np.argsort(-scores, kind="stable"):
        free = np.where(found_at < 0, overlaps[index], 0)
        if len(certain) and free.max() >= _MATCH_IOU:
            face = int(free.argmax())
            true[index], found_at[face] = True, scores[index]
            errors[face] = _landmark_error(landmarks[index], scene.landmarks[certain[face]])
    ignored = _intersections(boxes, scene.boxes[~scene.certain]) / np.maximum(_areas(boxes), 1e-6)[:, None]
    counted = true | ~(ignored >= _IGNORED_PART).any(axis=1)
    sides = (scene.boxes[certain, 2:] - scene.boxes[certain, :2]).max(axis=1, initial=0)
    large = sides >= smallest
    return _Verdicts(scores[counted], true[counted], found_at[large], errors[large])


def _landmark_error(found: Float, label: Float) -> float:
    """Mean distance over the inter-ocular distance. Where a profile lets the eyes coincide, over a third of the
    distance from the eyes to the mouth's corners at least, so that such a face does not outweigh all others."""
    height = float(np.linalg.norm(label[:2].mean(axis=0) - label[3:].mean(axis=0)))
    eyes = max(float(np.linalg.norm(label[0] - label[1])), height / 3, 1e-6)
    return float(np.linalg.norm(found - label, axis=1).mean() / eyes)


def judge_all(
    scenes: Iterable[LabelledImage], detect: Callable[[Image], Found], *, smallest: float = 24.0
) -> list[Any]:
    """Verdicts per scene, for ``measures_at`` and ``choose_threshold``. smallest: longer box side in px that counts."""
    return [_judge(scene, detect(scene.image), smallest) for scene in scenes]


def measures_at(verdicts: Sequence[_Verdicts], threshold: float) -> DetectorMeasures:
    """Recall, precision and landmark error when detections below the threshold are left out."""
    scores = np.concatenate([v.scores for v in verdicts])
    true = np.concatenate([v.true for v in verdicts])[scores >= threshold]
    found = np.concatenate([v.found_at for v in verdicts]) >= threshold
    errors = np.concatenate([v.landmark_errors for v in verdicts])[found]
    return DetectorMeasures(
        threshold=float(threshold),
        recall=float(found.mean()) if len(found) else 0.0,
        precision=float(true.mean()) if len(true) else 1.0,
        landmark_error=float(np.nanmean(errors)) if np.isfinite(errors).any() else 0.0,
        faces=len(found),
        detections=len(true),
    )


def measure_detector(
    scenes: Iterable[LabelledImage],
    detect: Callable[[Image], Found],
    *,
    threshold: float,
    smallest: float = 24.0,
) -> DetectorMeasures:
    """Recall, precision and landmark error of ``detect`` on labelled scenes at a score threshold."""
    return measures_at(judge_all(scenes, detect, smallest=smallest), threshold)


def choose_threshold(verdicts: Sequence[_Verdicts]) -> DetectorMeasures:
    """The measures at the threshold with the best harmonic mean of recall and precision, in steps of 0.01."""

    def balance(measures: DetectorMeasures) -> float:
        total = measures.recall + measures.precision
        return 2 * measures.recall * measures.precision / total if total else 0.0

    return max((measures_at(verdicts, step / 100) for step in range(10, 90)), key=balance)
