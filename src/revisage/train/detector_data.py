"""Training samples for the face detector: labelled scenes, random views of them, camera damage, dense targets.

A scene folder holds images and `labels.json`: {file: {"faces": [{"box": [x, y, w, h], "landmarks": [[x, y] * 5] or
null, "certain": bool}]}} in pixels. An uncertain face is an ignore region: neither a target nor background.

Every sample is a function of (seed, index) alone, so that a resumed run and any number of data workers see the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from revisage.nets import STRIDES, cell_centres
from revisage.train.detector_damage import cover_mouth, damage_image

__all__ = [
    "TARGET_COLUMNS",
    "DetectorDataset",
    "LabelledImage",
    "assign_targets",
    "load_aligned_faces",
    "load_scenes",
]

log = logging.getLogger(__name__)

# Per cell: score weight (0 = ignored), face here (0/1), box left top right bottom, ten landmark coordinates, landmark
# weight (0/1).
TARGET_COLUMNS = 2 + 4 + 10 + 1
# Mirroring swaps the eyes and the mouth corners, named as the viewer sees them.
_MIRRORED = [1, 0, 2, 4, 3]
# Face sizes (sqrt of the box area, px) that each stride learns; the overlaps are learned by both.
_SIZES_BY_STRIDE = {8: (0.0, 48.0), 16: (32.0, 128.0), 32: (96.0, float("inf"))}
_CENTRE_RADIUS = 1.5
_SMALLEST_FACE = 8.0
# Where the box of a near-frontal face lies in a 256 px FFHQ-aligned image: the median over certain scene faces,
# brought to the template by their landmarks.
_ALIGNED_BOX = (60.4, 47.2, 197.7, 233.5)

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is known of its faces.

    image: (H, W, 3) uint8 RGB. boxes: (F, 4) float32 left, top, right, bottom. landmarks: (F, 5, 2) float32, NaN where
    unknown. certain: (F,) bool; False marks an ignore region.
    """

    image: UInt8
    boxes: Float
    landmarks: Float
    certain: npt.NDArray[np.bool_]


def read_rgb(path: Path) -> UInt8 | None:
    """An image file as (H, W, 3) uint8 RGB, or None where it cannot be decoded."""
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)


def load_scenes(
    folder: Path, *, files: Sequence[str] | None = None, likely: float | None = None
) -> tuple[list[LabelledImage], int]:
    """All decodable scenes of a folder with `labels.json`, and the count of those that were not.

    files: only these, in this order. likely: take uncertain faces whose label has this score or more for the certain
    ones, and all others for ignore regions. Raises FileNotFoundError when there is no `labels.json`.
    """
    labels: dict[str, Any] = json.loads((folder / "labels.json").read_text("utf-8"))
    scenes: list[LabelledImage] = []
    skipped = 0
    for name in files if files is not None else sorted(labels):
        image = read_rgb(folder / name)
        if image is None:
            log.warning("skipped %s: it cannot be decoded as an image", name)
            skipped += 1
        else:
            scenes.append(_labelled(image, labels[name]["faces"], likely))
    return scenes, skipped


