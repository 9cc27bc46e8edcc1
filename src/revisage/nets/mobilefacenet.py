"""MobileFaceNet: a small network that tells faces apart.

Method: Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices"
(CCBR 2018, arXiv 1804.07573), trained with ArcFace's loss.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MobileFaceNet"]

# Expansion, channels, blocks, stride of the first block.
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_EMBEDDING = 128


def _conv(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
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


class _Inverted(nn.Module):
    """MobileNet v2's block: expand, filter per channel, project; an identity beside it where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.beside = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            _conv(in_channels, hidden),
            _conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return x + projected if self.beside else projected


class _GlobalDepthwise(nn.Module):
    """One 7x7 filter per channel over the whole map, instead of a mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.bn(self.depthwise(x))
        return pooled


class MobileFaceNet(nn.Module):
    """Identity of faces aligned to the ArcFace template: (N, 3, 112, 112) to (N, 128), not normalised.

    Input is float32 RGB 0..1 minus (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225). Compare by cosine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 3, 2)
        self.dw_conv = _Separable(64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, out_channels, count, stride in _STAGES:
            for index in range(count):
                blocks.append(_Inverted(channels, out_channels, stride if index == 0 else 1, expansion))
                channels = out_channels
        self.features = nn.Sequential(*blocks)
        self.conv2 = _conv(channels, 512)
        self.gdconv = _GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, _EMBEDDING, 1)
        self.bn = nn.BatchNorm1d(_EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
        embedding: Tensor = self.bn(self.conv3(self.gdconv(x)).flatten(1))
        return embedding
