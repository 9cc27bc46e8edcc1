"""CodeFormer: a transformer reads the codes of a clean face out of a degraded one, a decoder paints them.

Method: Zhou et al., "Towards Robust Blind Face Restoration with Codebook Lookup Transformer" (NeurIPS 2022,
arXiv 2206.11253); codebook, encoder and decoder are a VQGAN's (Esser et al., CVPR 2021, arXiv 2012.09841). Written from
the papers and the keys of the published state dict.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture
from revisage.nets.restoreformer import Double, Halve, Norm, Residual

__all__ = ["ARCH", "CodeFormer"]

_WIDTHS = (64, 128, 128, 256, 256, 512)
"""Channels at 512, 256, 128, 64, 32 and 16 px."""
_CODES = 1024
_CODE_CHANNELS = 256
_POSITIONS = 16 * 16
"""The codebook, and the places of a map of 16 px that are looked up in it."""

_FEATURES = 512
_HEADS = 8
_LAYERS = 9
"""The transformer."""

_SLOPE = 0.2
_SIDES = (32, 64, 128, 256)
"""Where the encoder's features steer the decoder, px: at 512 they would bring the degradation back."""


def _residual(in_channels: int, out_channels: int) -> Residual:
    return Residual(in_channels, out_channels, shortcut="conv_out")


class _Attention(nn.Module):
    """Attention of one head over the positions of a map, beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query, key, value = (layer(normed).flatten(2) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(query.transpose(1, 2) @ key * query.shape[1] ** -0.5, dim=-1)
        return x + self.proj_out((value @ weights.transpose(1, 2)).reshape(x.shape))


class _Steps(nn.Module):
    """Layers in a row, as the published keys count them; `marks` are the sides in px after the layers named."""

    def __init__(self, layers: list[nn.Module], marks: dict[int, int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(layers)
        self.marks = marks


def _middle(channels: int) -> list[nn.Module]:
    return [_residual(channels, channels), _Attention(channels), _residual(channels, channels)]


def _encoder() -> _Steps:
    layers: list[nn.Module] = [nn.Conv2d(3, _WIDTHS[0], 3, padding=1)]
    marks = {}
    for level, (before, width) in enumerate(zip((_WIDTHS[0], *_WIDTHS), _WIDTHS, strict=False)):
        layers += [_residual(before, width), _residual(width, width)]
        if level < len(_WIDTHS) - 1:
            marks[len(layers) - 1] = 512 >> level
            layers.append(Halve(width))
    last = _WIDTHS[-1]
    layers.insert(-1, _Attention(last))
    layers += [_Attention(last), *_middle(last), Norm(last), nn.Conv2d(last, _CODE_CHANNELS, 3, padding=1)]
    return _Steps(layers, marks)


def _generator() -> _Steps:
    first, *rest = _WIDTHS[::-1]
    layers: list[nn.Module] = [nn.Conv2d(_CODE_CHANNELS, first, 3, padding=1), *_middle(first)]
    layers += [layer for _ in range(2) for layer in (_residual(first, first), _Attention(first))]
    marks = {}
    for level, (before, width) in enumerate(itertools.pairwise((first, *rest)), 1):
        layers += [Double(before), _residual(before, width)]
        marks[len(layers) - 1] = 16 << level
        layers.append(_residual(width, width))
    return _Steps([*layers, Norm(rest[-1]), nn.Conv2d(rest[-1], 3, 3, padding=1)], marks)


class _SelfAttention(nn.Module):
    """Multi-head attention with the keys of `nn.MultiheadAttention`, written so that a tracer leaves the batch free."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * _FEATURES, _FEATURES))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * _FEATURES))
        self.out_proj = nn.Linear(_FEATURES, _FEATURES)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Tokens (N, 256, 512); where they are decides who looks at whom, not what they tell."""
        inputs = (x + position, x + position, x)
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            F.linear(tokens, weight, bias).reshape(-1, _POSITIONS, _HEADS, _FEATURES // _HEADS).transpose(1, 2)
            for tokens, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        looks = torch.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, dim=-1)
        told: Tensor = self.out_proj((looks @ value).transpose(1, 2).reshape(-1, _POSITIONS, _FEATURES))
        return told


class _Layer(nn.Module):
    """A transformer's layer that normalises first."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _SelfAttention()
        self.linear1 = nn.Linear(_FEATURES, 2 * _FEATURES)
        self.linear2 = nn.Linear(2 * _FEATURES, _FEATURES)
        self.norm1 = nn.LayerNorm(_FEATURES)
        self.norm2 = nn.LayerNorm(_FEATURES)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm1(x), position)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


