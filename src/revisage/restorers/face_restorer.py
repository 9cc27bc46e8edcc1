"""Face restorers: aligned crops in, restored crops out; and fine restorers, for what is finer than a crop.

A fine restorer sees parts of a frame at its own pixels, of any size: what is finer than the pixels of a
:class:`FaceRestorer`'s crops is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from revisage import models
from revisage.core import Crop, Image, ProcessingError
from revisage.engines import Engine, make_engine, resolve
from revisage.restorers.network_files import (
    INT8,
    RestorerInfo,
    compiled_file,
    describe,
    load_compiled,
    load_weights,
    ships_int8,
)

__all__ = [
    "FaceRestorer",
    "FineRestorer",
    "NetFineRestorer",
    "NetRestorer",
    "fine_weights_hash",
    "load_fine_restorer",
    "load_restorer",
]


FloatArray = npt.NDArray[np.float32]

_PIXELS_AT_ONCE = {"cpu": 2**20, "cuda": 2**22, "mps": 2**20}
"""Pixels that go through a network at once. On a CPU larger batches gain nothing and cost 0.3 GB per 512 px face."""

_SINGLE = 256
"""Crops up to this size (px) go through a CPU one by one: that takes as long, where each number of them that is new
costs OpenVINO a preparation as long as a crop's own run; and less memory."""


class FaceRestorer(Protocol):
    """Restores aligned face crops.

    Pure and deterministic: the same crops give the same bytes on the same machine, and a batch gives what its single
    crops give, within one step of 255. It restores fully; how much of that is shown is decided by the composition,
    which blends with the input (0 none, 1 all, linear between).

    Attributes:
        size: side of a crop in px.
        at_once: crops that go through its network at once; of more it makes portions, so that who has some need not
            wait for more than these.
        info: which weights run by which engine.
    """

    @property
    def size(self) -> int: ...
    @property
    def at_once(self) -> int: ...
    @property
    def info(self) -> RestorerInfo: ...

    def __call__(self, crops: Crop) -> Crop:
        """Restored crops, (N, size, size, 3) uint8 RGB, for crops of that very shape; any N, also 0.

        Raises:
            ValueError: another dtype or shape.
            ProcessingError: the network gave values that are no numbers.
        """
        ...


class NetRestorer:
    """A restorer around an engine whose network maps RGB in [-1, 1] to the same. See :class:`FaceRestorer`.

    Args:
        one_by_one: the network takes single crops only.
        unit_range: it maps RGB in [0, 1] instead.
    """

    def __init__(
        self, engine: Engine, size: int, info: RestorerInfo, *, one_by_one: bool = False, unit_range: bool = False
    ) -> None:
        self.size = size
        self.info = info
        self._engine = engine
        device = engine.device.partition(":")[0]
        single = one_by_one or (device == "cpu" and size <= _SINGLE)
        self.at_once = 1 if single else max(1, _PIXELS_AT_ONCE[device] // size**2)
        self._unit_range = unit_range

    @property
    def notes(self) -> Sequence[str]:
        """What the engine did differently from what was asked."""
        return self._engine.notes

    def __call__(self, crops: Crop) -> Crop:
        """Restored crops, (N, size, size, 3) uint8 RGB; see :class:`FaceRestorer`."""
        _check_crops(crops, self.size)
        restored = np.empty(crops.shape, np.uint8)
        for first in range(0, len(crops), self.at_once):
            part = slice(first, first + self.at_once)
            batch = _to_batch(crops[part])
            if self._unit_range:
                output = self._engine((batch + np.float32(1)) * np.float32(0.5))[0] * np.float32(2) - np.float32(1)
            else:
                output = self._engine(batch)[0]
            restored[part] = _to_images(output, self.info)
        return restored


def load_restorer(
    name_or_path: str | Path = "compact",
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    calibration: Crop | None = None,
    settings: Mapping[str, Any] | None = None,
) -> FaceRestorer:
    """A face restorer by name (``compact``, ``gfpgan-1.4`` ...; fetched when absent) or from a weights file.

    Args:
        name_or_path: a name of ``revisage models list``, or a .safetensors or .pth file of a GFP-GAN or RestoreFormer,
            or an .onnx or .xml (OpenVINO) file: of ``revisage export``, or any that maps (N, 3, size, size) RGB, N free
            or 1, to the same; whether in [-1, 1] or [0, 1] is found out.
        device: auto, cpu, cuda or mps.
        engine: auto, torch or openvino.
        precision: auto, fp32, bf16 or int8. ``auto`` is bf16 where the CPU has it in hardware and this architecture
            was measured to agree with fp32 to 40 dB or better in it, else fp32; where the CPU runs int8 faster, it is
            int8 for a model that ships so (``compact``).
        calibration: for int8 of other models, (N, size, size, 3) uint8 RGB crops of the footage at hand, about 24 and
            at least 4; every fourth is held out, and int8 must agree with fp32 to 40 dB on those.
        settings: of the network's own, by the names of its architecture; only some networks have any.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no face restorer.
        ConfigError: settings that do not go together, or int8 without crops to calibrate on.
        DeviceError: the device is not on this machine.
        MissingExtraError: int8 without the extra ``export``.
        ProcessingError: int8 does not agree with fp32.
        ValueError: calibration crops of another dtype or shape.
    """
    settled = resolve(device, engine, precision)  # before a download
    file = compiled_file(name_or_path, settled.engine)
    if file is not None:
        loaded = load_compiled(file, resolve(device, engine, precision, bf16_agrees=file.entry is not None))
        return NetRestorer(
            loaded.engine, loaded.size, loaded.info, one_by_one=loaded.one_by_one, unit_range=loaded.unit_range
        )
    by_openvino, int8 = settled.engine == "openvino", calibration is None and not settings and ships_int8(name_or_path)
    part = INT8 if resolve(device, engine, precision, int8_agrees=int8).precision == "int8" and int8 else ""
    weights = load_weights(name_or_path, "face restorer", changes=settings or {}, compiled=by_openvino, part=part)
    size = weights.size
    if calibration is not None:
        _check_crops(calibration, size)
    choice = resolve(device, engine, precision, bf16_agrees=weights.bf16_agrees, int8_agrees=int8)
    made = make_engine(
        weights.net,
        (size, size),
        device=choice.device,
        engine=choice.engine,
        precision=choice.precision,
        cache_key=weights.cache_key,
        calibration=_to_batch(calibration) if calibration is not None and choice.precision == "int8" else None,
    )
    return NetRestorer(made, size, describe(weights, made, choice))


def _check_crops(crops: Crop, size: int) -> None:
    if not isinstance(crops, np.ndarray) or crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3):
        got = f"{crops.dtype} {crops.shape}" if isinstance(crops, np.ndarray) else type(crops).__name__
        raise ValueError(f"expected crops as uint8 (N, {size}, {size}, 3) RGB, got {got}")


