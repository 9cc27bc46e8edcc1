"""GFP-GAN 1, the network of the paper: the original StyleGAN2 operations throughout.

Method: Wang et al. (CVPR 2021, arXiv 2101.04061); resampling and activations of StyleGAN2 (arXiv 1912.04958).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from revisage.nets.arch_records import Architecture
from revisage.nets.gfpgan.stylegan2_original import (
    BiasedActivation,
    Blur,
    DoublingConv,
    EqualConv,
    EqualLinear,
    OriginalStyleDecoder,
    ScaledActivation,
)
from revisage.nets.gfpgan.wiring import GFPGAN, Layers, crop_size, gfpgan_settings

__all__ = ["ARCH", "GFPGANv1"]


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """A same-size convolution with bias and activation."""
    conv = EqualConv(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, BiasedActivation(out_channels))


def _halving_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Low-pass filter and convolution at stride 2; the padding leaves exactly half the size."""
    low_pass = Blur(in_channels, pad=(kernel + 1) // 2)
    return nn.Sequential(low_pass, EqualConv(in_channels, out_channels, kernel, stride=2, bias=False))


class _Down(nn.Module):
    """Residual block that halves the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, in_channels, 3)
        self.conv2 = _halving_conv(in_channels, out_channels, 3).append(BiasedActivation(out_channels))
        self.skip = _halving_conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return total / math.sqrt(2)


class _WeightedDoublingConv(nn.Module):
    """`DoublingConv` with weights scaled at run time and, when asked, bias and activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, activate: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.scale = 1 / math.sqrt(in_channels * kernel**2)
        self.doubling = DoublingConv(out_channels, kernel)
        self.activation = BiasedActivation(out_channels) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.doubling(x, self.weight * self.scale))
        return activated


class _Up(nn.Module):
    """Residual block that doubles the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, in_channels, 3)
        self.conv2 = _WeightedDoublingConv(in_channels, out_channels, 3, activate=True)
        self.skip = _WeightedDoublingConv(in_channels, out_channels, 1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return total / math.sqrt(2)


def _condition(in_channels: int, out_channels: int, start: float) -> nn.Sequential:
    return nn.Sequential(
        EqualConv(in_channels, in_channels, 3, padding=1),
        ScaledActivation(),
        EqualConv(in_channels, out_channels, 3, padding=1, bias_start=start),
    )


class GFPGANv1(GFPGAN):
    """GFP-GAN of the release 1; see `GFPGAN`."""

    layers = Layers(
        first=lambda wide, out: _conv(wide, out, 1),
        down=_Down,
        final=lambda wide, out: _conv(wide, out, 3),
        up=_Up,
        image=lambda wide, out: EqualConv(wide, out, 1),
        linear=EqualLinear,
        condition=_condition,
        decoder=OriginalStyleDecoder,
        channel_multiplier=1,
    )


ARCH = Architecture(
    name="gfpgan_v1",
    role="face restorer",
    make=GFPGANv1,
    marks=("stylegan_decoder.constant_input.weight", "conv_body_first.0.weight"),
    read=gfpgan_settings,
    published={"gfpgan_v1_512": {"out_size": 512, "channel_multiplier": 1}},
    size=crop_size,
    bf16_agrees=True,
    licence="Apache-2.0 with NVIDIA non-commercial StyleGAN2 parts",
)
