"""Train a restorer, GFP-GAN's stage (b) and fine-tuning: the whole recipe, top to bottom.

Wang et al. (CVPR 2021): pixels, the pyramid of the U-Net, perception and style, a global adversary, adversaries for
both eyes and the mouth, identity; each is there when its weight is above 0. Everything that is random follows from
(seed, step) or (seed, sample index), so a run that is stopped and resumed gives the same bits, and several processes
(`torchrun`) see what one with a batch as large as theirs together would see.

What the folder of a run holds stands in `revisage.train.run`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from revisage.core import ConfigError, ProcessingError
from revisage.nets import GFPGANClean
from revisage.train import validation
from revisage.train.checkpoint import read_checkpoint
from revisage.train.data import DegradedFaces, batches, load_images
from revisage.train.discriminator import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from revisage.train.distributed import Group, average_gradients, average_values, join, share_weights
from revisage.train.hardware import Compute, choose_compute
from revisage.train.losses import charbonnier, lattice_gap, pyramid_loss, random_windows, ssim, window_pair
from revisage.train.networks import RestorerNet, noise_sides, restore_with_pyramid, starting_net
from revisage.train.perceptual import Critics, load_critics
from revisage.train.restorer_state import RestorerState, follow, initial_state
from revisage.train.run import Clock, Means, Report, RunFolder, not_finite
from revisage.train.settings import MAY_CHANGE, RestorerTrainConfig

__all__ = ["RestorerTrainConfig", "read_checkpoint", "train_restorer"]

Losses = dict[str, Tensor]
Regions = dict[str, Tensor]


def train_restorer(
    config: RestorerTrainConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    progress: Report | None = None,
    measures: Mapping[str, validation.ImageMeasure] | None = None,
) -> Path:
    """Train until `config.steps`; returns the path of the last checkpoint.

    `progress` gets each line of the log; `measures` are further ones of the fixed check, by name. Started by torchrun,
    this is one of several processes that train together. Raises ConfigError, InputError or ModelError when the user
    can mend it, OutputError when the run directory holds another run, ProcessingError when the loss is not finite.
    """
    torch.set_num_threads(config.threads)
    compute = choose_compute(config)
    with join(compute.device) as group:
        return _train(config, run_dir, resume, compute, group, progress, measures or {})


def _train(
    config: RestorerTrainConfig,
    run_dir: Path,
    resume: bool,
    compute: Compute,
    group: Group,
    progress: Report | None,
    measures: Mapping[str, validation.ImageMeasure],
) -> Path:
    config, start = _settle_net(config, resume)
    mixture = config.degradations()
    critics = load_critics(config, compute.device)
    cache = load_images(config.data, config.net.size, cache=config.cache)
    run = RunFolder(
        run_dir, config, stage="restorer", resume=resume, may_change=MAY_CHANGE, leads=group.leads, progress=progress
    )
    run.describe_data(cache)
    checks = _load_checks(config) if group.leads else {}

    state = initial_state(config, compute, start, None if resume else config.prior)
    first_step, best = _resumed(run, state) if resume else (0, None)
    share_weights(group, state.net, state.average, state.adversary, state.components)
    forward: nn.Module = torch.compile(state.net) if config.compile else state.net  # type: ignore[assignment]

    a_step = config.accumulate * group.size
    loader = batches(
        DegradedFaces(cache, mixture, seed=config.seed, tone_probability=config.tone_probability),
        first_step=first_step * a_step + group.rank,
        last_step=config.steps * a_step,
        batch=config.batch,
        workers=config.workers,
        every=group.size,
    )
    clock, recent = Clock(first_step), Means()
    for step in range(first_step, config.steps):
        _set_rates(config, state, step)
        state.clear_gradients()
        for part in range(config.accumulate):
            inputs, targets = (compute.images(pixels) for pixels in next(loader))
            draws = _Draws(config, group, step, part)
            with compute.autocast():
                restored, pyramid = restore_with_pyramid(forward, inputs, draws.noise(state.net, compute.device))
                restored = restored.float()
                losses = _losses(config, step, restored, pyramid, targets, draws, critics)
                views = _adversarial_views(config, step, state, restored, targets, draws)
                losses |= _fooling(config, state, views)
            total = torch.stack(list(losses.values())).sum()
            state.scaler.scale(total / config.accumulate).backward()
            losses |= _judging(config, state, step, views, compute)
            recent.add(losses)

        norm = _gathered_gradients(config, state, group)
        if not (torch.isfinite(total) and (torch.isfinite(norm) or state.scaler.get_scale() > 1)):
            raise ProcessingError(not_finite(step, config.batch * a_step, run_dir / "last.pt"))
        state.take_step()
        follow(state.average, state.net, min(config.ema, (1 + step) / (10 + step)))
        recent.add({"gradient": norm})

        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            means = {name: round(value, 5) for name, value in average_values(group, recent.read()).items()}
            rate = _learning_rate(config, step)
            run.log({"step": done, "rate": rate, **means, **clock.read(done, config.batch * a_step)})
        if checks and (done % config.validate_every == 0 or done == config.steps):
            best = _check(run, config, done, state.average, checks, critics, measures, best)
        if done % config.checkpoint_every == 0 or done == config.steps:
            run.save(done, {**state.states(), "best": best})
    return run_dir / "last.pt"


@dataclass(frozen=True)
class _Draws:
    """What chance decides in one batch: this process's share of what is drawn for the whole step."""

    config: RestorerTrainConfig
    group: Group
    step: int
    part: int

    def _share(self) -> tuple[int, slice]:
        return self.group.share(self.config.batch, self.config.accumulate, self.part)

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.config.seed * stream + self.step)

    def windows(self, stream: int, side: int) -> list[tuple[int, int]]:
        """A random window of each image. stream: a number for each use, so that they differ."""
        whole, mine = self._share()
        return random_windows(whole, self.config.net.size, side, self._generator(stream))[mine]

    def noise(self, net: nn.Module, device: torch.device) -> list[Tensor] | None:
        """Fresh noise for each layer of a StyleGAN2 decoder."""
        if not isinstance(net, GFPGANClean):
            return None
        whole, mine = self._share()
        source = self._generator(3_000_017)
        sides = noise_sides(self.config.net.size)
        return [torch.randn((whole, 1, side, side), generator=source)[mine].to(device) for side in sides]


