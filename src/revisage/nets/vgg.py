"""VGG19 for perceptual distances: up to relu3_1, small, and up to conv5_4, as torchvision publishes it.

`VGG19Features` has activations normalised to unit mean: the backbone of VGGD and of the perceptual loss.

Layout of Gatys et al. (CVPR 2016) as published for style transfer: reflection padding, max pooling 2x2 with ceil,
a first 1x1 convolution that turns RGB 0..1 into BGR 0..255 minus the mean. The state-dict keys are the published
sequential indices (0, 2, 5, 9, 12, 16).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["VGG19Deep", "VGG19Features"]

# Channels of VGG19's convolutions; None is a pooling. Simonyan and Zisserman (ICLR 2015), configuration E.
_LAYOUT = (64, 64, None, 128, 128, None, *[256] * 4, None, *[512] * 4, None, *[512] * 4)
# conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4 in torchvision's sequence.
_TAPS = (2, 7, 16, 25, 34)


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
