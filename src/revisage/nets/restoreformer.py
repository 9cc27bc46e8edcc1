"""RestoreFormer: an auto-encoder that attends from degraded features to a dictionary of clean face features.

Method: Wang et al., "RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value Pairs" (CVPR 2022,
arXiv 2201.06374); the auto-encoder is that of VQGAN (Esser et al., CVPR 2021, arXiv 2012.09841).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture

__all__ = ["ARCH", "Double", "Halve", "Norm", "Residual", "RestoreFormer"]

_WIDTH = 64
_MULTIPLIERS = (1, 2, 2, 4, 4, 8)
"""Of the width, at 512, 256, 128, 64, 32 and 16 px: the published network's."""
_BLOCKS_PER_LEVEL = 2
_HEADS = 8
_LATENT_CHANNELS = 256
_CODES = 1024


class Norm(nn.GroupNorm):
    """VQGAN's group normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        # The operation itself: the functional form looks at the batch size in Python, which a tracer cannot follow.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class Residual(nn.Module):
    """VQGAN's residual block; `shortcut` is the published keys' name of what stands beside its two convolutions."""

    def __init__(self, in_channels: int, out_channels: int, *, shortcut: str) -> None:
        super().__init__()
        self.norm1 = Norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = Norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        beside = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        self.add_module(shortcut, beside)
        self._shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv1(F.silu(self.norm1(x)))
        main = self.conv2(F.silu(self.norm2(main)))
        total: Tensor = self.get_submodule(self._shortcut)(x) + main
        return total


def _residual(in_channels: int, out_channels: int) -> Residual:
    return Residual(in_channels, out_channels, shortcut="nin_shortcut")


class _Attention(nn.Module):
    """Multi-head attention over the positions of a map: queries from `other` (or itself), keys and values from `x`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = Norm(channels)
        self.norm2 = Norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, heads, H * W, C / heads)."""
        return x.flatten(2).unflatten(1, (_HEADS, -1)).transpose(2, 3)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        own = self.norm1(x)
        asking = own if other is None else self.norm2(other)
        query, key, value = self._heads(self.q(asking)), self._heads(self.k(own)), self._heads(self.v(own))
        weights = torch.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, dim=-1)
        gathered = (weights @ value).transpose(2, 3).reshape(x.shape)
        return x + self.proj_out(gathered)


class Halve(nn.Module):
    """VQGAN's halving of height and width: a convolution at stride 2, padded right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


class Double(nn.Module):
    """VQGAN's doubling of height and width: pixels repeated, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled


class _Middle(nn.Module):
    """Residual block, attention, residual block at the smallest size; gives back the map before attention too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = _residual(channels, channels)
        self.attn_1 = _Attention(channels)
        self.block_2 = _residual(channels, channels)

    def forward(self, x: Tensor, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first = self.block_1(x)
        return self.block_2(self.attn_1(first, other)), first


class _Level(nn.Module):
    """One size: residual blocks, each followed by attention at the smallest size."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, *, attend: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * (blocks - 1)
        self.block = nn.ModuleList(_residual(width, out_channels) for width in widths)
        self.attn = nn.ModuleList(_Attention(out_channels) for _ in range(blocks if attend else 0))

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x, other)
        return x


class _EncoderLevel(_Level):
    def __init__(self, in_channels: int, out_channels: int, *, smallest: bool) -> None:
        super().__init__(in_channels, out_channels, _BLOCKS_PER_LEVEL, attend=smallest)
        self.downsample: nn.Module = nn.Identity() if smallest else Halve(out_channels)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        halved: Tensor = self.downsample(super().forward(x, other))
        return halved


class _DecoderLevel(_Level):
    def __init__(self, in_channels: int, out_channels: int, *, smallest: bool, largest: bool) -> None:
        super().__init__(in_channels, out_channels, _BLOCKS_PER_LEVEL + 1, attend=smallest)
        self.upsample: nn.Module = nn.Identity() if largest else Double(out_channels)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        doubled: Tensor = self.upsample(super().forward(x, other))
        return doubled


@dataclass(frozen=True)
class _Features:
    """What the encoder hands on: its output, and the maps that the decoder's attention asks from."""

    out: Tensor
    before_attention: Tensor
    middle: Tensor


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [_WIDTH * factor for factor in (1, *_MULTIPLIERS)]
        last = len(_MULTIPLIERS) - 1
        self.conv_in = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.down = nn.ModuleList(
            _EncoderLevel(inner, outer, smallest=index == last)
            for index, (inner, outer) in enumerate(itertools.pairwise(widths))
        )
        self.mid = _Middle(widths[-1])
        self.norm_out = Norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], _LATENT_CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> _Features:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        x, before = self.mid(x)
        return _Features(self.conv_out(F.silu(self.norm_out(x))), before, x)


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [_WIDTH * factor for factor in (*_MULTIPLIERS, _MULTIPLIERS[-1])]
        last = len(_MULTIPLIERS) - 1
        self.conv_in = nn.Conv2d(_LATENT_CHANNELS, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1])
        self.up = nn.ModuleList(
            _DecoderLevel(inner, outer, smallest=index == last, largest=index == 0)
            for index, (outer, inner) in enumerate(itertools.pairwise(widths))
        )
        self.norm_out = Norm(_WIDTH)
        self.conv_out = nn.Conv2d(_WIDTH, 3, 3, padding=1)

    def forward(self, codes: Tensor, features: _Features) -> Tensor:
        x, _ = self.mid(self.conv_in(codes), features.middle)
        for level in reversed(self.up):
            x = level(x, features.before_attention)
        image: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return image


class _Dictionary(nn.Module):
    """Replaces each position's vector by the nearest code."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_CODES, _LATENT_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        vectors = x.permute(0, 2, 3, 1)
        codes = self.embedding.weight
        # The vector's own square is the same for all codes, so it does not move the minimum.
        distances = codes.square().sum(dim=1) - 2 * (vectors @ codes.t())
        nearest = torch.argmin(distances, dim=-1)
        return self.embedding(nearest).permute(0, 3, 1, 2)


class RestoreFormer(nn.Module):
    """Restore aligned faces: (N, 3, 512, 512) float32 RGB [-1, 1] to the same shape, not clamped. Deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.decoder = _Decoder()
        self.quantize = _Dictionary()
        self.quant_conv = nn.Conv2d(_LATENT_CHANNELS, _LATENT_CHANNELS, 1)
        self.post_quant_conv = nn.Conv2d(_LATENT_CHANNELS, _LATENT_CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        codes = self.quantize(self.quant_conv(features.out))
        image: Tensor = self.decoder(self.post_quant_conv(codes), features)
        return image


ARCH = Architecture(
    name="restoreformer_512",
    role="face restorer",
    make=RestoreFormer,
    # CodeFormer has a dictionary of that name too.
    marks=("quantize.embedding.weight", "encoder.down.0.block.0.conv1.weight"),
    size=lambda _settings: 512,
    licence="Apache-2.0; trained on FFHQ (CC BY-NC-SA 4.0)",
)
