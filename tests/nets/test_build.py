from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from parity import shapes_of

from revisage.core.errors import ModelError
from revisage.nets import build, build_empty, infer_arch

_SMALL = {"out_size": 64, "num_style_feat": 32, "narrow": 0.0625}


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 2}),
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 1, "num_mlp": 3}),
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 0.5, "different_w": False}),
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 1, "sft_half": False}),
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 2, "out_size": 32}),
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 2, "out_size": 8}),
        ("gfpgan_v1", {**_SMALL, "channel_multiplier": 2}),
        ("rrdbnet_x2", {"num_block": 2}),
        ("rrdbnet_x4", {"num_feat": 16, "num_block": 1, "num_grow_ch": 8}),
        ("rrdbnet", {"scale": 1, "num_block": 1}),
        ("srvgg_x4", {"num_conv": 16}),
        ("srvgg", {"upscale": 2, "num_conv": 32, "num_feat": 24}),
        ("srvgg", {"upscale": 2, "num_conv": 5}),
        ("mobilefacenet", {}),
    ],
)
def test_a_state_dict_is_enough_to_rebuild_its_network(arch: str, config: dict[str, Any]) -> None:
    state = build(arch, config).state_dict()
    again = build(*infer_arch(state))
    assert shapes_of(again) == {key: tuple(value.shape) for key, value in state.items()}
    again.load_state_dict(state)


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("gfpgan_clean", {**_SMALL, "channel_multiplier": 2}),
        ("gfpgan_v1", {**_SMALL, "channel_multiplier": 2}),
        ("restoreformer_512", {}),
        ("codeformer_512", {}),
        ("compact-detector", {"refine": (8, 8, 8, 8)}),
        ("compact-detector", {"lying": 8}),
        ("compact-fine", None),
        ("compact-reader", None),
        ("retinaface_mobile0_25", {}),
        ("rrdbnet_x2", {"num_block": 2}),
        ("mobilefacenet", {}),
    ],
)
def test_an_empty_network_draws_nothing_and_is_complete_once_its_weights_are_loaded(
    arch: str, config: dict[str, Any] | None
) -> None:
    net = build(arch, config)
    before = torch.get_rng_state()
    empty = build_empty(arch, config)
    assert torch.equal(torch.get_rng_state(), before)
    empty.load_state_dict(net.state_dict())
    wanted = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    found = {**dict(empty.named_parameters()), **dict(empty.named_buffers())}
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_stylegan2_prior_is_recognised() -> None:
    prior = build("stylegan2_512", {"narrow": 0.0625, "num_style_feat": 32})
    arch, config = infer_arch(prior.state_dict())
    assert arch == "stylegan2_512"
    assert shapes_of(build(arch, config)) == shapes_of(prior)


def test_prior_has_the_keys_of_the_decoder_inside_gfpgan_1() -> None:
    inside = build("gfpgan_v1", {**_SMALL, "channel_multiplier": 1})
    prior = build("stylegan2_512", {**_SMALL, "channel_multiplier": 1})
    prefix = "stylegan_decoder."
    shapes = {key.removeprefix(prefix): shape for key, shape in shapes_of(inside).items() if key.startswith(prefix)}
    assert shapes == shapes_of(prior)


@pytest.mark.parametrize(
    "keys",
    [[], ["some.weight"], ["fc5.weights"], ["stylegan_decoder.constant_input.weight"], ["quantise.embedding.weight"]],
)
def test_foreign_state_dicts_are_refused(keys: list[str]) -> None:
    with pytest.raises(ModelError, match="of no architecture known here"):
        infer_arch({key: torch.zeros(1) for key in keys})


def test_absurd_shapes_are_refused() -> None:
    shapes = {"body.0.rdb1.conv1.weight": (1, 1, 1, 1), "conv_first.weight": (8, 1, 3, 3), "conv_last.weight": (3, 8)}
    with pytest.raises(ModelError, match="of no architecture known here"):
        infer_arch({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})


def test_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"unknown architecture 'srvgg_x3'; did you mean 'srvgg_x4'"):
        build("srvgg_x3")


@pytest.mark.parametrize(
    ("arch", "config", "reason"),
    [
        ("gfpgan_clean", {"size": 512}, "unknown setting 'size'"),
        ("gfpgan_clean", {"out_size": 500}, "power of two"),
        ("gfpgan_clean", {"out_size": 4}, "power of two"),
        ("codeformer_512", {"fidelity": 1.5}, "between 0 and 1"),
        ("rrdbnet", {"scale": 3}, "1, 2 or 4"),
        ("retinaface_resnet50", {"network_name": "vgg"}, "network_name"),
        ("restoreformer_512", {"x": 1}, "there are: none"),
        ("compact", {"x": 1}, "x"),
        ("compact-detector", {"x": 1}, "unknown compact detector setting"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(arch: str, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as raised:
        build(arch, config)
    assert "\n" not in str(raised.value)


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, revisage.nets, revisage.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_build_stays_a_function_whatever_is_imported_first() -> None:
    code = "import revisage.nets.arch_records; from revisage import nets; nets.build('srvgg_x4')"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
