"""The restorer's losses without adversaries: pixels, structure, pyramid, perception, style, identity, the lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from revisage import models, nets
from revisage.core import ConfigError, ModelError
from revisage.faces import ARCFACE_112, crop_affine
from revisage.measures import feature_distance
from revisage.nets import CompactGFPGAN, VGG19Deep, VGG19Features
from revisage.train.settings import RestorerTrainConfig

__all__ = [
    "LATTICE_COLUMNS",
    "LATTICE_MEAN",
    "LATTICE_ROWS",
    "Critics",
    "Perceived",
    "Perceptual",
    "Recogniser",
    "charbonnier",
    "feature_l1",
    "gram",
    "gram_distance",
    "lattice_gap",
    "lattice_parts",
    "load_critics",
    "load_recogniser",
    "load_vgg",
    "pyramid_loss",
    "remove_lattice",
    "ssim",
]

LATTICE_ROWS, LATTICE_COLUMNS = (0.25, 0.25, -0.25, -0.25), (0.25, -0.25, 0.25, -0.25)
"""The four pixels of a block, row by row: what makes its rows differ, and what its columns."""

LATTICE_MEAN = 17
"""Side of the mean that tells a lattice from texture, in blocks: texture has either sign and cancels out."""


def charbonnier(prediction: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2): L1 that is smooth at zero (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((prediction - target).square() + epsilon * epsilon).mean()


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each image, (N,): -1 to 1.

    Wang et al. (2004) with the 11x11 Gaussian window of sigma 1.5 on [0, 1] RGB (N, 3, H, W), valid positions alone.
    """
    # One pass along each axis over everything that is to be averaged: a quarter of the time of a window in two axes.
    axis = torch.exp(-0.5 * ((torch.arange(11.0, device=images.device) - 5) / 1.5).square())
    parts = torch.cat([images, targets, images * images, targets * targets, images * targets], dim=1)
    kernel = (axis / axis.sum()).expand(parts.shape[1], 1, 1, 11)
    parts = F.conv2d(parts, kernel, groups=parts.shape[1])
    parts = F.conv2d(parts, kernel.transpose(2, 3), groups=parts.shape[1])
    mean_i, mean_t, square_i, square_t, product = parts.chunk(5, dim=1)
    variances = square_i - mean_i.square() + square_t - mean_t.square()
    contrast = (2 * (product - mean_i * mean_t) + 0.03**2) / (variances + 0.03**2)
    luminance = (2 * mean_i * mean_t + 0.01**2) / (mean_i.square() + mean_t.square() + 0.01**2)
    return (luminance * contrast).mean(dim=(1, 2, 3))


def lattice_gap(images: Tensor, targets: Tensor) -> Tensor:
    """Mean amplitude of a steady difference between the rows, and the columns, of each 2x2 block, beyond the targets'.

    A net that writes such blocks and learns from a perceptual loss sets each second row a little brighter, by the same
    sign everywhere (``remove_lattice``). Means over 17 blocks, or all where there are fewer, tell that from
    texture, which has either sign. (N, 3, H, W) with H and W even; in the units of the images.
    """
    parts = lattice_parts(F.pixel_unshuffle(images - targets, 2))
    return F.avg_pool2d(parts, min(LATTICE_MEAN, *parts.shape[2:]), stride=8).abs().mean()


def lattice_parts(blocks: Tensor) -> Tensor:
    """What makes the rows of 2x2 blocks differ, and what their columns: (N, 12, h, w), colour by colour, as a
    pixel-shuffle takes them, to (N, 6, h, w)."""
    signs = blocks.new_tensor([LATTICE_ROWS, LATTICE_COLUMNS])
    return torch.einsum("ncphw,ap->nachw", blocks.unflatten(1, (3, 4)), signs).flatten(1, 2)


def pyramid_loss(pyramid: Sequence[Tensor], target: Tensor) -> Tensor:
    """GFPGAN's pyramid restoration loss: L1 of each RGB against the target, reduced by area to its size; summed."""
    total = target.new_zeros(())
    for prediction in pyramid:
        target = F.adaptive_avg_pool2d(target, (prediction.shape[-2], prediction.shape[-1]))
        total = total + (prediction.float() - target).abs().mean()
    return total


