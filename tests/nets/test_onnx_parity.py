"""GFP-GAN as ONNX, run by OpenVINO as where torch is not installed, against the recorded outputs of the reference.

Measured: 1.3e-6 of the output's range (tiny), 1.9e-6 (512 px); the contract is 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import Reference, filled

from revisage import engines
from revisage.train.export import write_onnx

Record = Callable[[str, object], None]

_TINY = {"out_size": 128, "num_style_feat": 64, "channel_multiplier": 1, "narrow": 0.125}


@pytest.mark.parametrize(
    ("name", "arch", "config"),
    [
        pytest.param("gfpgan_clean_tiny", "gfpgan_clean", _TINY, id="tiny"),
        pytest.param(
            "gfpgan_clean_512", "gfpgan_clean_512", {}, id="512", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]
        ),
    ],
)
def test_onnx_gives_what_the_reference_gives(
    shared: Path, tmp_path: Path, record_property: Record, name: str, arch: str, config: dict[str, Any]
) -> None:
    reference = Reference.load(shared, name)
    side = reference.input.shape[-1]
    write_onnx(filled(arch, config), (side, side), tmp_path / "net.onnx", {})
    compiled = engines.compile_model(engines.read_model(tmp_path / "net.onnx"), "fp32")
    output = engines.OpenVinoEngine(lambda: compiled, (side, side), "fp32")(reference.input.numpy())[0]
    difference = reference.difference("out_image", torch.from_numpy(output))
    record_property("difference over range", difference)
    assert difference <= 1e-3
