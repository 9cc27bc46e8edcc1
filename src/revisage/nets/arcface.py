"""ArcFace's identity network on ResNet-18, for grey faces; GFP-GAN's identity loss uses it.

Method: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019, arXiv 1801.07698),
with its improved residual blocks.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ArcFace"]

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = (2, 2, 2, 2)
_EMBEDDING = 512


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


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (_Block(out_channels, out_channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(_Block(in_channels, out_channels, stride), *rest)


class ArcFace(nn.Module):
    """Identity of aligned faces: (N, 1, 128, 128) float32 grey [-1, 1] to (N, 512).

    The embedding is not normalised; compare by cosine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU()
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], _BLOCKS[0], 1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], _BLOCKS[1], 2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], _BLOCKS[2], 2)
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], _BLOCKS[3], 2)
        self.bn4 = nn.BatchNorm2d(_WIDTHS[3])
        self.fc5 = nn.Linear(_WIDTHS[3] * 8 * 8, _EMBEDDING)
        self.bn5 = nn.BatchNorm1d(_EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.prelu(self.bn1(self.conv1(x))), 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedding: Tensor = self.bn5(self.fc5(self.bn4(x).flatten(1)))
        return embedding
