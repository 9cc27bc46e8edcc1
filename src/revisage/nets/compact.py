"""The embedded `compact` restorer: a narrow GFP-GAN (clean architecture) for 256-pixel crops.

Method: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior" (CVPR 2021):
a U-Net removes the degradation, its bottleneck gives the style of a StyleGAN2 decoder, and its decoder features
modulate one half of that decoder's channels (CS-SFT). Written for two CPU cores, so it differs in these points:

* a pixel-unshuffle stem and a pixel-shuffle head: nothing but the input and the output is computed at full size;
* the up-sampling convolutions run before the up-sampling, at a quarter of the cost;
* modulation scales activations and shares the weights over the batch (no grouped convolution);
* residual blocks without modulation may follow the finer levels, where most of the visible detail is made;
* one head predicts a residual on the input, from zero, in place of the RGB skips: an untrained net is the identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Settings, Shapes

__all__ = ["ARCH", "CompactConfig", "CompactGFPGAN"]

_SLOPE = 0.2


class CompactConfig(BaseModel):
    """Everything that rebuilds a `CompactGFPGAN`; saved as JSON beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["compact-gfpgan"] = "compact-gfpgan"
    size: int = Field(default=256, multiple_of=32, description="side of the square crop, px")
    channels: tuple[int, ...] = Field(
        default=(48, 64, 96, 128, 160),
        min_length=2,
        description="channels from half the size downwards, one per halving",
    )
    style_features: int = Field(default=256, ge=1, description="length of the one latent style W")
    bottleneck_channels: int = Field(default=32, ge=1, description="channels kept of the bottleneck for the style")
    detail_blocks: tuple[int, ...] = Field(
        default=(), description="residual blocks after the decoder's levels, from half the size downwards"
    )

    @model_validator(mode="after")
    def _check_detail_blocks(self) -> CompactConfig:
        if len(self.detail_blocks) > len(self.channels):
            raise ValueError(f"detail_blocks names {len(self.detail_blocks)} levels, the net has {len(self.channels)}")
        return self


def _conv(in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
    nn.init.kaiming_normal_(conv.weight, a=_SLOPE)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)
        # A quiet second convolution keeps the sum near unit variance at the start.
        with torch.no_grad():
            self.conv2.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return _activate(x + self.conv2(_activate(self.conv1(x))))


class _DetailBlock(nn.Module):
    """A residual block that begins as the identity, so that a trained net can grow by it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(_activate(self.conv1(x)))


class _ModulatedConv(nn.Module):
    """StyleGAN2's modulated and demodulated 3x3 convolution, by scaling activations."""

    def __init__(self, in_channels: int, out_channels: int, style_features: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_features, in_channels)
        nn.init.normal_(self.affine.weight, std=0.2 / style_features**0.5)
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3) / (in_channels * 9) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.affine(style).float()
        # Not a matmul: autocast would do the sum of squares in bfloat16.
        energy = (scale.square()[:, None, :] * self.weight.float().square().sum(dim=(2, 3))).sum(dim=2)
        demodulation = torch.rsqrt(energy + 1e-8)[:, :, None, None]
        x = F.conv2d(x * scale[:, :, None, None].to(x.dtype), self.weight, padding=1)
        return _activate(x * (demodulation * 2.0**0.5).to(x.dtype) + self.bias.to(x.dtype))


