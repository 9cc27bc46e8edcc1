"""The adversaries: is this a photo, or a network's? Of whole faces, of windows, and of eyes and mouth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.faces import ffhq_template
from revisage.nets import Blur, EqualConv, EqualLinear, ScaledActivation, channels_by_size
from revisage.train.restorer.losses import gram_distance

__all__ = [
    "COMPONENTS",
    "ComponentAdversaries",
    "ComponentAdversary",
    "FeatureDiscriminator",
    "PatchDiscriminator",
    "StyleDiscriminator",
    "component_boxes",
    "component_side",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
    "minibatch_deviation",
    "roi_align",
]


class PatchDiscriminator(nn.Module):
    """``(N, 3, H, W)`` RGB [-1, 1] (sides a multiple of 16) to one logit per patch, ``(N, 1, H/16, W/16)``.

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


class FeatureDiscriminator(nn.Module):
    """Features of the small VGG19, of windows (N, 3, H, W), to logits ``(N, 3, H/4, W/4)`` (rounded up): a map for each
    layer.

    Small heads on a frozen, trained net (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021): they tell
    restored from real texture after hundreds of images, where a net that begins at random needs tens of thousands.
    Features are brought to unit length over channels, as the perceptual loss compares them.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        fine = nn.Sequential(_conv(64, 48, 2), _conv(48, width, 2))
        middle = nn.Sequential(_conv(128, width, 2), _conv(width, width))
        coarse = nn.Sequential(_conv(256, width), _conv(width, width))
        self.heads = nn.ModuleList(nn.Sequential(*trunk, _logits(width)) for trunk in (fine, middle, coarse))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        even = [F.normalize(layer.float(), dim=1) * math.sqrt(layer.shape[1]) for layer in features]
        return torch.cat([head(layer) for head, layer in zip(self.heads, even, strict=True)], dim=1)


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
    neighbouring images, of ``group`` or, where the batch cannot be cut so, of all of it.
    """
    count, _, height, width = x.shape
    group = group if count % group == 0 else count
    together = x.float().unflatten(0, (-1, group))
    variance = together.var(dim=1, unbiased=False)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    channel = deviation.repeat_interleave(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat((x, channel.to(x.dtype)), dim=1)


class StyleDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator: ``(N, 3, size, size)`` RGB [-1, 1] to ``(N, 1)`` logits.

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


def gradient_penalty(discriminator: Callable[[Any], Tensor], real: Tensor | Sequence[Tensor]) -> Tensor:
    """R1 (Mescheder et al., ICML 2018): half the mean squared gradient of each image's mean logit on real images.

    The mean, for where an image has a logit for each of its patches the gradient of their sum grows with how many they
    are, and the penalty leaves the judge with nothing to say. real: images, or the features of some, layer by layer.
    """
    layers = [layer.detach().requires_grad_(True) for layer in ([real] if isinstance(real, Tensor) else real)]
    logits = discriminator(layers[0] if isinstance(real, Tensor) else layers)
    gradients = torch.autograd.grad(logits.flatten(1).mean(dim=1).sum(), layers, create_graph=True)
    return 0.5 * sum((gradient.flatten(1).square().sum(dim=1).mean() for gradient in gradients), logits.new_zeros(()))


COMPONENTS = ("left_eye", "right_eye", "mouth")
_EYE, _MOUTH = 112 / 512, 144 / 512
"""All as parts of the crop. Sides: an eye with its brow, the mouth when it laughs."""

_EYE_SAMPLES, _MOUTH_SAMPLES = 80 / 512, 120 / 512
"""Samples a side, the published 80 and 120 at 512 px."""

_ABOVE, _BELOW = 10 / 512, 6 / 512
"""Brows are above the eyes, and the lips of most open mouths hang below its corners."""

_WEIGHTS = (0.5, 1.0)


def component_boxes(size: int) -> dict[str, NDArray[np.float64]]:
    """Boxes x0, y0, x1, y1 of each component in a crop of ``size`` px, ``(4,) float64``, edges of pixels at integers.

    Left and right are the image's. The boxes follow from the FFHQ template, made symmetric: the mirrored crop has its
    right eye where the left one was, and the same boxes fit it.
    """
    template = ffhq_template(size) + 0.5
    mirrored = template[[1, 0, 2, 4, 3]] * (-1, 1) + (size, 0)
    left, right, _, mouth_left, mouth_right = (template + mirrored) / 2
    above, below = np.array((0, _ABOVE * size)), np.array((0, _BELOW * size))
    centres = {"left_eye": left - above, "right_eye": right - above, "mouth": (mouth_left + mouth_right) / 2 + below}
    halves = {"left_eye": _EYE * size / 2, "right_eye": _EYE * size / 2, "mouth": _MOUTH * size / 2}
    return {name: np.concatenate((centres[name] - halves[name], centres[name] + halves[name])) for name in COMPONENTS}


def component_side(name: str, size: int) -> int:
    """Side in samples of a component's region in a crop of ``size`` px: a multiple of 4, at least 16."""
    part = _MOUTH_SAMPLES if name == "mouth" else _EYE_SAMPLES
    return max(16, 4 * round(part * size / 4))


def roi_align(images: Tensor, box_xyxy: NDArray[np.float64], side: int) -> Tensor:
    """The same region of each image, resampled: (N, C, H, W) to (N, C, side, side).

    Each sample is the mean of two by two bilinear ones (He et al., "Mask R-CNN", ICCV 2017). box_xyxy: px, edges of
    pixels at integers. What lies outside of an image continues its border.
    """
    height, width = images.shape[-2:]
    steps = (torch.arange(2 * side, device=images.device, dtype=torch.float32) + 0.5) / (2 * side)
    x0, y0, x1, y1 = (float(edge) for edge in box_xyxy)
    xs = (x0 + (x1 - x0) * steps) * (2 / width) - 1
    ys = (y0 + (y1 - y0) * steps) * (2 / height) - 1
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
    grid = grid.expand(images.shape[0], -1, -1, -1).to(images.dtype)
    fine = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, 2)


