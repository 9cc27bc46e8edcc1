"""What a training runs on: the device, the precision, and the processes that share the work.

As in StyleGAN2's and 3's own loops, gradients are averaged by one plain all-reduce of all of them between backward and
step, so that losses which differentiate twice need nothing special.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from revisage.core import DeviceError
from revisage.train.settings import StageConfig

__all__ = ["Compute", "Group", "average_gradients", "average_values", "share_weights", "started"]

_PATIENCE = datetime.timedelta(hours=2)
"""The others wait while the first process checks and saves."""


@dataclass(frozen=True)
class Group:
    """The processes that train together: this one's rank, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process logs, checks and saves for all."""
        return self.rank == 0


@dataclass(frozen=True)
class Compute:
    """The device, the type that convolutions run in, and the processes.

    Attributes:
        device: ``cpu``, or the GPU of this process.
        low: bfloat16 or float16 under autocast; None: everything in float32.
        group: this process among those that train together.
    """

    device: torch.device
    low: torch.dtype | None = None
    group: Group = Group()

    def autocast(self) -> AbstractContextManager[None]:
        """The context of forward passes."""
        return torch.autocast(self.device.type, dtype=self.low or torch.bfloat16, enabled=self.low is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that float16 gradients do not vanish; does nothing for other types."""
        return torch.amp.GradScaler(self.device.type, enabled=self.low is torch.float16, init_scale=2.0**14)

    def place(self, *modules: nn.Module) -> None:
        """Move modules to the device, their convolutions' weights channels last. In place."""
        for module in modules:
            module.to(self.device)
            for parameter in module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def images(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to float32 [-1, 1] on the device, channels last."""
        moved = pixels.to(self.device, non_blocking=True)
        return (moved.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@contextmanager
def started(config: StageConfig) -> Iterator[Compute]:
    """What the settings ask for, joined with the processes that ``torchrun`` started; alone without it.

    Sets the number of torch's threads of this process.

    Raises:
        DeviceError: a GPU that is not there.
    """
    torch.set_num_threads(config.threads)
    device = _device(config)
    low = _low_precision(config.precision, device.type)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Compute(device, low)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Compute(device, low, Group(dist.get_rank(), size))
    finally:
        dist.destroy_process_group()


def _device(config: StageConfig) -> torch.device:
    present = torch.cuda.is_available()
    if config.device == "cuda" and not present:
        raise DeviceError("torch sees no CUDA device here: set device=cpu, or install a torch with CUDA")
    if config.device == "cpu" or not present:
        return torch.device("cpu")
    # torchrun starts one process for each GPU of a machine.
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _low_precision(precision: str, kind: str) -> torch.dtype | None:
    """bfloat16 convolutions are four times as fast where a CPU has them, and four times as slow where not."""
    if precision == "auto":
        if kind == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return torch.bfloat16 if supported and supported() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def share_weights(group: Group, modules: Iterable[nn.Module]) -> None:
    """Give every process the first one's weights, in place."""
    if group.size == 1:
        return
    for module in modules:
        for value in module.state_dict().values():
            dist.broadcast(value, src=0)


def average_gradients(group: Group, parameters: Iterable[nn.Parameter]) -> None:
    """The mean of the gradients over the processes, in place."""
    if group.size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= group.size
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def average_values(group: Group, values: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of each number over the processes."""
    if not values:
        return {}
    together = torch.stack([value.float() for value in values.values()])
    if group.size > 1:
        dist.all_reduce(together)
        together = together / group.size
    return dict(zip(values, together.tolist(), strict=True))
