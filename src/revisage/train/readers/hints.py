"""What the trunk of a reader learns from inside its teacher: the maps of MobileFaceNet's parts.

Hints from inside a teacher: Romero et al., "FitNets: Hints for Thin Deep Nets" (ICLR 2015, arXiv 1412.6550). Each part
for itself, fed with the teacher's maps: Wang et al., "Progressive Blockwise Knowledge Distillation" (IJCAI 2018). A
part alone is shallow: it learns in minutes what the whole would take days to find in embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from revisage import models, nets
from revisage.core import ModelError
from revisage.nets import CompactReader, MobileFaceNet
from revisage.train.readers.teachers import identity_file

__all__ = ["TrunkTeacher", "map_error"]

_STEM_ENDS = 2
"""The teacher's part whose map the reader's stem gives: from there on both are built alike."""
_HINTED = (4, 11, 14, 16)
"""Parts whose maps the whole trunk is held to: the last of each size, and what is pooled."""


def map_error(map_: Tensor, taught: Tensor) -> Tensor:
    """Mean squared difference as a part of the taught map's variance."""
    return F.mse_loss(map_.float(), taught.float()) / (taught.float().var() + 1e-6)


class TrunkTeacher:
    """MobileFaceNet, whose parts a reader's trunk has too.

    Args:
        folder: of the teachers' weights.
        place: brings the net where it runs.

    Raises:
        ModelError: the weights are of another network.
    """

    def __init__(self, folder: Path) -> None:
        self.net = cast(MobileFaceNet, nets.build("mobilefacenet"))
        path = identity_file(folder)
        try:
            self.net.load_state_dict(models.load_state(path))
        except RuntimeError as error:
            raise ModelError(f"{path} holds another network") from error
        self.net.float().eval().requires_grad_(False)

    @torch.no_grad()
    def maps(self, net: CompactReader, shown: Tensor) -> list[Tensor]:
        """Its maps of (N, 3, 112, 112) float32 [-1, 1] where the reader has parts."""
        return self.net.maps(net.normalised(shown))[_STEM_ENDS:]

    def part_errors(self, net: CompactReader, shown: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The sum of what the reader's parts do otherwise than the teacher's, each given the teacher's map before."""
        before = [net.normalised(shown), *maps[:-1]]
        parts = net.identity.parts()
        return torch.stack([map_error(part(x), y) for part, x, y in zip(parts, before, maps, strict=True)]).sum()

    @torch.no_grad()
    def named(self, maps: Sequence[Tensor]) -> Tensor:
        """Its embedding (N, 128) of what it has these maps of."""
        return self.net.named(maps[-1])

    @staticmethod
    def chain_error(maps: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """The sum of the errors of all parts' maps, each from the reader's own map before."""
        return torch.stack([map_error(mine, theirs) for mine, theirs in zip(maps, taught, strict=True)]).sum()

    @staticmethod
    def hint_error(maps: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """The mean error of the trunk's maps, from its own maps on, at the last part of each size."""
        return torch.stack([map_error(maps[part], taught[part]) for part in _HINTED]).mean()
