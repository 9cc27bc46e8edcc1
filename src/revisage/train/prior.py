"""Train the generative prior, GFP-GAN's stage (a): a StyleGAN2 of faces, top to bottom.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020): the non-saturating logistic loss,
R1 each 16th step, path-length regularisation each 4th, mixed styles, an average of the weights. What is trained is the
decoder of a GFP-GAN in the clean form, so that stage (b) takes its weights as they are.

What is random follows from (seed, step) and (seed, sample index), as in `revisage.train.restorer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from revisage.core import ProcessingError
from revisage.nets import SLOPE, StyleDecoder
from revisage.train import validation
from revisage.train.data import ImageCache, load_images
from revisage.train.degradation import generator
from revisage.train.discriminator import StyleDiscriminator, discriminator_loss, generator_loss, gradient_penalty
from revisage.train.distributed import Group, average_gradients, average_values, join, share_weights
from revisage.train.hardware import Compute, choose_compute
from revisage.train.networks import build_decoder, noise_sides
from revisage.train.restorer_state import follow
from revisage.train.run import Clock, Means, Report, RunFolder, not_finite
from revisage.train.settings import MAY_CHANGE, PriorTrainConfig

__all__ = ["PriorTrainConfig", "train_prior"]

Synthesis = Callable[..., Tensor]
_PENALTY_EVERY, _PATH_EVERY = 16, 4
# The mapping network learns at a hundredth of the rate, as published: it sees every gradient.
_MAPPING_RATE = 0.01
_GRID_FACES = 24
_TRUNCATION = 0.7


def train_prior(
    config: PriorTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train until `config.steps`; returns the path of the last checkpoint, whose `average` is the prior.

    `progress` gets each line of the log. Started by torchrun, this is one of several processes that train together.
    Raises ConfigError or InputError when the user can mend it, OutputError when the run directory holds another run,
    ProcessingError when a loss is not finite.
    """
    torch.set_num_threads(config.threads)
    compute = choose_compute(config)
    with join(compute.device) as group:
        return _train(config, run_dir, resume, compute, group, progress)


def _train(
    config: PriorTrainConfig, run_dir: Path, resume: bool, compute: Compute, group: Group, progress: Report | None
) -> Path:
    cache = load_images(config.data, config.net.size, cache=config.cache)
    run = RunFolder(
        run_dir, config, stage="prior", resume=resume, may_change=MAY_CHANGE, leads=group.leads, progress=progress
    )
    run.describe_data(cache)
    state = _initial_state(config, compute)
    first_step = _resumed(run, state) if resume else 0
    share_weights(group, state.net, state.average, state.adversary)
    synthesis: Synthesis = torch.compile(state.net) if config.compile else state.net

    images_a_step = config.batch * config.accumulate * group.size
    clock, recent = Clock(first_step), Means()
    for step in range(first_step, config.steps):
        state.optimiser.zero_grad(set_to_none=True)
        state.adversary_optimiser.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            draws = _Draws(config, group, step, part, compute.device)
            real = compute.images(_faces(cache, config.seed, draws.indexes()))
            with compute.autocast():
                fake = synthesis(_latents(state.net, draws), None, draws.noise()).float()
            losses = _fooling(state, fake, compute, config)
            if step % _PATH_EVERY == 0 and config.path_weight > 0:
                losses |= _lengthening(config, state, draws, group)
            losses |= _judging(config, state, step, fake.detach(), real, compute)
            recent.add(losses)

        norm = _gathered_gradients(state, group)
        healthy = all(torch.isfinite(loss) for loss in losses.values())
        if not (healthy and (torch.isfinite(norm) or state.scaler.get_scale() > 1)):
            raise ProcessingError(not_finite(step, images_a_step, run_dir / "last.pt"))
        state.scaler.step(state.optimiser)
        state.scaler.step(state.adversary_optimiser)
        state.scaler.update()
        follow(state.average, state.net, _decay(config, (step + 1) * images_a_step, images_a_step))

        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            means = {name: round(value, 5) for name, value in average_values(group, recent.read()).items()}
            run.log({"step": done, **means, **clock.read(done, images_a_step)})
        if group.leads and (done % config.grid_every == 0 or done == config.steps):
            grid = sample_grid(state.average, seed=config.seed)
            validation.write_grid(run_dir / "grids" / f"{done:07d}.png", grid)
            run.show(done, grid)
        if done % config.checkpoint_every == 0 or done == config.steps:
            run.save(done, state.states())
    return run_dir / "last.pt"


