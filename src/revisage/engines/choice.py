"""Which device, engine and precision a network runs with: what was asked, or what this machine does best."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from revisage.core import ConfigError, DeviceError, MissingExtraError
from revisage.engines.engine import Engine, FloatArray, TorchEngine
from revisage.engines.openvino_engine import make_openvino_engine
from revisage.engines.openvino_files import ShippedNetwork
from revisage.engines.processor import CpuInfo, cpu_info
from revisage.engines.quantisation import is_quantised

if TYPE_CHECKING:
    import openvino
    from torch import nn

__all__ = ["Choice", "cuda_devices", "make_engine", "resolve"]

DEVICES = ("auto", "cpu", "cuda", "mps")
_NUMBERED = "cuda:"
ENGINES = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "int8")


@dataclass(frozen=True)
class Choice:
    """A settled choice; nothing in it is ``auto``.

    Attributes:
        device: ``cpu``, ``cuda``, ``mps``, or one GPU by its number as in ``cuda:1``.
        engine: ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        hardware: the device in words, with the CPU's features.
    """

    device: str
    engine: str
    precision: str
    hardware: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} on {self.hardware}"


def resolve(
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    *,
    bf16_agrees: bool = False,
    int8_agrees: bool = False,
) -> Choice:
    """Settle device, engine and precision for this machine.

    ``auto`` means: CUDA where there is a GPU, else the CPU; OpenVINO on the CPU, torch elsewhere; int8 by
    OpenVINO where the CPU prefers it **and** ``int8_agrees``, bf16 where the CPU has it in hardware **and**
    ``bf16_agrees``, else fp32. MPS only runs when asked for, as nothing was measured on it.

    Args:
        device: auto, cpu, cuda, mps, or GPUs by their numbers as in cuda:0,1, of which the first is taken.
        engine: auto, torch or openvino.
        precision: auto, fp32, bf16 or int8.
        bf16_agrees: the network's bf16 result was measured to agree with fp32; see `revisage.nets.Architecture`.
        int8_agrees: there is an int8 form of the network that was measured so.

    Raises:
        ConfigError: a value is unknown, or they do not go together.
        DeviceError: the device is not on this machine.
        MissingExtraError: engine torch without the extra ``torch``.
    """
    numbered = device if device.startswith(_NUMBERED) else None
    for name, value, allowed in (
        ("device", "cuda" if numbered else device, DEVICES),
        ("engine", engine, ENGINES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in allowed:
            raise ConfigError(f"{name} cannot be '{value}'; choose one of {', '.join(allowed)}")
    cpu = cpu_info()
    device = _gpu(numbered) if numbered else _device(device, engine, precision)
    engine = _engine(device, engine, precision)
    int8_agrees = int8_agrees and engine == "openvino"
    precision = _precision(device, precision, cpu, bf16_agrees, int8_agrees)
    return Choice(device, engine, precision, _hardware(device, cpu))


def cuda_devices(device: str = "auto", engine: str = "auto", precision: str = "auto") -> list[str]:
    """The GPUs that settings stand for, each as in ``cuda:0``; none where they stand for something else.

    Raises:
        DeviceError: a device is asked for that is not on this machine.
    """
    if device.startswith(_NUMBERED):
        return [_gpu(f"{_NUMBERED}{number}") for number in device.removeprefix(_NUMBERED).split(",")]
    if _device(device, engine, precision) != "cuda":
        return []
    return [f"{_NUMBERED}{number}" for number in range(_gpu_count())]


def _gpu(devices: str) -> str:
    """The first of some numbered GPUs."""
    number = devices.removeprefix(_NUMBERED).split(",")[0]
    _device("cuda", "auto", "auto")
    count = _gpu_count()
    if not number.isdigit() or int(number) >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
        raise DeviceError(f"no CUDA device {number} here: there is {last}")
    return f"{_NUMBERED}{number}"


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


def _device(device: str, engine: str, precision: str) -> str:
    if device == "auto":
        wants_cpu = engine == "openvino" or precision == "int8"
        return "cpu" if wants_cpu or not _has_cuda() else "cuda"
    if device == "cuda" and not _has_cuda():
        raise DeviceError(f"no CUDA device here ({_why_no_cuda()}): choose device cpu or auto")
    if device == "mps" and not _has_mps():
        raise DeviceError("no Apple GPU (MPS) on this machine: choose device cpu or auto")
    return device


def _engine(device: str, engine: str, precision: str) -> str:
    if engine == "openvino" and device != "cpu":
        raise ConfigError(f"engine openvino runs on the CPU only: choose engine torch for device {device}")
    if precision == "int8" and (engine == "torch" or device != "cpu"):
        raise ConfigError("precision int8 runs with engine openvino on the CPU only: choose fp32 or bf16 here")
    if engine == "torch" and not _has_torch():
        raise MissingExtraError("engine torch", "torch")
    if engine == "auto":
        return "openvino" if device == "cpu" else "torch"
    return engine


def _precision(device: str, precision: str, cpu: CpuInfo, bf16_agrees: bool, int8_agrees: bool) -> str:
    if precision == "auto" and int8_agrees and cpu.prefers_int8:
        return "int8"
    if precision == "auto":
        return "bf16" if device == "cpu" and cpu.native_bf16 and bf16_agrees else "fp32"
    if precision == "bf16" and device == "cpu" and not cpu.native_bf16:
        # torch would emulate it, many times slower; OpenVINO would silently run fp32 under its name.
        raise ConfigError(f"precision bf16 is not in this CPU's hardware ({cpu.name}): choose fp32 or auto")
    if precision == "bf16" and device == "mps":
        raise ConfigError("precision bf16 is not offered on MPS: choose fp32")
    return precision


def _has_cuda() -> bool:
    if not _has_gpu_driver() or not _has_torch():
        return False
    import torch

    return torch.cuda.is_available()


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _has_gpu_driver() -> bool:
    """Whether a driver of NVIDIA or AMD is there; without one torch need not be loaded (a second) to be asked."""
    system = platform.system()
    if system == "Darwin":
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if system == "Windows" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def _why_no_cuda() -> str:
    if not _has_torch():
        return "PyTorch is not installed: pip install 'revisage[torch]'"
    import torch

    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    return "PyTorch finds no usable GPU or driver"


def _has_mps() -> bool:
    if platform.system() != "Darwin" or not _has_torch():
        return False
    import torch

    return torch.backends.mps.is_available()


def _hardware(device: str, cpu: CpuInfo) -> str:
    if device.startswith("cuda"):
        import torch

        return f"{torch.cuda.get_device_name(device)} beside {cpu}"
    return f"Apple GPU of {cpu}" if device == "mps" else str(cpu)


def make_engine(
    net: nn.Module | openvino.Model | ShippedNetwork,
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
            it is set to eval mode and moved to the device. Or one in OpenVINO's form, which only its engine runs; one
            of the package is read when it is first needed.
        size_hw: the only size it will see, or None where sizes vary.
        device, engine, precision: as in :func:`resolve`; ``auto`` precision is fp32 here, so that only a caller who
            knows that an image comes out asks for less.
        cache_key: names the weights (their hash); the converted network is then kept in the cache folder, which
            saves seconds at the next start. None: no cache.
        calibration: (N, 3, H, W) float32 real inputs for int8, where the network is not in such a form already.
        sizes: how many shapes of batches it sees in turn. OpenVINO prepares itself anew for a shape that is not the
            last one; up to so many copies of the network spare it that, for their memory, where it happens often.

    Raises:
        ConfigError: settings that do not go together, or int8 without calibration.
        DeviceError: the device is not on this machine.
        MissingExtraError: int8 without NNCF installed.
        ProcessingError: the int8 network does not agree with fp32.
    """
    choice = resolve(device, engine, precision)
    if choice.precision == "int8" and calibration is None and not _is_int8(net):
        raise ConfigError("precision int8 needs real inputs to calibrate on: hand them in, or choose fp32 or bf16")
    if choice.engine == "torch":
        return TorchEngine(cast("nn.Module", net), size_hw, device=choice.device, precision=choice.precision)
    return make_openvino_engine(net, size_hw, choice.precision, cache_key, calibration, sizes)


def _is_int8(net: nn.Module | openvino.Model | ShippedNetwork) -> bool:
    if isinstance(net, ShippedNetwork):
        return net.is_int8
    return hasattr(net, "get_ops") and is_quantised(cast("openvino.Model", net))