def _to_batch(crops: Crop) -> FloatArray:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    batch = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
    batch *= np.float32(1 / 127.5)
    batch -= np.float32(1)
    return batch


def _to_images(batch: FloatArray, info: RestorerInfo) -> Crop:
    """(N, 3, H, W) float32 in about [-1, 1] to (N, H, W, 3) uint8, rounded to nearest and clipped."""
    if not np.isfinite(batch).all():
        raise ProcessingError(f"{info.name} gave values that are no numbers in {info.precision}: try precision fp32")
    steps = np.rint((batch + np.float32(1)) * np.float32(127.5))
    return np.clip(steps, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


_STRIDE = 16
"""Sides that the networks take are multiples of this (px), as `revisage.nets.FINE_STRIDE` says, which needs torch."""

_SHAPES = 3
"""Shapes that the network is kept ready for: windows that are looked at first, and two faces in turn. Another one costs
the runtime a preparation, 7 ms of a thread."""


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
    """A fine restorer around an engine whose network maps RGB in [-1, 1] to its change. See :class:`FineRestorer`.

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
        change = self._engine(batch * np.float32(1 / 127.5) - np.float32(1))[0][0, :, :height, :width]
        if not np.isfinite(change).all():
            name, precision = self.info.name, self.info.precision
            raise ProcessingError(f"{name} gave values that are no numbers in {precision}: try precision fp32")
        levels = np.multiply(change.transpose(1, 2, 0), np.float32(127.5), order="C")
        # As numbers they may be left or right of the range, as a picture they may not.
        np.maximum(levels, np.negative(picture, dtype=np.float32), out=levels)
        return np.minimum(levels, np.subtract(255, picture, dtype=np.float32), out=levels)


_FINE = "compact-fine"


def fine_weights_hash() -> str:
    """SHA-256 of the embedded fine restorer's weights, without loading it."""
    return models.verify(models.find(_FINE)).sha256


def load_fine_restorer(
    name_or_path: str | Path = _FINE, *, device: str = "auto", engine: str = "auto", precision: str = "auto"
) -> FineRestorer:
    """A fine restorer by name or from a weights file.

    Args:
        name_or_path: ``compact-fine``, or a .safetensors file that ``revisage export`` wrote of such a net.
        device, engine: as for :func:`load_restorer`.
        precision: auto, fp32, bf16 or int8; auto is int8 where the CPU runs that faster, else bf16 where the CPU has it
            in hardware. Only the change is rounded by it.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no fine restorer.
        ConfigError: settings that do not go together.
        DeviceError: the device is not on this machine.
    """
    compiled, int8 = resolve(device, engine, precision).engine == "openvino", ships_int8(name_or_path)
    part = INT8 if int8 and resolve(device, engine, precision, int8_agrees=True).precision == "int8" else ""
    weights = load_weights(name_or_path, "fine restorer", compiled=compiled, part=part)
    choice = resolve(device, engine, precision, bf16_agrees=weights.bf16_agrees, int8_agrees=int8)
    made = make_engine(
        _change_of(weights.net),
        device=choice.device,
        engine=choice.engine,
        precision=choice.precision,
        cache_key=weights.cache_key,
        sizes=_SHAPES,
    )
    return NetFineRestorer(made, describe(weights, made, choice), _STRIDE)


def _change_of(net: Any) -> Any:
    """A network that says the change: one of torch is made to, a shipped file does."""
    if not hasattr(net, "change"):
        return net
    from revisage.nets import FineChange  # brings torch

    return FineChange(net)


def _check_picture(picture: Image) -> None:
    right = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3
    if not right or picture.shape[2] != 3 or 0 in picture.shape:
        got = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ValueError(f"expected a picture as uint8 (H, W, 3) RGB, got {got}")