@dataclass
class _State:
    """What a run changes as it goes."""

    net: StyleDecoder
    average: StyleDecoder
    optimiser: torch.optim.Optimizer
    adversary: StyleDiscriminator
    adversary_optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    path_mean: Tensor = field(default_factory=lambda: torch.zeros(()))

    def parts(self) -> dict[str, Any]:
        """Each part with a state of its own by its name in a checkpoint."""
        names = ["net", "average", "optimiser", "adversary", "adversary_optimiser"]
        return {name: getattr(self, name) for name in (names + ["scaler"] * self.scaler.is_enabled())}

    def states(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {**{name: part.state_dict() for name, part in self.parts().items()}, "path_mean": float(self.path_mean)}


@dataclass(frozen=True)
class _Draws:
    """What chance decides in one batch: this process's share of what is drawn for the whole step."""

    config: PriorTrainConfig
    group: Group
    step: int
    part: int
    device: torch.device

    def _share(self) -> tuple[int, slice]:
        return self.group.share(self.config.batch, self.config.accumulate, self.part)

    def indexes(self) -> range:
        """The numbers of the batch's real faces in the endless stream of samples."""
        whole, mine = self._share()
        return range(self.step * whole + mine.start, self.step * whole + mine.stop)

    def normal(self, stream: int, *shape: int) -> Tensor:
        """(N, *shape) standard normal numbers. stream: a number for each use, so that they differ."""
        whole, mine = self._share()
        source = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step * 31 + stream)
        return torch.randn((whole, *shape), generator=source)[mine].to(self.device)

    def uniform(self, stream: int) -> Tensor:
        """(N,) numbers from 0 to 1."""
        whole, mine = self._share()
        source = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step * 31 + stream)
        return torch.rand(whole, generator=source)[mine].to(self.device)

    def noise(self) -> list[Tensor]:
        """Fresh noise for each layer."""
        sides = noise_sides(self.config.net.size)
        return [self.normal(10 + layer, 1, side, side) for layer, side in enumerate(sides)]


def _latents(net: StyleDecoder, draws: _Draws) -> Tensor:
    """(N, layers, features): of one style, or from some layer on of a second."""
    count, features = net.latent_count, draws.config.net.style_features
    first, second = (net.style_mlp(draws.normal(stream, features)) for stream in (0, 1))
    cut = 1 + (draws.uniform(2) * (count - 1)).long()
    cut = torch.where(draws.uniform(3) < draws.config.mixing_probability, cut, count)
    layers = torch.arange(count, device=first.device)
    return torch.where((layers < cut[:, None])[..., None], first[:, None], second[:, None])


def _faces(cache: ImageCache, seed: int, indexes: range) -> Tensor:
    """Real faces by their numbers in the stream, half of them mirrored: (N, 3, size, size) uint8."""
    shares = np.cumsum(cache.weights) / cache.weights.sum()
    faces = []
    for index in indexes:
        random = generator(seed, index)
        face = cache.pixels[int(np.searchsorted(shares, random.random(), side="right"))].permute(2, 0, 1)
        faces.append(face.flip(2) if random.random() < 0.5 else face)
    return torch.stack(faces)


def _fooling(state: _State, fake: Tensor, compute: Compute, config: PriorTrainConfig) -> dict[str, Tensor]:
    """The generator's loss, with its gradients."""
    state.adversary.requires_grad_(False)
    with compute.autocast():
        loss = generator_loss(state.adversary(fake))
    state.scaler.scale(loss / config.accumulate).backward()
    state.adversary.requires_grad_(True)
    return {"generator": loss}


