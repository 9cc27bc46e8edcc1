"""Training samples for the detector's second stage: labelled faces and false alarms of the first, as it sees them.

A patch is a face, or what the first stage took for one, with its surroundings. Every batch draws patches, shrinks and
damages them, and cuts the upright crop that a proposal somewhat beside the face would give.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from revisage.core import Image, written_beside
from revisage.faces import Found, suppressed, upright_crop
from revisage.nets import CROP, ENLARGED, crop_affines, rolls
from revisage.train.detector.hands import draw_hand
from revisage.train.detector.scenes import LabelledImage, coded_as_video, cover_mouth, damage_image, random_view

__all__ = [
    "RefineDataset",
    "RefinePatch",
    "coded_copies",
    "face_patches",
    "load_patches",
    "mine_false_alarms",
    "save_patches",
    "weighed",
]

log = logging.getLogger(__name__)

_SURROUNDINGS = 2.6
"""A patch's side over the root of its box's area, and the largest such root that is kept, px."""

_LARGEST_FACE, _LARGEST_ALARM = 48.0, 36.0
_SMALLEST = 12.0
_FRAGILE = 24.0
"""Below this root of a box's area little damage leaves nothing of a face."""

TARGET_COLUMNS = 17
"""Per sample: is a face (0/1); its landmarks count (0/1); the 14 outputs after the score; crop sides per landmark
unit."""

_MIRRORED = [1, 0, 2, 4, 3]
_FALSE_BELOW = 0.2
"""A proposal with less overlap than this with every face, seen or ignored, is a false alarm."""

_ALARMS_SHARE = 0.4
"""Of the samples: false alarms of the first stage, as far as there are any."""

Float = npt.NDArray[np.float64]
Propose = Callable[[Image], Found]
Certainty = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

_LEAST_WEIGHT = 0.1
"""Of a false alarm that is known for one already, beside up to 1.1 of one that is taken for a face."""
_AT_ONCE = 128
_CUT_SHARE, _MOST_CUT = 0.25, 0.6
"""Of the faces: those that the picture's border cuts; and how much of one at most, in parts of its side."""
_HANDS_SHARE, _HAND_SIZES = 0.08, (0.15, 0.3)
"""Of the faces: those that a hand is drawn before; and how large its palm is, in parts of the face."""


@dataclass(frozen=True)
class RefinePatch:
    """A face or a false alarm with its surroundings.

    image: (S, S, 3) uint8 RGB. box: (4,) left, top, right, bottom in it. landmarks: (5, 2); those of the first stage
    for a false alarm, of which only the roll counts. face: which of the two it is. weight: how often it is drawn.
    sure: whether the landmarks are known well enough to learn them.
    """

    image: Image
    box: Float
    landmarks: Float
    face: bool
    weight: float = 1.0
    sure: bool = True


def face_patches(scenes: Iterable[LabelledImage], *, sure: bool = True) -> list[RefinePatch]:
    """A patch for each certain face with landmarks; turned ones weigh more, tiny ones less."""
    patches = []
    for scene in scenes:
        for index in np.flatnonzero(scene.certain & np.isfinite(scene.landmarks).all(axis=(1, 2))):
            patch = _cut(scene.image, scene.boxes[index], scene.landmarks[index], _LARGEST_FACE, face=True)
            patches.append(replace(patch, sure=sure))
    return patches


def coded_copies(scenes: Iterable[LabelledImage], seed: int) -> Iterator[LabelledImage]:
    """The scenes as strongly compressed video shows them: H.264 at a rate factor of 30 to 41."""
    for number, scene in enumerate(scenes):
        crf = int(np.random.default_rng((seed, number)).integers(30, 42))
        yield replace(scene, image=coded_as_video(scene.image, crf))


def _cut(
    image: Image, box: npt.NDArray[np.float32], landmarks: npt.NDArray[np.float32], largest: float, *, face: bool
) -> RefinePatch:
    corners = box.astype(np.float64).reshape(2, 2)
    root = float(np.sqrt(np.maximum(corners[1] - corners[0], 1).prod()))
    scale = min(1.0, largest / root)
    side = int(np.ceil(_SURROUNDINGS * root * scale))
    shift = (side - 1) / 2 - scale * corners.mean(axis=0)
    affine = np.concatenate((np.eye(2) * scale, shift[:, None]), axis=1)
    points = landmarks.astype(np.float64) * scale + shift
    weight = _weight(box, landmarks) if face else 1.0
    return RefinePatch(upright_crop(image, affine, side), (corners * scale + shift).ravel(), points, face, weight)


