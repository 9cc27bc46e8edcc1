"""Hands, drawn: what a detector of faces takes for one most easily, and what stands before faces.

A hand is skin with dark hollows and bright gaps, about as large as a face. Limbs are round bodies under one light, the
fingers lie open, closed, or around a thing that they hold. Nothing is copied from pictures but the ground.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from revisage.core import Image
from revisage.train.detector.scenes import LabelledImage, damage_image, random_view

__all__ = ["draw_hand", "scenes_of_hands"]

Float = npt.NDArray[np.float64]
Random = np.random.Generator

_PALE, _DARK = np.array([236.0, 196.0, 172.0]), np.array([82.0, 50.0, 38.0])
_FINGERS = (0.95, 1.1, 1.05, 0.85)
"""Lengths from the index to the little finger, in palms."""
_WIDTH = 0.34
"""Of a finger, in palms."""
_SIZES = (14.0, 90.0)
"""Of a palm, px: a hand that holds something is twice as large."""


@dataclass(frozen=True)
class _Pose:
    """Where a hand is: a frame with the palm's centre as origin, y toward the fingers.

    light: (3,) unit vector toward the light, the last toward the camera. skin: (3,) RGB.
    """

    centre: Float
    palm: float
    angle: float
    side: float
    light: Float
    skin: Float

    def at(self, points: Float) -> Float:
        """(N, 2) points in palms to pixels."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[cosine * self.side, -sine], [sine * self.side, cosine]])
        return np.asarray(self.centre + self.palm * points @ turn.T)


def scenes_of_hands(
    scenes: Sequence[LabelledImage], count: int, *, seed: int, size: int = 384
) -> Iterator[LabelledImage]:
    """Square pictures of one to three drawn hands over scenes that have no faces, or over a plain ground, damaged as
    cameras and codecs do it; each is a function of its number and ``seed`` alone."""
    empty = [scene for scene in scenes if not len(scene.boxes)]
    nothing = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, bool)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        image = _plain(size, rng)
        if empty and rng.random() < 0.6:
            image = random_view(empty[int(rng.integers(len(empty)))], image, rng).image
        for _ in range(int(rng.integers(1, 4))):
            palm = float(np.exp(rng.uniform(*np.log(_SIZES))))
            draw_hand(image, rng.uniform(0.15, 0.85, 2) * size, palm, rng)
        yield LabelledImage(damage_image(image, rng), *nothing)


def _plain(size: int, rng: Random) -> Image:
    """A wall: one colour that changes slowly."""
    slope = (np.mgrid[0:size, 0:size] / size - 0.5).transpose(1, 2, 0) @ rng.normal(0, 35, 2)
    colour = rng.uniform(20, 235) + rng.normal(0, 15, 3)
    return np.clip(colour + slope[..., None], 0, 255).astype(np.uint8)


def draw_hand(image: Image, centre: Float, palm: float, rng: Random, *, skin: Float | None = None) -> None:
    """Draw a hand with its forearm, in place; of three, two hold a thing.

    Args:
        image: ``(H, W, 3) uint8 RGB``.
        centre: ``(2,)`` of the palm (px).
        palm: its size (px).
        rng: drawn from.
        skin: ``(3,)`` its colour; any skin's if None.
    """
    light = np.array([*rng.normal(0, 0.7, 2) - (0.0, 0.5), 1.0])
    skin = _skin(rng) if skin is None else skin
    side = 1.0 if rng.random() < 0.5 else -1.0
    # Most hands that hold something are seen with the arm above or below.
    angle = rng.choice([0.0, math.pi]) + rng.normal(0, 0.7) if rng.random() < 0.7 else rng.uniform(0, 2 * math.pi)
    pose = _Pose(np.asarray(centre, np.float64), palm, float(angle), side, light / np.linalg.norm(light), skin)
    kind = rng.choice(("pinch", "grip", "fist", "open"), p=(0.4, 0.3, 0.1, 0.2))
    {"pinch": _pinch, "grip": _grip, "fist": _fist, "open": _open}[str(kind)](image, pose, rng)


