"""The wiring that both forms of GFP-GAN share: a U-Net removes the degradation and steers a StyleGAN2 decoder.

Method: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior" (CVPR 2021,
arXiv 2101.04061). `clean` and `original` bring the layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from revisage.nets.arch_records import Settings, Shapes
from revisage.nets.gfpgan.stylegan2 import StyleDecoder, channels_by_size, style_settings

__all__ = ["GFPGAN", "Layers", "crop_size", "gfpgan_settings"]


@dataclass(frozen=True)
class Layers:
    """What a form of GFP-GAN builds its U-Net from; each callable takes in and out channels.

    first: 1x1 convolution with activation. down, up: residual blocks that halve, double the size. final: 3x3
    convolution with activation. image: 1x1 convolution. linear: linear layer. condition: the two convolutions from a
    feature map to one condition map, started at the constant of the third argument. channel_multiplier: that of the
    releases of this form.
    """

    first: Callable[[int, int], nn.Module]
    down: Callable[[int, int], nn.Module]
    final: Callable[[int, int], nn.Module]
    up: Callable[[int, int], nn.Module]
    image: Callable[[int, int], nn.Module]
    linear: Callable[[int, int], nn.Module]
    condition: Callable[[int, int, float], nn.Module]
    decoder: type[StyleDecoder]
    channel_multiplier: float


class GFPGAN(nn.Module):
    """Restore aligned faces: (N, 3, out_size, out_size) float32 RGB [-1, 1] to the same shape, not clamped.

    Deterministic: noise comes from registered buffers. The parameter names and defaults are those of the published
    configurations.

    Args:
        out_size: side of the crop in px, a power of two from 8 to 1024.
        num_style_feat: length of a latent.
        channel_multiplier: widens the scales above 32 px; None: as in the releases of this form.
        num_mlp: layers of the prior's mapping network, which is carried but not run.
        different_w: predict a latent of its own for each layer of the decoder.
        narrow: factor of all widths.
        sft_half: modulate one half of the decoder's channels only.

    Raises:
        ValueError: a size that is not such a power of two.
    """

    layers: ClassVar[Layers]

    def __init__(
        self,
        *,
        out_size: int = 512,
        num_style_feat: int = 512,
        channel_multiplier: float | None = None,
        num_mlp: int = 8,
        different_w: bool = True,
        narrow: float = 1,
        sft_half: bool = True,
    ) -> None:
        super().__init__()
        layers = self.layers
        multiplier = layers.channel_multiplier if channel_multiplier is None else channel_multiplier
        decoder = layers.decoder(
            out_size=out_size,
            num_style_feat=num_style_feat,
            num_mlp=num_mlp,
            channel_multiplier=multiplier,
            narrow=narrow,
            sft_half=sft_half,
        )
        self.num_style_feat = num_style_feat
        self.different_w = different_w
        sizes = [2**level for level in range(2, round(math.log2(out_size)) + 1)]
        # Half the decoder's width: the other half of its channels passes unmodulated.
        table = channels_by_size(multiplier, narrow * 0.5)
        widths = [table[size] for size in sizes]

        self.conv_body_first = layers.first(3, widths[-1])
        self.conv_body_down = nn.ModuleList(
            layers.down(wide, narrower) for wide, narrower in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.final_conv = layers.final(widths[0], widths[0])
        self.conv_body_up = nn.ModuleList(layers.up(below, here) for below, here in itertools.pairwise(widths))
        self.toRGB = nn.ModuleList(layers.image(width, 3) for width in widths[1:])
        latents = decoder.latent_count if different_w else 1
        self.final_linear = layers.linear(widths[0] * 16, latents * num_style_feat)
        self.stylegan_decoder = decoder
        maps = [(width, width if sft_half else 2 * width) for width in widths[1:]]
        self.condition_scale = nn.ModuleList(layers.condition(width, out, 1.0) for width, out in maps)
        self.condition_shift = nn.ModuleList(layers.condition(width, out, 0.0) for width, out in maps)

    def _encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck, and the feature maps on the way down, smallest first."""
        x = self.conv_body_first(x)
        features: list[Tensor] = []
        for down in self.conv_body_down:
            x = down(x)
            features.insert(0, x)
        return self.final_conv(x), features

    def _latents(self, bottleneck: Tensor) -> Tensor:
        style: Tensor = self.final_linear(bottleneck.flatten(1))
        count = self.stylegan_decoder.latent_count
        if self.different_w:
            # Not unflatten: an exporter would fix the number of crops to that of its example.
            return style.reshape(-1, count, self.num_style_feat)
        return style[:, None, :].expand(-1, count, -1)

    def forward(
        self, x: Tensor, *, noise: Sequence[Tensor] | None = None, return_pyramid: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The restored crops; with `return_pyramid` also the U-Net's own image at each scale, 8 px first.

        noise: one (1 or N, 1, h, w) tensor per decoder layer for training; None takes the registered buffers.
        """
        x, features = self._encode(x)
        latents = self._latents(x)
        conditions: list[tuple[Tensor, Tensor]] = []
        pyramid: list[Tensor] = []
        for level, up in enumerate(self.conv_body_up):
            x = up(x + features[level])
            conditions.append((self.condition_scale[level](x), self.condition_shift[level](x)))
            if return_pyramid:
                pyramid.append(self.toRGB[level](x))
        image: Tensor = self.stylegan_decoder(latents, conditions, noise)
        return (image, pyramid) if return_pyramid else image


def gfpgan_settings(shapes: Shapes) -> dict[str, Any]:
    """The settings of a GFP-GAN of either form, from its state dict's shapes."""
    settings = style_settings(shapes, "stylegan_decoder.")
    scale = shapes["condition_scale.0.2.weight"]
    latents = shapes["final_linear.weight"][0] // settings["num_style_feat"]
    return {**settings, "different_w": latents > 1, "sft_half": scale[0] == scale[1]}


def crop_size(settings: Settings) -> int:
    """The side in px of the crops of a GFP-GAN with these settings."""
    return int(settings.get("out_size", 512))
