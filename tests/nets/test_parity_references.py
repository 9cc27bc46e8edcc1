"""Every network against outputs recorded from the reference implementation, with the same weights.

The contract is 1e-3 of the output's range. Measured on an AVX-512 CPU: 0 for the upscalers, ArcFace and RetinaFace
mobile, 7e-7 and 9e-7 for GFPGAN clean (tiny and 512 px), 3e-6 for GFPGAN 1, 1.2e-5 for RestoreFormer,
3e-5 for RetinaFace R50. The limits below leave room for other CPUs, yet see a wrong epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import Reference, filled, shapes_of
from torch import nn

from revisage.nets import infer_arch

Record = Callable[[str, object], None]

_TINY = {"out_size": 128, "num_style_feat": 64, "channel_multiplier": 1, "narrow": 0.125}
_DETECTION = ("out_loc", "out_conf", "out_landmarks")

# Reference, architecture, settings, outputs, limit. The two slow ones repeat an architecture that others cover.
_CASES = [
    pytest.param("gfpgan_clean_tiny", "gfpgan_clean", _TINY, ("out_image",), 1e-4, id="gfpgan_clean_tiny"),
    pytest.param("gfpgan_v1_512", "gfpgan_v1_512", {}, ("out_image",), 1e-4, id="gfpgan_v1_512"),
    # A code of the dictionary that is as near as another may fall the other way on another CPU.
    pytest.param("restoreformer_512", "restoreformer_512", {}, ("out_image",), 1e-3, id="restoreformer_512"),
    pytest.param("arcface_resnet18", "arcface_resnet18", {}, ("out_embedding",), 1e-4, id="arcface_resnet18"),
    pytest.param("retinaface_resnet50", "retinaface_resnet50", {}, _DETECTION, 3e-4, id="retinaface_resnet50"),
    pytest.param("retinaface_mobile0_25", "retinaface_mobile0_25", {}, _DETECTION, 1e-4, id="retinaface_mobile0_25"),
    pytest.param("rrdbnet_x2", "rrdbnet_x2", {}, ("out_image",), 1e-4, id="rrdbnet_x2"),
    pytest.param("rrdbnet_x4", "rrdbnet_x4", {}, ("out_image",), 1e-4, id="rrdbnet_x4", marks=pytest.mark.slow),
    pytest.param("srvgg_x4", "srvgg_x4", {}, ("out_image",), 1e-4, id="srvgg_x4"),
]


def _assert_equal(reference: Reference, outputs: dict[str, torch.Tensor], limit: float, record: Record) -> None:
    for name, output in outputs.items():
        difference = reference.difference(name, output)
        record(f"{name} difference over range", difference)
        assert difference <= limit, f"{name} differs by {difference:.2e} of its range"


def _assert_same_keys(reference: Reference, net: nn.Module) -> None:
    assert shapes_of(net) == reference.shapes


@pytest.mark.parametrize(("name", "arch", "config", "outputs", "limit"), _CASES)
def test_equals_the_reference(
    shared: Path,
    record_property: Record,
    name: str,
    arch: str,
    config: dict[str, Any],
    outputs: tuple[str, ...],
    limit: float,
) -> None:
    reference = Reference.load(shared, name)
    net = filled(arch, config)
    _assert_same_keys(reference, net)
    with torch.inference_mode():
        result = net(reference.input)
    tensors = result if isinstance(result, tuple) else (result,)
    _assert_equal(reference, dict(zip(outputs, tensors, strict=True)), limit, record_property)


@pytest.mark.slow
def test_gfpgan_clean_512_equals_the_reference(shared: Path, record_property: Record) -> None:
    reference = Reference.load(shared, "gfpgan_clean_512")
    net = filled("gfpgan_clean_512")
    _assert_same_keys(reference, net)
    with torch.inference_mode():
        image, pyramid = net(reference.input, return_pyramid=True)
    at_128 = next(level for level in pyramid if level.shape[-1] == 128)
    _assert_equal(reference, {"out_image": image, "out_rgb64": at_128}, 1e-4, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", [0, 0.5, 1])
def test_codeformer_equals_the_reference(shared: Path, record_property: Record, fidelity: float) -> None:
    reference = Reference.load(shared, "codeformer_512")
    net = filled("codeformer_512", {"fidelity": fidelity})
    _assert_same_keys(reference, net)
    with torch.inference_mode():
        net.position_emb.mul_(400)  # as the reference has it: other places choose other codes then
        image = net(reference.input)
    # A code that is as good as another may fall the other way on another CPU; measured 5e-6.
    _assert_equal(reference, {f"out_image_w{fidelity:g}": image}, 1e-3, record_property)


def test_codeformer_chooses_the_codes_of_the_reference(shared: Path, record_property: Record) -> None:
    reference = Reference.load(shared, "codeformer_512")
    net = filled("codeformer_512")
    with torch.inference_mode():
        net.position_emb.mul_(400)
        encoded, _ = net.encode(reference.input)
        logits = net.logits(encoded)
    assert (logits.argmax(dim=-1).numpy() == reference.arrays["out_codes"]).all()
    _assert_equal(reference, {"out_lq_feat": encoded[:, ::8]}, 1e-4, record_property)
    assert float(abs(logits.numpy()[:, ::8] - reference.arrays["out_logits"]).max()) < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "arcface_resnet18",
        "codeformer_512",
        "gfpgan_clean_512",
        "gfpgan_v1_512",
        "restoreformer_512",
        "retinaface_mobile0_25",
        "retinaface_resnet50",
        "rrdbnet_x2",
        "rrdbnet_x4",
        "srvgg_x4",
    ],
)
def test_official_state_dicts_are_recognised(shared: Path, name: str) -> None:
    shapes = Reference.load(shared, name).shapes
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert infer_arch(state) == (name, {})
