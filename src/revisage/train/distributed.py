"""Training in several processes, started by `torchrun`: each takes its share of a step's images.

As in StyleGAN2's and 3's own loops, gradients are averaged by one plain all-reduce of all of them between backward and
step, so that losses which differentiate twice need nothing special.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Group", "average_gradients", "average_values", "join", "share_weights"]

# The others wait while the first process checks and saves.
_PATIENCE = datetime.timedelta(hours=2)


@dataclass(frozen=True)
class Group:
    """The processes that train together: this one's rank, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process logs, checks and saves for all."""
        return self.rank == 0

    def share(self, batch: int, accumulate: int, part: int) -> tuple[int, slice]:
        """How many images a step takes, and which of them are this process's in a part of the step."""
        first = (part * self.size + self.rank) * batch
        return batch * accumulate * self.size, slice(first, first + batch)


@contextmanager
def join(device: torch.device) -> Iterator[Group]:
    """Join the processes that `torchrun` started (nccl on GPUs, gloo on CPUs); alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def share_weights(group: Group, *modules: nn.Module | None) -> None:
    """Give every process the first one's weights, in place."""
    if group.size == 1:
        return
    for module in modules:
        for value in () if module is None else module.state_dict().values():
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
