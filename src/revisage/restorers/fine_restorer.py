"""Fine restorers: parts of a frame at its own pixels, of any size, as they should be changed.

Beside a :class:`FaceRestorer`, which sees crops of one size: what is finer than such a crop's pixels is theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from revisage.core import Image, ProcessingError
from revisage.engines import Engine, make_engine, resolve
from revisage.restorers.network_files import RestorerInfo, describe, load_weights

__all__ = ["FineRestorer", "NetFineRestorer", "load_fine_restorer"]

FloatArray = npt.NDArray[np.float32]

_STRIDE = 16
"""Sides that the networks take are multiples of this (px), as `revisage.nets.FINE_STRIDE` says, which needs torch."""

_SHAPES = 2
"""Shapes that the network is kept ready for: two faces in turn spare the runtime a preparation, 7 ms of a thread."""


class FineRestorer(Protocol):
    """Says what to change in a picture of a face at the frame's own pixels.

    Pure and deterministic. What it makes of a pixel depends on some 90 px around it.

    Attributes:
        info: which weights run by which engine.
    """

    @property
    def info(self) -> RestorerInfo: ...

    def __call__(self, picture: Image) -> FloatArray:
        """The change, (H, W, 3) float32 RGB in steps of 1/255, of an (H, W, 3) uint8 RGB picture of any size.

        The picture and its change together lie between 0 and 255.

        Raises:
            ValueError: another dtype or shape.
            ProcessingError: the network gave values that are no numbers.
        """
        ...


class NetFineRestorer:
    """A fine restorer around an engine whose network maps RGB in [-1, 1] to the same. See :class:`FineRestorer`.

    Args:
        stride: the network takes sides that are multiples of this; pictures go on beyond their edges to fit.
    """

    def __init__(self, engine: Engine, info: RestorerInfo, stride: int) -> None:
        self.info = info
        self._engine = engine
        self._stride = stride

    def __call__(self, picture: Image) -> FloatArray:
        """The change, (H, W, 3) float32 RGB in steps of 1/255; see :class:`FineRestorer`."""
        _check_picture(picture)
        height, width = picture.shape[:2]
        # Mirrored, as crops go on outside of a frame; a picture too thin for that is continued by its last pixels.
        border = cv2.BORDER_REFLECT_101 if min(height, width) > self._stride else cv2.BORDER_REPLICATE
        padded = cv2.copyMakeBorder(picture, 0, -height % self._stride, 0, -width % self._stride, border)
        batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
        restored = self._engine(batch * np.float32(1 / 127.5) - np.float32(1))[0][0, :, :height, :width]
        if not np.isfinite(restored).all():
            name, precision = self.info.name, self.info.precision
            raise ProcessingError(f"{name} gave values that are no numbers in {precision}: try precision fp32")
        levels = np.clip((restored.transpose(1, 2, 0) + np.float32(1)) * np.float32(127.5), 0, 255)
        return np.ascontiguousarray(levels - picture, dtype=np.float32)


def load_fine_restorer(
    name_or_path: str | Path = "compact-fine", *, device: str = "auto", engine: str = "auto", precision: str = "auto"
) -> FineRestorer:
    """A fine restorer by name or from a weights file.

    Args:
        name_or_path: ``compact-fine``, or a .safetensors file that ``revisage export`` wrote of such a net.
        device, engine: as for :func:`load_restorer`.
        precision: auto (fp32), fp32 or bf16. bf16 keeps seven bits of a clean face's pixels, so nobody gets it unasked.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no fine restorer.
        ConfigError: settings that do not go together.
        DeviceError: the device is not on this machine.
    """
    choice = resolve(device, engine, precision)
    weights = load_weights(name_or_path, "fine restorer", compiled=choice.engine == "openvino")
    made = make_engine(
        weights.net,
        device=choice.device,
        engine=choice.engine,
        precision=choice.precision,
        cache_key=weights.cache_key,
        sizes=_SHAPES,
    )
    return NetFineRestorer(made, describe(weights, made, choice), _STRIDE)


def _check_picture(picture: Image) -> None:
    right = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3
    if not right or picture.shape[2] != 3 or 0 in picture.shape:
        got = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ValueError(f"expected a picture as uint8 (H, W, 3) RGB, got {got}")
