"""Train a restorer, GFP-GAN's stage (b) and fine-tuning: the whole recipe, top to bottom.

Wang et al. (CVPR 2021): pixels, the pyramid of the U-Net, perception and style, a global adversary, adversaries for
both eyes and the mouth, identity; each is there when its weight is above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from revisage.core import ConfigError, ModelError
from revisage.nets import GFPGANClean
from revisage.train.compute import Compute, started
from revisage.train.images import load_images
from revisage.train.loop import Check, Draws, Losses, Stage, sample_batches, train, warmed_up
from revisage.train.networks import (
    Muon,
    RestorerNet,
    build_restorer,
    load_prior,
    noise_sides,
    restore_with_pyramid,
    split_parameters,
    starting_net,
)
from revisage.train.restorer.adversaries import (
    ComponentAdversaries,
    FeatureDiscriminator,
    PatchDiscriminator,
    StyleDiscriminator,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from revisage.train.restorer.losses import Perceived, charbonnier, lattice_gap, load_critics, pyramid_loss, ssim
from revisage.train.restorer.pairs import (
    Checks,
    DegradedFaces,
    check_restorer,
    further_measures,
    larger_is_better,
    make_checks,
    spread,
)
from revisage.train.run_folder import Report, RunFolder
from revisage.train.settings import RestorerTrainConfig

__all__ = ["RestorerStage", "cut_windows", "train_restorer"]

Regions = dict[str, Tensor]

_PERCEPTION, _ADVERSARY = 0, 1
"""Streams of what is drawn in a step: the windows of the perceptual loss, and of the adversary."""

_PENALTY_EVERY = 16
"""R1 costs a second backward pass: it is computed each 16th step, 16 times as strong (Karras et al., CVPR 2020)."""


def train_restorer(
    config: RestorerTrainConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    progress: Report | None = None,
) -> Path:
    """Train until ``config.steps``; returns the path of the last checkpoint.

    Args:
        config: the settings.
        run_dir: what it holds stands in :mod:`revisage.train.run_folder`.
        resume: go on from the last checkpoint.
        progress: gets each line of the log.

    Raises:
        ConfigError, InputError, ModelError: what the user can mend.
        OutputError: the run directory holds another run or cannot be written to.
        ProcessingError: the loss is not finite.
    """
    with started(config) as compute:
        config, start = _settle_net(config, resume)
        run = RunFolder(run_dir, config, stage="restorer", resume=resume, leads=compute.group.leads, progress=progress)
        return train(RestorerStage(config, compute, start, resume=resume), run)


@dataclass(frozen=True)
class _Views:
    """What the adversaries see of restored and of real faces, images or their features; None while they do not play."""

    fake: Tensor | Sequence[Tensor] | None = None
    real: Tensor | Sequence[Tensor] | None = None
    fake_parts: Regions | None = None
    real_parts: Regions | None = None


class RestorerStage(Stage):
    """A restorer that learns from faces and their damaged copies.

    Args:
        config: with the net settled.
        compute: what it runs on.
        start: weights to begin with; None: at random.
        resume: the weights will come from a checkpoint: the prior is not asked for.

    Raises:
        ConfigError, InputError, ModelError: what the user can mend.
    """

    name = "restorer"
    may_join = frozenset({"scaler", "kernels_optimiser", "components", "components_optimiser"})
    config: RestorerTrainConfig

    def __init__(
        self,
        config: RestorerTrainConfig,
        compute: Compute,
        start: dict[str, Tensor] | None,
        *,
        resume: bool,
    ) -> None:
        mixture = config.degradations()
        self.critics = load_critics(config, compute.device)
        cache = load_images(config.data, config.net.size, cache=config.cache)
        self.faces = DegradedFaces(
            cache,
            mixture,
            seed=config.seed,
            tone_probability=config.tone_probability,
            window=config.window,
            zoom=config.zoom,
        )
        self.checks = _load_checks(config) if compute.group.leads else {}
        self.measures = further_measures() if self.checks else {}
        self.gradient_norm = config.gradient_norm

        torch.manual_seed(config.seed)
        self.net = build_restorer(config.net)
        if start is not None:
            _begin_from(self.net, start)
        if config.prior is not None and not resume:
            load_prior(self.net, config.prior, seed=config.seed)
        self.average = build_restorer(config.net)
        self.average.load_state_dict(self.net.state_dict())
        self.average.requires_grad_(False)
        self.adversary = _make_adversary(config)
        self.components: ComponentAdversaries | None = None
        nets: dict[str, nn.Module] = {"net": self.net, "average": self.average, "adversary": self.adversary}
        if config.component_weight:
            self.components = nets["components"] = ComponentAdversaries(config.net.size, config.component_channels)
        compute.place(*nets.values())
        self.forward: nn.Module = torch.compile(self.net) if config.compile else self.net  # type: ignore[assignment]
        super().__init__(config, compute, cache.record(), nets, _make_optimisers(config, nets))

    def batches(self, first_step: int) -> Iterator[Any]:
        """See :meth:`Stage.batches`: damaged faces, and what they should become."""
        return sample_batches(self.faces, self.config, self.compute, first_step)

    def learn(self, batch: Any, draws: Draws) -> Losses:
        """See :meth:`Stage.learn`."""
        inputs, targets = (self.compute.images(pixels) for pixels in batch)
        noise = draws.noise(noise_sides(self.config.net.size)) if isinstance(self.net, GFPGANClean) else None
        with self.compute.autocast():
            restored, pyramid = restore_with_pyramid(self.forward, inputs, noise)
            restored = restored.float()
            seen = self._perceived(draws, restored, targets)
            losses = self._losses(draws, restored, pyramid, targets, seen)
            views = self._adversarial_views(draws, restored, targets, seen)
            losses |= self._fooling(views)
        self.backward(torch.stack(list(losses.values())).sum())
        return losses | self._judging(draws.step, views)

    def rate(self, optimiser: str, step: int) -> float:
        """See :meth:`Stage.rate`: adversaries have a rate of their own."""
        adversaries = ("adversary_optimiser", "components_optimiser")
        return self.config.adversarial_rate if optimiser in adversaries else super().rate(optimiser, step)

    def decay(self, step: int) -> float:
        """See :meth:`Stage.decay`."""
        return warmed_up(self.config.ema, step)

    def check(self, step: int) -> Check | None:  # noqa: ARG002 - as the others
        """See :meth:`Stage.check`: the fixed check, at levels of damage."""
        if not self.checks:
            return None
        values, grid = check_restorer(self.checks, self.average, self.critics, more=self.measures)
        level, name = self.config.best_by
        return Check(values, grid, values[level].get(name), larger_is_better(name))

    def _perceived(self, draws: Draws, restored: Tensor, targets: Tensor) -> Perceived | None:
        """A window of each face as the perceptual backbone sees it, restored and real; None without a backbone."""
        if self.critics.perceptual is None:
            return None
        windows = self._windows(draws, _PERCEPTION, self.config.perceptual_window, restored, targets)
        return self.critics.perceptual.pairs(*windows)

    def _losses(
        self, draws: Draws, restored: Tensor, pyramid: list[Tensor], targets: Tensor, seen: Perceived | None
    ) -> Losses:
        """Each loss that needs no adversary, with its weight in it."""
        config, critics, losses = self.config, self.critics, Losses()
        if config.pixel_weight > 0:
            losses["pixel"] = config.pixel_weight * _PIXEL[config.pixel_loss](restored, targets)
        if config.structure_weight > 0:
            losses["structure"] = config.structure_weight * _unlikeness(restored, targets)
        if config.lattice_weight > 0:
            losses["lattice"] = config.lattice_weight * lattice_gap(restored, targets)
        if config.pyramid_weight > 0 and (config.pyramid_end is None or draws.step < config.pyramid_end):
            losses["pyramid"] = config.pyramid_weight * pyramid_loss(pyramid, targets)
        if critics.perceptual is not None and seen is not None:
            found = critics.perceptual.distances(seen, form=config.perceptual_loss, style=config.style_weight > 0)
            weights = {"perceptual": config.perceptual_weight, "style": config.style_weight}
            losses |= {name: weights[name] * value for name, value in found.items()}
        if config.identity_weight > 0 and critics.recogniser is not None:
            losses["identity"] = config.identity_weight * critics.recogniser.distance(restored, targets)
        if not losses:
            raise ConfigError("every loss has weight 0: there is nothing to learn")
        return losses

    def _windows(self, draws: Draws, stream: int, side: int, *images: Tensor) -> list[Tensor]:
        """The same random window of each of several batches of images, (N, 3, side, side)."""
        size = self.config.side
        side = min(side, size)
        corners = draws.windows(stream, size, side)
        return [cut_windows(batch, corners, side) for batch in images]

    def _adversarial_views(self, draws: Draws, restored: Tensor, targets: Tensor, seen: Perceived | None) -> _Views:
        """What the settings show the global adversary, eyes and mouth for theirs."""
        config = self.config
        if draws.step < config.adversarial_start:
            return _Views()
        fake: Tensor | Sequence[Tensor] | None = None
        real: Tensor | Sequence[Tensor] | None = None
        if config.adversarial_weight > 0 and config.adversary == "stylegan2":
            fake, real = restored, targets
        elif config.adversarial_weight > 0 and config.adversary == "features" and seen is not None:
            fake, real = seen
        elif config.adversarial_weight > 0:
            fake, real = self._windows(draws, _ADVERSARY, config.adversarial_window, restored, targets)
        if self.components is None:
            return _Views(fake, real)
        return _Views(fake, real, self.components.regions(restored), self.components.regions(targets))

    def _fooling(self, views: _Views) -> Losses:
        """The restorer's part of the adversarial losses: the adversaries themselves get no gradient."""
        config, losses = self.config, Losses()
        if views.fake is not None:
            self.adversary.requires_grad_(False)
            losses["adversarial"] = config.adversarial_weight * generator_loss(self.adversary(views.fake))
            self.adversary.requires_grad_(True)
        if self.components is not None and views.fake_parts is not None and views.real_parts is not None:
            self.components.requires_grad_(False)
            adversarial, style = self.components.fooled(views.fake_parts, views.real_parts)
            self.components.requires_grad_(True)
            losses["components"] = config.component_weight * adversarial
            if config.component_style_weight > 0:
                losses["component_style"] = config.component_style_weight * style
        return losses

    def _judging(self, step: int, views: _Views) -> Losses:
        """The adversaries' own losses, with their gradients; R1 in float32."""
        config, losses = self.config, Losses()
        with self.compute.autocast():
            if views.fake is not None and views.real is not None:
                real, fake = self.adversary(views.real), self.adversary(_detached(views.fake))
                losses["adversary"] = discriminator_loss(real, fake)
            if self.components is not None and views.fake_parts is not None and views.real_parts is not None:
                detached = {name: region.detach() for name, region in views.fake_parts.items()}
                losses["component_adversaries"] = self.components.judged(detached, views.real_parts)
        if views.real is not None and step % _PENALTY_EVERY == 0 and config.penalty_weight > 0:
            penalty = gradient_penalty(self.adversary, views.real)
            losses["adversary"] = losses["adversary"] + _PENALTY_EVERY * config.penalty_weight * penalty
        for loss in losses.values():
            self.backward(loss)
        return losses


