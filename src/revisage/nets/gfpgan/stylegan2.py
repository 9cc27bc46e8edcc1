"""The StyleGAN2 decoder that GFP-GAN steers, in its clean form: plain torch operations only.

Method: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020, arXiv 1912.04958), with the
channel-split spatial feature transform of Wang et al., "Towards Real-World Blind Face Restoration with Generative
Facial Prior" (CVPR 2021, arXiv 2101.04061). The clean form replaces equalised learning rates, fused operations and
FIR resampling by ordinary layers and bilinear resampling. `original` has the original operations.

State-dict keys and shapes are those of the published checkpoints, so names here follow them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Shapes

__all__ = [
    "SLOPE",
    "ModulatedConv",
    "StyleConv",
    "StyleDecoder",
    "ToRGB",
    "channels_by_size",
    "style_settings",
    "upsample_bilinear",
]

SLOPE = 0.2
_EPSILON = 1e-8


def channels_by_size(channel_multiplier: float, narrow: float) -> dict[int, int]:
    """Feature channels at each side length in px: 512 up to 32 px, halved with every doubling above."""
    small = {size: int(512 * narrow) for size in (4, 8, 16, 32)}
    large = {size: int(16384 // size * channel_multiplier * narrow) for size in (64, 128, 256, 512, 1024)}
    return small | large


def upsample_bilinear(x: Tensor) -> Tensor:
    """Double height and width, pixel centres at half integers."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose output is brought back to unit variance.

    `forward` takes (N, C, H, W) and a style (N, style_features). The published form scales the weights per image and
    runs a grouped convolution. Scaling the activations instead is the same mathematics, because a convolution is
    linear: one shared-weight convolution serves the whole batch, then each output channel is divided by the norm its
    scaled weights would have had.

    Args:
        demodulate: divide by that norm (equation 3 of the StyleGAN2 paper).
        upsample: double height and width first.
        gain: constant factor of the output, folded into the demodulation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style_features: int,
        *,
        demodulate: bool = True,
        upsample: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.upsample = upsample
        self.gain = gain
        self.modulation = self._make_modulation(style_features, in_channels)
        self.weight = nn.Parameter(self._initial_weight(torch.randn(1, out_channels, in_channels, kernel, kernel)))

    def _make_modulation(self, style_features: int, in_channels: int) -> nn.Module:
        linear = nn.Linear(style_features, in_channels)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        nn.init.ones_(linear.bias)
        return linear

    def _initial_weight(self, unit_normal: Tensor) -> Tensor:
        return unit_normal / math.sqrt(unit_normal[0, 0].numel())

    def _kernel(self) -> Tensor:
        return self.weight[0]

    def _convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        if self.upsample:
            x = upsample_bilinear(x)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.modulation(style)
        kernel = self._kernel()
        x = self._convolve(x * scale[:, :, None, None], kernel)
        if not self.demodulate:
            return x
        # A broadcast sum, not a matrix product: autocast would run the latter in 16 bits and spoil the norm.
        energy = (scale.float().square()[:, None, :] * kernel.float().square().sum(dim=(2, 3))).sum(dim=2)
        factor = torch.rsqrt(energy + _EPSILON) * self.gain
        return x * factor[:, :, None, None].to(x.dtype)


class StyleConv(nn.Module):
    """Modulated 3x3 convolution, fixed noise, bias, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, style_features: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv(
            in_channels, out_channels, 3, style_features, upsample=upsample, gain=math.sqrt(2)
        )
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = self.modulated_conv(x, style) + (self.weight * noise + self.bias)
        return F.leaky_relu(x, SLOPE)


class ToRGB(nn.Module):
    """The image of one scale: a modulated 1x1 convolution on top of the image of the scale below."""

    def __init__(self, in_channels: int, style_features: int) -> None:
        super().__init__()
        self.modulated_conv = self._make_conv(in_channels, style_features)
        self.enlarge = self._make_enlarge()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def _make_conv(self, in_channels: int, style_features: int) -> ModulatedConv:
        return ModulatedConv(in_channels, 3, 1, style_features, demodulate=False)

    def _make_enlarge(self) -> nn.Module:
        return nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        image: Tensor = self.modulated_conv(x, style) + self.bias
        return image if below is None else image + self.enlarge(below)


class _NormaliseStyle(nn.Module):
    """Scale each style to unit mean square."""

    def forward(self, style: Tensor) -> Tensor:
        return style * torch.rsqrt(style.square().mean(dim=1, keepdim=True) + _EPSILON)


class _Constant(nn.Module):
    """The learned 4x4 input of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, count: int) -> Tensor:
        return self.weight.expand(count, -1, -1, -1)


