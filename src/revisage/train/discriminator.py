"""The adversary of the restorer's last phase: are these patches of a photo or of the net?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PatchDiscriminator", "discriminator_loss", "generator_loss", "gradient_penalty"]


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