class _HalfSFT(nn.Module):
    """Channel-split spatial feature transform: the second half of the channels is scaled and shifted."""

    def __init__(self, condition_channels: int, channels: int) -> None:
        super().__init__()
        self.kept = channels - channels // 2
        self.condition = _conv(condition_channels, 2 * (channels // 2))
        with torch.no_grad():
            self.condition.weight.mul_(0.5)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.condition(condition).chunk(2, dim=1)
        # Unbounded, the factors of five levels multiply up and the training bursts.
        scale = torch.tanh(scale)
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        return torch.cat([kept, changed + changed * scale + shift], dim=1)


class CompactGFPGAN(nn.Module):
    """Restore aligned faces: (N, 3, size, size) float32 RGB [-1, 1] to the same shape (not clamped).

    Deterministic (no noise); a batch equals its single images within rounding.
    """

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        widths = self.config.channels
        levels = len(widths)
        floor = self.config.size >> levels
        features = self.config.style_features

        self.stem = _conv(12, widths[0])
        self.encoder_top = _conv(widths[0], widths[0])
        self.down = nn.ModuleList(_conv(widths[i], widths[i + 1], stride=2) for i in range(levels - 1))
        self.encoder = nn.ModuleList(_ResidualBlock(widths[i + 1]) for i in range(levels - 1))

        kept = self.config.bottleneck_channels
        self.bottleneck = _conv(widths[-1], kept, 1)
        self.style1 = nn.Linear(kept * floor * floor, features)
        self.style2 = nn.Linear(features, features)

        self.up = nn.ModuleList(_conv(widths[i + 1], widths[i], 1) for i in range(levels - 1))
        self.unet = nn.ModuleList(_conv(width, width) for width in widths)
        self.pyramid = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths[:-1])

        self.constant = nn.Parameter(torch.randn(1, widths[-1], floor, floor))
        self.conv1 = nn.ModuleList(
            _ModulatedConv(widths[min(i + 1, levels - 1)], widths[i], features) for i in range(levels)
        )
        self.sft = nn.ModuleList(_HalfSFT(width, width) for width in widths)
        self.conv2 = nn.ModuleList(_ModulatedConv(width, width, features) for width in widths)
        self.detail = nn.ModuleList(
            nn.Sequential(*(_DetailBlock(widths[level]) for _ in range(count)))
            for level, count in enumerate(self.config.detail_blocks)
        )
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, config: CompactConfig | Mapping[str, Any]) -> CompactGFPGAN:
        """The net of a saved configuration.

        Raises:
            pydantic.ValidationError: an unknown key, or another architecture.
        """
        return cls(CompactConfig.model_validate(dict(config)))

    def _encode(self, x: Tensor) -> list[Tensor]:
        x = _activate(self.stem(F.pixel_unshuffle(x, 2)))
        features = [_activate(self.encoder_top(x))]
        for down, block in zip(self.down, self.encoder, strict=True):
            features.append(block(_activate(down(features[-1]))))
        return features

    def _style(self, bottleneck: Tensor) -> Tensor:
        x = _activate(self.bottleneck(bottleneck)).flatten(1)
        return _activate(self.style2(_activate(self.style1(x))))

    def _conditions(self, features: list[Tensor]) -> list[Tensor]:
        """The U-Net's decoder: one feature map per level, finest first."""
        last = len(features) - 1
        x = _activate(self.unet[last](features[last]))
        conditions = [x]
        for level in range(last - 1, -1, -1):
            x = _activate(self.unet[level](_upsample(self.up[level](x)) + features[level]))
            conditions.insert(0, x)
        return conditions

    def _decode(self, style: Tensor, conditions: list[Tensor]) -> Tensor:
        x = self.constant.to(style.dtype).expand(style.shape[0], -1, -1, -1)
        for level in range(len(conditions) - 1, -1, -1):
            x = self.conv1[level](x, style)
            if level < len(conditions) - 1:
                x = _upsample(x)
            x = self.conv2[level](self.sft[level](x, conditions[level]), style)
            if level < len(self.detail):
                x = self.detail[level](x)
        return x

    def forward(self, x: Tensor, return_pyramid: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The restored crops; with `return_pyramid` also the U-Net's RGB at each level, finest (size / 2) first."""
        features = self._encode(x)
        style = self._style(features[-1])
        conditions = self._conditions(features)
        restored = x + F.pixel_shuffle(self.head(self._decode(style, conditions)), 2)
        if not return_pyramid:
            return restored
        return restored, [to_rgb(feature) for to_rgb, feature in zip(self.pyramid, conditions, strict=False)]


def _settings(shapes: Shapes) -> Settings:
    def count(prefix: str, end: str) -> int:
        return sum(key.startswith(prefix) and key.endswith(end) for key in shapes)

    levels = count("unet.", ".weight")
    kept = shapes["bottleneck.weight"][0]
    floor = math.isqrt(shapes["style1.weight"][1] // kept)
    blocks = tuple(count(f"detail.{level}.", ".conv1.weight") for level in range(levels))
    return {
        "size": floor << levels,
        "channels": tuple(shapes[f"unet.{level}.weight"][0] for level in range(levels)),
        "style_features": shapes["style2.weight"][0],
        "bottleneck_channels": kept,
        "detail_blocks": blocks if any(blocks) else (),
    }


def _of_settings(**settings: Any) -> CompactGFPGAN:
    return CompactGFPGAN.from_config(settings)


ARCH = Architecture(
    name="compact",
    role="face restorer",
    make=_of_settings,
    marks=("encoder_top.weight", "bottleneck.weight", "sft.0.condition.weight"),
    read=_settings,
    size=lambda settings: CompactConfig.model_validate(dict(settings)).size,
    bf16_agrees=True,
    licence="Apache-2.0; see the model card beside the weights for the licence of the training data",
)
