"""Scenes with labelled faces, random views of them, damage as cameras and codecs do it, dense targets.

A scene folder holds images and ``labels.json``: {file: {"faces": [{"box": [x, y, w, h], "landmarks": [[x, y] * 5] or
null, "certain": bool}]}} in pixels. An uncertain face is an ignore region: neither a target nor background.

Every sample is a function of (seed, index) alone, so that a resumed run and any number of data workers see the same.
Damage is deliberately cheap, as one core feeds the training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from revisage.core import Image
from revisage.nets import STRIDES, cell_centres
from revisage.train.degrade import (
    convolved,
    from_planes,
    jpeg_recoded,
    motion_kernel,
    noisy,
    recoded,
    to_planes,
    white_noise,
)

__all__ = [
    "TARGET_COLUMNS",
    "DetectorDataset",
    "LabelledImage",
    "assign_targets",
    "claimed_cells",
    "coded_as_video",
    "cover_mouth",
    "damage_image",
    "ignored_cells",
    "load_aligned_faces",
    "load_scenes",
    "seldom_far",
]


def damage_image(image: Image, rng: np.random.Generator) -> Image:
    """A damaged copy of the image; about one in six is left as it is."""
    if rng.random() < 0.15:
        return np.ascontiguousarray(image)
    if rng.random() < 0.7:
        image = change_light(image, rng)
    if rng.random() < 0.12:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8, copy=False)
    kind = rng.random()
    if kind < 0.1:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)
    elif kind < 0.2:
        image = convolved(image, motion_kernel(rng.uniform(3, 11), rng.uniform(0, np.pi)))
    elif kind < 0.35:
        image = lose_detail(image, rng)
    if rng.random() < 0.2:
        image = add_noise(image, rng)
    if rng.random() < 0.35:
        image = jpeg_recoded(image, int(rng.integers(15, 81)))
    return np.ascontiguousarray(image)


def change_light(image: Image, rng: np.random.Generator) -> Image:
    """Gain, offset, gamma and colour cast in one look-up table per channel; one in eight is low light."""
    ramp = np.linspace(0, 1, 256)
    gamma = np.exp(rng.uniform(-0.5, 0.5))
    dark = rng.random() < 0.12
    gain = rng.uniform(0.2, 0.5) if dark else rng.uniform(0.65, 1.3)
    # Low light scales about black; other changes of contrast about middle grey.
    pivot, offset = (0.0, rng.uniform(0, 0.05)) if dark else (0.5, rng.uniform(-0.08, 0.08))
    cast = gain * rng.uniform(0.88, 1.12, 3)
    tables = np.clip((ramp[:, None] ** gamma - pivot) * cast + pivot + offset, 0, 1)
    order = rng.permutation(3) if rng.random() < 0.03 else np.arange(3)
    return np.asarray(cv2.LUT(image[..., order], np.round(tables * 255).astype(np.uint8)[None]), np.uint8)


def lose_detail(image: Image, rng: np.random.Generator) -> Image:
    """Shrunk by up to three and enlarged again."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.3, 3.0)
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    back = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, (width, height), interpolation=back), np.uint8)


def add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Gaussian noise, of each channel or of all alike, with a spread of 2 to 20 levels."""
    channels = 3 if rng.random() < 0.6 else 1
    noise = np.broadcast_to(white_noise((*image.shape[:2], channels), rng), image.shape)
    return noisy(image, noise, rng.uniform(2, 20))


def coded_as_video(image: Image, crf: int) -> Image:
    """What H.264 at a rate factor keeps in the second of two equal frames; an odd last row or column stays."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    planes = to_planes(np.ascontiguousarray(image[:height, :width]))
    *_, last = recoded([planes, planes], "h264", crf)
    coded = image.copy()
    coded[:height, :width] = from_planes(last)
    return coded


