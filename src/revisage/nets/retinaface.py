"""RetinaFace: a single-stage face detector with five landmarks, on ResNet-50 or MobileNet-0.25.

Method: Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild" (CVPR 2020,
arXiv 1905.00641); feature pyramid of Lin et al. 2017, context module of SSH (Najibi et al. 2017). State-dict keys are
those of the published checkpoints, odd capitals included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Settings, Shapes

__all__ = ["ARCH", "RetinaFace"]

_ANCHORS_PER_CELL = 2
_MOBILE_SLOPE = 0.1


def _conv(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, *, slope: float | None = 0.0
) -> nn.Sequential:
    """Convolution and batch norm; then a leaky ReLU of that slope, or nothing for None."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope))
    return nn.Sequential(*layers)


def _separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 and pointwise 1x1 convolution, each with batch norm and activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.LeakyReLU(_MOBILE_SLOPE),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(_MOBILE_SLOPE),
    )


class _MobileNet(nn.Module):
    """MobileNet v1 (Howard et al. 2017) at a quarter of its width; features at strides 8, 16, 32."""

    channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _conv(3, 8, stride=2, slope=_MOBILE_SLOPE),
            _separable(8, 16, 1),
            _separable(16, 32, 2),
            _separable(32, 32, 1),
            _separable(32, 64, 2),
            _separable(64, 64, 1),
        )
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at8 = self.stage1(x)
        at16 = self.stage2(at8)
        return at8, at16, self.stage3(at16)


class _Bottleneck(nn.Module):
    """ResNet's bottleneck block (He et al. 2016), stride in the 3x3 convolution."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.bn1(self.conv1(x)))
        main = F.relu(self.bn2(self.conv2(main)))
        return F.relu(self.bn3(self.conv3(main)) + self.downsample(x))


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (_Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(_Bottleneck(in_channels, width, stride), *rest)


class _ResNet50(nn.Module):
    """ResNet-50 without its classifier; features at strides 8, 16, 32."""

    channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, 1)
        self.layer2 = _stage(256, 128, 4, 2)
        self.layer3 = _stage(512, 256, 6, 2)
        self.layer4 = _stage(1024, 512, 3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        at8 = self.layer2(self.layer1(x))
        at16 = self.layer3(at8)
        return at8, at16, self.layer4(at16)


class _Pyramid(nn.Module):
    """Top-down feature pyramid over three scales."""

    def __init__(self, in_channels: tuple[int, int, int], channels: int, slope: float) -> None:
        super().__init__()
        self.output1 = _conv(in_channels[0], channels, 1, slope=slope)
        self.output2 = _conv(in_channels[1], channels, 1, slope=slope)
        self.output3 = _conv(in_channels[2], channels, 1, slope=slope)
        self.merge1 = _conv(channels, channels, slope=slope)
        self.merge2 = _conv(channels, channels, slope=slope)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        at8, at16, at32 = self.output1(features[0]), self.output2(features[1]), self.output3(features[2])
        at16 = self.merge2(at16 + F.interpolate(at32, size=at16.shape[-2:], mode="nearest"))
        at8 = self.merge1(at8 + F.interpolate(at16, size=at8.shape[-2:], mode="nearest"))
        return at8, at16, at32


class _Context(nn.Module):
    """SSH's context module: 3x3, 5x5 and 7x7 receptive fields side by side, from chains of 3x3 convolutions."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        quarter = channels // 4
        self.conv3X3 = _conv(channels, channels // 2, slope=None)
        self.conv5X5_1 = _conv(channels, quarter, slope=slope)
        self.conv5X5_2 = _conv(quarter, quarter, slope=None)
        self.conv7X7_2 = _conv(quarter, quarter, slope=slope)
        self.conv7x7_3 = _conv(quarter, quarter, slope=None)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(shared))
        return F.relu(torch.cat((self.conv3X3(x), self.conv5X5_2(shared), wide), dim=1))


class _Head(nn.Module):
    """A 1x1 convolution read out as one row per anchor: (N, cells * 2, numbers)."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.conv1x1 = nn.Conv2d(channels, _ANCHORS_PER_CELL * numbers, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self.numbers))


class RetinaFace(nn.Module):
    """Find faces in an image.

    `forward` takes (N, 3, H, W) float32 **BGR** in 0..255 with (104, 117, 123) subtracted, any size, and gives per
    anchor (N, A, ...): box offsets (4: centre x, y, log width, height), probabilities (2: background, face; softmax
    done), landmark offsets (10: x, y of five points). Anchors run over strides 8, 16, 32; rows, then columns; two per
    cell (16 and 32, 64 and 128, 256 and 512 px). Offsets are in units of the anchor with variances 0.1 (centres and
    landmarks) and 0.2 (log sizes).

    Args:
        network_name: ``resnet50`` or ``mobile0.25``.

    Raises:
        ValueError: another name.
    """

    def __init__(self, *, network_name: Literal["resnet50", "mobile0.25"] = "resnet50") -> None:
        super().__init__()
        bodies: dict[str, tuple[Callable[[], _ResNet50 | _MobileNet], int]] = {
            "resnet50": (_ResNet50, 256),
            "mobile0.25": (_MobileNet, 64),
        }
        if network_name not in bodies:
            raise ValueError(f"network_name must be one of {', '.join(bodies)}, got {network_name!r}")
        make_body, channels = bodies[network_name]
        slope = _MOBILE_SLOPE if channels <= 64 else 0.0
        self.body = make_body()
        self.fpn = _Pyramid(self.body.channels, channels, slope)
        self.ssh1 = _Context(channels, slope)
        self.ssh2 = _Context(channels, slope)
        self.ssh3 = _Context(channels, slope)
        self.ClassHead = nn.ModuleList(_Head(channels, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(_Head(channels, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(_Head(channels, 10) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at8, at16, at32 = self.fpn(self.body(x))
        levels = (self.ssh1(at8), self.ssh2(at16), self.ssh3(at32))

        def read(heads: nn.ModuleList) -> Tensor:
            return torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)

        return read(self.BboxHead), F.softmax(read(self.ClassHead), dim=-1), read(self.LandmarkHead)


def _settings(shapes: Shapes) -> Settings:
    return {"network_name": "mobile0.25" if "body.stage1.0.0.weight" in shapes else "resnet50"}


ARCH = Architecture(
    name="retinaface",
    role="face detector",
    make=RetinaFace,
    marks=("LandmarkHead.0.conv1x1.weight",),
    read=_settings,
    published={
        "retinaface_mobile0_25": {"network_name": "mobile0.25"},
        "retinaface_resnet50": {"network_name": "resnet50"},
    },
    licence="MIT",
)
