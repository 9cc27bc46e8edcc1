"""Upscalers: enlarge whole images with Real-ESRGAN's networks, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from revisage.core import ConfigError, Image, ProcessingError
from revisage.engines import Engine, make_engine, resolve
from revisage.restorers.network_files import RestorerInfo, describe, load_weights

__all__ = ["NetUpscaler", "Upscaler", "load_upscaler"]

_SMALLEST_TILE = 32
"""Px a side; smaller tiles are taken to be this large."""


class Upscaler(Protocol):
    """Enlarges images by a whole factor.

    Attributes:
        scale: the factor.
        info: which weights run by which engine.
    """

    @property
    def scale(self) -> int: ...
    @property
    def info(self) -> RestorerInfo: ...

    def __call__(self, image: Image) -> Image:
        """(scale * H, scale * W, 3) uint8 RGB for (H, W, 3) uint8 RGB of any size.

        Raises:
            ValueError: another dtype or shape.
            ProcessingError: the network gave values that are no numbers.
        """
        ...


class _Reach(Protocol):
    """What the networks of upscalers tell of themselves.

    Attributes:
        scale: the factor.
        overlap: px beyond which the input no longer counts for an output pixel.
        multiple: that sides must be multiples of.
    """

    scale: int
    overlap: int
    multiple: int


@dataclass(frozen=True)
class Window:
    """One stretch of an axis: the network sees [start, stop) and [first, last) is kept of what it makes of it."""

    start: int
    stop: int
    first: int
    last: int


class NetUpscaler:
    """Upscales by an engine whose network maps RGB in [0, 1] to the same. See :class:`Upscaler`.

    Args:
        tile: side in px of the part of the input that is new in each tile; 0: the whole image at once.
        overlap: px that a tile sees beyond what is kept of it. From the network's receptive field on, tiles equal
            the whole image exactly.
        multiple: the network takes sides that are multiples of this; images are continued at their edges to fit.
    """

    def __init__(
        self, engine: Engine, scale: int, info: RestorerInfo, *, tile: int, overlap: int, multiple: int = 1
    ) -> None:
        self.scale = scale
        self.info = info
        self._engine = engine
        self._tile = tile
        self._overlap = overlap
        self._multiple = multiple

    def __call__(self, image: Image) -> Image:
        """(scale * H, scale * W, 3) uint8 RGB; see :class:`Upscaler`."""
        _check_image(image)
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % self._multiple), (0, -width % self._multiple), (0, 0)), mode="edge")
        scale = self.scale
        enlarged = np.empty((padded.shape[0] * scale, padded.shape[1] * scale, 3), np.uint8)
        for rows in self._windows(padded.shape[0]):
            for columns in self._windows(padded.shape[1]):
                tile = self._enlarge(padded[rows.start : rows.stop, columns.start : columns.stop])
                kept = tile[
                    (rows.first - rows.start) * scale : (rows.last - rows.start) * scale,
                    (columns.first - columns.start) * scale : (columns.last - columns.start) * scale,
                ]
                enlarged[rows.first * scale : rows.last * scale, columns.first * scale : columns.last * scale] = kept
        return np.ascontiguousarray(enlarged[: height * scale, : width * scale])

    def _windows(self, length: int) -> Iterator[Window]:
        return windows(length, self._tile, self._overlap, self._multiple)

    def _enlarge(self, part: Image) -> Image:
        batch = np.ascontiguousarray(part.transpose(2, 0, 1)[None], dtype=np.float32) * np.float32(1 / 255)
        output = self._engine(batch)[0][0]
        if not np.isfinite(output).all():
            name, precision = self.info.name, self.info.precision
            raise ProcessingError(f"{name} gave values that are no numbers in {precision}: try precision fp32")
        return np.clip(np.rint(output * np.float32(255)), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def windows(length: int, tile: int, overlap: int, multiple: int = 1) -> Iterator[Window]:
    """Cut an axis of ``length`` px into windows, all of one size (the runtime prepares itself for each new size).

    Each window is at most about ``tile + 2 * overlap`` long and begins at a multiple of ``multiple``; the kept parts
    follow each other without gaps, and each lies at least ``overlap`` inside its window except at the image's ends.
    """
    if tile <= 0 or length <= tile + 2 * overlap:
        yield Window(0, length, 0, length)
        return
    overlap += -overlap % multiple
    side = tile + -tile % multiple + 2 * overlap
    if length <= side:
        yield Window(0, length, 0, length)
        return
    starts = [*range(0, length - side, side - 2 * overlap), length - side]
    first = 0
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        last = length if following is None else (following + start + side) // 2
        yield Window(start, start + side, first, last)
        first = last


def load_upscaler(
    name_or_path: str | Path,
    *,
    tile: int = 384,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> Upscaler:
    """An upscaler by name (``realesrgan-x2``, ``realesrgan-x4``, ``realesr-general-x4``; fetched when absent) or file.

    Args:
        name_or_path: a name of ``revisage models list``, or a .safetensors or .pth file of a Real-ESRGAN network.
        tile: side of a tile in px of the input, which bounds the memory; 0: the whole image at once. Values below
            32 count as 32.
        device, engine: as for :func:`load_restorer`.
        precision: auto, fp32 or bf16. int8 concerns face restorers alone and counts as auto here.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no upscaler.
        ConfigError: settings that do not go together, or a negative tile.
        DeviceError: the device is not on this machine.
    """
    if tile < 0:
        raise ConfigError(f"tile cannot be {tile}: give a size in px, or 0 for the whole image")
    precision = "auto" if precision == "int8" else precision
    resolve(device, engine, precision)  # before a download
    weights = load_weights(name_or_path, "upscaler")
    choice = resolve(device, engine, precision, bf16_agrees=weights.bf16_agrees)
    reach = cast(_Reach, weights.net)
    scale, overlap, multiple = reach.scale, reach.overlap, reach.multiple
    made = make_engine(
        weights.net,
        device=choice.device,
        engine=choice.engine,
        precision=choice.precision,
        cache_key=weights.cache_key,
    )
    info = describe(weights, made, choice)
    tile = max(tile, _SMALLEST_TILE) if tile else 0
    return NetUpscaler(made, scale, info, tile=tile, overlap=overlap, multiple=multiple)


def _check_image(image: Image) -> None:
    right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not right or image.shape[2] != 3 or 0 in image.shape:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected an image as uint8 (H, W, 3) RGB, got {got}")