_PIXEL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"charbonnier": charbonnier, "l1": nn.functional.l1_loss}


def cut_windows(images: Tensor, corners: Sequence[tuple[int, int]], side: int) -> Tensor:
    """The window of each image that has its top-left corner there: (N, 3, H, W) to (N, 3, side, side)."""
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(images, corners, strict=True)])


def _detached(view: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    return view.detach() if isinstance(view, Tensor) else [layer.detach() for layer in view]


def _unlikeness(restored: Tensor, targets: Tensor) -> Tensor:
    """1 - SSIM: in float32, since variances are differences of nearly equal numbers."""
    with torch.autocast(restored.device.type, enabled=False):
        return 1 - ssim(restored * 0.5 + 0.5, targets * 0.5 + 0.5).mean()


def _settle_net(config: RestorerTrainConfig, resume: bool) -> tuple[RestorerTrainConfig, dict[str, Tensor] | None]:
    """The settings with the net of the weights that the run starts from, and these weights.

    Raises:
        ConfigError: the settings ask for another net than that of the weights; more detail blocks may be asked for, by
            which a trained compact grows.
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


def _begin_from(net: RestorerNet, start: dict[str, Tensor]) -> None:
    """Load weights, in place; a compact may have more detail blocks than they have, which begin as the identity.

    Raises:
        ModelError: the weights do not fit.
    """
    missing, unknown = net.load_state_dict(start, strict=False)
    foreign = [*unknown, *(key for key in missing if not key.startswith("detail."))]
    if foreign:
        raise ModelError(f"the weights to start from do not fit the net: {foreign[0]}; leave the setting net out")


def _make_adversary(config: RestorerTrainConfig) -> nn.Module:
    if config.adversary == "features":
        return FeatureDiscriminator()
    if config.adversary == "patch":
        return PatchDiscriminator()
    return StyleDiscriminator(config.net.size, config.adversary_width)


def _make_optimisers(config: RestorerTrainConfig, nets: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """Adam for everything, but Muon for the kernels where it is wanted."""
    net = nets["net"]
    kernels, rest = split_parameters(net) if config.optimiser == "muon" else ([], list(net.parameters()))
    groups: list[dict[str, Any]] = [{"params": rest}]
    if isinstance(net, GFPGANClean) and config.decoder_rate != 1:
        prior = list(net.stylegan_decoder.parameters())
        net.stylegan_decoder.requires_grad_(config.decoder_rate > 0)
        own = {id(parameter) for parameter in prior}
        others = [parameter for parameter in rest if id(parameter) not in own]
        groups = [{"params": others}, {"params": prior, "share": config.decoder_rate}]
    found: dict[str, torch.optim.Optimizer] = {
        "optimiser": torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    }
    if kernels:
        found["kernels_optimiser"] = Muon(kernels, lr=config.learning_rate)
    for name in ("adversary", "components"):
        if name in nets:
            # No momentum: its opponent moves.
            adam = torch.optim.Adam(nets[name].parameters(), lr=config.adversarial_rate, betas=(0.0, 0.99))
            found[f"{name}_optimiser"] = adam
    return found


def _load_checks(config: RestorerTrainConfig) -> Checks:
    if config.validation is None:
        return {}
    cache = load_images([config.validation], max(config.validation_size, config.net.size))
    images = spread(cache.pixels.numpy(), config.validation_images)
    return make_checks(images, config.net.size, seed=config.seed)
