"""The networks that a run trains, the weights that they may start from, and Muon, which moves their kernels.

Muon is our own, as ``torch.optim.Muon`` (torch 2.12) takes matrices alone and refuses the 4-D kernels of convolutions;
views of them as matrices cannot be parameters where the kernels lie channels last."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from revisage import models, nets
from revisage.core import ModelError, written_beside
from revisage.nets import (
    CompactConfig,
    CompactFine,
    CompactFineConfig,
    CompactGFPGAN,
    GFPGANClean,
    StyleDecoder,
)
from revisage.restorers import load_weights
from revisage.train.run_folder import read_checkpoint
from revisage.train.settings import GFPGANConfig, net_config

__all__ = [
    "Muon",
    "RestorerNet",
    "architecture_of",
    "build_decoder",
    "build_restorer",
    "half_precision",
    "load_prior",
    "noise_sides",
    "restore_with_pyramid",
    "save_weights",
    "split_parameters",
    "starting_net",
]

RestorerNet = CompactGFPGAN | CompactFine | GFPGANClean
RestorerConfig = CompactConfig | CompactFineConfig | GFPGANConfig
_TRAINABLE = ("compact", "compact-fine", "gfpgan_clean")
_STYLES = 4096
"""Styles whose mean is what an untrained GFP-GAN asks of its prior."""


def build_restorer(config: RestorerConfig) -> RestorerNet:
    """The network of a run, with random weights."""
    return cast(RestorerNet, nets.build(*architecture_of(config)))


def architecture_of(config: RestorerConfig) -> tuple[str, dict[str, Any]]:
    """Name and settings by which ``revisage.nets.build`` makes the same network again: what an export writes down."""
    if isinstance(config, CompactConfig):
        return "compact", config.model_dump(mode="json")
    if isinstance(config, CompactFineConfig):
        return "compact-fine", config.model_dump(mode="json")
    return "gfpgan_clean", config.settings()


def half_precision(net: nn.Module) -> dict[str, Tensor]:
    """The state that a weights file holds: float16, without counters that only training needs."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def save_weights(net: nn.Module, path: Path, about: Mapping[str, Any]) -> None:
    """Write a net's float16 weights as safetensors, complete or not at all; what they are of stands as JSON under the
    key ``revisage`` of the metadata."""
    with written_beside(path) as partial:
        save_file(half_precision(net), partial, metadata={"revisage": json.dumps(about)})


def build_decoder(config: GFPGANConfig) -> StyleDecoder:
    """GFP-GAN's decoder alone: the StyleGAN2 prior."""
    settings = config.settings()
    del settings["different_w"]
    return StyleDecoder(**settings)


