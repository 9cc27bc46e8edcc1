"""The adversaries: is this a photo, or a network's? And the losses that both sides play by."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets import Blur, EqualConv, EqualLinear, ScaledActivation, channels_by_size

__all__ = [
    "PatchDiscriminator",
    "StyleDiscriminator",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
    "minibatch_deviation",
]


class PatchDiscriminator(nn.Module):
    """`(N, 3, H, W)` RGB [-1, 1] (sides a multiple of 16) to one logit per patch, `(N, 1, H/16, W/16)`.

    PatchGAN (Isola et al., CVPR 2017) on pixel-unshuffled images: it judges texture, not who the face is.
    """

    def __init__(self, channels: tuple[int, ...] = (48, 96, 128, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        before = 12
        for level, width in enumerate(channels):
            layers += [nn.Conv2d(before, width, 3, stride=1 if level == 0 else 2, padding=1), nn.LeakyReLU(0.2)]
            before = width
        self.features = nn.Sequential(*layers)
        self.logits = nn.Conv2d(before, 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.features(images))
        return logits


class _JudgingBlock(nn.Module):
    """Two 3x3 convolutions, the second at half the size, beside a halved 1x1 convolution; unit variance kept."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(EqualConv(in_channels, in_channels, 3, padding=1), ScaledActivation())
        self.conv2 = nn.Sequential(
            Blur(in_channels, pad=2), EqualConv(in_channels, out_channels, 3, stride=2), ScaledActivation()
        )
        self.skip = nn.Sequential(
            Blur(in_channels, pad=1), EqualConv(in_channels, out_channels, 1, stride=2, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        judged: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return judged


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """One more channel: the mean standard deviation over a group of images, the same at all places.

    Karras et al. (ICLR 2018): a generator that makes the same face again and again is found out. Groups are of
    neighbouring images, of `group` or, where the batch cannot be cut so, of all of it.
    """
    count, _, height, width = x.shape
    group = group if count % group == 0 else count
    together = x.float().unflatten(0, (-1, group))
    variance = together.var(dim=1, unbiased=False)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    channel = deviation.repeat_interleave(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat((x, channel.to(x.dtype)), dim=1)


class StyleDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator: `(N, 3, size, size)` RGB [-1, 1] to `(N, 1)` logits.

    Karras et al. (CVPR 2020). width: factor of the published channels. Learning rates are equalised.
    """

    def __init__(self, size: int, width: float = 1.0) -> None:
        super().__init__()
        channels = {side: max(8, count) for side, count in channels_by_size(1, width).items()}
        sides = [2**level for level in range(round(math.log2(size)), 2, -1)]
        self.first = nn.Sequential(EqualConv(3, channels[size], 1), ScaledActivation())
        self.blocks = nn.Sequential(*(_JudgingBlock(channels[side], channels[side // 2]) for side in sides))
        self.last = nn.Sequential(EqualConv(channels[4] + 1, channels[4], 3, padding=1), ScaledActivation())
        self.logit = nn.Sequential(
            EqualLinear(channels[4] * 16, channels[4], activate=True), EqualLinear(channels[4], 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        features = minibatch_deviation(self.blocks(self.first(images)))
        logits: Tensor = self.logit(self.last(features).flatten(1))
        return logits


def generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating loss of Goodfellow et al. (2014): -log D(fake)."""
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake))."""
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1 (Mescheder et al., ICML 2018): half the mean squared gradient of the logits' sum on real images."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()
