"""LPIPS on AlexNet: the backbone up to its last convolution, and the learnt heads.

Method: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018, arXiv
1801.03924), version 0.1. Backbone: Krizhevsky, "One weird trick for parallelizing convolutional neural networks"
(arXiv 1404.5997). State-dict keys are the published ones: ``features.N`` of the backbone's file, ``linN.model.1`` of
the heads'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AlexNetFeatures", "LPIPSHeads", "lpips"]

# Sequential index of each convolution in the published state dict, its channels, kernel, stride and padding.
_CONVOLUTIONS = (
    ("0", 3, 64, 11, 4, 2),
    ("3", 64, 192, 5, 1, 2),
    ("6", 192, 384, 3, 1, 1),
    ("8", 384, 256, 3, 1, 1),
    ("10", 256, 256, 3, 1, 1),
)
_POOLED_BEFORE = ("3", "6")


class AlexNetFeatures(nn.Module):
    """``(N, 3, H, W)`` RGB, normalised as :func:`lpips` does, to the features after each of the five ReLUs.

    Sides of 35 px or more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {key: nn.Conv2d(a, b, kernel, stride, padding) for key, a, b, kernel, stride, padding in _CONVOLUTIONS}
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for key, conv in self.features.items():
            if key in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            found.append(x)
        return found


class LPIPSHeads(nn.Module):
    """One weight per channel of each of AlexNet's five feature maps."""

    def __init__(self) -> None:
        super().__init__()
        for number, (_, _, channels, *_) in enumerate(_CONVOLUTIONS):
            # Under index 1: the published heads have a dropout before it, which only training uses.
            head = nn.ModuleDict({"model": nn.ModuleDict({"1": nn.Conv2d(channels, 1, 1, bias=False)})})
            self.add_module(f"lin{number}", head)

    def forward(self, squares: list[Tensor]) -> Tensor:
        """Squared differences of the five maps to one number per image, ``(N,)``."""
        total = squares[0].new_zeros(squares[0].shape[0])
        for number, square in enumerate(squares):
            total = total + self.get_submodule(f"lin{number}.model.1")(square).mean(dim=(1, 2, 3))
        return total


def lpips(images: Tensor, references: Tensor, backbone: AlexNetFeatures, heads: LPIPSHeads) -> Tensor:
    """LPIPS of images to their references, both ``(N, 3, H, W)`` RGB [0, 1]; ``(N,)``, 0 when equal."""
    shift = images.new_tensor((-0.030, -0.088, -0.188))[:, None, None]
    scale = images.new_tensor((0.458, 0.448, 0.450))[:, None, None]
    ours, theirs = (backbone((2 * batch - 1 - shift) / scale) for batch in (images, references))
    squares = [(_unit(a) - _unit(b)).square() for a, b in zip(ours, theirs, strict=True)]
    return heads(squares)


def _unit(features: Tensor) -> Tensor:
    """Of length one over channels."""
    return features / (torch.sqrt(features.square().sum(dim=1, keepdim=True)) + 1e-10)