def feature_l1(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Mean absolute difference of each layer's features, summed over layers: GFP-GAN's perceptual loss."""
    distances = [
        weight * (feature.float() - reference.float()).abs().mean()
        for feature, reference, weight in _layers(features, references, weights)
    ]
    return torch.stack(distances).sum()


def gram(features: Tensor) -> Tensor:
    """Which channels go together: (N, C, H, W) to (N, C, C) float32, divided by C * H * W (Gatys et al., CVPR 2016)."""
    flat = features.float().flatten(2)
    # Half precision would overflow in sums over whole maps.
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def gram_distance(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Mean absolute difference of the Gram matrices, summed over layers: a style loss."""
    distances = [
        weight * (gram(feature) - gram(reference)).abs().mean()
        for feature, reference, weight in _layers(features, references, weights)
    ]
    return torch.stack(distances).sum()


def _layers(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None
) -> Iterator[tuple[Tensor, Tensor, float]]:
    return zip(features, references, weights or [1.0] * len(features), strict=True)


_Net = TypeVar("_Net", bound=nn.Module)
_VGG_FILE = "vgg19_normalised_conv3_1.safetensors"
_TORCHVISION_FILE = "vgg19-dcbb9e9d.pth"


class Perceived(NamedTuple):
    """What a backbone sees of images and of their targets: features, layer by layer."""

    features: tuple[Tensor, ...]
    references: tuple[Tensor, ...]


@dataclass(frozen=True)
class Perceptual:
    """A backbone, and how much each of its layers counts."""

    net: nn.Module
    weights: tuple[float, ...]

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of RGB [-1, 1]."""
        found: tuple[Tensor, ...] = self.net((images * 0.5 + 0.5).contiguous(memory_format=torch.channels_last))
        return found

    def pairs(self, images: Tensor, targets: Tensor) -> Perceived:
        """The features of images, through which gradients go, and of their targets."""
        with torch.no_grad():
            references = self.features(targets)
        return Perceived(self.features(images), references)

    def distances(self, seen: Perceived, *, form: str, style: bool) -> dict[str, Tensor]:
        """``perceptual``, and with ``style`` the distance of the Gram matrices, of images against targets."""
        features, references = seen
        if form == "normalised":
            found = {"perceptual": feature_distance(features, references, self.weights).mean()}
        else:
            found = {"perceptual": feature_l1(features, references, self.weights)}
        return {**found, "style": gram_distance(features, references, self.weights)} if style else found


@dataclass(frozen=True)
class Critics:
    """What a run's settings ask for; None where they do not.

    vgg is that of the measure VGGD; perceptual that of the losses.
    """

    vgg: VGG19Features | None
    perceptual: Perceptual | None
    recogniser: Recogniser | None


def load_critics(config: RestorerTrainConfig, device: torch.device) -> Critics:
    """The frozen networks that the settings ask for.

    Raises:
        ConfigError: a loss lacks its backbone.
        ModelError: a file is absent, damaged or another net's.
    """
    vgg = _load_small(config)
    perceptual = None
    if config.perceptual_weight > 0 or config.style_weight > 0:
        perceptual = _load_perceptual(config, vgg)
        perceptual.net.to(device)
    recogniser = load_recogniser(config.identity).to(device) if config.identity is not None else None
    return Critics(vgg.to(device) if vgg is not None else None, perceptual, recogniser)


def load_vgg(weights: Path) -> VGG19Features:
    """The small frozen backbone from its safetensors file.

    Raises:
        ModelError: it is not that.
    """
    return _filled(VGG19Features(), models.load_state(weights), weights)


def _load_small(config: RestorerTrainConfig) -> VGG19Features | None:
    path = config.vgg or models.folder() / _VGG_FILE
    return load_vgg(path) if config.vgg is not None or path.is_file() else None


def _load_perceptual(config: RestorerTrainConfig, small: VGG19Features | None) -> Perceptual:
    if config.perceptual_vgg is not None:
        path = config.perceptual_vgg
        file = Path(torch.hub.get_dir()) / "checkpoints" / _TORCHVISION_FILE if path == "torchvision" else Path(path)
        if path == "torchvision" and not file.is_file():
            raise ModelError(f"torchvision's VGG19 is not installed: put {_TORCHVISION_FILE} into {file.parent}")
        state = {key: value for key, value in models.load_state(file).items() if key.startswith("features.")}
        return Perceptual(_filled(VGG19Deep(), state, file), (0.1, 0.1, 1.0, 1.0, 1.0))
    if small is None:
        raise ConfigError(
            f"the perceptual loss needs a VGG19: set vgg to its file, put {_VGG_FILE} into {models.folder()}, "
            "or set perceptual_weight=0"
        )
    return Perceptual(small, (1.0, 1.0, 1.0))


def _filled(net: _Net, state: dict[str, Tensor], path: Path) -> _Net:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not hold the VGG19 that is wanted here") from error
    return net.eval().requires_grad_(False)


_GREY = (0.299, 0.587, 0.114)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Recogniser(nn.Module):
    """``(N, 3, size, size)`` aligned faces, RGB [-1, 1], to embeddings (N, 512 or 128), not normalised.

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

    Raises:
        ModelError: it is missing, damaged, or of another net.
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


_RIDGE = 1e-6
"""Of the features' mean energy: enough to keep the solution small where features hardly vary."""


@torch.no_grad()
def remove_lattice(net: CompactGFPGAN, faces: NDArray[np.float32]) -> float:
    """Change the head so that rows and columns no longer differ by a steady amount; returns the share that is gone.

    A net that writes blocks of 2x2 pixels and is taught by a perceptual loss learns to set each second row a little
    brighter, by the same sign everywhere: to the loss it looks like detail. How much of that there is in a place can
    be told from the features that the head reads, linearly. This is fitted by least squares over the faces (closed
    form, no training) and subtracted in the head's own kernels, so that the net keeps its shape and cost.

    Args:
        net: float32; its head is changed in place.
        faces: ``(N, 3, size, size) float32`` RGB in [-1, 1], damaged and clean ones.

    Returns:
        The part of the lattice's energy that the head can tell, 0 to 1.
    """
    moments, products, energy = _fit(net, faces)
    # Features that hardly vary would get large kernels for nothing.
    ridge = _RIDGE * moments.diagonal().mean() * torch.eye(len(moments), dtype=moments.dtype)
    solution = torch.linalg.solve(moments + ridge, products)
    left = energy - 2 * (solution * products).sum() + (solution * (moments @ solution)).sum()
    kernels = solution[:-1].T.reshape(2, 3, *net.head.weight.shape[1:]).float()
    biases = solution[-1].reshape(2, 3).float()
    signs = 4 * torch.tensor([LATTICE_ROWS, LATTICE_COLUMNS])
    assert net.head.bias is not None
    net.head.weight -= torch.einsum("ap,ac...->cp...", signs, kernels).reshape(net.head.weight.shape)
    net.head.bias -= torch.einsum("ap,ac->cp", signs, biases).flatten()
    return float(1 - left / energy.clamp_min(1e-12))


def _fit(net: CompactGFPGAN, faces: NDArray[np.float32]) -> tuple[Tensor, Tensor, Tensor]:
    """The sums that least squares needs: features by features, features by lattice, the lattice's energy."""
    width = net.head.weight[0].numel() + 1
    moments = torch.zeros(width, width, dtype=torch.float64)
    products = torch.zeros(width, 6, dtype=torch.float64)
    energy = torch.zeros((), dtype=torch.float64)
    read: list[Tensor] = []
    hook = net.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        for face in faces:
            net(torch.from_numpy(face[None]))
            features = read.pop()
            wanted = _lattice(net.head(features))[0].flatten(1).T.double()
            patches = F.unfold(features.contiguous(), 3, padding=1)[0].T
            patches = F.pad(patches, (0, 1), value=1.0).double()
            moments += patches.T @ patches
            products += patches.T @ wanted
            energy += wanted.square().sum()
    finally:
        hook.remove()
    return moments, products, energy


def _lattice(output: Tensor) -> Tensor:
    """(N, 12, h, w) of the head to (N, 6, h, w): the steady difference of rows and of columns, for each colour."""
    around = (LATTICE_MEAN // 2,) * 4
    return F.avg_pool2d(F.pad(lattice_parts(output), around, mode="reflect"), LATTICE_MEAN, 1)
