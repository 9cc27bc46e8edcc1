"""What a training runs on, and in which precision."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from revisage.core import DeviceError
from revisage.train.settings import StageConfig

__all__ = ["Compute", "choose_compute"]


@dataclass(frozen=True)
class Compute:
    """The device and the type that convolutions run in.

    Attributes:
        device: `cpu`, or the GPU of this process.
        low: bfloat16 or float16 under autocast; None: everything in float32.
    """

    device: torch.device
    low: torch.dtype | None

    def autocast(self) -> AbstractContextManager[None]:
        """The context of forward passes."""
        return torch.autocast(self.device.type, dtype=self.low or torch.bfloat16, enabled=self.low is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that float16 gradients do not vanish; does nothing for other types."""
        return torch.amp.GradScaler(self.device.type, enabled=self.low is torch.float16, init_scale=2.0**14)

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, its convolutions' weights channels last. In place."""
        module.to(self.device)
        for parameter in module.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def images(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to float32 [-1, 1] on the device, channels last."""
        moved = pixels.to(self.device, non_blocking=True)
        return (moved.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def choose_compute(config: StageConfig) -> Compute:
    """Settle `device` and `precision`. Raises DeviceError for a GPU that is not there."""
    present = torch.cuda.is_available()
    if config.device == "cuda" and not present:
        raise DeviceError("torch sees no CUDA device here: set device=cpu, or install a torch with CUDA")
    if config.device == "cpu" or not present:
        return Compute(torch.device("cpu"), _low_precision(config.precision, "cpu"))
    # torchrun starts one process for each GPU of a machine.
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return Compute(device, _low_precision(config.precision, "cuda"))


def _low_precision(precision: str, kind: str) -> torch.dtype | None:
    """bfloat16 convolutions are four times as fast where a CPU has them, and four times as slow where not."""
    if precision == "auto":
        if kind == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return torch.bfloat16 if supported and supported() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
