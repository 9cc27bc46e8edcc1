"""ParseNet: labels each pixel of an aligned face with one of 19 parts (skin, eyes, hair ...).

Method: the face parser that came with Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face
Restoration" (PSFR-GAN, CVPR 2021, arXiv 2009.08709); classes of CelebAMask-HQ.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ParseNet"]

_SLOPE = 0.2
_BASE_WIDTH = 64
_WIDTH_LIMIT = 256
_SMALLEST = 32
_BODY_BLOCKS = 10

Resize = Literal["none", "up", "down"]


class _BatchNorm(nn.Module):
    """A batch norm one level deeper, where the checkpoints have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed


class _Conv(nn.Module):
    """Optional doubling, 3x3 convolution with mirrored border (stride 2 to halve), optional norm and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resize: Resize = "none",
        norm: bool = False,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.activate = activate
        self.conv2d = nn.Conv2d(in_channels, out_channels, 3, 2 if resize == "down" else 1, bias=not norm)
        self.norm: nn.Module = _BatchNorm(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.resize == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.norm(self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect")))
        return F.leaky_relu(x, _SLOPE) if self.activate else x


class _ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, resize: Resize = "none") -> None:
        super().__init__()
        self.shortcut_func: nn.Module = nn.Identity()
        if resize != "none" or in_channels != out_channels:
            self.shortcut_func = _Conv(in_channels, out_channels, resize=resize)
        first: Resize = "up" if resize == "up" else "none"
        second: Resize = "down" if resize == "down" else "none"
        self.conv1 = _Conv(in_channels, out_channels, resize=first, norm=True, activate=True)
        self.conv2 = _Conv(out_channels, out_channels, resize=second, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut_func(x) + self.conv2(self.conv1(x))
        return total


class ParseNet(nn.Module):
    """Parse aligned faces: (N, 3, in_size, in_size) float32 RGB [-1, 1] to logits (N, classes, out_size, out_size).

    The checkpoints also hold a head that paints an image; it is carried, so that they load, and not run.

    Args:
        in_size, out_size: powers of two, at least 32 px.
        parsing_ch: number of classes.
    """

    def __init__(self, *, in_size: int = 512, out_size: int = 512, parsing_ch: int = 19) -> None:
        super().__init__()
        halvings = round(math.log2(in_size / _SMALLEST))
        doublings = round(math.log2(out_size / _SMALLEST))
        if in_size != _SMALLEST << halvings or out_size != _SMALLEST << doublings:
            raise ValueError(f"sizes must be {_SMALLEST} times a power of two, got {in_size} and {out_size}")
        widths = [min(_BASE_WIDTH * 2**level, _WIDTH_LIMIT) for level in range(max(halvings, doublings) + 1)]
        encoder: list[nn.Module] = [_Conv(3, _BASE_WIDTH)]
        encoder += [_ResidualBlock(widths[i], widths[i + 1], "down") for i in range(halvings)]
        self.encoder = nn.Sequential(*encoder)
        middle = widths[halvings]
        self.body = nn.Sequential(*(_ResidualBlock(middle, middle) for _ in range(_BODY_BLOCKS)))
        self.decoder = nn.Sequential(
            *(_ResidualBlock(widths[i + 1], widths[i], "up") for i in reversed(range(doublings)))
        )
        self.out_img_conv = _Conv(_BASE_WIDTH, 3)
        self.out_mask_conv = _Conv(_BASE_WIDTH, parsing_ch)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        logits: Tensor = self.out_mask_conv(self.decoder(features + self.body(features)))
        return logits
