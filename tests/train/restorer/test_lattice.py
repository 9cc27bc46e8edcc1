"""The lattice of a pixel-shuffle head is found and taken out; texture is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from revisage.nets import CompactConfig, CompactGFPGAN
from revisage.train.restorer.losses import remove_lattice


@pytest.fixture
def faces() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (4, 3, 64, 64)).astype(np.float32)


def alternation(images: torch.Tensor) -> tuple[float, float]:
    """Mean difference of each upper row to the one below, and of each left column to the one beside it."""
    rows = images[:, :, 0::2] - images[:, :, 1::2]
    columns = images[..., 0::2] - images[..., 1::2]
    return float(rows.mean()), float(columns.mean())


def texture(images: torch.Tensor) -> torch.Tensor:
    """What is left when each of a block's four pixels is freed of its mean over the image."""
    places = torch.nn.functional.pixel_unshuffle(images, 2)
    return (places - places.mean(dim=(2, 3), keepdim=True)).flatten()


@torch.no_grad()
def test_rows_and_columns_come_level_and_texture_stays(faces: np.ndarray) -> None:
    torch.manual_seed(0)
    net = CompactGFPGAN(CompactConfig(size=64, channels=(8, 8), style_features=8, bottleneck_channels=4)).eval()
    torch.nn.init.normal_(net.head.weight, std=0.02)
    pixels = torch.from_numpy(faces)
    before = net(pixels) - pixels
    net.head.bias += torch.tensor([0.03, 0.01, -0.01, -0.03] * 3)  # rows by 0.04, columns by 0.02
    spoilt = alternation(net(pixels) - pixels)
    assert remove_lattice(net, faces) > 0.9
    after = net(pixels) - pixels
    rows, columns = alternation(after)
    assert abs(rows) < 0.05 * abs(spoilt[0]) and abs(columns) < 0.05 * abs(spoilt[1])
    likeness = torch.corrcoef(torch.stack([texture(before), texture(after)]))[0, 1]
    assert float(likeness) > 0.95
