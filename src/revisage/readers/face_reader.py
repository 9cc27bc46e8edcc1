"""Face readers around an engine: aligned crops of any size to what is to be read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop, ProcessingError
from revisage.engines import Engine, make_engine, resolve
from revisage.faces import ARCFACE_112, ffhq_template, invert, similarity, transform, warp_antialiased
from revisage.readers.readings import COVER_CELLS, FaceReadings
from revisage.restorers import RestorerInfo, describe, load_weights

__all__ = ["FaceReader", "NetReader", "load_reader"]

FloatArray = NDArray[np.float32]

_WINDOW = 112
"""Side of what a network is shown (px), as `revisage.nets.READER_SIZE` says, which needs torch."""
_AT_ONCE = 32
_ANSWERS = ((128,), (3,), (68, 2), (7,), (68,))
"""Shapes of what every network answers, for a face; some answer ``(56, 56)`` too: half of the window's side."""


class FaceReader(Protocol):
    """Reads aligned faces. Pure and deterministic; a batch gives what its single crops give.

    Attributes:
        info: which weights run by which engine.
    """

    @property
    def info(self) -> RestorerInfo: ...

    def __call__(self, crops: Crop) -> FaceReadings:
        """What is to be read of ``(N, size, size, 3) uint8 RGB`` crops in FFHQ framing; any N and size.

        Raises:
            ValueError: another dtype or shape.
            ProcessingError: the network gave values that are no numbers.
        """
        ...


class NetReader:
    """A reader around an engine that runs a :class:`revisage.nets.CompactReader`. See :class:`FaceReader`."""

    def __init__(self, engine: Engine, info: RestorerInfo) -> None:
        self.info = info
        self._engine = engine

    def __call__(self, crops: Crop) -> FaceReadings:
        """What is to be read of crops; see :class:`FaceReader`."""
        _check_crops(crops)
        size = crops.shape[1]
        affine = similarity(ffhq_template(size), ARCFACE_112)
        portions = [crops[first : first + _AT_ONCE] for first in range(0, len(crops), _AT_ONCE)]
        answers = [self._engine(_shown(portion, affine)) for portion in portions]
        empty = [np.zeros((0, *shape), np.float32) for shape in _ANSWERS]
        whole = [np.concatenate(parts) for parts in zip(*(answers or [empty]), strict=True)]
        if not all(np.isfinite(part).all() for part in whole):
            raise ProcessingError(f"{self.info.name} gave values that are no numbers: try precision fp32")
        return _readings(whole, affine)


def _check_crops(crops: Crop) -> None:
    right = isinstance(crops, np.ndarray) and crops.dtype == np.uint8 and crops.ndim == 4 and crops.shape[3] == 3
    if not right or crops.shape[1] != crops.shape[2] or crops.shape[1] == 0:
        got = f"{crops.dtype} {crops.shape}" if isinstance(crops, np.ndarray) else type(crops).__name__
        raise ValueError(f"expected crops as uint8 (N, size, size, 3) RGB, got {got}")


def _shown(crops: Crop, affine: NDArray[np.float64]) -> FloatArray:
    """What the network is shown: ``(N, 3, 112, 112) float32 RGB`` in [-1, 1], the window of ArcFace's template."""
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
    size_hw = (_WINDOW, _WINDOW)
    windows = [warp_antialiased(crop, affine, size_hw, interpolation=flags, border=border) for crop in crops]
    batch = np.stack(windows).transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(batch * np.float32(1 / 127.5) - np.float32(1))


def _readings(answers: list[FloatArray], affine: NDArray[np.float64]) -> FaceReadings:
    """A network's answers in the units of :class:`FaceReadings`."""
    identity, pose, landmarks, expression, visibility, *more = answers
    window = (landmarks.astype(np.float64) + 1) * (_WINDOW / 2) - 0.5
    in_crop = transform(invert(affine), window.reshape(-1, 2)).reshape(window.shape)
    powers = np.exp(expression - expression.max(axis=1, keepdims=True))
    length = np.maximum(np.linalg.norm(identity, axis=1, keepdims=True), np.float32(1e-12))
    return FaceReadings(
        identity=identity / length,
        pose=pose,
        landmarks=in_crop.astype(np.float32),
        expression=powers / powers.sum(axis=1, keepdims=True),
        visibility=_probability(visibility),
        cover=_in_cells(_probability(more[0])) if more else None,
    )


def _probability(logits: FloatArray) -> FloatArray:
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(np.clip(-logits, -60, 60))), np.float32)


def _in_cells(windows: FloatArray) -> FloatArray:
    """Maps of the window, ``(N, side, side)``, as ``(N, COVER_CELLS, COVER_CELLS)`` of the crop; what the window does
    not show is as its border."""
    side = windows.shape[1]
    to_window = similarity(ffhq_template(COVER_CELLS), (ARCFACE_112 + 0.5) * (side / _WINDOW) - 0.5)
    size, flags = (COVER_CELLS, COVER_CELLS), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = [cv2.warpAffine(w, to_window, size, flags=flags, borderMode=cv2.BORDER_REPLICATE) for w in windows]
    return np.stack(moved) if moved else np.zeros((0, *size), np.float32)


def load_reader(
    name_or_path: str | Path = "compact-reader",
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> FaceReader:
    """A face reader by name or from a weights file.

    Args:
        name_or_path: ``compact-reader``, or a .safetensors file that ``revisage train reader`` wrote.
        device, engine: as for :func:`revisage.restorers.load_restorer`.
        precision: auto or fp32; auto is fp32: coordinates and cosines would jitter in bf16.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no face reader.
        ConfigError: settings that do not go together.
        DeviceError: the device is not on this machine.
    """
    compiled = resolve(device, engine, precision).engine == "openvino"
    weights = load_weights(name_or_path, "face reader", compiled=compiled)
    choice = resolve(device, engine, precision, bf16_agrees=weights.bf16_agrees)
    made = make_engine(
        weights.net,
        (_WINDOW, _WINDOW),
        device=choice.device,
        engine=choice.engine,
        precision=choice.precision,
        cache_key=weights.cache_key,
    )
    return NetReader(made, describe(weights, made, choice))
