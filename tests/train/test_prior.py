"""The prior's training: its parts against closed forms, that it learns, goes on bit for bit, and serves a GFP-GAN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from runs import SMALL_GFPGAN, config_of, log_of, losses_of, same, stopping_at
from torch import Tensor, nn

from revisage.core.errors import InputError, ModelError, ProcessingError
from revisage.nets.gfpgan.original import EqualConv
from revisage.train import prior
from revisage.train.compute import Compute, Group
from revisage.train.loop import Draws
from revisage.train.networks import build_decoder, build_restorer, load_prior
from revisage.train.prior import train_prior
from revisage.train.restorer import train_restorer
from revisage.train.run_folder import read_checkpoint
from revisage.train.settings import PriorTrainConfig

CPU = torch.device("cpu")


def prior_config(material: Path, **changes: Any) -> PriorTrainConfig:
    settings = {
        "data": material / "faces",
        "net": SMALL_GFPGAN,
        "adversary_width": 0.0625,
        "steps": 20,
        "batch": 4,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "log_every": 1,
        "checkpoint_every": 10,
    }
    return PriorTrainConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def trained(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("prior") / "run"
    train_prior(prior_config(material), run)
    return run


class _Plane(nn.Module):
    """An image that is linear in the latents: each layer's latent is multiplied by the same matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.randn(5, 3 * 4 * 4, generator=torch.Generator().manual_seed(0))

    def forward(self, latents: Tensor, conditions: None, noise: list[Tensor]) -> Tensor:
        return (latents.sum(dim=1) @ self.matrix).reshape(-1, 3, 4, 4)


def test_path_length_of_a_linear_synthesis() -> None:
    """The Jacobian is the matrix: the length is that of its product with the direction."""
    plane = _Plane()
    latents = torch.randn(2, 6, 5, requires_grad=True)
    direction = torch.randn(2, 3, 4, 4)
    expected = (direction.reshape(2, -1) @ plane.matrix.T).norm(dim=1) / 4
    torch.testing.assert_close(prior.path_lengths(plane, latents, [], direction), expected)


def test_smaller_rates_equal_weights_scaled_at_run_time() -> None:
    """Adam on a plain layer at rate / sqrt(fan-in) walks as an equalised layer at the whole rate."""
    torch.manual_seed(0)
    scaled = EqualConv(8, 4, 3, padding=1, bias=False)
    plain = nn.Conv2d(8, 4, 3, padding=1, bias=False)
    plain.weight.data = scaled.weight.detach() * scaled.scale
    steps = [
        (scaled, torch.optim.Adam(scaled.parameters(), lr=0.1, betas=(0.0, 0.99), eps=1e-12)),
        (plain, torch.optim.Adam(plain.parameters(), lr=0.1 / math.sqrt(72), betas=(0.0, 0.99), eps=1e-12)),
    ]
    images = torch.randn(2, 8, 5, 5)
    for _ in range(3):
        for layer, optimiser in steps:
            optimiser.zero_grad()
            layer(images).square().mean().backward()
            optimiser.step()
    torch.testing.assert_close(plain.weight, scaled.weight * scaled.scale, rtol=1e-3, atol=1e-4)


def test_each_weight_of_the_decoder_has_its_rate(material: Path) -> None:
    config = prior_config(material)
    net = build_decoder(config.net)
    groups = prior._equalised(net, 1.0)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(list(net.parameters()))
    channels, features = net.constant_input.weight.shape[1], config.net.style_features
    conv = net.style_conv1.modulated_conv
    assert rates[id(net.constant_input.weight)] == rates[id(net.style_conv1.bias)] == 1
    assert rates[id(conv.weight)] == pytest.approx(1 / math.sqrt(9 * channels))
    assert rates[id(conv.modulation.weight)] == pytest.approx(1 / math.sqrt(features))
    assert rates[id(conv.modulation.bias)] == 1
    assert rates[id(net.style_mlp[1].weight)] == pytest.approx(0.01 / math.sqrt(features))
    assert rates[id(net.style_mlp[1].bias)] == 0.01


def test_styles_are_mixed_as_often_as_asked(material: Path) -> None:
    never, always = (prior_config(material, mixing_probability=share, batch=64) for share in (0.0, 1.0))
    net = build_decoder(never.net)
    for config, mixed in ((never, 0), (always, 64)):
        latents = prior._latents(net, config, Draws(config, Compute(CPU), 0, 0))
        changes = (latents[:, 1:] != latents[:, :-1]).any(dim=2).sum(dim=1)
        assert int(changes.max()) == (mixed > 0)
        assert int(changes.sum()) == mixed


