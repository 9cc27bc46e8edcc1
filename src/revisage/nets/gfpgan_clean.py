"""GFP-GAN, clean architecture: the network of the releases 1.2, 1.3 and 1.4.

Method: Wang et al. (CVPR 2021, arXiv 2101.04061) without the original's custom operations: plain convolutions and
bilinear resampling.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.gfpgan import GFPGAN, Layers
from revisage.nets.stylegan2 import SLOPE, StyleDecoder, upsample_bilinear

__all__ = ["GFPGANClean"]


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


_LAYERS = Layers(
    first=lambda wide, out: _ActivatedConv(wide, out, 1),
    down=lambda wide, out: _ResidualBlock(wide, out, up=False),
    final=lambda wide, out: _ActivatedConv(wide, out, 3),
    up=lambda wide, out: _ResidualBlock(wide, out, up=True),
    image=lambda wide, out: nn.Conv2d(wide, out, 1),
    linear=nn.Linear,
    condition=_condition,
    decoder=StyleDecoder,
)


class GFPGANClean(GFPGAN):
    """Restore aligned faces: (N, 3, out_size, out_size) float32 RGB [-1, 1] to the same shape, not clamped.

    The defaults are the releases 1.2 to 1.4; see `GFPGAN` for the arguments.
    """

    def __init__(
        self,
        *,
        out_size: int = 512,
        num_style_feat: int = 512,
        channel_multiplier: float = 2,
        num_mlp: int = 8,
        different_w: bool = True,
        narrow: float = 1,
        sft_half: bool = True,
    ) -> None:
        super().__init__(
            _LAYERS,
            out_size=out_size,
            num_style_feat=num_style_feat,
            channel_multiplier=channel_multiplier,
            num_mlp=num_mlp,
            different_w=different_w,
            narrow=narrow,
            sft_half=sft_half,
        )