@dataclass(frozen=True)
class _Views:
    """What the adversaries see of restored and of real faces; None while they do not play."""

    fake: Tensor | None = None
    real: Tensor | None = None
    fake_parts: Regions | None = None
    real_parts: Regions | None = None


def _settle_net(config: RestorerTrainConfig, resume: bool) -> tuple[RestorerTrainConfig, dict[str, Tensor] | None]:
    """The settings with the net of the weights that the run starts from, and these weights.

    Raises ConfigError when the settings ask for another net than that of the weights; more detail blocks may be asked
    for, by which a trained compact grows.
    """
    # A run that goes on needs neither the weights nor the prior that it began with, only its checkpoint.
    if config.start is None or (resume and "net" in config.model_fields_set):
        return config, None
    net, state = starting_net(config.start)
    if "net" not in config.model_fields_set:
        config = config.model_copy(update={"net": net})
    differing = [name for name, value in net if getattr(config.net, name, None) != value]
    if set(differing) - {"detail_blocks"}:
        raise ConfigError(
            f"{config.start} holds a net of another {', '.join(differing)} than the setting net: leave net out"
        )
    return config, None if resume else state


def _learning_rate(config: RestorerTrainConfig, step: int) -> float:
    """A linear warm-up, then half a cosine down to zero, or a constant that is halved twice."""
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    if config.schedule == "halving":
        return config.learning_rate * 0.5 ** ((4 * step >= 3 * config.steps) + (8 * step >= 7 * config.steps))
    part = (step - config.warm_up_steps) / max(1, config.steps - config.warm_up_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * part))


def _set_rates(config: RestorerTrainConfig, state: RestorerState, step: int) -> None:
    rate = _learning_rate(config, step)
    for optimiser in (state.optimiser, state.kernels_optimiser):
        for group in optimiser.param_groups if optimiser is not None else ():
            group["lr"] = rate * group.get("share", 1.0)
    for optimiser in (state.adversary_optimiser, state.components_optimiser):
        for group in optimiser.param_groups if optimiser is not None else ():
            group["lr"] = config.adversarial_rate


_PIXEL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"charbonnier": charbonnier, "l1": nn.functional.l1_loss}


def _losses(
    config: RestorerTrainConfig,
    step: int,
    restored: Tensor,
    pyramid: list[Tensor],
    targets: Tensor,
    draws: _Draws,
    critics: Critics,
) -> Losses:
    """Each loss that needs no adversary, with its weight in it."""
    losses: Losses = {}
    if config.pixel_weight > 0:
        losses["pixel"] = config.pixel_weight * _PIXEL[config.pixel_loss](restored, targets)
    if config.structure_weight > 0:
        losses["structure"] = config.structure_weight * _unlikeness(restored, targets)
    if config.lattice_weight > 0:
        losses["lattice"] = config.lattice_weight * lattice_gap(restored, targets)
    if config.pyramid_weight > 0 and (config.pyramid_end is None or step < config.pyramid_end):
        losses["pyramid"] = config.pyramid_weight * pyramid_loss(pyramid, targets)
    if critics.perceptual is not None:
        side = min(config.perceptual_window, config.net.size)
        seen, wanted = window_pair(restored, targets, draws.windows(1_000_003, side), side)
        found = critics.perceptual.distances(seen, wanted, form=config.perceptual_loss, style=config.style_weight > 0)
        weights = {"perceptual": config.perceptual_weight, "style": config.style_weight}
        losses |= {name: weights[name] * value for name, value in found.items()}
    if config.identity_weight > 0 and critics.recogniser is not None:
        losses["identity"] = config.identity_weight * critics.recogniser.distance(restored, targets)
    if not losses:
        raise ConfigError("every loss has weight 0: there is nothing to learn")
    return losses