def _two_convolutions(channels: int) -> nn.Sequential:
    convolutions = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return nn.Sequential(next(convolutions), nn.LeakyReLU(_SLOPE), next(convolutions))


class _Fusion(nn.Module):
    """The controllable feature transformation: the encoder's features scale and shift the decoder's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = _residual(2 * channels, channels)
        self.scale = _two_convolutions(channels)
        self.shift = _two_convolutions(channels)

    def forward(self, encoded: Tensor, decoded: Tensor, fidelity: float) -> Tensor:
        both = self.encode_enc(torch.cat((encoded, decoded), dim=1))
        return decoded + fidelity * (decoded * self.scale(both) + self.shift(both))


def _coloured(x: Tensor, like: Tensor) -> Tensor:
    """x with the mean and deviation of each of the other's channels (adaptive instance normalisation)."""
    (own_mean, own_deviation), (mean, deviation) = (
        (m.mean(dim=(2, 3), keepdim=True), (m.var(dim=(2, 3), keepdim=True) + 1e-5).sqrt()) for m in (x, like)
    )
    return (x - own_mean) / own_deviation * deviation + mean


class CodeFormer(nn.Module):
    """Restore aligned faces: (N, 3, 512, 512) float32 RGB [-1, 1] to the same shape, not clamped. Deterministic.

    Args:
        fidelity: 0 trusts the codebook alone: the best quality, and perhaps another face. 1 keeps to the input.

    Raises:
        ValueError: it is not between 0 and 1.
    """

    def __init__(self, *, fidelity: float = 0.5) -> None:
        super().__init__()
        if not 0 <= fidelity <= 1:
            raise ValueError(f"fidelity must lie between 0 and 1, got {fidelity}")
        self.fidelity = fidelity
        self.position_emb = nn.Parameter(torch.zeros(_POSITIONS, _FEATURES))
        self.encoder = _encoder()
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(_CODES, _CODE_CHANNELS)})
        self.generator = _generator()
        self.feat_emb = nn.Linear(_CODE_CHANNELS, _FEATURES)
        self.ft_layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(_FEATURES), nn.Linear(_FEATURES, _CODES, bias=False))
        widths = {512 >> level: width for level, width in enumerate(_WIDTHS)}
        self.fuse_convs_dict = nn.ModuleDict({str(side): _Fusion(widths[side]) for side in _SIDES})

    def logits(self, encoded: Tensor) -> Tensor:
        """How well each code fits each of the 16x16 places: (N, 256, 1024) of (N, 256, 16, 16)."""
        tokens = self.feat_emb(encoded.flatten(2).transpose(1, 2))
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        scores: Tensor = self.idx_pred_layer(tokens)
        return scores

    def encode(self, x: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """The bottleneck, (N, 256, 16, 16), and the features by their side in px."""
        features = {}
        for index, layer in enumerate(self.encoder.blocks):
            x = layer(x)
            if index in self.encoder.marks:
                features[self.encoder.marks[index]] = x
        return x, features

    def forward(self, x: Tensor) -> Tensor:
        encoded, features = self.encode(x)
        codes = self.quantize["embedding"](self.logits(encoded).argmax(dim=-1))
        x = _coloured(codes.transpose(1, 2).reshape(encoded.shape), encoded)
        for index, layer in enumerate(self.generator.blocks):
            x = layer(x)
            side = self.generator.marks.get(index)
            if side in _SIDES and self.fidelity > 0:
                x = self.fuse_convs_dict[str(side)](features[side], x, self.fidelity)
        return x


ARCH = Architecture(
    name="codeformer_512",
    role="face restorer",
    make=CodeFormer,
    marks=("quantize.embedding.weight", "position_emb"),
    size=lambda _settings: 512,
    licence="S-Lab License 1.0 (non-commercial); trained on FFHQ (CC BY-NC-SA 4.0)",
)