def _labelled(image: UInt8, faces: list[dict[str, Any]], likely: float | None) -> LabelledImage:
    boxes = np.array([f["box"] for f in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    unknown = np.full((5, 2), np.nan, np.float32)
    points = [np.array(f["landmarks"], np.float32) if f["landmarks"] else unknown for f in faces]
    landmarks = np.stack(points) if points else np.zeros((0, 5, 2), np.float32)
    certain = [f["certain"] if likely is None else not f["certain"] and f.get("score", 0.0) >= likely for f in faces]
    return LabelledImage(image, boxes, landmarks, np.array(certain, bool))


def load_aligned_faces(files: Sequence[Path]) -> tuple[list[LabelledImage], int]:
    """FFHQ-aligned square face images as scenes of one large face, and the count of those that cannot be decoded.

    The box is the template's; landmarks stay unknown, because alignment by other points moved them by some pixels.
    """
    images = [read_rgb(path) for path in files]
    scenes = []
    for image in images:
        if image is not None:
            box = np.array([_ALIGNED_BOX], np.float32) * (image.shape[0] / 256)
            unknown = np.full((1, 5, 2), np.nan, np.float32)
            scenes.append(LabelledImage(image, box, unknown, np.ones(1, bool)))
    return scenes, len(images) - len(scenes)


def warp_faces(scene: LabelledImage, affine: npt.NDArray[np.float64], size: int) -> LabelledImage:
    """The labels of `scene` under an affine map (2, 3), cut to a size x size view; the image is left as it is.

    A box turns like the ellipse in it, which hugs a turned head better than the box of its turned corners. Faces less
    than half visible or under 8 px become ignore regions; those outside are dropped.
    """
    linear = affine[:, :2]
    centres = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 @ linear.T + affine[:, 2]
    half = (scene.boxes[:, 2:] - scene.boxes[:, :2]) / 2
    half = np.sqrt(half**2 @ (linear.T**2))
    whole = np.concatenate((centres - half, centres + half), axis=1)
    cut = np.clip(whole, 0, size - 1)
    visible = _areas(cut) / np.maximum(_areas(whole), 1e-6)
    large = np.sqrt(_areas(cut)) >= _SMALLEST_FACE
    kept = visible > 0.02
    landmarks = scene.landmarks @ linear.T + affine[:, 2]
    if np.linalg.det(linear) < 0:
        landmarks = landmarks[:, _MIRRORED]
    return replace(
        scene,
        boxes=cut[kept].astype(np.float32),
        landmarks=landmarks[kept].astype(np.float32),
        certain=(scene.certain & large & (visible >= 0.5))[kept],
    )


def _areas(boxes: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)


def assign_targets(scene: LabelledImage, size: int) -> Float:
    """Dense targets of a size x size view: (cells of all strides, TARGET_COLUMNS) float32.

    A face is learned by the cells of its size's strides whose centre lies within 1.5 strides of the face's centre and
    in its box (centre sampling, FCOS); where two faces claim a cell, the smaller one has it.
    """
    levels = []
    order = np.argsort(-_areas(scene.boxes))
    for stride in STRIDES:
        centres = cell_centres(size // stride, size // stride, stride)
        target = np.zeros((len(centres), TARGET_COLUMNS), np.float32)
        target[:, 0] = 1.0
        for face in order[~scene.certain[order]]:
            target[_inside(centres, scene.boxes[face], margin=stride / 4), 0] = 0.0
        for face in order[scene.certain[order]]:
            _claim_cells(target, centres, stride, scene.boxes[face], scene.landmarks[face])
        levels.append(target)
    return np.concatenate(levels)


def _inside(points: Float, box: Float, margin: float) -> npt.NDArray[np.bool_]:
    return np.asarray(((points >= box[:2] - margin) & (points <= box[2:] + margin)).all(axis=1))


def _claim_cells(target: Float, centres: Float, stride: int, box: Float, landmarks: Float) -> None:
    """Write one face into the cells of `target` (changed in place) that shall find it."""
    low, high = _SIZES_BY_STRIDE[stride]
    if not low <= np.sqrt((box[2] - box[0]) * (box[3] - box[1])) < high:
        return
    offset = np.abs(centres - (box[:2] + box[2:]) / 2).max(axis=1)
    # A face smaller than its cells may hold no centre: the nearest one learns it all the same.
    near = (offset <= _CENTRE_RADIUS * stride) & _inside(centres, box, margin=-0.5) | (offset <= stride / 2)
    known = np.isfinite(landmarks).all()
    target[near, 0:2] = 1.0
    target[near, 2:6] = box
    target[near, 6:16] = landmarks.ravel() if known else 0.0
    target[near, 16] = float(known)


class DetectorDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random views of scenes: index -> ((3, size, size) uint8 RGB, (cells, TARGET_COLUMNS) float32).

    Views: a scene or an aligned face over a face-free scene or a plain ground, at a random size and turn; a face-free
    scene alone; a mosaic of four. All are mirrored at times and then damaged as cameras and codecs do.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledImage],
        aligned: Sequence[LabelledImage],
        *,
        size: int,
        length: int,
        seed: int,
    ) -> None:
        """length: samples in the whole run. Raises ValueError when no scene has a certain face."""
        self.with_faces = [s for s in scenes if s.certain.any()]
        # Portraits are many and easy: a scene counts by its faces, and turned faces count more.
        weights = np.array([min(face_weights(s).sum(), 8.0) for s in self.with_faces])
        self.cumulated = np.cumsum(weights / max(weights.sum(), 1.0))
        self.without_faces = [s for s in scenes if not len(s.boxes)]
        self.aligned = list(aligned)
        if not self.with_faces:
            raise ValueError("no scene with a certain face: there is nothing to learn")
        self.size, self.length, self.seed = size, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, index))
        view = self._mosaic(rng) if rng.random() < 0.2 else self._view(rng, self.size)
        image = damage_image(view.image, rng)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(assign_targets(view, self.size))

    def _view(self, rng: np.random.Generator, size: int) -> LabelledImage:
        background = np.full((size, size, 3), int(rng.integers(256)), np.uint8)
        kind = rng.random()
        if self.without_faces and kind < 0.6:
            scenery = self._pick(self.without_faces, rng)
            background = random_view(scenery, background, rng).image
            if kind < 0.1:
                return replace(scenery, image=background)
        if self.aligned and rng.random() < 0.05:
            return random_view(self._pick(self.aligned, rng), background, rng)
        last = len(self.with_faces) - 1
        chosen = self.with_faces[min(int(np.searchsorted(self.cumulated, rng.random())), last)]
        return cover_faces(random_view(chosen, background, rng), rng)

    def _mosaic(self, rng: np.random.Generator) -> LabelledImage:
        half = self.size // 2
        image = np.zeros((self.size, self.size, 3), np.uint8)
        parts = []
        for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
            part = self._view(rng, half)
            image[y : y + half, x : x + half] = part.image
            shift = np.array([x, y], np.float32)
            parts.append(replace(part, boxes=part.boxes + np.tile(shift, 2), landmarks=part.landmarks + shift))
        boxes, landmarks, certain = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("boxes", "landmarks", "certain")
        )
        return LabelledImage(image, boxes, landmarks, certain)

    @staticmethod
    def _pick(scenes: Sequence[LabelledImage], rng: np.random.Generator) -> LabelledImage:
        return scenes[int(rng.integers(len(scenes)))]


