"""Eyes and mouth: where they lie in an aligned face, and the adversaries that look at nothing else.

Wang et al. (CVPR 2021), section 3.4, the facial component loss: regions of interest, a small discriminator for each,
and the Gram matrices of its features, which compare texture without asking where it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.faces import ffhq_template
from revisage.train.discriminator import discriminator_loss, generator_loss
from revisage.train.losses import gram_distance

__all__ = [
    "COMPONENTS",
    "ComponentAdversaries",
    "ComponentAdversary",
    "component_boxes",
    "component_side",
    "roi_align",
]

COMPONENTS = ("left_eye", "right_eye", "mouth")
# All as parts of the crop. Sides: an eye with its brow, the mouth when it laughs.
_EYE, _MOUTH = 112 / 512, 144 / 512
# Samples a side, the published 80 and 120 at 512 px.
_EYE_SAMPLES, _MOUTH_SAMPLES = 80 / 512, 120 / 512
# Brows are above the eyes, and the lips of most open mouths hang below its corners.
_ABOVE, _BELOW = 10 / 512, 6 / 512
_WEIGHTS = (0.5, 1.0)


def component_boxes(size: int) -> dict[str, NDArray[np.float64]]:
    """Boxes x0, y0, x1, y1 of each component in a crop of `size` px, `(4,) float64`, edges of pixels at integers.

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
    """Side in samples of a component's region in a crop of `size` px: a multiple of 4, at least 16."""
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
    """`(N, 3, s, s)` of one component, RGB [-1, 1], to a logit per place `(N, 1, s/4, s/4)` and two feature maps."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.fine = nn.Sequential(_conv(3, first), _conv(first, second, 2), _conv(second, second))
        self.coarse = nn.Sequential(_conv(second, third, 2), _conv(third, third))
        self.logits = nn.Conv2d(third, 1, 3, padding=1)

    def forward(self, regions: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine = self.fine(regions)
        coarse = self.coarse(fine)
        return self.logits(coarse), [fine, coarse]


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.2)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(0.2))


class ComponentAdversaries(nn.ModuleDict):
    """One adversary for each component of crops of `size` px."""

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
