"""Is it still the same person? A frozen recogniser, as a loss and as a measure."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage import models, nets
from revisage.core import ModelError
from revisage.faces import ARCFACE_112, crop_affine

__all__ = ["Recogniser", "load_recogniser"]

_GREY = (0.299, 0.587, 0.114)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Recogniser(nn.Module):
    """`(N, 3, size, size)` aligned faces, RGB [-1, 1], to embeddings (N, 512 or 128), not normalised.

    ArcFace takes the whole crop in grey at 128 px, as GFP-GAN's identity loss shows it; MobileFaceNet takes its own
    template's 112 px, turned into place.
    """

    def __init__(self, net: nn.Module, *, grey: bool) -> None:
        super().__init__()
        self.net = net
        self.grey = grey

    def forward(self, faces: Tensor) -> Tensor:
        embedding: Tensor = self.net(_grey_128(faces) if self.grey else _arcface_112(faces))
        return embedding.float()

    def distance(self, restored: Tensor, targets: Tensor) -> Tensor:
        """Mean absolute difference of the embeddings: the paper's identity loss."""
        with torch.no_grad():
            references = self(targets)
        return (self(restored) - references).abs().mean()

    @torch.no_grad()
    def similarity(self, restored: Tensor, targets: Tensor) -> Tensor:
        """Cosine of each pair's embeddings, (N,)."""
        return F.cosine_similarity(self(restored), self(targets), dim=1)


def load_recogniser(path: Path) -> Recogniser:
    """The recogniser of a weights file, frozen: ArcFace (ResNet-18) or MobileFaceNet.

    Raises ModelError when it is missing, damaged, or of another net.
    """
    state = models.load_state(path)
    architecture, settings = nets.infer_arch(state)
    if architecture not in ("arcface_resnet18", "mobilefacenet"):
        raise ModelError(f"{path} holds {architecture}: identity needs ArcFace (ResNet-18) or MobileFaceNet")
    net = nets.build(architecture, settings)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit {architecture}; fetch it again") from error
    return Recogniser(net, grey=architecture == "arcface_resnet18").eval().requires_grad_(False)


def _grey_128(faces: Tensor) -> Tensor:
    weights = faces.new_tensor(_GREY)[None, :, None, None]
    grey = (faces.float() * weights).sum(dim=1, keepdim=True)
    return F.interpolate(grey, size=(128, 128), mode="bilinear", align_corners=False, antialias=True)


def _arcface_112(faces: Tensor) -> Tensor:
    """Turned from the FFHQ template to ArcFace's; two by two samples for each pixel, so that it does not alias."""
    while faces.shape[-1] > 256:
        faces = F.avg_pool2d(faces, 2)
    side, samples = faces.shape[-1], 224
    affine = crop_affine(ARCFACE_112, side)
    steps = (torch.arange(samples, device=faces.device, dtype=torch.float64) + 0.5) / 2 - 0.5
    ys, xs = torch.meshgrid(steps, steps, indexing="ij")
    matrix = torch.from_numpy(affine).to(faces.device)
    points = torch.stack((xs, ys, torch.ones_like(xs)), dim=-1) @ matrix.T
    grid = ((points + 0.5) * (2 / side) - 1).float().expand(faces.shape[0], -1, -1, -1)
    fine = F.grid_sample(faces.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    pixels = F.avg_pool2d(fine, 2) * 0.5 + 0.5
    mean, std = (faces.new_tensor(values, dtype=torch.float32)[None, :, None, None] for values in (_MEAN, _STD))
    return (pixels - mean) / std