class StyleDecoder(nn.Module):
    """StyleGAN2's synthesis network, with feature modulation (CS-SFT) at every scale above 4 px.

    `forward` takes latents (N, `latent_count`, num_style_feat), for each scale from 8 px up a pair of condition maps
    (scale, shift) at that scale, and gives (N, 3, out_size, out_size), RGB around [-1, 1], not clamped. Noise is that
    of the registered buffers unless given as one (1 or N, 1, h, w) tensor per layer. Without conditions it is the
    prior's own synthesis, which nothing steers.

    Args:
        out_size: side of the image in px, a power of two from 8 to 1024.
        sft_half: modulate only the second half of the channels and let the first pass.
    """

    style_conv: type[Any] = StyleConv
    to_rgb: type[Any] = ToRGB

    def __init__(
        self,
        *,
        out_size: int = 512,
        num_style_feat: int = 512,
        num_mlp: int = 8,
        channel_multiplier: float = 2,
        narrow: float = 1,
        sft_half: bool = True,
    ) -> None:
        super().__init__()
        levels = round(math.log2(out_size))
        if 2**levels != out_size or not 8 <= out_size <= 1024:
            raise ValueError(f"out_size must be a power of two from 8 to 1024, got {out_size}")
        channels = channels_by_size(channel_multiplier, narrow)
        self.sft_half = sft_half
        self.latent_count = 2 * levels - 2
        # A GFP-GAN predicts its latents itself; the mapping network is here because the checkpoints carry it.
        self.style_mlp = self._mapping(num_style_feat, num_mlp)
        self.constant_input = _Constant(channels[4])
        self.style_conv1 = self.style_conv(channels[4], channels[4], num_style_feat)
        self.to_rgb1 = self.to_rgb(channels[4], num_style_feat)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for level in range(3, levels + 1):
            wide, narrower = channels[2 ** (level - 1)], channels[2**level]
            self.style_convs.append(self.style_conv(wide, narrower, num_style_feat, upsample=True))
            self.style_convs.append(self.style_conv(narrower, narrower, num_style_feat))
            self.to_rgbs.append(self.to_rgb(narrower, num_style_feat))
        self.noises = nn.Module()
        for layer in range(2 * levels - 3):
            side = 2 ** ((layer + 5) // 2)
            self.noises.register_buffer(f"noise{layer}", torch.randn(1, 1, side, side))

    def _mapping(self, features: int, depth: int) -> nn.Sequential:
        layers: list[nn.Module] = [_NormaliseStyle()]
        for _ in range(depth):
            layers += [nn.Linear(features, features), nn.LeakyReLU(SLOPE)]
        return nn.Sequential(*layers)

    def _modulate(self, x: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        scale, shift = condition
        if not self.sft_half:
            return x * scale + shift
        kept, changed = x.chunk(2, dim=1)
        return torch.cat((kept, changed * scale + shift), dim=1)

    def forward(
        self,
        latents: Tensor,
        conditions: Sequence[tuple[Tensor, Tensor]] | None,
        noise: Sequence[Tensor] | None = None,
    ) -> Tensor:
        noises = list(self.noises.buffers()) if noise is None else noise
        x = self.style_conv1(self.constant_input(latents.shape[0]), latents[:, 0], noises[0])
        image: Tensor = self.to_rgb1(x, latents[:, 1])
        maps = [None] * len(self.to_rgbs) if conditions is None else conditions
        for level, (to_rgb, condition) in enumerate(zip(self.to_rgbs, maps, strict=True)):
            first = 2 * level + 1
            x = self.style_convs[2 * level](x, latents[:, first], noises[first])
            if condition is not None:
                x = self._modulate(x, condition)
            x = self.style_convs[2 * level + 1](x, latents[:, first + 1], noises[first + 1])
            image = to_rgb(x, latents[:, first + 2], image)
        return image


def style_settings(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Size and widths of a StyleGAN2 decoder whose keys start with `prefix`, from its state dict's shapes."""

    def count(part: str, end: str) -> int:
        return sum(key.startswith(prefix + part) and key.endswith(end) for key in shapes)

    levels = 2 + count("to_rgbs.", ".bias") // 2
    size = 2**levels
    narrow = shapes[f"{prefix}constant_input.weight"][1] / 512
    top = shapes[f"{prefix}style_convs.{2 * levels - 5}.modulated_conv.weight"][1]
    # Scales up to 32 px do not show the multiplier; 1 is as good as any there.
    multiplier = top * size / (16384 * narrow) if size > 32 else 1
    return {
        "out_size": size,
        "num_style_feat": shapes[f"{prefix}style_conv1.modulated_conv.modulation.weight"][1],
        "channel_multiplier": _whole(multiplier),
        "num_mlp": count("style_mlp.", ".weight"),
        "narrow": _whole(narrow),
    }


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value