def _weight(box: npt.NDArray[np.float32], landmarks: npt.NDArray[np.float32]) -> float:
    """1 for a face that looks at the camera, up to 3 the more it is turned aside; half that when it is tiny."""
    eyes = float(np.linalg.norm(landmarks[0] - landmarks[1]))
    width, height = (float(v) for v in box[2:] - box[:2])
    turned = 1.0 + (eyes < 0.36 * width) + (eyes < 0.2 * width)
    return turned if max(width, height) >= _FRAGILE else turned / 2


def mine_false_alarms(
    scenes: Iterable[LabelledImage], propose: Propose, *, views: int, seed: int, size: int = 384, most: int = 12
) -> list[RefinePatch]:
    """What the first stage takes for faces where there are none, in the scenes and in random views of each."""
    alarms: list[RefinePatch] = []
    for number, scene in enumerate(scenes):
        for view in range(views + 1):
            seen = scene
            if view:
                rng = np.random.default_rng((seed, number, view))
                ground = np.full((size, size, 3), int(rng.integers(256)), np.uint8)
                seen = random_view(scene, ground, rng)
                seen = LabelledImage(damage_image(seen.image, rng), seen.boxes, seen.landmarks, seen.certain)
            alarms.extend(_false_alarms(seen, propose)[:most])
    return alarms


def _false_alarms(scene: LabelledImage, propose: Propose) -> list[RefinePatch]:
    found = suppressed(propose(scene.image), 0.5)
    wrong = [k for k in range(len(found)) if not _touches(found.boxes_xyxy[k], scene.boxes)]
    return [_cut(scene.image, found.boxes_xyxy[k], found.landmarks[k], _LARGEST_ALARM, face=False) for k in wrong]


def _touches(box: npt.NDArray[np.float32], faces: npt.NDArray[np.float32]) -> bool:
    """Whether a box shares much with a face: its overlap, or most of the face or of the box."""
    if not len(faces):
        return False
    sides = (np.minimum(box[2:], faces[:, 2:]) - np.maximum(box[:2], faces[:, :2])).clip(0)
    shared = sides.prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (faces[:, 2:] - faces[:, :2]).prod(axis=1)
    return bool((shared > _FALSE_BELOW * (area + areas - shared)).any())


def save_patches(patches: Sequence[RefinePatch], path: Path) -> None:
    """Write false alarms, complete or not at all."""
    with written_beside(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            pixels=np.concatenate([np.zeros(0, np.uint8), *(patch.image.ravel() for patch in patches)]),
            sides=np.array([patch.image.shape[0] for patch in patches], np.int64),
            boxes=np.array([patch.box for patch in patches]).reshape(-1, 4),
            landmarks=np.array([patch.landmarks for patch in patches]).reshape(-1, 5, 2),
            weights=np.array([patch.weight for patch in patches]),
        )


def load_patches(path: Path) -> list[RefinePatch]:
    """The false alarms of a file of ``save_patches``."""
    with np.load(path) as data:
        names = ("pixels", "sides", "boxes", "landmarks", "weights")
        pixels, sides, boxes, landmarks, weights = (data[name] for name in names)
    ends = np.cumsum(3 * sides**2)
    images = [p.reshape(s, s, 3) for p, s in zip(np.split(pixels, ends[:-1]), sides, strict=True)] if len(sides) else []
    parts = zip(images, boxes, landmarks, weights.tolist(), strict=True)
    return [RefinePatch(image, box, points, False, weight) for image, box, points, weight in parts]


def weighed(alarms: Sequence[RefinePatch], certainty: Certainty, *, surest: float = 1.0) -> list[RefinePatch]:
    """False alarms with weights: the surer a second stage is that they are faces, the more often they are drawn.

    Args:
        alarms: to weigh.
        certainty: ``(N, 64, 64, 3) uint8`` crops to ``(N,)`` scores, 0 to 1.
        surest: what scores more counts as if it scored 0: where labels are not complete, it may be a face.
    """
    weights = []
    for start in range(0, len(alarms), _AT_ONCE):
        some = alarms[start : start + _AT_ONCE]
        affines = (crop_affines(patch.box[None], rolls(patch.landmarks[None]))[0] for patch in some)
        crops = np.stack([upright_crop(patch.image, affine, CROP) for patch, affine in zip(some, affines, strict=True)])
        scores = certainty(crops)
        weights += (_LEAST_WEIGHT + np.where(scores > surest, 0, scores)).tolist()
    return [replace(patch, weight=weight) for patch, weight in zip(alarms, weights, strict=True)]


