"""The compact-fine restorer: its contract, what it costs, and how far it sees."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from revisage.nets import CompactConfig, CompactFine, CompactFineConfig, CompactGFPGAN, build

SMALL = CompactFineConfig(channels=(8, 8, 8))


@pytest.fixture
def net() -> CompactFine:
    """A small net whose heads do something."""
    torch.manual_seed(0)
    net = CompactFine(SMALL).eval()
    for head in (net.residual, net.gate):
        nn.init.normal_(head.weight, std=0.02)
    return net


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_an_untrained_net_is_the_identity(pictures: torch.Tensor) -> None:
    assert torch.equal(CompactFine(SMALL)(pictures), pictures)


@torch.no_grad()
def test_twice_the_same_bits_and_a_batch_equals_its_singles(net: CompactFine, pictures: torch.Tensor) -> None:
    assert torch.equal(net(pictures), net(pictures))
    assert (net(pictures) - pictures).abs().mean() > 0.003
    singles = torch.cat([net(picture[None]) for picture in pictures])
    torch.testing.assert_close(net(pictures), singles, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_basis_is_orthonormal_and_full_gates_leave_the_mean_of_each_block(pictures: torch.Tensor) -> None:
    net = CompactFine(SMALL)
    basis = net.basis[:, :, 0, 0]
    torch.testing.assert_close(basis @ basis.T, torch.eye(48), rtol=0, atol=1e-6)
    net.gate.bias.fill_(1.0)
    means = F.interpolate(F.avg_pool2d(pictures, 4), scale_factor=4, mode="nearest")
    torch.testing.assert_close(net(pictures), means, rtol=0, atol=1e-5)


def test_a_pixel_sees_150_px_around_it(net: CompactFine) -> None:
    picture = torch.rand(1, 3, 320, 320, requires_grad=True)
    net(picture)[0, 0, 160, 160].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum(dim=(0, 1))
    assert (seen.sum(dim=0) > 0).sum() >= 150
    assert (seen.sum(dim=1) > 0).sum() >= 150


def multiply_adds(net: nn.Module, size: int) -> int:
    """Of all convolutions and linear layers, modulated ones and the change of basis too."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        total += output[0].numel() * weight[0].numel() if weight.dim() == 4 else weight.numel()

    for layer in net.modules():
        if hasattr(layer, "weight") and getattr(layer, "weight", None) is not None:
            layer.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 3, size, size))
    if isinstance(net, CompactFine):
        total += 2 * net.basis.numel() * (size // 4) ** 2
    return total


def test_512_px_cost_a_third_of_a_crop_of_compact() -> None:
    compact = CompactGFPGAN(CompactConfig(detail_blocks=(3, 4, 3, 1)))
    assert multiply_adds(CompactFine(), 512) <= multiply_adds(compact, 256) / 3


def test_it_tells_the_places_in_a_block_of_a_codec_apart() -> None:
    torch.manual_seed(2)
    net = CompactFine(CompactFineConfig(channels=(8, 8, 8)))
    for quiet in (net.residual, *net.place):
        torch.nn.init.normal_(quiet.weight, std=0.2)
    with torch.no_grad():
        change = net.change(torch.full((1, 3, 512, 512), 0.3))[0, 0, 240:272, 240:272]
    assert torch.allclose(change[:16], change[16:], atol=1e-5)
    assert torch.allclose(change[:, :16], change[:, 16:], atol=1e-5)
    assert (change[:8] - change[8:16]).abs().max() > 1e-3
    assert (change[:4] - change[4:8]).abs().max() > 1e-3


def test_it_is_rebuilt_from_its_configuration() -> None:
    again = build("compact-fine", SMALL.model_dump())
    again.load_state_dict(CompactFine(SMALL).state_dict())
    for wrong in ({"channels": (8, 8)}, {"unheard": 1}, {"architecture": "compact-gfpgan"}):
        with pytest.raises(ValidationError):
            CompactFine.from_config(wrong)
