"""Whose a state dict is: exactly one architecture's; and the published weights of the small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from parity import Reference, shapes_of

from revisage import models
from revisage.models import load_state
from revisage.nets import architecture, architectures, build, infer_arch

# What files in ../shared that are state dicts belong to; None: a network that is not here.
_PUBLISHED = {
    "detection/retinaface_mobile0.25": "retinaface",
    "detection/yunet_n": None,
    "expression/face_expression_model.fp16": None,
    "identity/mobilefacenet.fp16": "mobilefacenet",
    "landmarks/face_landmark_68_model.fp16": None,
    "quality/lpips_v0.1_alex_lin": "lpips_heads",
    "quality/lpips_v0.1_squeeze_lin": None,
    "quality/lpips_v0.1_vgg_lin": None,
    "quality/vgg19_normalised_conv3_1": "vgg19_features",
    "upscale/realesr-animevideov3.fp16": "srvgg",
    "upscale/realesr-general-x4v3.fp16": "srvgg",
}


def _owners(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    return [record.name for record in architectures() if record.recognise(shapes) is not None]


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in load_state(file).items()}


def test_published_weights_have_one_owner(shared: Path) -> None:
    files = sorted((shared / "weights").rglob("*.safetensors"))
    names = [file.relative_to(shared / "weights").with_suffix("").as_posix() for file in files]
    found = {name: _owners(_shapes(file)) for name, file in zip(names, files, strict=True)}
    assert found == {name: [owner] if owner else [] for name, owner in _PUBLISHED.items()}


def test_references_have_one_owner(shared: Path) -> None:
    names = {file.name.removesuffix(".keys.json") for file in (shared / "parity").glob("*.keys.json")}
    owners = {name: _owners(dict(Reference.load(shared, name).shapes)) for name in names}
    foreign = "parsenet_512"
    assert [name for name, found in owners.items() if not found] == [foreign]
    for name in names - {foreign, "gfpgan_clean_tiny"}:
        assert owners[name] == [architecture(name).name]


@pytest.mark.parametrize("name", ["compact", "compact-detector"])
def test_embedded_weights_tell_their_settings_by_themselves(name: str) -> None:
    file = models.local_path(name)
    state = load_state(file)
    assert _owners(_shapes(file)) == [name]
    found, settings = infer_arch(state)
    assert found == name
    net, described = build(found, settings), build(name, models.metadata(file)["config"])
    assert shapes_of(net) == shapes_of(described)
    net.load_state_dict(state)


def test_every_network_is_recognised_as_its_own() -> None:
    for record in architectures():
        for name in record.names:
            with torch.device("meta"):  # shapes without numbers: some of these are large
                net = build(name)
            assert _owners(shapes_of(net)) == [record.name], name


def test_names_are_given_once() -> None:
    names = [name for record in architectures() for name in record.names]
    assert len(names) == len(set(names))
    assert {record.name for record in architectures() if record.role == "face restorer"} == {
        "codeformer_512",
        "compact",
        "gfpgan_clean",
        "gfpgan_v1",
        "restoreformer_512",
    }


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