class RefineDataset(Dataset[tuple[Tensor, Tensor]]):
    """Index -> ((3, 64, 64) uint8 RGB, (TARGET_COLUMNS,) float32): crops of faces and of false alarms.

    A sample is a function of (seed, index) alone.

    Raises:
        ValueError: there are no faces.
    """

    def __init__(
        self,
        faces: Sequence[RefinePatch],
        alarms: Sequence[RefinePatch],
        *,
        seed: int,
        hands: bool = False,
        cut: bool = False,
    ) -> None:
        """Take patches, each drawn as often as its weight says.

        Args:
            faces: with landmarks.
            alarms: false ones; there may be none.
            seed: of all samples.
            hands: whether hands are drawn before some of the faces.
            cut: whether the picture ends within some of the faces.
        """
        if not faces:
            raise ValueError("no face with landmarks: there is nothing to learn")
        self.faces, self.alarms = _Drawn(faces), _Drawn(alarms) if alarms else None
        self.seed, self.hands, self.cut = seed, hands, cut

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        if self.alarms and rng.random() < _ALARMS_SHARE:
            patch = self.alarms.one(rng)
        else:
            patch = self.faces.one(rng)
            if self.hands and rng.random() < _HANDS_SHARE:
                patch = behind_hand(patch, rng)
            if self.cut and rng.random() < _CUT_SHARE:
                patch = cut_off(patch, rng)
        crop, target = refine_sample(vary(patch, rng), rng)
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))), torch.from_numpy(target)


class _Drawn:
    """Patches of which each is drawn as often as its weight says."""

    def __init__(self, patches: Sequence[RefinePatch]) -> None:
        self._patches = list(patches)
        self._cumulated = np.cumsum([patch.weight for patch in patches])

    def one(self, rng: np.random.Generator) -> RefinePatch:
        place = rng.random() * self._cumulated[-1]
        return self._patches[min(int(np.searchsorted(self._cumulated, place)), len(self._patches) - 1)]


def behind_hand(patch: RefinePatch, rng: np.random.Generator) -> RefinePatch:
    """The face with a hand drawn somewhere before it, of its own colour mostly."""
    image, (left, top, right, bottom) = patch.image.copy(), patch.box
    size = np.array([right - left, bottom - top])
    centre = (patch.box[:2] + patch.box[2:]) / 2 + rng.uniform(-0.6, 0.6, 2) * size
    shown = image[max(0, int(top)) : int(bottom) + 1, max(0, int(left)) : int(right) + 1].reshape(-1, 3)
    own = np.median(shown, axis=0) * rng.uniform(0.75, 1.2) if rng.random() < 0.7 else None
    palm = float(np.sqrt(size.prod()) * rng.uniform(*_HAND_SIZES))
    draw_hand(image, centre, palm, rng, skin=own)
    return replace(patch, image=image)


def cut_off(patch: RefinePatch, rng: np.random.Generator) -> RefinePatch:
    """The face as the second stage sees it where the picture ends within it: beyond stand the border's pixels, or the
    picture's mirror image."""
    rows, columns = patch.image.shape[:2]
    left, top, right, bottom = patch.box + (patch.box[[2, 3, 0, 1]] - patch.box) * rng.uniform(0.2, _MOST_CUT)
    x, y = (round(float(np.clip(v, 1, side - 1))) for v, side in ((left, columns), (top, rows)))
    far_x, far_y = (round(float(np.clip(v, 1, side - 1))) for v, side in ((right, columns), (bottom, rows)))
    views = ((0, x, rows, columns), (y, 0, rows, columns), (0, 0, rows, far_x), (0, 0, far_y, columns))
    low_y, low_x, high_y, high_x = views[int(rng.integers(4))]
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_REFLECT
    shown = np.ascontiguousarray(patch.image[low_y:high_y, low_x:high_x])
    image = cv2.copyMakeBorder(shown, low_y, rows - high_y, low_x, columns - high_x, border)
    return replace(patch, image=np.asarray(image, np.uint8))


def vary(patch: RefinePatch, rng: np.random.Generator) -> RefinePatch:
    """The patch smaller, mirrored, partly covered and damaged at random."""
    image, box, landmarks = patch.image, patch.box, patch.landmarks
    root = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    smallest, largest = min(_SMALLEST, root), 1.25 * root if patch.face else root
    wished = float(np.exp(rng.uniform(np.log(smallest), np.log(largest)))) if rng.random() < 0.6 else root
    side = max(16, round(image.shape[0] * wished / root))
    ratio = side / image.shape[0]
    if side != image.shape[0]:
        kind = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (side, side), interpolation=kind), np.uint8)
        box, landmarks = (box + 0.5) * ratio - 0.5, (landmarks + 0.5) * ratio - 0.5
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        box = (side - 1 - box)[[2, 1, 0, 3]] * [1, 0, 1, 0] + box * [0, 1, 0, 1]
        landmarks = landmarks[_MIRRORED] * [-1, 1] + [side - 1, 0]
    if patch.face and rng.random() < 0.2:
        image = image.copy()
        if rng.random() < 0.5:
            cover_mouth(image, landmarks, rng)
        else:
            cover_part(image, box, rng)
    if rng.random() < (0.8 if wished >= _FRAGILE else 0.5):
        image = damage_image(image, rng)
    return replace(patch, image=image, box=box, landmarks=landmarks)


