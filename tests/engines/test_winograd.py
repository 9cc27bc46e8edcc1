"""Wide 3x3 convolutions take half of the products in fp32, and give the same numbers."""

from __future__ import annotations

import math

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from revisage.engines import compile_model, convert, core, make_engine, openvino_engine
from revisage.engines.winograd import with_fewer_products

HW = (36, 40)
CHANNELS = 128


class Wide(nn.Sequential):
    """Two wide convolutions between narrow ones."""

    def __init__(self, channels: int = CHANNELS, stride: int = 1, kernel: int = 3) -> None:
        torch.manual_seed(5)
        super().__init__(
            nn.Conv2d(3, channels, 1),
            nn.Conv2d(channels, 2 * channels, kernel, stride, kernel // 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, channels, kernel, stride, kernel // 2, bias=False),
            nn.Conv2d(channels, 3, 1),
        )


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, (3, 3, *HW)).astype(np.float32)


def run(model: openvino.Model, batch: np.ndarray) -> np.ndarray:
    """As it stands, without what the engine makes of it."""
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled.create_infer_request().infer([batch])[0])


def products(model: openvino.Model) -> float:
    """Multiplications of the convolutions, for one picture."""
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return sum(
        math.prod(node.get_input_shape(1))
        * math.prod(side.get_length() for side in node.get_output_partial_shape(0)[2:])
        for node in convolutions
    )


def test_the_same_numbers_from_half_of_the_products(batch: np.ndarray) -> None:
    model = convert(Wide(), HW)
    before = products(model)
    changed = with_fewer_products(model)
    wanted = Wide()(torch.from_numpy(batch)).detach().numpy()
    found = run(changed, batch)
    assert products(model) == before, "the network that was given is changed"
    assert products(changed) < 0.51 * before
    # Measured: 4e-6, where OpenVINO's own convolution differs from torch's by 5e-7.
    assert np.abs(found - wanted).max() <= 2e-5 * np.ptp(wanted)
    for one, whole in zip(batch, found, strict=True):
        np.testing.assert_allclose(run(changed, one[None])[0], whole, atol=1e-6)


@pytest.mark.parametrize(
    ("net", "size_hw"),
    [
        (Wide(channels=64), HW),
        (Wide(stride=2), HW),
        (Wide(kernel=1), HW),
        (Wide(), (34, 40)),
        (Wide(), (16, 16)),
        (Wide(), None),
    ],
    ids=["narrow", "strided", "1x1", "no multiple of four rows", "small", "any size"],
)
def test_others_stay_as_they_are(net: nn.Module, size_hw: tuple[int, int] | None) -> None:
    model = convert(net, size_hw)
    assert with_fewer_products(model) is model


@pytest.mark.skipif(not openvino_engine._IS_X86, reason="only x86 takes fewer products")
def test_only_fp32_is_compiled_so() -> None:
    """In bf16 the numbers that grow in between would lose their last bits."""
    model = convert(Wide(), HW)

    def convolutions(precision: str) -> int:
        running = compile_model(model, precision).get_runtime_model()
        return sum(node.get_rt_info()["layerType"].astype(str) == "Convolution" for node in running.get_ordered_ops())

    assert (convolutions("fp32"), convolutions("bf16")) == (2 + 2 * 6, 4)


def test_an_engine_in_fp32_agrees_with_torch(batch: np.ndarray) -> None:
    wanted = make_engine(Wide(), HW, device="cpu", engine="torch", precision="fp32")(batch)[0]
    found = make_engine(Wide(), HW, device="cpu", engine="openvino", precision="fp32")(batch)[0]
    assert np.abs(found - wanted).max() < 1e-4
