"""The promises of GFP-GAN beyond parity: determinism, batches, noise, training, and the modulated convolution."""

from __future__ import annotations

import math

import pytest
import torch
from parity import filled
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets import build
from revisage.nets.gfpgan.original import OriginalStyleDecoder
from revisage.nets.gfpgan.stylegan2 import ModulatedConv

pytestmark = pytest.mark.usefixtures("one_thread")

_TINY = {"out_size": 64, "num_style_feat": 32, "channel_multiplier": 1, "narrow": 0.0625}


@pytest.fixture(scope="module", params=["gfpgan_clean", "gfpgan_v1"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    return filled(request.param, _TINY)


@pytest.fixture
def crops() -> Tensor:
    return torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(7)) * 2 - 1


def _range(x: Tensor) -> float:
    return float(x.max() - x.min())


def test_twice_the_same_bits(net: nn.Module, crops: Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(net(crops), net(crops))


def test_batch_equals_singles(net: nn.Module, crops: Tensor) -> None:
    with torch.inference_mode():
        together = net(crops)
        alone = torch.cat([net(crop[None]) for crop in crops])
    # Measured: 5e-7 of the range.
    assert float((together - alone).abs().max()) <= 1e-4 * _range(together)


def test_noise_is_that_of_the_buffers_unless_given(net: nn.Module, crops: Tensor) -> None:
    registered = list(net.stylegan_decoder.noises.buffers())
    drawn = [torch.randn_like(noise) for noise in registered]
    with torch.inference_mode():
        assert torch.equal(net(crops), net(crops, noise=registered))
        assert not torch.equal(net(crops), net(crops, noise=drawn))


def test_pyramid_has_one_image_per_scale(net: nn.Module, crops: Tensor) -> None:
    with torch.inference_mode():
        image, pyramid = net(crops, return_pyramid=True)
        assert torch.equal(image, net(crops))
    assert [level.shape for level in pyramid] == [(3, 3, side, side) for side in (8, 16, 32, 64)]


@pytest.mark.parametrize("arch", ["gfpgan_clean", "gfpgan_v1"])
@pytest.mark.parametrize("change", [{"different_w": False}, {"sft_half": False}])
def test_other_forms_run(arch: str, change: dict[str, bool], crops: Tensor) -> None:
    with torch.inference_mode():
        image = filled(arch, {**_TINY, **change})(crops)
    assert image.shape == crops.shape
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("arch", ["gfpgan_clean", "gfpgan_v1"])
def test_fresh_network_is_trainable(arch: str, crops: Tensor) -> None:
    torch.manual_seed(0)
    net = build(arch, _TINY)
    image, pyramid = net(crops, return_pyramid=True)
    assert 0.05 < float(image.detach().std()) < 20
    (image.square().mean() + sum(level.square().mean() for level in pyramid)).backward()
    without = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    # A GFP-GAN predicts its latents, so the prior's mapping network is carried along unused.
    assert without == {name for name, _ in net.named_parameters() if ".style_mlp." in name}


def _textbook(x: Tensor, style: Tensor, weight: Tensor, demodulate: bool) -> Tensor:
    """Modulation as published: weights per image, one grouped convolution."""
    count, _, height, width = x.shape
    weights = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    grouped = weights.flatten(0, 1)
    image = F.conv2d(x.reshape(1, -1, height, width), grouped, padding=weight.shape[-1] // 2, groups=count)
    return image.reshape(count, -1, height, width)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_modulating_activations_equals_modulating_weights(demodulate: bool, kernel: int) -> None:
    torch.manual_seed(1)
    conv = ModulatedConv(6, 10, kernel, 5, demodulate=demodulate)
    x, style = torch.randn(4, 6, 8, 8), torch.randn(4, 5)
    with torch.inference_mode():
        expected = _textbook(x, conv.modulation(style), conv.weight[0], demodulate)
        torch.testing.assert_close(conv(x, style), expected, rtol=1e-5, atol=1e-5)


def test_gain_is_a_factor_of_the_output() -> None:
    torch.manual_seed(1)
    plain, loud = ModulatedConv(4, 4, 3, 5), ModulatedConv(4, 4, 3, 5, gain=math.sqrt(2))
    loud.load_state_dict(plain.state_dict())
    x, style = torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    with torch.inference_mode():
        torch.testing.assert_close(loud(x, style), plain(x, style) * math.sqrt(2))


def test_prior_decodes_alone() -> None:
    decoder = OriginalStyleDecoder(out_size=32, num_style_feat=16, channel_multiplier=1, narrow=0.0625)
    latents = torch.randn(2, decoder.latent_count, 16)
    neutral = [(torch.ones(2, 16, side, side), torch.zeros(2, 16, side, side)) for side in (8, 16, 32)]
    with torch.inference_mode():
        assert decoder(latents, neutral).shape == (2, 3, 32, 32)