def _skin(rng: Random) -> Float:
    """From pale to dark, redder or yellower, in bright or poor light."""
    share = rng.uniform(0, 1)
    return np.asarray((_PALE * (1 - share) + _DARK * share) * rng.normal(1, 0.08, 3) * rng.uniform(0.5, 1.05))


def _pinch(image: Image, pose: _Pose, rng: Random) -> None:
    """Thumb and fingers meet at a thing, and leave a gap behind it through which the ground is seen."""
    reach, bow = rng.uniform(1.2, 1.7), rng.uniform(0.45, 0.85)
    _arm(image, pose, rng)
    fingers, width = int(rng.integers(1, 5)), _WIDTH * rng.uniform(0.85, 1.35)
    for finger in reversed(range(fingers)):
        away = 0.16 * finger
        shade = 1 - 0.13 * finger
        bent = np.array(
            [[0.35, 0.35], [bow + away, 0.55 * reach], [0.75 * bow + away, 0.85 * reach], [0.14 + away, reach]]
        )
        _limb(image, pose, bent * rng.normal(1, 0.06, bent.shape), width, rng, shade=shade)
    if rng.random() < 0.75:
        _thing(image, pose, np.array([0.0, reach + rng.uniform(-0.1, 0.25)]), rng)
    thumb = np.array([[-0.35, 0.15], [-0.8 * bow, 0.5 * reach], [-0.6 * bow, 0.8 * reach], [-0.1, reach]])
    _limb(image, pose, thumb * rng.normal(1, 0.06, thumb.shape), 1.15 * width, rng)


def _grip(image: Image, pose: _Pose, rng: Random) -> None:
    """Fingers around a thing, side by side, the thumb before it."""
    _arm(image, pose, rng)
    _thing(image, pose, np.array([rng.normal(0, 0.1), rng.uniform(0.5, 0.9)]), rng, across=rng.random() < 0.5)
    spread = rng.uniform(0.26, 0.34)
    for finger in range(4):
        y = 0.15 + spread * finger
        bent = np.array([[0.75, y], [0.2, y + 0.05], [-rng.uniform(0.05, 0.4), y + 0.1]])
        _limb(image, pose, bent, _WIDTH, rng, shade=1 - 0.06 * finger)
    _limb(image, pose, np.array([[-0.6, -0.1], [-0.7, 0.45], [-0.35, 0.85]]), _WIDTH * 1.1, rng)


def _fist(image: Image, pose: _Pose, rng: Random) -> None:
    """Four fingers folded over the palm, the thumb across them."""
    _arm(image, pose, rng)
    for finger in reversed(range(4)):
        x = 0.45 - 0.3 * finger
        bent = np.array([[x, 0.6], [x, 0.1 + 0.05 * finger]])
        _limb(image, pose, bent, _WIDTH, rng, shade=1 - 0.05 * finger)
    if rng.random() < 0.7:
        _limb(image, pose, np.array([[0.65, -0.25], [0.4, 0.05], [-0.2, 0.15]]), _WIDTH * 1.1, rng)


def _open(image: Image, pose: _Pose, rng: Random) -> None:
    """Fingers stretched, spread or side by side, some of them bent."""
    _arm(image, pose, rng)
    spread = rng.uniform(0.02, 0.28)
    for finger, length in enumerate(_FINGERS):
        x, lean = 0.42 - 0.28 * finger, spread * (1.3 - finger)
        stretched = length * (rng.uniform(0.4, 0.7) if rng.random() < 0.3 else 1.0)
        ends = np.array([[x, 0.35], [x + lean * stretched, 0.4 + stretched]])
        _limb(image, pose, np.array([ends[0], ends.mean(axis=0), ends[1]]), _WIDTH, rng)
    if rng.random() < 0.8:
        tip = np.array([rng.uniform(0.2, 1.2), rng.uniform(0.3, 0.8)])
        _limb(image, pose, np.array([[0.4, -0.25], [0.7, 0.1], tip]), _WIDTH * 1.1, rng)


