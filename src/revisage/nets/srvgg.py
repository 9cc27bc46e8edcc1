"""SRVGGNetCompact: a plain stack of convolutions that upscales with pixel shuffle.

Method: Wang et al., "Real-ESRGAN" (ICCVW 2021, arXiv 2107.10833), its compact general and animation models.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SRVGG"]


class SRVGG(nn.Module):
    """Upscale an image: (N, 3, H, W) float32 RGB [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

    Args:
        num_feat: channels of every layer.
        num_conv: convolutions between the first and the last.
        upscale: whole factor.
    """

    def __init__(
        self, *, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_conv: int = 32, upscale: int = 4
    ) -> None:
        super().__init__()
        self.upscale = upscale
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        layers.append(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=float(self.upscale), mode="nearest")
        return enlarged + F.pixel_shuffle(self.body(x), self.upscale)