def cover_mouth(image: Image, landmarks: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> None:
    """Draw a face mask over nose, mouth and chin, in place. landmarks: (5, 2) px, eyes, nose, mouth corners."""
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.astype(np.float64)
    down = (left_mouth + right_mouth - left_eye - right_eye) / 2
    across = right_eye - left_eye + 1e-3
    low = rng.uniform(0.3, 0.55)
    outline = np.array(
        [
            left_eye + low * down - 0.35 * across,
            nose - rng.uniform(0.0, 0.4) * down,
            right_eye + low * down + 0.35 * across,
            right_mouth + 0.3 * down + 0.3 * across,
            (left_mouth + right_mouth) / 2 + 0.65 * down,
            left_mouth + 0.3 * down - 0.3 * across,
        ]
    )
    if not (np.abs(outline) < 4 * max(image.shape)).all():
        return
    grey = rng.uniform(10, 245)
    colour = np.clip(grey + rng.normal(0, 25, 3), 0, 255)
    hull = cv2.convexHull(outline.astype(np.float32)).reshape(-1, 2)
    cv2.fillConvexPoly(image, np.round(hull * 16).astype(np.int32), colour.tolist(), cv2.LINE_AA, 4)
    # Pleats: a mask is not one flat colour.
    for part in (0.3, 0.6):
        start = np.round(outline[0] + part * (outline[5] - outline[0])).astype(int).tolist()
        end = np.round(outline[2] + part * (outline[3] - outline[2])).astype(int).tolist()
        cv2.line(image, start, end, (colour * rng.uniform(0.75, 1.0)).tolist(), 1, cv2.LINE_AA)


log = logging.getLogger(__name__)

TARGET_COLUMNS = 2 + 4 + 10 + 1
"""Per cell: score weight (0 = ignored), face here (0/1), box left top right bottom, ten landmark coordinates, landmark
weight (0/1)."""

_MIRRORED = [1, 0, 2, 4, 3]
"""Mirroring swaps the eyes and the mouth corners, named as the viewer sees them."""

_SIZES_BY_STRIDE = {8: (0.0, 48.0), 16: (32.0, 128.0), 32: (96.0, float("inf"))}
"""Face sizes (sqrt of the box area, px) that each stride learns; the overlaps are learned by both."""

_CENTRE_RADIUS = 1.5
"""Strides around the middle of a box whose cells learn its face (FCOS, arXiv 1904.01355)."""

_SMALLEST_FACE = 8.0
_ALIGNED_BOX = (60.4, 47.2, 197.7, 233.5)
"""Where the box of a near-frontal face lies in a 256 px FFHQ-aligned image: the median over certain scene faces,
brought to the template by their landmarks."""

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is known of its faces.

    image: (H, W, 3) uint8 RGB. boxes: (F, 4) float32 left, top, right, bottom. landmarks: (F, 5, 2) float32, NaN where
    unknown. certain: (F,) bool; False marks an ignore region.
    """

    image: Image
    boxes: Float
    landmarks: Float
    certain: npt.NDArray[np.bool_]


def read_rgb(path: Path) -> Image | None:
    """An image file as (H, W, 3) uint8 RGB, or None where it cannot be decoded."""
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)


def load_scenes(
    folder: Path, *, files: Sequence[str] | None = None, likely: float | None = None
) -> tuple[list[LabelledImage], list[str]]:
    """All decodable scenes of a folder with ``labels.json``, and the names of those that cannot be decoded.

    files: only these, in this order. likely: take uncertain faces whose label has this score or more for the certain
    ones, and all others for ignore regions.

    Raises:
        FileNotFoundError: there is no ``labels.json``.
    """
    labels: dict[str, Any] = json.loads((folder / "labels.json").read_text("utf-8"))
    scenes: list[LabelledImage] = []
    skipped: list[str] = []
    for name in files if files is not None else sorted(labels):
        image = read_rgb(folder / name)
        if image is None:
            skipped.append(f"{name} is no image that can be decoded")
        else:
            scenes.append(_labelled(image, labels[name]["faces"], likely))
    return scenes, skipped


def _labelled(image: Image, faces: list[dict[str, Any]], likely: float | None) -> LabelledImage:
    boxes = np.array([f["box"] for f in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    unknown = np.full((5, 2), np.nan, np.float32)
    points = [np.array(f["landmarks"], np.float32) if f["landmarks"] else unknown for f in faces]
    landmarks = np.stack(points) if points else np.zeros((0, 5, 2), np.float32)
    certain = [f["certain"] if likely is None else not f["certain"] and f.get("score", 0.0) >= likely for f in faces]
    return LabelledImage(image, boxes, landmarks, np.array(certain, bool))


def load_aligned_faces(files: Sequence[Path]) -> tuple[list[LabelledImage], list[str]]:
    """FFHQ-aligned square face images as scenes of one large face, and the names of those that cannot be decoded.

    The box is the template's; landmarks stay unknown, because alignment by other points moved them by some pixels.
    """
    scenes: list[LabelledImage] = []
    skipped: list[str] = []
    for path in files:
        image = read_rgb(path)
        if image is None:
            skipped.append(f"{path.name} is no image that can be decoded")
            continue
        box = np.array([_ALIGNED_BOX], np.float32) * (image.shape[0] / 256)
        unknown = np.full((1, 5, 2), np.nan, np.float32)
        scenes.append(LabelledImage(image, box, unknown, np.ones(1, bool)))
    return scenes, skipped


def warp_faces(scene: LabelledImage, affine: npt.NDArray[np.float64], size: int) -> LabelledImage:
    """The labels of ``scene`` under an affine map (2, 3), cut to a size x size view; the image is left as it is.

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


Lean = Callable[[np.random.Generator], float]
"""Draws how far a view is turned, in degrees."""


def seldom_far(rng: np.random.Generator) -> float:
    """A lean as pictures have it, in degrees: mostly a few, at times up to 50, seldom up to 90."""
    kind = rng.random()
    return float(rng.normal(0, 8) if kind < 0.65 else rng.uniform(-50, 50) if kind < 0.97 else rng.uniform(-90, 90))


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
        target[ignored_cells(centres, stride, scene), 0] = 0.0
        for face in order[scene.certain[order]]:
            _claim_cells(target, centres, stride, scene.boxes[face], scene.landmarks[face])
        levels.append(target)
    return np.concatenate(levels)


def _inside(points: Float, box: Float, margin: float) -> npt.NDArray[np.bool_]:
    return np.asarray(((points >= box[:2] - margin) & (points <= box[2:] + margin)).all(axis=1))


def ignored_cells(centres: Float, stride: int, scene: LabelledImage) -> npt.NDArray[np.bool_]:
    """Which of the cells of a stride, by their centres, lie in the ignore regions of a view."""
    ignored = np.zeros(len(centres), bool)
    for box in scene.boxes[~scene.certain]:
        ignored |= _inside(centres, box, margin=stride / 4)
    return ignored


def claimed_cells(centres: Float, stride: int, box: Float) -> npt.NDArray[np.bool_]:
    """Which of the cells of a stride, by their centres, shall find the face in a box."""
    low, high = _SIZES_BY_STRIDE[stride]
    if not low <= np.sqrt((box[2] - box[0]) * (box[3] - box[1])) < high:
        return np.zeros(len(centres), bool)
    offset = np.abs(centres - (box[:2] + box[2:]) / 2).max(axis=1)
    # A face smaller than its cells may hold no centre: the nearest one learns it all the same.
    return np.asarray((offset <= _CENTRE_RADIUS * stride) & _inside(centres, box, margin=-0.5) | (offset <= stride / 2))


def _claim_cells(target: Float, centres: Float, stride: int, box: Float, landmarks: Float) -> None:
    """Write one face into the cells of ``target`` (changed in place) that shall find it."""
    near = claimed_cells(centres, stride, box)
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
        seed: int,
        lean: Lean = seldom_far,
        assign: Callable[[LabelledImage, int], Float] = assign_targets,
    ) -> None:
        """Take scenes.

        Args:
            scenes, aligned: to make views of.
            size: side of a view (px).
            seed: of all samples.
            lean: how far a view is turned.
            assign: a view and its side to dense targets, (cells of all strides, columns) float32.
        """
        self.lean, self.assign = lean, assign
        self.with_faces = [s for s in scenes if s.certain.any()]
        # Portraits are many and easy: a scene counts by its faces, and turned faces count more.
        weights = np.array([min(face_weights(s).sum(), 8.0) for s in self.with_faces])
        self.cumulated = np.cumsum(weights / max(weights.sum(), 1.0))
        self.without_faces = [s for s in scenes if not len(s.boxes)]
        self.aligned = list(aligned)
        if not self.with_faces:
            raise ValueError("no scene with a certain face: there is nothing to learn")
        self.size, self.seed = size, seed

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, index))
        view = self._mosaic(rng) if rng.random() < 0.2 else self._view(rng, self.size)
        image = damage_image(view.image, rng)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(self.assign(view, self.size))

    def _view(self, rng: np.random.Generator, size: int) -> LabelledImage:
        background = np.full((size, size, 3), int(rng.integers(256)), np.uint8)
        kind = rng.random()
        if self.without_faces and kind < 0.6:
            scenery = self._pick(self.without_faces, rng)
            background = random_view(scenery, background, rng, self.lean).image
            if kind < 0.1:
                return replace(scenery, image=background)
        if self.aligned and rng.random() < 0.05:
            return random_view(self._pick(self.aligned, rng), background, rng, self.lean)
        last = len(self.with_faces) - 1
        chosen = self.with_faces[min(int(np.searchsorted(self.cumulated, rng.random())), last)]
        return cover_faces(random_view(chosen, background, rng, self.lean), rng)

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


def random_view(
    scene: LabelledImage, background: Image, rng: np.random.Generator, lean: Lean = seldom_far
) -> LabelledImage:
    """A scene over a square background: scaled, turned, mirrored and shifted at random, about one of its faces."""
    size = background.shape[0]
    affine = _random_affine(scene, size, rng, lean)
    return replace(warp_faces(scene, affine, size), image=_warp_over(scene.image, affine, background))


def _random_affine(scene: LabelledImage, size: int, rng: np.random.Generator, lean: Lean) -> npt.NDArray[np.float64]:
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
    angle = lean(rng)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    # A little narrower or wider: heads differ, and so do pixel aspect ratios.
    aspect = float(np.exp(rng.normal(0, 0.08)))
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]]) @ np.diag([aspect, 1 / aspect])
    return np.concatenate((linear, (size / 2 + shift - linear @ centre)[:, None]), axis=1)


def _warp_over(image: Image, affine: npt.NDArray[np.float64], background: Image) -> Image:
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
