"""Muon: its steps are orthogonal, and those of the plain iteration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from revisage.train.networks import Muon, orthogonalised, split_parameters


def plain(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The quintic iteration as it is published, on the whole matrix in each round, in float64."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).double()
    x = x / x.norm()
    for _ in range(rounds):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


@pytest.mark.parametrize(
    ("shape", "most"),
    # 8 bits are left of a number; of a square's smallest singular values, which are multiplied by hundreds, fewer.
    [((48, 432), 0.005), ((160, 1440), 0.005), ((96, 40), 0.01), ((64, 64), 0.03)],
)
def test_it_is_the_published_iteration(shape: tuple[int, int], most: float) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])) * 1e-4
    found, wanted = orthogonalised(matrix).double(), plain(matrix)
    assert (found - wanted).norm() / wanted.norm() < most
    assert orthogonalised(matrix).dtype == torch.float32


def test_singular_values_come_near_one() -> None:
    left, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))
    right, _ = torch.linalg.qr(torch.randn(300, 64, generator=torch.Generator().manual_seed(2)))
    matrix = left @ torch.diag(torch.logspace(0, -1, 64)) @ right.T
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert 0.6 < values.min() < values.max() < 1.3


def test_nothing_stays_nothing_and_no_number_none() -> None:
    assert not orthogonalised(torch.zeros(16, 40)).any()
    assert orthogonalised(torch.full((16, 40), float("nan"))).isnan().all()


def test_a_step_follows_the_momentum() -> None:
    kernel = nn.Parameter(torch.zeros(16, 16, 3, 3))
    optimiser = Muon([kernel], lr=0.01, momentum=0.9)
    gradient = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel.grad = gradient.clone()
    optimiser.step()
    wanted = -0.01 * 0.2 * 144**0.5 * plain(gradient.flatten(1))
    torch.testing.assert_close(kernel.data.flatten(1).double(), wanted, rtol=0.05, atol=2e-4)
    before = kernel.data.clone()
    kernel.grad = torch.zeros_like(gradient)
    optimiser.step()
    # The momentum goes on by itself, in the same direction.
    assert nn.functional.cosine_similarity((kernel - before).flatten(), before.flatten(), dim=0) > 0.999


def test_kernels_between_hidden_layers_are_chosen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 3, 1), nn.Linear(32, 32))
    kernels, rest = split_parameters(net)
    assert [kernel is net[1].weight for kernel in kernels] == [True]
    assert len(rest) == 7
