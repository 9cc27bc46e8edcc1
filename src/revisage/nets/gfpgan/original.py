"""GFP-GAN 1, the network of the paper: the original StyleGAN2 operations throughout.

Method: Wang et al. (CVPR 2021, arXiv 2101.04061); the decoder of Karras et al. (CVPR 2020, arXiv 1912.04958) with
equalised learning rates (ICLR 2018, arXiv 1710.10196), FIR resampling and scaled leaky ReLU. What the original runs as
custom GPU kernels (upsample-filter-downsample, fused bias and activation) is written here in plain torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture
from revisage.nets.gfpgan.stylegan2 import SLOPE, ModulatedConv, StyleDecoder, ToRGB, style_settings
from revisage.nets.gfpgan.wiring import GFPGAN, Layers, crop_size, gfpgan_settings

__all__ = [
    "ARCH",
    "PRIOR_ARCH",
    "BiasedActivation",
    "Blur",
    "DoublingConv",
    "EqualConv",
    "EqualLinear",
    "GFPGANv1",
    "OriginalStyleDecoder",
    "ScaledActivation",
]


_TAPS = (1.0, 3.0, 3.0, 1.0)
"""StyleGAN2's binomial low-pass filter, in each axis."""


class _Fir(nn.Module):
    """Holds the separable [1 3 3 1] filter as a depthwise kernel whose sum is `gain`; no part of the state dict."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        taps = torch.tensor(_TAPS) / sum(_TAPS)
        kernel = (torch.outer(taps, taps) * gain).repeat(channels, 1, 1, 1)
        self.channels = channels
        self.register_buffer("kernel", kernel, persistent=False)
        self.kernel: Tensor


class Blur(_Fir):
    """Low-pass filter each channel, after zero padding by `pad` on all sides."""

    def __init__(self, channels: int, pad: int, gain: float = 1.0) -> None:
        super().__init__(channels, gain)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=self.pad, groups=self.channels)


class _Enlarge(_Fir):
    """Double height and width: zeros between the pixels, then the filter, as one transposed convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, groups=self.channels)


class DoublingConv(nn.Module):
    """Transposed convolution at stride 2, then the low-pass filter: doubles height and width.

    `forward` takes the map and an (out, in, k, k) kernel with the k given here, 1 or 3.
    """

    def __init__(self, out_channels: int, kernel: int) -> None:
        super().__init__()
        # The transposed convolution gives 2 H + k - 2 rows, and the filter's four taps use up three of the padded ones.
        self.blur = Blur(out_channels, pad=(5 - kernel) // 2, gain=4.0)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        smoothed: Tensor = self.blur(F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2))
        return smoothed


class ScaledActivation(nn.Module):
    """Leaky ReLU times sqrt(2), which keeps the variance."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, SLOPE) * math.sqrt(2)


class BiasedActivation(nn.Module):
    """Bias per channel, then leaky ReLU times sqrt(2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], SLOPE) * math.sqrt(2)


class EqualLinear(nn.Module):
    """A linear layer whose weights are scaled at run time.

    Args:
        bias_start: initial bias.
        rate: factor of the learning rate of weights and bias.
        activate: leaky ReLU times sqrt(2) after it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias_start: float = 0.0, rate: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.rate = rate
        self.scale = rate / math.sqrt(inputs)
        self.activate = activate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias_start))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return F.leaky_relu(x, SLOPE) * math.sqrt(2) if self.activate else x


class EqualConv(nn.Module):
    """A convolution whose weights are scaled at run time."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        bias_start: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.scale = 1 / math.sqrt(in_channels * kernel**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.full((out_channels,), bias_start)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class _EqualModulatedConv(ModulatedConv):
    """`ModulatedConv` with weights scaled at run time and FIR-smoothed upsampling."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style_features: int,
        *,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, style_features, demodulate=demodulate, upsample=upsample)
        self.scale = 1 / math.sqrt(in_channels * kernel**2)
        self.doubling = DoublingConv(out_channels, kernel) if upsample else None

    def _make_modulation(self, style_features: int, in_channels: int) -> nn.Module:
        return EqualLinear(style_features, in_channels, bias_start=1.0)

    def _initial_weight(self, unit_normal: Tensor) -> Tensor:
        return unit_normal

    def _kernel(self) -> Tensor:
        return self.weight[0] * self.scale

    def _convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        if self.doubling is not None:
            doubled: Tensor = self.doubling(x, kernel)
            return doubled
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


class _OriginalStyleConv(nn.Module):
    """Modulated 3x3 convolution, fixed noise, bias, scaled leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, style_features: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.modulated_conv = _EqualModulatedConv(in_channels, out_channels, 3, style_features, upsample=upsample)
        self.weight = nn.Parameter(torch.zeros(1))
        self.activate = BiasedActivation(out_channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        activated: Tensor = self.activate(self.modulated_conv(x, style) + self.weight * noise)
        return activated


class _OriginalToRGB(ToRGB):
    def _make_conv(self, in_channels: int, style_features: int) -> ModulatedConv:
        return _EqualModulatedConv(in_channels, 3, 1, style_features, demodulate=False)

    def _make_enlarge(self) -> nn.Module:
        return _Enlarge(3)


class OriginalStyleDecoder(StyleDecoder):
    """`StyleDecoder` with the original operations; also the published StyleGAN2 prior that GFP-GAN 1 started from."""

    style_conv = _OriginalStyleConv
    to_rgb = _OriginalToRGB

    def _mapping(self, features: int, depth: int) -> nn.Sequential:
        normalise = super()._mapping(features, 0)
        layers = (EqualLinear(features, features, rate=0.01, activate=True) for _ in range(depth))
        return nn.Sequential(*normalise, *layers)


PRIOR_ARCH = Architecture(
    name="stylegan2",
    role="image prior",
    make=OriginalStyleDecoder,
    # Only the original form is published alone.
    marks=("constant_input.weight", "style_conv1.activate.bias"),
    read=lambda shapes: style_settings(shapes, ""),
    published={"stylegan2_512": {"out_size": 512, "channel_multiplier": 1}},
    licence="NVIDIA Source Code License (non-commercial); trained on FFHQ (CC BY-NC-SA 4.0)",
)


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