def _lengthening(config: PriorTrainConfig, state: _State, draws: _Draws, group: Group) -> dict[str, Tensor]:
    """Path-length regularisation with its gradients, as many times as strong as it is rarer, on half of the batch."""
    half = max(1, config.batch // 2)
    latents = _latents(state.net, draws)[:half]
    noise = [values[:half] for values in draws.noise()]
    lengths = path_lengths(state.net, latents, noise, draws.normal(4, 3, config.net.size, config.net.size)[:half])
    mean = average_values(group, {"lengths": lengths.detach().mean()})["lengths"]
    state.path_mean = state.path_mean + 0.01 * (mean - state.path_mean)
    penalty = config.path_weight * (lengths - float(state.path_mean)).square().mean()
    state.scaler.scale(_PATH_EVERY * penalty / config.accumulate).backward()
    return {"path": penalty, "path_length": torch.tensor(mean)}


def path_lengths(net: nn.Module, latents: Tensor, noise: list[Tensor], direction: Tensor) -> Tensor:
    """How far each image moves along a random direction with its latents, (N,).

    The norm of J^T y, for the Jacobian J of the synthesis and y of standard normal numbers over the image's side, which
    is `direction` (N, 3, size, size); mean square over the layers' latents (N, layers, features).
    """
    images = net(latents, None, noise)
    moved = (images * direction).sum() / math.sqrt(images.shape[-2] * images.shape[-1])
    (gradient,) = torch.autograd.grad(moved, latents, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def _judging(
    config: PriorTrainConfig, state: _State, step: int, fake: Tensor, real: Tensor, compute: Compute
) -> dict[str, Tensor]:
    """The discriminator's loss, with its gradients; R1 in float32, as many times as strong as it is rarer."""
    with compute.autocast():
        judged_real, judged_fake = state.adversary(real), state.adversary(fake)
    loss = discriminator_loss(judged_real, judged_fake)
    penalty = torch.zeros(())
    if step % _PENALTY_EVERY == 0 and config.penalty_weight > 0:
        penalty = config.penalty_weight * gradient_penalty(state.adversary, real)
    state.scaler.scale((loss + _PENALTY_EVERY * penalty) / config.accumulate).backward()
    right = (judged_real.detach() > 0).float().mean() + (judged_fake.detach() < 0).float().mean()
    found = {"discriminator": loss, "right": right / 2}
    return {**found, "penalty": penalty} if step % _PENALTY_EVERY == 0 else found


def _gathered_gradients(state: _State, group: Group) -> Tensor:
    """Average the gradients over the processes and undo their scaling; returns the norm of the generator's."""
    for optimiser in (state.optimiser, state.adversary_optimiser):
        average_gradients(group, (parameter for part in optimiser.param_groups for parameter in part["params"]))
        state.scaler.unscale_(optimiser)
    return nn.utils.clip_grad_norm_(state.net.parameters(), math.inf)


def _decay(config: PriorTrainConfig, seen: int, images_a_step: int) -> float:
    """Of the averaged weights, so that half of them is forgotten in `average_images`, or in a twentieth of what was
    seen when that is less: early weights are not worth keeping."""
    return float(0.5 ** (images_a_step / min(config.average_images, max(0.05 * seen, 1e-8))))


def _initial_state(config: PriorTrainConfig, compute: Compute) -> _State:
    torch.manual_seed(config.seed)
    net = build_decoder(config.net)
    for layer in net.style_mlp:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            nn.init.zeros_(layer.bias)
    average = build_decoder(config.net)
    average.load_state_dict(net.state_dict())
    average.requires_grad_(False)
    adversary = StyleDiscriminator(config.net.size, config.adversary_width)
    for module in (net, average, adversary):
        compute.place(module)
    return _State(
        net,
        average,
        torch.optim.Adam(_equalised(net, config.learning_rate), betas=(0.0, 0.99), eps=1e-8),
        adversary,
        torch.optim.Adam(adversary.parameters(), lr=config.learning_rate, betas=(0.0, 0.99), eps=1e-8),
        compute.scaler(),
    )


def _equalised(net: StyleDecoder, rate: float) -> list[dict[str, Any]]:
    """Parameters in groups of one learning rate each: that of every weight in proportion to its initial deviation.

    Karras et al. (ICLR 2018) scale weights at run time so that all learn equally fast. Adam's steps do not depend on
    the scale of a gradient, so for plain layers a smaller rate is exactly the same.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        scale = 1.0
        if name.startswith("style_mlp"):
            scale = _MAPPING_RATE
        if name.endswith(("modulated_conv.weight", "modulation.weight")) or (scale != 1 and parameter.dim() == 2):
            scale *= 1 / math.sqrt(parameter[0].numel() if parameter.dim() == 2 else parameter[0, 0].numel())
        groups.setdefault(scale, []).append(parameter)
    return [{"params": parameters, "lr": rate * scale} for scale, parameters in sorted(groups.items())]


def _resumed(run: RunFolder, state: _State) -> int:
    # The rates are those of the settings, which may have changed, not those of the checkpoint.
    rates = [group["lr"] for group in _groups(state)]
    content = run.load(state.parts(), needed=("net", "average", "optimiser", "adversary", "adversary_optimiser"))
    for group, rate in zip(_groups(state), rates, strict=True):
        group["lr"] = rate
    state.path_mean = torch.tensor(content["path_mean"])
    return int(content["step"])


def _groups(state: _State) -> list[dict[str, Any]]:
    return [*state.optimiser.param_groups, *state.adversary_optimiser.param_groups]


@torch.no_grad()
def sample_grid(net: StyleDecoder, *, seed: int, count: int = _GRID_FACES, columns: int = 8) -> NDArray[np.uint8]:
    """Faces of the prior, always of the same styles, drawn a little towards the mean: a picture (H, W, 3) uint8 RGB."""
    device = next(net.parameters()).device
    features = cast(nn.Linear, net.style_mlp[1]).in_features
    draws = torch.randn((4096, features), generator=torch.Generator().manual_seed(seed)).to(device)
    mean = net.style_mlp(draws).mean(dim=0)
    styles = mean + _TRUNCATION * (net.style_mlp(draws[:count]) - mean)
    faces: list[NDArray[np.uint8]] = []
    for start in range(0, count, 8):
        part = styles[start : start + 8]
        faces += validation.to_images(net(part[:, None].expand(-1, net.latent_count, -1), None))
    return np.vstack([np.hstack(faces[row : row + columns]) for row in range(0, count, columns)])
