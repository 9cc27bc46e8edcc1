"""Networks that tell faces apart: ArcFace's on ResNet-18, which GFP-GAN's identity loss uses, and MobileFaceNet.

Methods: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019, arXiv 1801.07698),
with its improved residual blocks; Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification
on Mobile Devices" (CCBR 2018, arXiv 1804.07573), trained with ArcFace's loss.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture

__all__ = [
    "ARCFACE_ARCH",
    "MOBILEFACENET_ARCH",
    "ArcFace",
    "EmbeddingTrunk",
    "GlobalDepthwise",
    "InvertedBlock",
    "MobileFaceNet",
    "conv_unit",
]

_WIDTHS = (64, 128, 256, 512)
_ARCFACE_EMBEDDING = 512
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Of MobileFaceNet: expansion, channels, blocks, stride of the first block."""
_MOBILE_EMBEDDING = 128


class _Block(nn.Module):
    """Batch norm, convolution, batch norm, PReLU, convolution, batch norm beside an identity; one PReLU for both."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        main = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        activated: Tensor = self.prelu(self.bn2(self.conv2(main)) + self.downsample(x))
        return activated


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(in_channels, out_channels, stride), _Block(out_channels, out_channels, 1))


class ArcFace(nn.Module):
    """Identity of aligned faces: (N, 1, 128, 128) float32 grey [-1, 1] to (N, 512).

    The embedding is not normalised; compare by cosine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU()
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], 1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], 2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], 2)
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], 2)
        self.bn4 = nn.BatchNorm2d(_WIDTHS[3])
        self.fc5 = nn.Linear(_WIDTHS[3] * 8 * 8, _ARCFACE_EMBEDDING)
        self.bn5 = nn.BatchNorm1d(_ARCFACE_EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.prelu(self.bn1(self.conv1(x))), 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedding: Tensor = self.bn5(self.fc5(self.bn4(x).flatten(1)))
        return embedding


def conv_unit(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6())


class _Separable(nn.Module):
    """Depthwise 3x3, then pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


class InvertedBlock(nn.Module):
    """MobileNet v2's block: expand, filter per channel, project; an identity beside it where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.beside = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            conv_unit(in_channels, hidden),
            conv_unit(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return x + projected if self.beside else projected


class GlobalDepthwise(nn.Module):
    """One 7x7 filter per channel over the whole map, instead of a mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.bn(self.depthwise(x))
        return pooled


class EmbeddingTrunk(nn.Module):
    """What a picture goes through, part by part, up to one number a channel, and the embedding of that."""

    conv3: nn.Module
    bn: nn.Module

    def parts(self) -> tuple[nn.Module, ...]:
        """The parts, in turn."""
        raise NotImplementedError

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each of the parts gives, in turn; the last is (N, 512, 1, 1)."""
        maps = []
        for part in self.parts():
            x = part(x)
            maps.append(x)
        return maps

    def named(self, pooled: Tensor) -> Tensor:
        """The embedding (N, 128) of the last map."""
        embedding: Tensor = self.bn(self.conv3(pooled).flatten(1))
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        return self.named(self.maps(x)[-1])


class MobileFaceNet(EmbeddingTrunk):
    """Identity of faces aligned to the ArcFace template: (N, 3, 112, 112) to (N, 128), not normalised.

    Input is float32 RGB 0..1 minus (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225). Compare by cosine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_unit(3, 64, 3, 2)
        self.dw_conv = _Separable(64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, out_channels, count, stride in _STAGES:
            for index in range(count):
                blocks.append(InvertedBlock(channels, out_channels, stride if index == 0 else 1, expansion))
                channels = out_channels
        self.features = nn.Sequential(*blocks)
        self.conv2 = conv_unit(channels, 512)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, _MOBILE_EMBEDDING, 1)
        self.bn = nn.BatchNorm1d(_MOBILE_EMBEDDING)

    def parts(self) -> tuple[nn.Module, ...]:
        """Two layers of the stem, the blocks, the last convolution, the pooling."""
        return (self.conv1, self.dw_conv, *self.features, self.conv2, self.gdconv)


ARCFACE_ARCH = Architecture(
    name="arcface_resnet18",
    role="face identity",
    make=ArcFace,
    marks=("fc5.weight", "bn5.weight"),
    licence="as GFPGAN",
)
MOBILEFACENET_ARCH = Architecture(
    name="mobilefacenet",
    role="face identity",
    make=MobileFaceNet,
    marks=("gdconv.depthwise.weight",),
    licence="Apache-2.0; trained on MS-Celeb-1M (research)",
)
