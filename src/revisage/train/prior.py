"""Train the generative prior, GFP-GAN's stage (a): a StyleGAN2 of faces, top to bottom.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020): the non-saturating logistic loss,
R1 each 16th step, path-length regularisation each 4th, mixed styles, an average of the weights. What is trained is the
decoder of a GFP-GAN in the clean form, so that stage (b) takes its weights as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from revisage.core import Image
from revisage.nets import SLOPE, StyleDecoder
from revisage.train.compute import Compute, average_values, started
from revisage.train.degrade import generator
from revisage.train.images import ImageCache, load_images, to_images
from revisage.train.loop import Check, Draws, Losses, Stage, sample_batches, train
from revisage.train.networks import build_decoder, noise_sides
from revisage.train.restorer import StyleDiscriminator, discriminator_loss, generator_loss, gradient_penalty
from revisage.train.run_folder import Report, RunFolder
from revisage.train.settings import PriorTrainConfig

__all__ = ["PriorStage", "sample_grid", "train_prior"]

_PENALTY_EVERY, _PATH_EVERY = 16, 4
"""Regularisers cost a second backward pass: they are rare, and as many times as strong."""

_MAPPING_RATE = 0.01
"""The mapping network learns at a hundredth of the rate, as published: it sees every gradient."""

_GRID_FACES = 24
_TRUNCATION = 0.7
"""StyleGAN's psi: how far the sample grid's styles go from the mean."""

_STYLE, _OTHER_STYLE, _CUT, _MIXED, _DIRECTION = range(5)
"""Streams of what is drawn in a step."""


def train_prior(
    config: PriorTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train a prior, the ``average`` of the last checkpoint; arguments, result and errors as for
    :func:`revisage.train.train_restorer`."""
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="prior", resume=resume, leads=compute.group.leads, progress=progress)
        return train(PriorStage(config, compute), run)


