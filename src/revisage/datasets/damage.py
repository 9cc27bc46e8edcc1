"""One kind of damage at a time, the same over a whole clip: noisy, blurry, low_res, compressed.

Training wants all damage mixed (:mod:`revisage.train.degradation`); GIFs to measure with want it apart, so that a
figure says which damage a method copes with. Parameters are drawn once for a clip; noise is new in each frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.train import motion_kernel

__all__ = ["KINDS", "Damage", "apply_damage", "draw_damage"]

Image = NDArray[np.uint8]
Clip = list[Image]

KINDS = ("noisy", "blurry", "low_res", "compressed")

_REFERENCE_FACE = 128
"""Width (px) of a face up to which blur is in px of the picture; on larger faces it grows with them."""

_ENLARGE = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "nearest": cv2.INTER_NEAREST,
}
_ENLARGE_SHARES = (0.35, 0.35, 0.15, 0.15)


@dataclass(frozen=True)
class Damage:
    """A kind of damage, its drawn parameters, and the seed of what is random within the clip.

    Attributes:
        kind: one of :data:`KINDS`.
        parameters: ``noisy``: sigma (levels of 255), grey (the same noise in all channels). ``blurry``: sigma (px), or
            length (px) and angle (radians) of a straight motion. ``low_res``: factor, enlarged_by. ``compressed``:
            quality (of JPEG).
        seed: of the noise.
    """

    kind: str
    parameters: dict[str, Any]
    seed: int


def draw_damage(kind: str, seed: int, *, face: float = _REFERENCE_FACE) -> Damage:
    """Parameters of a damage that can be seen, the same for the same seed.

    Args:
        kind: one of :data:`KINDS`.
        seed: of the draw, and of the noise.
        face: width of the face (px).

    Raises:
        KeyError: there is no such kind.
    """
    random = np.random.default_rng((KINDS.index(kind) if kind in KINDS else 0, seed))
    return Damage(kind, _DRAWS[kind](random, max(1.0, face / _REFERENCE_FACE)), seed)


def _draw_noise(random: np.random.Generator, _scale: float) -> dict[str, Any]:
    return {"sigma": round(random.uniform(8, 28), 2), "grey": bool(random.random() < 0.3)}


def _draw_blur(random: np.random.Generator, scale: float) -> dict[str, Any]:
    if random.random() < 0.3:
        return {"length": round(random.uniform(8, 18) * scale, 2), "angle": round(random.uniform(0, math.pi), 4)}
    return {"sigma": round(random.uniform(1.8, 4.5) * scale, 2)}


def _draw_reduction(random: np.random.Generator, scale: float) -> dict[str, Any]:
    method = random.choice(list(_ENLARGE), p=_ENLARGE_SHARES)
    return {"factor": round(random.uniform(2, 5) * scale, 2), "enlarged_by": str(method)}


def _draw_quality(random: np.random.Generator, _scale: float) -> dict[str, Any]:
    return {"quality": int(random.integers(6, 28))}


_DRAWS: dict[str, Callable[[np.random.Generator, float], dict[str, Any]]] = {
    "noisy": _draw_noise,
    "blurry": _draw_blur,
    "low_res": _draw_reduction,
    "compressed": _draw_quality,
}


def apply_damage(frames: Sequence[Image], damage: Damage) -> Clip:
    """Damage the frames of one clip.

    Args:
        frames: ``(H, W, 3) uint8 RGB``, all of one size; left as they are.
        damage: from :func:`draw_damage`.

    Returns:
        As many frames of the same size.
    """
    return [_DEEDS[damage.kind](frame, damage, index) for index, frame in enumerate(frames)]


def _add_noise(frame: Image, damage: Damage, index: int) -> Image:
    random = np.random.default_rng((damage.seed, index))
    channels = 1 if damage.parameters["grey"] else 3
    noise = random.standard_normal((*frame.shape[:2], channels), dtype=np.float32) * damage.parameters["sigma"]
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def _blur(frame: Image, damage: Damage, _index: int) -> Image:
    values = damage.parameters
    if "sigma" in values:
        return np.asarray(cv2.GaussianBlur(frame, (0, 0), values["sigma"]), dtype=np.uint8)
    return np.asarray(cv2.filter2D(frame, -1, motion_kernel(values["length"], values["angle"])), dtype=np.uint8)


def _reduce(frame: Image, damage: Damage, _index: int) -> Image:
    height, width = frame.shape[:2]
    factor = damage.parameters["factor"]
    small_wh = max(8, round(width / factor)), max(8, round(height / factor))
    small = cv2.resize(frame, small_wh, interpolation=cv2.INTER_AREA)
    method = _ENLARGE[damage.parameters["enlarged_by"]]
    return np.asarray(cv2.resize(small, (width, height), interpolation=method), dtype=np.uint8)


def _compress(frame: Image, damage: Damage, _index: int) -> Image:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, damage.parameters["quality"]])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)


_DEEDS: dict[str, Callable[[Image, Damage, int], Image]] = {
    "noisy": _add_noise,
    "blurry": _blur,
    "low_res": _reduce,
    "compressed": _compress,
}
