"""MobileFaceNet against its own ONNX export, and published weights of the small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from revisage.models.loading import load_state
from revisage.nets import build, infer_arch


def test_mobilefacenet_equals_its_export(shared: Path) -> None:
    state = load_state(shared / "weights" / "identity" / "mobilefacenet.fp16.safetensors")
    net = build(*infer_arch(state)).eval()
    net.load_state_dict(state)
    exported = openvino.Core().compile_model(
        shared / "weights" / "identity" / "mobilefacenet.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    face = torch.randn((1, 3, 112, 112), generator=torch.Generator().manual_seed(5))
    expected = exported(face.numpy())[0][0]
    with torch.inference_mode():
        found = net(face)[0].numpy()
    cosine = float(found @ expected / np.linalg.norm(found) / np.linalg.norm(expected))
    # The weights here are rounded to 16 bits: measured 2e-3 of the range, cosine 0.99999.
    assert np.abs(found - expected).max() <= 5e-3 * np.ptp(expected)
    assert cosine >= 0.9999


@pytest.mark.parametrize(
    ("file", "arch", "config"),
    [
        ("detection/retinaface_mobile0.25.safetensors", "retinaface_mobile0_25", {}),
        ("upscale/realesr-general-x4v3.fp16.safetensors", "srvgg_x4", {}),
        ("upscale/realesr-animevideov3.fp16.safetensors", "srvgg_x4", {"num_conv": 16}),
    ],
)
def test_published_weights_load(shared: Path, file: str, arch: str, config: dict[str, int]) -> None:
    state = load_state(shared / "weights" / file)
    assert infer_arch(state) == (arch, config)
    build(arch, config).load_state_dict(state)


def test_upscaler_keeps_a_flat_grey(shared: Path) -> None:
    state = load_state(shared / "weights" / "upscale" / "realesr-general-x4v3.fp16.safetensors")
    net = build("srvgg_x4").eval()
    net.load_state_dict(state)
    with torch.inference_mode():
        image = net(torch.full((1, 3, 24, 32), 0.5))
    assert image.shape == (1, 3, 96, 128)
    assert float((image - 0.5).abs().max()) < 0.02