def _arm(image: Image, pose: _Pose, rng: Random) -> None:
    """Forearm, bare or in a sleeve, and the palm over it."""
    bend = rng.normal(0, 0.5)
    elbow = np.array([[0.0, -0.5], [bend, -6.0]])
    if rng.random() < 0.4:
        sleeve = replace(pose, skin=rng.uniform(10, 240, 3))
        _limb(image, pose, np.array([[0.0, -0.3], [0.35 * bend, -1.2]]), 0.75, rng)
        _limb(image, sleeve, np.array([[0.25 * bend, -1.2], [bend, -6.0]]), 1.1, rng)
    else:
        _limb(image, pose, elbow, 0.8, rng)
    palm = np.array([[0.0, -rng.uniform(0.1, 0.6)], [rng.normal(0, 0.1), rng.uniform(0.0, 0.3)]])
    _limb(image, pose, palm, rng.uniform(1.0, 1.6), rng, shade=rng.uniform(0.75, 1.1))


def _thing(image: Image, pose: _Pose, place: Float, rng: Random, *, across: bool = False) -> None:
    """What is held: a cap on a bottle's neck, a cup, a pen; of any colour, with a highlight."""
    colour = rng.uniform(5, 245, 3)
    held = replace(pose, skin=colour)
    width, length = rng.uniform(0.15, 0.8), rng.uniform(0.3, 2.5)
    along = np.array([1.0, 0.0]) if across else np.array([rng.normal(0, 0.15), 1.0])
    if rng.random() < 0.5:
        neck = replace(pose, skin=rng.uniform(5, 245, 3))
        _limb(
            image,
            neck,
            np.stack((place + 0.1 * along, place + (0.1 + length) * along)),
            width * rng.uniform(0.7, 1.6),
            rng,
        )
        length = 0.1
    start = place if not across else place - 0.5 * length * along
    _limb(image, held, np.stack((start, start + length * along)), width, rng, shine=rng.uniform(0, 0.8))


def _limb(
    image: Image, pose: _Pose, joints: Float, width: float, rng: Random, *, shade: float = 1.0, shine: float = 0.0
) -> None:
    """A round body along joints (in palms), lit from one side and darker where it turns away; in place."""
    points, thickness = pose.at(joints), max(2.0, width * pose.palm)
    reach = thickness + 2
    low = np.clip(np.floor(points.min(axis=0) - reach), 0, None).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + reach), image.shape[1::-1]).astype(int)
    if (high - low < 2).any():
        return
    part = image[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(part.shape[:2], np.uint8)
    fixed = np.round((points - low) * 16).astype(np.int32)
    cv2.polylines(mask, [fixed], False, 255, max(1, round(thickness)), cv2.LINE_AA, 4)
    lit = _light(mask, thickness, pose.light, rng) * shade
    grain = rng.normal(0, 2, mask.shape)
    blotches = cv2.resize(rng.normal(0, 1, (5, 5)), mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    lit = lit * (1 + rng.uniform(0, 0.08) * blotches)
    paint = pose.skin * lit[..., None] + (255 * shine * np.clip(lit - 0.95, 0, 1) * 4 + grain)[..., None]
    share = (mask / 255)[..., None]
    part[:] = np.clip(np.rint(part * (1 - share) + paint * share), 0, 255).astype(np.uint8)


def _light(mask: npt.NDArray[np.uint8], thickness: float, light: Float, rng: Random) -> Float:
    """Brightness of a round body's surface: about 1 where it faces the light."""
    depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    part = np.clip(2 * depth / thickness, 0, 1)
    height = cv2.GaussianBlur(np.sqrt(1 - (1 - part) ** 2) * thickness / 2, (0, 0), max(0.6, thickness / 12))
    down, across = np.gradient(height)
    normal = np.stack((-across, -down, np.ones_like(height)), axis=-1)
    facing = (normal @ light) / np.linalg.norm(normal, axis=-1)
    around = rng.uniform(0.2, 0.6)
    return np.asarray(around + (1 - around) * facing.clip(0) / light[2] * 0.9 + 0.05 * part)
