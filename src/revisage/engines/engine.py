"""The Engine protocol, and the one function that makes engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from revisage.core import ConfigError
from revisage.engines.choice import resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Engine", "make_engine"]

FloatArray = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one network.

    Attributes:
        name: ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        device: ``cpu``, ``cuda`` or ``mps``.
    """

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> str: ...

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The network's outputs in its own order, as new float32 arrays.

        batch: (N, 3, H, W) float32, any N ≥ 1, in the network's own range and channel order. Deterministic: the same
        batch twice is bit-equal on a CPU. Safe to call from several threads; calls then wait for each other.

        Raises ValueError for another dtype or shape.
        """
        ...


def make_engine(
    net: nn.Module,
    size_hw: tuple[int, int] | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    cache_key: str | None = None,
    calibration: FloatArray | None = None,
    sizes: int = 1,
) -> Engine:
    """An engine for a network whose weights are loaded.

    Args:
        net: takes one (N, 3, H, W) float32 tensor and returns a tensor or a tuple of tensors. It becomes the engine's:
            it is set to eval mode and moved to the device.
        size_hw: the only size it will see, or None where sizes vary.
        device, engine, precision: as in :func:`revisage.engines.resolve`; ``auto`` precision is fp32 here, so that
            only a caller who knows that an image comes out asks for less.
        cache_key: names the weights (their hash); the converted network is then kept in the cache folder, which
            saves seconds at the next start. None: no cache.
        calibration: (N, 3, H, W) float32 real inputs for int8.
        sizes: how many shapes of batches it sees in turn. OpenVINO prepares itself anew for a shape that is not the
            last one; so many copies of the network (fp32 and bf16) spare it that, for their memory.

    Raises:
        ConfigError: settings that do not go together, or int8 without calibration.
        DeviceError: the device is not on this machine.
        MissingExtraError: int8 without NNCF installed.
        ProcessingError: the int8 network does not agree with fp32.
    """
    choice = resolve(device, engine, precision)
    if choice.precision == "int8" and calibration is None:
        raise ConfigError("precision int8 needs real inputs to calibrate on: hand them in, or choose fp32 or bf16")
    if choice.engine == "torch":
        from revisage.engines.torch_engine import TorchEngine

        return TorchEngine(net, size_hw, device=choice.device, precision=choice.precision)
    from revisage.engines.openvino_engine import make_openvino_engine

    return make_openvino_engine(net, size_hw, choice.precision, cache_key, calibration, sizes)


def check_batch(batch: FloatArray, size_hw: tuple[int, int] | None) -> None:
    """Raise ValueError unless batch is (N ≥ 1, 3, H, W) float32 of that size."""
    right = isinstance(batch, np.ndarray) and batch.dtype == np.float32 and batch.ndim == 4
    right = right and batch.shape[0] >= 1 and batch.shape[1] == 3
    if not right or (size_hw is not None and batch.shape[2:] != tuple(size_hw)):
        wanted = f"(N, 3, {size_hw[0]}, {size_hw[1]})" if size_hw else "(N, 3, H, W)"
        got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else type(batch).__name__
        raise ValueError(f"expected float32 {wanted}, got {got}")
