"""Take the lattice of a pixel-shuffle head out of a trained `compact`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from revisage.nets import CompactGFPGAN
from revisage.train.losses import LATTICE_COLUMNS, LATTICE_MEAN, LATTICE_ROWS, lattice_parts

__all__ = ["remove_lattice"]

_RIDGE = 1e-6


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
