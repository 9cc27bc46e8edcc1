"""Real-ESRGAN's networks: RRDBNet of the large releases, SRVGGNetCompact of the general and animation ones.

Method: Wang et al., "ESRGAN" (ECCVW 2018, arXiv 1809.00219) and "Real-ESRGAN" (ICCVW 2021, arXiv 2107.10833).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Shapes

__all__ = ["RRDBNET_ARCH", "SRVGG", "SRVGG_ARCH", "RRDBNet"]

_SLOPE = 0.2
_RESIDUAL_SCALE = 0.2
_OVERLAP = 24
"""Its convolutions reach some 350 px in theory; beyond this many (of its folded input) nothing of that is left."""


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

    Attributes:
        multiple: that H and W must be a multiple of.
        overlap: px beyond which the input no longer counts for an output pixel, as far as 8 bits show.

    Raises:
        ValueError: another scale.
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
        self.multiple = 4 // scale
        self.overlap = _OVERLAP * self.multiple
        self.conv_first = nn.Conv2d(num_in_ch * self.multiple**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(_ResidualBlock(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.multiple > 1:
            x = F.pixel_unshuffle(x, self.multiple)
        features = self.conv_first(x)
        x = features + self.conv_body(self.body(features))
        x = _activate(self.conv_up1(_enlarge(x)))
        x = _activate(self.conv_up2(_enlarge(x)))
        image: Tensor = self.conv_last(_activate(self.conv_hr(x)))
        return image


class SRVGG(nn.Module):
    """A plain stack of convolutions that upscales with pixel shuffle.

    Maps an image: (N, 3, H, W) float32 RGB [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

    Args:
        num_feat: channels of every layer.
        num_conv: convolutions between the first and the last.
        upscale: whole factor.

    Attributes:
        scale: the same factor.
        multiple: that H and W must be a multiple of: any will do.
        overlap: px beyond which the input does not count for an output pixel.
    """

    multiple = 1

    def __init__(
        self, *, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_conv: int = 32, upscale: int = 4
    ) -> None:
        super().__init__()
        self.scale = upscale
        # Each 3x3 convolution sees one px further.
        self.overlap = num_conv + 2
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        layers.append(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=float(self.scale), mode="nearest")
        return enlarged + F.pixel_shuffle(self.body(x), self.scale)


def _rrdbnet_settings(shapes: Shapes) -> dict[str, Any]:
    features, folded = shapes["conv_first.weight"][:2]
    out_channels = shapes["conv_last.weight"][0]
    fold = math.isqrt(folded // out_channels)
    return {
        "num_in_ch": folded // fold**2,
        "num_out_ch": out_channels,
        "scale": 4 // fold,
        "num_feat": features,
        "num_block": sum(key.startswith("body.") and key.endswith(".rdb1.conv1.weight") for key in shapes),
        "num_grow_ch": shapes["body.0.rdb1.conv1.weight"][0],
    }


def _srvgg_settings(shapes: Shapes) -> dict[str, Any]:
    convolutions = [int(key.split(".")[1]) for key, shape in shapes.items() if len(shape) == 4]
    features, channels = shapes["body.0.weight"][:2]
    return {
        "num_in_ch": channels,
        "num_out_ch": channels,
        "num_feat": features,
        "num_conv": len(convolutions) - 2,
        "upscale": math.isqrt(shapes[f"body.{max(convolutions)}.weight"][0] // channels),
    }


RRDBNET_ARCH = Architecture(
    name="rrdbnet",
    role="upscaler",
    make=RRDBNet,
    marks=("conv_first.weight", "body.0.rdb1.conv1.weight"),
    read=_rrdbnet_settings,
    published={"rrdbnet_x2": {"scale": 2}, "rrdbnet_x4": {"scale": 4}},
    licence="BSD-3-Clause",
)
SRVGG_ARCH = Architecture(
    name="srvgg",
    role="upscaler",
    make=SRVGG,
    marks=("body.0.weight", "body.1.weight"),
    read=_srvgg_settings,
    published={"srvgg_x4": {"upscale": 4}},
    bf16_agrees=True,
    licence="BSD-3-Clause",
)
