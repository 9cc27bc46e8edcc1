"""RRDBNet: residual-in-residual dense blocks, the network of the large Real-ESRGAN releases.

Method: Wang et al., "ESRGAN" (ECCVW 2018, arXiv 1809.00219) and "Real-ESRGAN" (ICCVW 2021, arXiv 2107.10833).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RRDBNet"]

_SLOPE = 0.2
_RESIDUAL_SCALE = 0.2


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _activate(conv(seen))), dim=1)
        return x + self.conv5(seen) * _RESIDUAL_SCALE


class _ResidualBlock(nn.Module):
    """Three dense blocks beside an identity."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(features, growth)
        self.rdb2 = _DenseBlock(features, growth)
        self.rdb3 = _DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rdb3(self.rdb2(self.rdb1(x))) * _RESIDUAL_SCALE


class RRDBNet(nn.Module):
    """Upscale an image: (N, 3, H, W) float32 RGB [0, 1] to (N, 3, scale * H, scale * W), not clamped.

    The trunk always upscales by four; for scale 2 and 1 the input is first folded into channels by pixel unshuffle,
    so H and W must be multiples of 4 / scale.

    Args:
        scale: 1, 2 or 4.
        num_feat: channels of the trunk.
        num_block: residual-in-residual blocks.
        num_grow_ch: channels that each dense layer adds.

    Raises ValueError for another scale.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {scale}")
        self.scale = scale
        self.fold = 4 // scale
        self.conv_first = nn.Conv2d(num_in_ch * self.fold**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(_ResidualBlock(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.fold > 1:
            x = F.pixel_unshuffle(x, self.fold)
        features = self.conv_first(x)
        x = features + self.conv_body(self.body(features))
        x = _activate(self.conv_up1(_enlarge(x)))
        x = _activate(self.conv_up2(_enlarge(x)))
        image: Tensor = self.conv_last(_activate(self.conv_hr(x)))
        return image