class _PathMean(nn.Module):
    """The mean path length so far: kept in checkpoints and shared by the processes like a net."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))


class PriorStage(Stage):
    """A StyleGAN2 that learns to make faces, against a discriminator.

    Raises:
        InputError: there are no faces to learn from.
    """

    name = "prior"
    config: PriorTrainConfig

    def __init__(self, config: PriorTrainConfig, compute: Compute) -> None:
        self.faces = load_images(config.data, config.net.size, cache=config.cache)
        torch.manual_seed(config.seed)
        self.net = build_decoder(config.net)
        for layer in self.net.style_mlp:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)
        self.average = build_decoder(config.net)
        self.average.load_state_dict(self.net.state_dict())
        self.average.requires_grad_(False)
        self.adversary = StyleDiscriminator(config.net.size, config.adversary_width)
        self.path = _PathMean()
        nets = {"net": self.net, "average": self.average, "adversary": self.adversary, "path": self.path}
        compute.place(*nets.values())
        groups = {
            "optimiser": _equalised(self.net, config.learning_rate),
            "adversary_optimiser": [{"params": list(self.adversary.parameters())}],
        }
        adams = {
            name: torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.0, 0.99), eps=1e-8)
            for name, parameters in groups.items()
        }
        self.synthesis: Callable[..., Tensor] = torch.compile(self.net) if config.compile else self.net
        super().__init__(config, compute, self.faces.record(), nets, adams)

    def batches(self, first_step: int) -> Iterator[Tensor]:
        """See :meth:`Stage.batches`: real faces."""
        return sample_batches(_MirroredFaces(self.faces, self.config.seed), self.config, self.compute, first_step)

    def learn(self, batch: Tensor, draws: Draws) -> Losses:
        """See :meth:`Stage.learn`."""
        real = self.compute.images(batch)
        with self.compute.autocast():
            fake = self.synthesis(_latents(self.net, self.config, draws), None, self._noise(draws)).float()
        losses = self._fooling(fake)
        if draws.step % _PATH_EVERY == 0 and self.config.path_weight > 0:
            losses |= self._lengthening(draws)
        return losses | self._judging(draws.step, fake.detach(), real)

    def decay(self, step: int) -> float:
        """See :meth:`Stage.decay`: half of the weights is forgotten in ``average_images``, or in a twentieth of what
        was seen when that is less: early weights are not worth keeping."""
        images = self.config.batch * self.config.accumulate * self.compute.group.size
        return float(0.5 ** (images / min(self.config.average_images, 0.05 * (step + 1) * images)))

    def check(self, step: int) -> Check:  # noqa: ARG002 - as the others
        """See :meth:`Stage.check`: faces to look at."""
        return Check({}, sample_grid(self.average, seed=self.config.seed))

    def _noise(self, draws: Draws) -> list[Tensor]:
        return draws.noise(noise_sides(self.config.net.size))

    def _fooling(self, fake: Tensor) -> Losses:
        """The generator's loss, with its gradients."""
        self.adversary.requires_grad_(False)
        with self.compute.autocast():
            loss = generator_loss(self.adversary(fake))
        self.backward(loss)
        self.adversary.requires_grad_(True)
        return {"generator": loss}

    def _lengthening(self, draws: Draws) -> Losses:
        """Path-length regularisation with its gradients, on half of the batch."""
        config, half = self.config, max(1, self.config.batch // 2)
        latents = _latents(self.net, config, draws)[:half]
        noise = [values[:half] for values in self._noise(draws)]
        direction = draws.normal(_DIRECTION, 3, config.net.size, config.net.size)[:half]
        lengths = path_lengths(self.net, latents, noise, direction)
        mean = average_values(self.compute.group, {"lengths": lengths.detach().mean()})["lengths"]
        self.path.mean += 0.01 * (mean - self.path.mean)
        penalty = config.path_weight * (lengths - float(self.path.mean)).square().mean()
        self.backward(_PATH_EVERY * penalty)
        return {"path": penalty, "path_length": penalty.new_tensor(mean)}

    def _judging(self, step: int, fake: Tensor, real: Tensor) -> Losses:
        """The discriminator's loss, with its gradients; R1 in float32."""
        with self.compute.autocast():
            judged_real, judged_fake = self.adversary(real), self.adversary(fake)
        loss = total = discriminator_loss(judged_real, judged_fake)
        right = (judged_real.detach() > 0).float().mean() + (judged_fake.detach() < 0).float().mean()
        found = {"discriminator": loss, "right": right / 2}
        if step % _PENALTY_EVERY == 0 and self.config.penalty_weight > 0:
            found["penalty"] = self.config.penalty_weight * gradient_penalty(self.adversary, real)
            total = loss + _PENALTY_EVERY * found["penalty"]
        self.backward(total)
        return found


def _latents(net: StyleDecoder, config: PriorTrainConfig, draws: Draws) -> Tensor:
    """(N, layers, features): of one style, or from some layer on of a second."""
    count, features = net.latent_count, config.net.style_features
    first, second = (net.style_mlp(draws.normal(stream, features)) for stream in (_STYLE, _OTHER_STYLE))
    cut = 1 + (draws.uniform(_CUT) * (count - 1)).long()
    cut = torch.where(draws.uniform(_MIXED) < config.mixing_probability, cut, count)
    layers = torch.arange(count, device=first.device)
    return torch.where((layers < cut[:, None])[..., None], first[:, None], second[:, None])


class _MirroredFaces(Dataset[Tensor]):
    """Index -> a real face, (3, size, size) uint8 RGB, half of them mirrored; follows from (seed, index) alone."""

    def __init__(self, cache: ImageCache, seed: int) -> None:
        self.cache, self.seed = cache, seed

    def __getitem__(self, index: int) -> Tensor:
        random = generator(self.seed, index)
        face = torch.from_numpy(self.cache.draw(random)).permute(2, 0, 1)
        return face.flip(2) if random.random() < 0.5 else face


def path_lengths(net: nn.Module, latents: Tensor, noise: list[Tensor], direction: Tensor) -> Tensor:
    """How far each image moves along a random direction with its latents, (N,).

    The norm of J^T y, for the Jacobian J of the synthesis and y of standard normal numbers over the image's side, which
    is ``direction`` (N, 3, size, size); mean square over the layers' latents (N, layers, features).
    """
    images = net(latents, None, noise)
    moved = (images * direction).sum() / math.sqrt(images.shape[-2] * images.shape[-1])
    (gradient,) = torch.autograd.grad(moved, latents, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


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
    return [{"params": parameters, "lr": rate * scale, "share": scale} for scale, parameters in sorted(groups.items())]


@torch.no_grad()
def sample_grid(net: StyleDecoder, *, seed: int, count: int = _GRID_FACES, columns: int = 8) -> Image:
    """Faces of the prior, always of the same styles, drawn a little towards the mean: a picture (H, W, 3) uint8 RGB."""
    device = next(net.parameters()).device
    features = cast(nn.Linear, net.style_mlp[1]).in_features
    draws = torch.randn((4096, features), generator=torch.Generator().manual_seed(seed)).to(device)
    mean = net.style_mlp(draws).mean(dim=0)
    styles = mean + _TRUNCATION * (net.style_mlp(draws[:count]) - mean)
    faces: list[Image] = []
    for start in range(0, count, 8):
        part = styles[start : start + 8]
        faces += to_images(net(part[:, None].expand(-1, net.latent_count, -1), None))
    return np.vstack([np.hstack(faces[row : row + columns]) for row in range(0, count, columns)])