def face_weights(scene: LabelledImage) -> Float:
    """How often to look at each face of a scene: (F,) 1, 3 and 6 the more it is turned aside, 0 for ignore regions."""
    eyes = np.linalg.norm(scene.landmarks[:, 0] - scene.landmarks[:, 1], axis=1)
    width = scene.boxes[:, 2] - scene.boxes[:, 0]
    turned = np.where(eyes < 0.36 * width, 3.0, 1.0) * np.where(eyes < 0.2 * width, 2.0, 1.0)
    return (scene.certain * turned).astype(np.float32)


def cover_faces(view: LabelledImage, rng: np.random.Generator) -> LabelledImage:
    """Put a mask on one in eight faces with known landmarks; the view's image is changed in place."""
    for face in np.flatnonzero(view.certain & np.isfinite(view.landmarks).all(axis=(1, 2))):
        if rng.random() < 0.125:
            cover_mouth(view.image, view.landmarks[face], rng)
    return view


def random_view(scene: LabelledImage, background: UInt8, rng: np.random.Generator) -> LabelledImage:
    """A scene over a square background: scaled, turned, mirrored and shifted at random, about one of its faces."""
    size = background.shape[0]
    affine = _random_affine(scene, size, rng)
    return replace(warp_faces(scene, affine, size), image=_warp_over(scene.image, affine, background))


def _random_affine(scene: LabelledImage, size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random map, nearly a similarity, from scene to view. About one view in eight shows the whole scene."""
    height, width = scene.image.shape[:2]
    fit = size / max(height, width)
    centre = np.array([width / 2, height / 2])
    scale = fit * rng.uniform(0.7, 1.1)
    shift = rng.uniform(-0.08, 0.08, 2) * size
    weights = face_weights(scene)
    if rng.random() > 0.12 and scene.certain.any():
        box = scene.boxes[rng.choice(len(weights), p=weights / weights.sum())]
        centre = ((box[:2] + box[2:]) / 2).astype(np.float64)
        side = float(max(box[2] - box[0], box[3] - box[1]))
        wished = float(np.exp(rng.uniform(np.log(10.0), np.log(1.15 * size))))
        # Neither a speck of a scene nor an enlargement that no camera would give.
        scale = float(np.clip(wished / side, 0.45 * fit, 3.0))
        room = max(0.0, (size - scale * side) / 2) + 0.1 * scale * side
        shift = rng.uniform(-room, room, 2)
    elif not len(scene.boxes):
        scale = fit * float(np.exp(rng.uniform(np.log(0.8), np.log(2.5))))
        centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    kind = rng.random()
    angle = rng.normal(0, 8) if kind < 0.65 else rng.uniform(-50, 50) if kind < 0.97 else rng.uniform(-90, 90)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    # A little narrower or wider: heads differ, and so do pixel aspect ratios.
    aspect = float(np.exp(rng.normal(0, 0.08)))
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]]) @ np.diag([aspect, 1 / aspect])
    return np.concatenate((linear, (size / 2 + shift - linear @ centre)[:, None]), axis=1)


def _warp_over(image: UInt8, affine: npt.NDArray[np.float64], background: UInt8) -> UInt8:
    """Warp onto a copy of the background, reduced by area averaging first, so that shrunk faces do not alias."""
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if scale < 0.7:
        height, width = image.shape[:2]
        reduced = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        # Pixel centres at integers: reduced pixel i stands for source pixel (i + 0.5) * ratio - 0.5.
        ratio = np.array([width / reduced[0], height / reduced[1]])
        back = np.array([[ratio[0], 0, ratio[0] / 2 - 0.5], [0, ratio[1], ratio[1] / 2 - 0.5], [0, 0, 1]])
        affine = affine @ back
    view = background.copy()
    cv2.warpAffine(image, affine, view.shape[1::-1], dst=view, borderMode=cv2.BORDER_TRANSPARENT)
    return view
