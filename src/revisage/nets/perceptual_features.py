"""Features of pictures by which their likeness is measured: VGG19 for VGGD and the perceptual loss, AlexNet for LPIPS.

`VGG19Features` is VGG19 up to relu3_1 with activations normalised to unit mean: layout of Gatys et al. (CVPR 2016) as
published for style transfer: reflection padding, max pooling 2x2 with ceil, a first 1x1 convolution that turns RGB 0..1
into BGR 0..255 minus the mean. `VGG19Deep` goes up to conv5_4, as torchvision publishes it. LPIPS: Zhang et al., "The
Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018, arXiv 1801.03924), version 0.1, on
AlexNet: Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997).
State-dict keys are the published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Settings, Shapes

__all__ = [
    "ALEXNET_ARCH",
    "LPIPS_ARCH",
    "VGG19_DEEP_ARCH",
    "VGG19_FEATURES_ARCH",
    "AlexNetFeatures",
    "LPIPSHeads",
    "VGG19Deep",
    "VGG19Features",
    "lpips",
]

_LAYOUT = (64, 64, None, 128, 128, None, *[256] * 4, None, *[512] * 4, None, *[512] * 4)
"""Channels of VGG19's convolutions; None is a pooling. Simonyan and Zisserman (ICLR 2015), configuration E."""
_TAPS = (2, 7, 16, 25, 34)
"""conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4 in torchvision's sequence."""
_CONVOLUTIONS = (
    ("0", 3, 64, 11, 4, 2),
    ("3", 64, 192, 5, 1, 2),
    ("6", 192, 384, 3, 1, 1),
    ("8", 384, 256, 3, 1, 1),
    ("10", 256, 256, 3, 1, 1),
)
"""Of AlexNet: index in the published sequence, channels in and out, kernel, stride and padding of each convolution."""
_POOLED_BEFORE = ("3", "6")


class VGG19Features(nn.Module):
    """`(N, 3, H, W)` RGB [0, 1] to the features at relu1_2, relu2_2 and relu3_1 (64, 128 and 256 channels)."""

    def __init__(self) -> None:
        super().__init__()
        widths = {"0": (3, 3, 1), "2": (3, 64, 3), "5": (64, 64, 3), "9": (64, 128, 3), "12": (128, 128, 3)}
        widths["16"] = (128, 256, 3)
        for key, (in_channels, out_channels, kernel) in widths.items():
            self.add_module(key, nn.Conv2d(in_channels, out_channels, kernel))

    def _layer(self, key: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(key)(F.pad(x, (1, 1, 1, 1), mode="reflect")))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        relu1_2 = self._layer("5", self._layer("2", self.get_submodule("0")(x)))
        relu2_2 = self._layer("12", self._layer("9", F.max_pool2d(relu1_2, 2, ceil_mode=True)))
        relu3_1 = self._layer("16", F.max_pool2d(relu2_2, 2, ceil_mode=True))
        return relu1_2, relu2_2, relu3_1


class VGG19Deep(nn.Module):
    """`(N, 3, H, W)` RGB [0, 1] to conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4, before their ReLU.

    State-dict keys are those of torchvision's VGG19 (`features.N.weight`), without its classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _LAYOUT:
            if width is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers[: _TAPS[-1] + 1])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean = x.new_tensor((0.485, 0.456, 0.406))[:, None, None]
        x = (x - mean) / x.new_tensor((0.229, 0.224, 0.225))[:, None, None]
        taps: list[Tensor] = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return tuple(taps)


class AlexNetFeatures(nn.Module):
    """``(N, 3, H, W)`` RGB, normalised as :func:`lpips` does, to the features after each of the five ReLUs.

    Sides of 35 px or more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {key: nn.Conv2d(a, b, kernel, stride, padding) for key, a, b, kernel, stride, padding in _CONVOLUTIONS}
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for key, conv in self.features.items():
            if key in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            found.append(x)
        return found


class LPIPSHeads(nn.Module):
    """One weight per channel of each of AlexNet's five feature maps."""

    def __init__(self) -> None:
        super().__init__()
        for number, (_, _, channels, *_) in enumerate(_CONVOLUTIONS):
            # Under index 1: the published heads have a dropout before it, which only training uses.
            head = nn.ModuleDict({"model": nn.ModuleDict({"1": nn.Conv2d(channels, 1, 1, bias=False)})})
            self.add_module(f"lin{number}", head)

    def forward(self, squares: list[Tensor]) -> Tensor:
        """Squared differences of the five maps to one number per image, ``(N,)``."""
        total = squares[0].new_zeros(squares[0].shape[0])
        for number, square in enumerate(squares):
            total = total + self.get_submodule(f"lin{number}.model.1")(square).mean(dim=(1, 2, 3))
        return total


def lpips(images: Tensor, references: Tensor, backbone: AlexNetFeatures, heads: LPIPSHeads) -> Tensor:
    """LPIPS of images to their references, both ``(N, 3, H, W)`` RGB [0, 1]; ``(N,)``, 0 when equal."""
    shift = images.new_tensor((-0.030, -0.088, -0.188))[:, None, None]
    scale = images.new_tensor((0.458, 0.448, 0.450))[:, None, None]
    ours, theirs = (backbone((2 * batch - 1 - shift) / scale) for batch in (images, references))
    squares = [(_unit(a) - _unit(b)).square() for a, b in zip(ours, theirs, strict=True)]
    return heads(squares)


def _unit(features: Tensor) -> Tensor:
    """Of length one over channels."""
    return features / (torch.sqrt(features.square().sum(dim=1, keepdim=True)) + 1e-10)


def _heads_of_alexnet(shapes: Shapes) -> Settings:
    # The heads for VGG16 and SqueezeNet are published under the same keys.
    widths = [shapes[f"lin{number}.model.1.weight"][1] for number in range(len(_CONVOLUTIONS))]
    if widths != [channels for _, _, channels, *_ in _CONVOLUTIONS]:
        raise ValueError(f"heads of {widths} channels are not AlexNet's")
    return {}


VGG19_FEATURES_ARCH = Architecture(
    name="vgg19_features",
    role="image features",
    make=VGG19Features,
    marks=("0.weight", "2.weight", "5.weight", "9.weight", "12.weight", "16.weight"),
    licence="Apache-2.0 (as published with deep-transfer); trained on ImageNet (research)",
)
VGG19_DEEP_ARCH = Architecture(
    name="vgg19",
    role="image features",
    make=VGG19Deep,
    marks=("features.34.weight",),
    licence="BSD-3-Clause (torchvision); trained on ImageNet (research)",
)
ALEXNET_ARCH = Architecture(
    name="alexnet_features",
    role="image features",
    make=AlexNetFeatures,
    marks=("features.3.weight", "features.8.weight"),
    licence="BSD-3-Clause (torchvision); trained on ImageNet (research)",
)
LPIPS_ARCH = Architecture(
    name="lpips_heads",
    role="image features",
    make=LPIPSHeads,
    marks=("lin0.model.1.weight",),
    read=_heads_of_alexnet,
    licence="BSD-2-Clause",
)