def cover_part(image: Image, box: Float, rng: np.random.Generator) -> None:
    """Something before the face, in place: an ellipse of another part of the picture or of one colour."""
    width, height = box[2:] - box[:2]
    centre = box[:2] + rng.uniform(0, 1, 2) * (width, height)
    axes = np.exp(rng.uniform(np.log(0.1), np.log(0.35), 2)) * (width, height)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(mask, (centre.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180))), 255, -1)
    cover = np.roll(image, rng.integers(image.shape[0], size=2), axis=(0, 1)) if rng.random() < 0.5 else None
    image[mask > 0] = cover[mask > 0] if cover is not None else rng.integers(0, 256, 3)


def refine_sample(patch: RefinePatch, rng: np.random.Generator) -> tuple[Image, npt.NDArray[np.float32]]:
    """The crop of a proposal near a patch's box, (64, 64, 3) uint8, and its targets."""
    affine = proposal_affine(patch, rng)
    return upright_crop(patch.image, affine, CROP), targets_of(patch, affine)


def targets_of(patch: RefinePatch, affine: Float) -> npt.NDArray[np.float32]:
    """(TARGET_COLUMNS,) targets of the crop under an affine: those outputs that decode to the patch's face."""
    target = np.zeros(TARGET_COLUMNS, np.float32)
    if patch.face:
        scale = np.sqrt(np.linalg.det(affine[:, :2]))
        centre = (patch.box[:2] + patch.box[2:]) / 2
        points = np.concatenate((centre[None], patch.landmarks)) @ affine[:, :2].T + affine[:, 2]
        local = (points - (CROP - 1) / 2) / CROP
        size = upright_size(patch.box[2:] - patch.box[:2], float(rolls(patch.landmarks[None])[0]))
        target[0], target[1] = 1.0, patch.sure
        target[2:4], target[4:6], target[6:16] = local[0], np.log(size * scale / (CROP / ENLARGED)), local[1:].ravel()
        target[16] = 1 / landmark_unit(local[1:])
    return target


def upright_size(size: Float, angle: float) -> Float:
    """Width and height of an upright head of which the turned one fills a box of ``size``; the box's own near 45°."""
    cosine, sine = np.cos(angle) ** 2, np.sin(angle) ** 2
    if cosine - sine < 0.5:
        return np.full(2, np.sqrt(size.prod()))
    squares = np.linalg.solve([[cosine, sine], [sine, cosine]], size**2)
    return np.asarray(np.sqrt(np.clip(squares, 0.5 * size**2, 2 * size**2)))


def landmark_unit(points: npt.NDArray[np.floating]) -> float:
    """What landmark errors count in: the eyes' distance, in profile a third of that from eyes to mouth."""
    height = float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))
    return max(float(np.linalg.norm(points[0] - points[1])), height / 3, 0.02)


def proposal_affine(patch: RefinePatch, rng: np.random.Generator) -> Float:
    """Image to crop for a proposal beside the patch's box: as after a second look, as the first gives it, or worse."""
    shift, stretch, turn = _SPREADS[int(rng.choice(len(_SPREADS), p=_SPREAD_PARTS))]
    if not patch.face:
        shift, stretch, turn = shift / 2, stretch / 2, turn / 2
    size = patch.box[2:] - patch.box[:2]
    root = np.sqrt(size.prod())
    centre = (patch.box[:2] + patch.box[2:]) / 2 + rng.normal(0, shift, 2).clip(-0.3, 0.3) * root
    size = size * np.exp(rng.normal(0, stretch) + rng.normal(0, stretch / 2, 2)).clip(0.65, 1.5)
    angle = float(rolls(patch.landmarks[None])[0] + rng.normal(0, turn))
    return crop_affines(np.concatenate((centre - size / 2, centre + size / 2))[None], np.array([angle]))[0]


_SPREADS = ((0.02, 0.03, 0.05), (0.06, 0.09, 0.14), (0.12, 0.16, 0.35))
"""Spreads of shift (parts of the box), log size and roll (radians) of proposals, and how often each is drawn."""

_SPREAD_PARTS = (0.35, 0.45, 0.2)