def test_processes_share_what_one_would_draw(material: Path) -> None:
    whole = Draws(prior_config(material, batch=4), Compute(CPU), 3, 0)
    computes = [Compute(CPU, group=Group(rank, 2)) for rank in (0, 1)]
    halves = [Draws(prior_config(material, batch=2), compute, 3, 0) for compute in computes]
    torch.testing.assert_close(torch.cat([half.normal(0, 5) for half in halves]), whole.normal(0, 5), rtol=0, atol=0)


def test_it_learns_in_twenty_steps(trained: Path) -> None:
    losses = losses_of(trained, "discriminator")
    assert len(losses) == 20 and all(math.isfinite(loss) for loss in losses)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])
    assert {"generator", "path", "path_length", "penalty", "right"} <= log_of(trained)[1].keys()
    assert cv2.imread(str(trained / "grids" / "0000020.png")).shape == (3 * 64, 8 * 64, 3)


def test_a_resumed_prior_gives_the_same_bits(material: Path, tmp_path: Path) -> None:
    config = prior_config(material, steps=4, checkpoint_every=2, validate_every=9)
    train_prior(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_prior(config, tmp_path / "parts", progress=stopping_at(3))
    assert read_checkpoint(tmp_path / "parts")["step"] == 2
    train_prior(config, tmp_path / "parts", resume=True)
    assert same(read_checkpoint(tmp_path / "parts"), read_checkpoint(tmp_path / "whole"))


def test_a_lower_rate_counts_from_the_resumption_on(material: Path, tmp_path: Path) -> None:
    train_prior(prior_config(material, steps=1), tmp_path / "run")
    train_prior(prior_config(material, steps=2, learning_rate=1e-9), tmp_path / "run", resume=True)
    saved = read_checkpoint(tmp_path / "run")
    for name in ("optimiser", "adversary_optimiser"):
        assert max(group["lr"] for group in saved[name]["param_groups"]) == pytest.approx(1e-9)


def test_a_loss_that_bursts_stops_with_step_and_samples(material: Path, tmp_path: Path) -> None:
    config = prior_config(material, learning_rate=1e30, steps=4, path_weight=0)
    with pytest.raises(ProcessingError, match=r"not finite at step [23] \(samples \d+ to \d+\); there is no"):
        train_prior(config, tmp_path / "run")


def test_a_gfpgan_begins_at_its_priors_mean_face(material: Path, trained: Path) -> None:
    net = build_restorer(config_of(material, net=SMALL_GFPGAN).net)
    load_prior(net, trained, seed=1)
    average = read_checkpoint(trained)["average"]
    assert same(dict(net.stylegan_decoder.state_dict()), dict(average))
    latents = net.final_linear.bias.detach().unflatten(0, (net.stylegan_decoder.latent_count, -1))
    assert float(latents.std(dim=0).max()) == 0  # one mean style for all layers
    assert float(latents.norm()) > 0


def test_a_run_goes_on_without_its_prior(material: Path, trained: Path, tmp_path: Path) -> None:
    changes = {"net": SMALL_GFPGAN, "perceptual_weight": 0, "prior": tmp_path / "prior"}
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "last.pt").write_bytes((trained / "last.pt").read_bytes())
    train_restorer(config_of(material, steps=1, **changes), tmp_path / "run")
    (tmp_path / "prior" / "last.pt").unlink()
    train_restorer(config_of(material, steps=2, **changes), tmp_path / "run", resume=True)
    assert read_checkpoint(tmp_path / "run")["step"] == 2


def test_a_prior_of_another_width_or_kind_is_refused(material: Path, trained: Path, tmp_path: Path) -> None:
    wide = config_of(material, net={**SMALL_GFPGAN, "narrow": 0.125}, prior=trained)
    with pytest.raises(ModelError, match="another size, width or architecture"):
        train_restorer(wide, tmp_path / "wide")
    with pytest.raises(ModelError, match="belongs to the net gfpgan-clean"):
        train_restorer(config_of(material, prior=trained), tmp_path / "compact")
    with pytest.raises(ModelError, match="is of a prior, not of a restorer"):
        train_restorer(config_of(material, start=str(trained)), tmp_path / "start")
    with pytest.raises(InputError, match="no checkpoint"):
        train_restorer(config_of(material, net=SMALL_GFPGAN, prior=tmp_path), tmp_path / "none")