class ComponentAdversary(nn.Module):
    """``(N, 3, s, s)`` of one component, RGB [-1, 1], to logits ``(N, 1, s/4, s/4)`` and two feature maps."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.fine = nn.Sequential(_conv(3, first), _conv(first, second, 2), _conv(second, second))
        self.coarse = nn.Sequential(_conv(second, third, 2), _conv(third, third))
        self.logits = _logits(third)

    def forward(self, regions: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine = self.fine(regions)
        coarse = self.coarse(fine)
        return self.logits(coarse), [fine, coarse]


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(0.2))


def _logits(in_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, 1, 3, padding=1)


class ComponentAdversaries(nn.ModuleDict):
    """One adversary for each component of crops of ``size`` px."""

    def __init__(self, size: int, channels: tuple[int, int, int]) -> None:
        super().__init__({name: ComponentAdversary(channels) for name in COMPONENTS})
        self._boxes = component_boxes(size)
        self._sides = {name: component_side(name, size) for name in COMPONENTS}

    def regions(self, images: Tensor) -> dict[str, Tensor]:
        """The components of aligned faces, by name."""
        return {name: roi_align(images.float(), self._boxes[name], self._sides[name]) for name in COMPONENTS}

    def fooled(self, fake: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The restorer's part: the adversarial loss, and the Gram distance of the features; summed over components."""
        adversarial, style = [], []
        for name, adversary in self.items():
            logits, features = adversary(fake[name])
            with torch.no_grad():
                _, references = adversary(real[name])
            adversarial.append(generator_loss(logits))
            style.append(gram_distance(features, references, _WEIGHTS))
        return torch.stack(adversarial).sum(), torch.stack(style).sum()

    def judged(self, fake: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Tensor:
        """The adversaries' own loss, summed over components."""
        return torch.stack(
            [discriminator_loss(judge(real[name])[0], judge(fake[name])[0]) for name, judge in self.items()]
        ).sum()
