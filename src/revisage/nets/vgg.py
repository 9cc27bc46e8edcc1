"""VGG19 up to relu3_1, activations normalised to unit mean: the backbone of VGGD and of the perceptual loss.

Layout of Gatys et al. (CVPR 2016) as published for style transfer: reflection padding, max pooling 2x2 with ceil,
a first 1x1 convolution that turns RGB 0..1 into BGR 0..255 minus the mean. The state-dict keys are the published
sequential indices (0, 2, 5, 9, 12, 16).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["VGG19Features"]


class VGG19Features(nn.Module):
    """`(N, 3, H, W)` RGB [0, 1] to the features at relu1_2, relu2_2 and relu3_1 (64, 128 and 256 channels)."""

    def __init__(self) -> None:
        super().__init__()
        widths = {"0": (3, 3, 1), "2": (3, 64, 3), "5": (64, 64, 3), "9": (64, 128, 3), "12": (128, 128, 3)}
        widths["16"] = (128, 256, 3)
        for key, (in_channels, out_channels, kernel) in widths.items():
            self.add_module(key, nn.Conv2d(in_channels, out_channels, kernel))

    def _layer(self, key: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(key)(F.pad(x, (1, 1, 1, 1), mode="reflect")))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        relu1_2 = self._layer("5", self._layer("2", self.get_submodule("0")(x)))
        relu2_2 = self._layer("12", self._layer("9", F.max_pool2d(relu1_2, 2, ceil_mode=True)))
        relu3_1 = self._layer("16", F.max_pool2d(relu2_2, 2, ceil_mode=True))
        return relu1_2, relu2_2, relu3_1
