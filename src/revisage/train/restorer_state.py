"""What the training of a restorer changes as it goes: networks, their average, adversaries, optimisers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revisage.core import ModelError
from revisage.nets import GFPGANClean
from revisage.train.components import ComponentAdversaries
from revisage.train.discriminator import PatchDiscriminator, StyleDiscriminator
from revisage.train.hardware import Compute
from revisage.train.muon import Muon, split_parameters
from revisage.train.networks import RestorerNet, build_restorer, load_prior
from revisage.train.settings import RestorerTrainConfig

__all__ = ["RestorerState", "follow", "initial_state"]


@dataclass
class RestorerState:
    """What a run changes as it goes."""

    net: RestorerNet
    average: RestorerNet
    optimiser: torch.optim.Optimizer
    kernels_optimiser: torch.optim.Optimizer | None
    adversary: nn.Module
    adversary_optimiser: torch.optim.Optimizer
    components: ComponentAdversaries | None
    components_optimiser: torch.optim.Optimizer | None
    scaler: torch.amp.GradScaler

    def parts(self) -> dict[str, Any]:
        """Each part that is there by its name in a checkpoint."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.scaler.is_enabled():
            del found["scaler"]
        return {name: part for name, part in found.items() if part is not None}

    def states(self) -> dict[str, Any]:
        """What a checkpoint keeps of them."""
        return {name: part.state_dict() for name, part in self.parts().items()}

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Those that this step has gradients for."""
        found = [self.optimiser, self.kernels_optimiser, self.adversary_optimiser, self.components_optimiser]
        return [
            optimiser
            for optimiser in found
            if optimiser is not None and any(p.grad is not None for g in optimiser.param_groups for p in g["params"])
        ]

    def clear_gradients(self) -> None:
        for optimiser in self.optimisers():
            optimiser.zero_grad(set_to_none=True)

    def take_step(self) -> None:
        for optimiser in self.optimisers():
            self.scaler.step(optimiser)
        self.scaler.update()


def initial_state(
    config: RestorerTrainConfig, compute: Compute, start: dict[str, Tensor] | None, prior: Path | None
) -> RestorerState:
    """Networks and optimisers before the first step, of random weights, those of `start`, or with a decoder of `prior`.

    Raises ModelError when the weights do not fit the net.
    """
    torch.manual_seed(config.seed)
    net = build_restorer(config.net)
    if start is not None:
        _begin_from(net, start)
    if prior is not None:
        load_prior(net, prior, seed=config.seed)
    average = build_restorer(config.net)
    average.load_state_dict(net.state_dict())
    average.requires_grad_(False)
    adversary = _make_adversary(config)
    components = ComponentAdversaries(config.net.size, config.component_channels) if config.component_weight else None
    for module in (net, average, adversary, components):
        if module is not None:
            compute.place(module)
    return RestorerState(
        net,
        average,
        *_make_optimisers(config, net),
        adversary,
        _make_adversary_optimiser(config, adversary),
        components,
        _make_adversary_optimiser(config, components) if components is not None else None,
        compute.scaler(),
    )


def _make_adversary(config: RestorerTrainConfig) -> nn.Module:
    if config.adversary == "patch":
        return PatchDiscriminator()
    return StyleDiscriminator(config.net.size, config.adversary_width)


def _begin_from(net: RestorerNet, start: dict[str, Tensor]) -> None:
    """Load weights, in place; a compact may have more detail blocks than they have, which begin as the identity."""
    missing, unknown = net.load_state_dict(start, strict=False)
    foreign = [*unknown, *(key for key in missing if not key.startswith("detail."))]
    if foreign:
        raise ModelError(f"the weights to start from do not fit the net: {foreign[0]}; leave the setting net out")


def _make_optimisers(
    config: RestorerTrainConfig, net: RestorerNet
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer | None]:
    """Adam, and Muon for the kernels where it is wanted; each group's `share` is its factor of the learning rate."""
    kernels, rest = split_parameters(net) if config.optimiser == "muon" else ([], list(net.parameters()))
    groups: list[dict[str, Any]] = [{"params": rest, "share": 1.0}]
    if isinstance(net, GFPGANClean) and config.decoder_rate != 1:
        prior = list(net.stylegan_decoder.parameters())
        net.stylegan_decoder.requires_grad_(config.decoder_rate > 0)
        own = {id(parameter) for parameter in prior}
        others = [parameter for parameter in rest if id(parameter) not in own]
        groups = [{"params": others, "share": 1.0}, {"params": prior, "share": config.decoder_rate}]
    adam = torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    return adam, Muon(kernels, lr=config.learning_rate) if kernels else None


def _make_adversary_optimiser(config: RestorerTrainConfig, adversary: nn.Module) -> torch.optim.Optimizer:
    # No momentum: its opponent moves.
    return torch.optim.Adam(adversary.parameters(), lr=config.adversarial_rate, betas=(0.0, 0.99))


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """The exponential moving average of the weights, in place."""
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)
