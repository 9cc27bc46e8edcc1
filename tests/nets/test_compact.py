"""The compact restorer: its contract, and its modulation against the formula of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from revisage.nets.compact import CompactConfig, CompactGFPGAN, _HalfSFT, _ModulatedConv

SMALL = CompactConfig(size=64, channels=(8, 16, 16), style_features=16, bottleneck_channels=4)


@pytest.fixture
def net() -> CompactGFPGAN:
    """A small net whose head does something."""
    torch.manual_seed(0)
    net = CompactGFPGAN(SMALL).eval()
    torch.nn.init.normal_(net.head.weight, std=0.02)
    return net


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_an_untrained_net_is_the_identity(faces: torch.Tensor) -> None:
    assert torch.equal(CompactGFPGAN(SMALL)(faces), faces)


@torch.no_grad()
def test_twice_the_same_bits(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    assert torch.equal(net(faces), net(faces))
    assert not torch.equal(net(faces), faces)


@torch.no_grad()
def test_a_batch_equals_its_singles(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    singles = torch.cat([net(face[None]) for face in faces])
    torch.testing.assert_close(net(faces), singles, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_pyramid_halves_from_half_the_size(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    restored, pyramid = net(faces, return_pyramid=True)
    assert torch.equal(restored, net(faces))
    assert [tuple(level.shape) for level in pyramid] == [(3, 3, 32, 32), (3, 3, 16, 16)]


def test_every_weight_learns(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    restored, pyramid = net(faces, return_pyramid=True)
    (restored.square().mean() + sum(level.square().mean() for level in pyramid)).backward()
    idle = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_the_configuration_rebuilds_the_net(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    twin = CompactGFPGAN.from_config(net.config.model_dump(mode="json")).eval()
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(faces), net(faces))


@pytest.mark.parametrize("wrong", [{"sizes": 64}, {"size": 100}, {"architecture": "gfpgan"}, {"channels": [8]}])
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CompactGFPGAN.from_config(wrong)


@torch.no_grad()
def test_modulation_equals_modulated_weights() -> None:
    """StyleGAN2, equations 1 and 3: scale the weights by the style, divide by their norm, one sample at a time."""
    torch.manual_seed(2)
    conv = _ModulatedConv(6, 5, 8)
    torch.nn.init.normal_(conv.bias)
    x, style = torch.randn(3, 6, 9, 9), torch.randn(3, 8)
    expected = []
    for sample, scale in zip(x, conv.affine(style), strict=True):
        weight = conv.weight * scale[None, :, None, None]
        weight = weight / weight.square().sum(dim=(1, 2, 3), keepdim=True).add(1e-8).sqrt()
        expected.append(F.leaky_relu(F.conv2d(sample[None], weight, padding=1) * 2**0.5 + conv.bias, 0.2))
    torch.testing.assert_close(conv(x, style), torch.cat(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_condition_changes_half_of_the_channels() -> None:
    torch.manual_seed(3)
    sft = _HalfSFT(4, 6)
    x, condition = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    changed = sft(x, condition)
    assert torch.equal(changed[:, :3], x[:, :3])
    assert not torch.isclose(changed[:, 3:], x[:, 3:]).all(dim=(0, 2, 3)).any()


# OpenVINO's converter traces; torch would rather have it export.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@torch.no_grad()
def test_openvino_agrees_for_any_batch(net: CompactGFPGAN, faces: torch.Tensor) -> None:
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(net, example_input=faces[:1], input=[(-1, 3, 64, 64)])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        answer = compiled(faces[:count].numpy())[0]
        np.testing.assert_allclose(answer, net(faces[:count]).numpy(), rtol=0, atol=1e-4)
