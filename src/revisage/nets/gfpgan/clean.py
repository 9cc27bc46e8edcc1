"""GFP-GAN, clean architecture: the network of the releases 1.2, 1.3 and 1.4.

Method: Wang et al. (CVPR 2021, arXiv 2101.04061) without the original's custom operations: plain convolutions and
bilinear resampling.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture
from revisage.nets.gfpgan.stylegan2 import SLOPE, StyleDecoder, upsample_bilinear
from revisage.nets.gfpgan.wiring import GFPGAN, Layers, crop_size, gfpgan_settings

__all__ = ["ARCH", "GFPGANClean"]


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class _ActivatedConv(nn.Conv2d):
    """A same-size convolution with its activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return _activate(super().forward(x))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a change of size between them, beside a resized 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv1 = _ActivatedConv(in_channels, in_channels, 3)
        self.conv2 = _ActivatedConv(in_channels, out_channels, 3)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def _resize(self, x: Tensor) -> Tensor:
        # Halving by bilinear interpolation at half-integer centres is the mean of two by two pixels.
        return upsample_bilinear(x) if self.up else F.avg_pool2d(x, 2)

    def forward(self, x: Tensor) -> Tensor:
        main: Tensor = self.conv2(self._resize(self.conv1(x)))
        # The 1x1 convolution runs at the smaller of the two sizes; it commutes with the resizing.
        beside = upsample_bilinear(self.skip(x)) if self.up else self.skip(self._resize(x))
        return main + beside


def _condition(in_channels: int, out_channels: int, start: float) -> nn.Sequential:
    last = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.constant_(last.bias, start)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.LeakyReLU(SLOPE), last)


class GFPGANClean(GFPGAN):
    """GFP-GAN of the releases 1.2 to 1.4; see `GFPGAN`."""

    layers = Layers(
        first=lambda wide, out: _ActivatedConv(wide, out, 1),
        down=lambda wide, out: _ResidualBlock(wide, out, up=False),
        final=lambda wide, out: _ActivatedConv(wide, out, 3),
        up=lambda wide, out: _ResidualBlock(wide, out, up=True),
        image=lambda wide, out: nn.Conv2d(wide, out, 1),
        linear=nn.Linear,
        condition=_condition,
        decoder=StyleDecoder,
        channel_multiplier=2,
    )


ARCH = Architecture(
    name="gfpgan_clean",
    role="face restorer",
    make=GFPGANClean,
    marks=("stylegan_decoder.constant_input.weight", "conv_body_first.weight"),
    read=gfpgan_settings,
    published={"gfpgan_clean_512": {"out_size": 512, "channel_multiplier": 2}},
    size=crop_size,
    bf16_agrees=True,
    licence="Apache-2.0; trained on FFHQ (CC BY-NC-SA 4.0)",
)