def _unlikeness(restored: Tensor, targets: Tensor) -> Tensor:
    """1 - SSIM: in float32, since variances are differences of nearly equal numbers."""
    with torch.autocast(restored.device.type, enabled=False):
        return 1 - ssim(restored * 0.5 + 0.5, targets * 0.5 + 0.5).mean()


def _adversarial_views(
    config: RestorerTrainConfig, step: int, state: RestorerState, restored: Tensor, targets: Tensor, draws: _Draws
) -> _Views:
    """A window or the whole face for the global adversary, eyes and mouth for theirs."""
    if step < config.adversarial_start:
        return _Views()
    fake = real = None
    if config.adversarial_weight > 0 and config.adversary == "stylegan2":
        fake, real = restored, targets
    elif config.adversarial_weight > 0:
        side = min(config.adversarial_window, config.net.size)
        fake, real = window_pair(restored, targets, draws.windows(7_000_003, side), side)
    if config.component_weight == 0 or state.components is None:
        return _Views(fake, real)
    return _Views(fake, real, state.components.regions(restored), state.components.regions(targets))


def _fooling(config: RestorerTrainConfig, state: RestorerState, views: _Views) -> Losses:
    """The restorer's part of the adversarial losses: the adversaries themselves get no gradient."""
    losses: Losses = {}
    if views.fake is not None:
        state.adversary.requires_grad_(False)
        losses["adversarial"] = config.adversarial_weight * generator_loss(state.adversary(views.fake))
        state.adversary.requires_grad_(True)
    if state.components is not None and views.fake_parts is not None and views.real_parts is not None:
        state.components.requires_grad_(False)
        adversarial, style = state.components.fooled(views.fake_parts, views.real_parts)
        state.components.requires_grad_(True)
        losses["components"] = config.component_weight * adversarial
        if config.component_style_weight > 0:
            losses["component_style"] = config.component_style_weight * style
    return losses


def _judging(config: RestorerTrainConfig, state: RestorerState, step: int, views: _Views, compute: Compute) -> Losses:
    """The adversaries' own losses, with their gradients; R1 each 16th step, 16 times as strong, in float32."""
    losses: Losses = {}
    with compute.autocast():
        if views.fake is not None and views.real is not None:
            real, fake = state.adversary(views.real), state.adversary(views.fake.detach())
            losses["adversary"] = discriminator_loss(real, fake)
        if state.components is not None and views.fake_parts is not None and views.real_parts is not None:
            detached = {name: region.detach() for name, region in views.fake_parts.items()}
            losses["component_adversaries"] = state.components.judged(detached, views.real_parts)
    if views.real is not None and step % 16 == 0 and config.penalty_weight > 0:
        penalty = gradient_penalty(state.adversary, views.real)
        losses["adversary"] = losses["adversary"] + 16 * config.penalty_weight * penalty
    for loss in losses.values():
        state.scaler.scale(loss / config.accumulate).backward()
    return losses


def _gathered_gradients(config: RestorerTrainConfig, state: RestorerState, group: Group) -> Tensor:
    """Average the gradients over the processes, undo their scaling, bound the net's; returns its norm before that."""
    for optimiser in state.optimisers():
        average_gradients(group, (parameter for part in optimiser.param_groups for parameter in part["params"]))
        state.scaler.unscale_(optimiser)
    return nn.utils.clip_grad_norm_(state.net.parameters(), config.gradient_norm)


def _resumed(run: RunFolder, state: RestorerState) -> tuple[int, float | None]:
    """The step to go on from, and the best measure so far."""
    content = run.load(state.parts(), needed=("net", "average", "optimiser", "adversary", "adversary_optimiser"))
    return int(content["step"]), content.get("best")


def _load_checks(config: RestorerTrainConfig) -> validation.Checks:
    if config.validation is None:
        return {}
    cache = load_images([config.validation], max(config.validation_size, config.net.size))
    images = validation.spread(cache.pixels.numpy(), config.validation_images)
    return validation.make_checks(images, config.net.size, seed=config.seed)


def _check(
    run: RunFolder,
    config: RestorerTrainConfig,
    step: int,
    net: RestorerNet,
    checks: validation.Checks,
    critics: Critics,
    measures: Mapping[str, validation.ImageMeasure],
    best: float | None,
) -> float | None:
    """Measure the averaged weights, keep them if they are the best so far, and return the best measure."""
    values, grid = validation.check(checks, net, critics.vgg, recogniser=critics.recogniser, more=measures)
    validation.write_grid(run.folder / "grids" / f"{step:07d}.png", grid)
    run.show(step, grid)
    level, name = config.best_by
    value = values[level].get(name)
    if value is not None and validation.better(name, value, best):
        best = value
        run.save(step, {"average": net.state_dict(), "best": best}, "best.pt")
    run.log({"step": step, "validation": values, "best": best})
    return best