def restore_with_pyramid(forward: nn.Module, inputs: Tensor, noise: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    """Restored crops (N, 3, size, size), and the U-Net's own images, largest first.

    noise: a tensor per decoder layer of a gfpgan-clean; None for a compact, which has none.
    """
    if noise is None:
        restored, pyramid = forward(inputs, return_pyramid=True)
        return restored, pyramid
    restored, pyramid = forward(inputs, noise=noise, return_pyramid=True)
    return restored, pyramid[::-1]


def noise_sides(size: int) -> list[int]:
    """Side (px) of each noise map of a StyleGAN2 decoder: one at 4 px, two at each scale above."""
    return [2 ** ((layer + 5) // 2) for layer in range(2 * round(math.log2(size)) - 3)]


def starting_net(name_or_path: str) -> tuple[RestorerConfig, dict[str, Tensor]]:
    """Settings and state of the weights that a run starts from: a model's name, a weights file, or a run.

    Raises:
        ModelError: there are none, or they are of an architecture that cannot be trained here.
    """
    path = Path(name_or_path).expanduser()
    run = path / "last.pt" if path.is_dir() else path
    if run.suffix == ".pt" and run.name in ("last.pt", "best.pt"):
        return _from_checkpoint(run)
    trainable = [name for kind in _TRAINABLE for name in nets.architecture(kind).names]
    weights = load_weights(name_or_path, "trainable face restorer", trainable)
    state = {key: value.float() for key, value in cast("nn.Module", weights.net).state_dict().items()}
    if weights.architecture == "compact":
        return CompactConfig.model_validate(weights.settings), state
    if weights.architecture == "compact-fine":
        return CompactFineConfig.model_validate(weights.settings), state
    return GFPGANConfig.from_settings(weights.settings), state


def _from_checkpoint(path: Path) -> tuple[RestorerConfig, dict[str, Tensor]]:
    content = read_checkpoint(path)
    if content.get("stage", "restorer") != "restorer":
        raise ModelError(f"{path} is of a prior, not of a restorer: give it as the setting prior")
    config: RestorerConfig = net_config(json.loads(content["config"])["net"])
    return config, content["average"]


@torch.no_grad()
def load_prior(net: RestorerNet, path: Path, *, seed: int) -> None:
    """Put a StyleGAN2 prior's weights into the decoder of a GFP-GAN, in place, and let it begin at the mean face.

    path: the run of ``revisage train prior``, one of its checkpoints, or a weights file with the keys of the published
    priors (clean form).

    Raises:
        ModelError: the prior is of another size, width or architecture.
    """
    if not isinstance(net, GFPGANClean):
        raise ModelError("a prior belongs to the net gfpgan-clean: set net=gfpgan-clean, or leave prior out")
    file = path / "last.pt" if path.is_dir() else path
    state = read_checkpoint(file)["average"] if file.suffix == ".pt" else models.load_state(file)
    decoder = net.stylegan_decoder
    wanted, found = ({key: tuple(value.shape) for key, value in part.items()} for part in (decoder.state_dict(), state))
    if wanted != found:
        differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise ModelError(
            f"{file} is a prior of another size, width or architecture than the net: {differing[0]} is "
            f"{found.get(differing[0], 'absent')}, and should be {wanted.get(differing[0], 'absent')}"
        )
    decoder.load_state_dict(state)
    draws = torch.randn((_STYLES, net.num_style_feat), generator=torch.Generator().manual_seed(seed))
    mean = decoder.style_mlp(draws).mean(dim=0)
    cast(nn.Linear, net.final_linear).bias.copy_(mean.repeat(decoder.latent_count if net.different_w else 1))


_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration: they bring singular values near one in five rounds (Jordan, 2024)."""

_PIXELS = 12
"""A kernel with no more inputs or outputs than this, 2 x 2 pixels of three colours, reads or writes pixels."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update of each kernel, seen as a matrix (outputs x inputs), is orthogonalised.

    Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). Steps are scaled by 0.2 sqrt(longer side)
    as in Liu et al., "Muon is scalable for LLM training" (2025), so that learning rates of Adam fit.

    Args:
        parameters: kernels with two or more dimensions.
        lr: learning rate.
        momentum: of the gradients; Nesterov's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients.

        Raises:
            ValueError: a closure is given.
        """
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["momentum"])

    def _move(self, parameter: Tensor, gradient: Tensor, rate: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].mul_(momentum).add_(gradient)
        step = orthogonalised((gradient + momentum * mean).flatten(1))
        parameter.add_(step.view_as(parameter), alpha=-rate * 0.2 * max(step.shape) ** 0.5)


def orthogonalised(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The matrix, (m, n) float32, with its singular values brought near one (0.7 to 1.2), to 8 bits.

    Each round multiplies X by a polynomial P of its Gram matrix X X^T, so that all rounds together are one small matrix
    times X; the Gram matrix itself goes on as P^2 X X^T. Only two products have the longer side in them.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    factor = whole = _polynomial(gram)
    for _ in range(rounds - 1):
        gram = gram @ (factor @ factor)
        factor = _polynomial(gram)
        whole = factor @ whole
    x = whole.bfloat16() @ x.bfloat16()
    return (x.T if tall else x).to(matrix.dtype)


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = _QUINTIC
    factor = torch.add(b * gram, gram @ gram, alpha=c)
    factor.diagonal().add_(a)
    return factor


def split_parameters(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(kernels for Muon, the rest): 4-D kernels between hidden layers; not those that read or write pixels."""
    kernels = [p for p in net.parameters() if p.ndim == 4 and min(p.shape[:2]) > _PIXELS]
    chosen = {id(kernel) for kernel in kernels}
    return kernels, [p for p in net.parameters() if id(p) not in chosen]
