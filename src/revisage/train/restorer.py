"""Train the `compact` restorer: the whole recipe, top to bottom.

Wang et al. (CVPR 2021) for the structure of the losses (pixels, pyramid, perception, adversary). Everything that is
random follows from (seed, step) or (seed, sample index), so a run that is stopped and resumed gives the same bits.

A run directory holds config.json, log.jsonl, data.json, last.pt (the checkpoint) and grids/ (input, restored, source).
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from revisage.core.errors import ConfigError, InputError, OutputError, ProcessingError
from revisage.nets.compact import CompactConfig, CompactGFPGAN
from revisage.nets.vgg import VGG19Features
from revisage.train import validation
from revisage.train.data import DegradedFaces, FaceSource, ImageCache, batches, load_images
from revisage.train.degradation import MIXED, PRESETS, DegradationConfig
from revisage.train.discriminator import (
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from revisage.train.losses import charbonnier, feature_distance, pyramid_loss, random_windows, window_pair

__all__ = ["RestorerTrainConfig", "read_checkpoint", "train_restorer"]

Report = Callable[[dict[str, Any]], None]


class RestorerTrainConfig(BaseModel):
    """One run. Saved with it; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[FaceSource, ...] = Field(min_length=1)
    vgg: Path = Field(description="safetensors of VGG19 up to relu3_1 for the perceptual loss")
    validation: FaceSource | None = Field(
        default=None, description="faces of the fixed check, at any size >= the net's"
    )
    validation_images: int = Field(default=24, ge=1)
    mixture: tuple[tuple[str, float], ...] = Field(default=MIXED, description="(degradation preset, share)")
    tone_probability: float = Field(
        default=0.25, ge=0, le=1, description="share of pairs with another exposure and gamma"
    )
    net: CompactConfig = Field(default_factory=CompactConfig)

    seed: int = 1
    steps: int = Field(default=10_000, ge=1)
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    warm_up_steps: int = Field(default=400, ge=1)
    gradient_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    ema: float = Field(default=0.999, ge=0, lt=1, description="the average of the weights that is exported")
    pixel_weight: float = Field(default=1.0, ge=0)
    pyramid_weight: float = Field(default=0.1, ge=0)
    perceptual_weight: float = Field(default=0.1, ge=0)
    perceptual_window: int = Field(default=64, ge=32, description="the perceptual loss looks at a random window, px")
    adversarial_weight: float = Field(default=0.0, ge=0, description="0: no adversary")
    adversarial_start: int = Field(default=0, ge=0, description="the step at which the adversary comes in")
    adversarial_window: int = Field(
        default=128, ge=32, multiple_of=32, description="the adversary sees a random window, px"
    )
    adversarial_rate: float = Field(default=5e-4, gt=0, description="learning rate of the adversary")
    penalty_weight: float = Field(default=1.0, ge=0, description="R1, each 16th step")

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = Field(default=2, ge=1)
    workers: int = Field(default=1, ge=0)
    log_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    validate_every: int = Field(default=1000, ge=1)

    def degradations(self) -> list[tuple[DegradationConfig, float]]:
        """The mixture with the presets looked up. Raises ConfigError for an unknown one."""
        for name, _ in self.mixture:
            if name not in PRESETS:
                raise ConfigError(f"no degradation preset '{name}': choose from {', '.join(sorted(PRESETS))}")
        return [(PRESETS[name], share) for name, share in self.mixture]


#: What may change when a run goes on: how long it is, what it watches and the weights of the losses.
MAY_CHANGE = {
    *("steps", "threads", "workers", "log_every", "checkpoint_every", "validate_every"),
    *("perceptual_weight", "pyramid_weight", "perceptual_window"),
    *("adversarial_weight", "adversarial_start", "adversarial_window", "adversarial_rate", "penalty_weight"),
}


def train_restorer(
    config: RestorerTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train until `config.steps`; returns the path of the last checkpoint.

    `progress` gets each line of the log. Raises ConfigError or InputError for what the user can mend, OutputError
    when the run directory holds another run, ProcessingError when the loss is no longer finite.
    """
    torch.set_num_threads(config.threads)
    _open_run(config, run_dir, resume)
    cache = load_images(config.data, config.net.size)
    _describe_data(cache, run_dir)
    dataset = DegradedFaces(cache, config.degradations(), seed=config.seed, tone_probability=config.tone_probability)
    vgg = validation.load_vgg(config.vgg)
    checks = _load_checks(config)

    state = _initial_state(config)
    first_step = _load_checkpoint(run_dir, state) if resume else 0
    low_precision = _use_bfloat16(config.precision)

    loader = batches(dataset, first_step=first_step, last_step=config.steps, batch=config.batch, workers=config.workers)
    clock, recent = _Clock(first_step), _Means()
    for step, (inputs, targets) in enumerate(loader, first_step):
        _set_rates(config, state, step)
        inputs, targets = _prepare(inputs), _prepare(targets)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision):
            restored, pyramid = state.net(inputs, return_pyramid=True)
            losses = _losses(config, step, restored.float(), pyramid, targets, vgg)
            fake, real = _adversarial_windows(config, step, restored.float(), targets)
            if fake is not None:
                losses["adversarial"] = config.adversarial_weight * _fooling(state.adversary, fake)
        total = torch.stack(list(losses.values())).sum()
        state.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(state.net.parameters(), config.gradient_norm)
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            raise ProcessingError(_not_finite(step, config.batch, run_dir))
        state.optimiser.step()
        _follow(state.average, state.net, min(config.ema, (1 + step) / (10 + step)))
        if fake is not None and real is not None:
            losses["adversary"] = _train_adversary(config, state, step, fake.detach(), real, low_precision)

        recent.add({**losses, "gradient": norm})
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            rate = _learning_rate(config, step)
            _log(run_dir, progress, {"step": done, "rate": rate, **recent.read(), **clock.read(done, config.batch)})
        if checks and (done % config.validate_every == 0 or done == config.steps):
            measures, grid = validation.check(checks, state.average, vgg)
            validation.write_grid(run_dir / "grids" / f"{done:07d}.png", grid)
            _log(run_dir, progress, {"step": done, "validation": measures})
        if done % config.checkpoint_every == 0 or done == config.steps:
            _save_checkpoint(run_dir, done, config, state)
    return run_dir / "last.pt"


@dataclass
class _State:
    """What a run changes as it goes."""

    net: CompactGFPGAN
    average: CompactGFPGAN
    optimiser: torch.optim.Optimizer
    adversary: PatchDiscriminator
    adversary_optimiser: torch.optim.Optimizer

    def parts(self) -> dict[str, Any]:
        """Each part by its name in a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _Clock:
    """Seconds since the start, and images a second since the last look."""

    def __init__(self, step: int) -> None:
        self.started = self.looked = time.monotonic()
        self.step = step

    def read(self, step: int, batch: int) -> dict[str, float]:
        now = time.monotonic()
        pace = (step - self.step) * batch / max(now - self.looked, 1e-9)
        self.looked, self.step = now, step
        return {"seconds": round(now - self.started, 1), "images_per_second": round(pace, 2)}


class _Means:
    """The mean of each loss since the last look: single batches differ too much to be read."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.values.setdefault(name, []).append(float(loss.detach()))

    def read(self) -> dict[str, float]:
        means = {name: round(float(np.mean(values)), 5) for name, values in self.values.items()}
        self.values = {}
        return means


def _initial_state(config: RestorerTrainConfig) -> _State:
    torch.manual_seed(config.seed)
    net = CompactGFPGAN(config.net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = CompactGFPGAN(config.net)
    average.load_state_dict(net.state_dict())
    average.requires_grad_(False)
    adversary = PatchDiscriminator().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _State(
        net,
        average,
        torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), fused=True),
        adversary,
        # No momentum for the adversary: its opponent moves.
        torch.optim.Adam(adversary.parameters(), lr=config.adversarial_rate, betas=(0.0, 0.99)),
    )


def _describe_data(cache: ImageCache, run_dir: Path) -> None:
    record = {"images": len(cache.files), "sha256": cache.digest, "licences": cache.licences}
    record["skipped"] = cache.skipped
    (run_dir / "data.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _open_run(config: RestorerTrainConfig, run_dir: Path, resume: bool) -> None:
    """Save the configuration of a new run, or check that of one to go on with."""
    record = run_dir / "config.json"
    if resume:
        if not record.is_file():
            raise InputError(f"no run to resume in {run_dir}: config.json is not there")
        try:
            saved = RestorerTrainConfig.model_validate_json(record.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{record}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        changed = [name for name, value in config if name not in MAY_CHANGE and value != getattr(saved, name)]
        if changed:
            raise ConfigError(f"{run_dir} was begun with another {', '.join(changed)}: start a new run")
    elif record.exists():
        raise OutputError(f"{run_dir} already holds a run: resume it or choose another directory")
    run_dir.mkdir(parents=True, exist_ok=True)
    record.write_text(config.model_dump_json(indent=1), encoding="utf-8")


def _use_bfloat16(precision: str) -> bool:
    """bfloat16 convolutions are four times as fast where the CPU has them, and four times as slow where not."""
    if precision != "auto":
        return precision == "bf16"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def _learning_rate(config: RestorerTrainConfig, step: int) -> float:
    """A linear warm-up, then half a cosine down to zero."""
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    part = (step - config.warm_up_steps) / max(1, config.steps - config.warm_up_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * part))


def _set_rates(config: RestorerTrainConfig, state: _State, step: int) -> None:
    rate = _learning_rate(config, step)
    for group in state.optimiser.param_groups:
        group["lr"] = rate


def _prepare(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 to float32 [-1, 1], channels last."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _losses(
    config: RestorerTrainConfig,
    step: int,
    restored: Tensor,
    pyramid: list[Tensor],
    targets: Tensor,
    vgg: VGG19Features,
) -> dict[str, Tensor]:
    """Each loss with its weight in it."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    corners = random_windows(len(restored), config.net.size, config.perceptual_window, generator)
    seen, wanted = window_pair(restored, targets, corners, config.perceptual_window)
    with torch.no_grad():
        references = vgg(_unit_range(wanted))
    features = vgg(_unit_range(seen))
    return {
        "pixel": config.pixel_weight * charbonnier(restored, targets),
        "pyramid": config.pyramid_weight * pyramid_loss(pyramid, targets),
        "perceptual": config.perceptual_weight * feature_distance(features, references).mean(),
    }


def _adversarial_windows(
    config: RestorerTrainConfig, step: int, restored: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The windows that the adversary sees at this step, if it plays: (restored, real)."""
    if config.adversarial_weight == 0 or step < config.adversarial_start:
        return None, None
    generator = torch.Generator().manual_seed(config.seed * 7_000_003 + step)
    corners = random_windows(len(restored), config.net.size, config.adversarial_window, generator)
    return window_pair(restored, targets, corners, config.adversarial_window)


def _fooling(adversary: PatchDiscriminator, fake: Tensor) -> Tensor:
    """The restorer's part: the adversary itself gets no gradient."""
    adversary.requires_grad_(False)
    loss = generator_loss(adversary(fake))
    adversary.requires_grad_(True)
    return loss


def _train_adversary(
    config: RestorerTrainConfig, state: _State, step: int, fake: Tensor, real: Tensor, low_precision: bool
) -> Tensor:
    """One step of the adversary; R1 each 16th step, 16 times as strong, in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision):
        loss = discriminator_loss(state.adversary(real), state.adversary(fake))
    if step % 16 == 0 and config.penalty_weight > 0:
        loss = loss + 16 * config.penalty_weight * gradient_penalty(state.adversary, real)
    state.adversary_optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.adversary_optimiser.step()
    return loss


def _unit_range(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], channels last."""
    return (images * 0.5 + 0.5).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """The exponential moving average of the weights, in place."""
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def _not_finite(step: int, batch: int, run_dir: Path) -> str:
    last = run_dir / "last.pt"
    indexes = f"samples {step * batch} to {(step + 1) * batch - 1}"
    kept = f"the last good checkpoint is {last}" if last.is_file() else "there is no checkpoint yet"
    return f"the loss is not finite at step {step + 1} ({indexes}); {kept}: resume with a lower learning rate"


def _log(run_dir: Path, progress: Report | None, line: dict[str, Any]) -> None:
    with (run_dir / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    if progress is not None:
        progress(line)


def _save_checkpoint(run_dir: Path, step: int, config: RestorerTrainConfig, state: _State) -> None:
    """Write beside the old checkpoint, then take its place: a full disk leaves the old one as it was."""
    states = {name: part.state_dict() for name, part in state.parts().items()}
    temporary = run_dir / "last.pt.part"
    try:
        torch.save({"step": step, "config": config.model_dump_json(), **states}, temporary)
        temporary.replace(run_dir / "last.pt")
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {run_dir / 'last.pt'} ({error}); the old one is intact") from error


def read_checkpoint(run_dir: Path) -> dict[str, Any]:
    """The last checkpoint of a run: `step`, `config` (JSON) and the state of each part.

    Raises InputError when there is none or it is damaged.
    """
    path = run_dir / "last.pt"
    if not path.is_file():
        raise InputError(f"no checkpoint in {run_dir}: start the run anew")
    try:
        states: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged or no checkpoint: start the run anew") from error
    return states


def _load_checkpoint(run_dir: Path, state: _State) -> int:
    states = read_checkpoint(run_dir)
    for name, part in state.parts().items():
        part.load_state_dict(states[name])
    return int(states["step"])


def _load_checks(config: RestorerTrainConfig) -> validation.Checks:
    if config.validation is None:
        return {}
    cache = load_images([config.validation], validation.FACE_SIZE)
    images = validation.spread(cache.pixels.numpy(), config.validation_images)
    return validation.make_checks(images, config.net.size, seed=config.seed)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(f"{line}\n")


def main(arguments: list[str] | None = None) -> None:
    """`python -m revisage.train.restorer CONFIG.json RUN_DIR [--resume]`."""
    parser = argparse.ArgumentParser(description="Train the compact restorer.")
    parser.add_argument("config", type=Path)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(arguments)
    config = RestorerTrainConfig.model_validate_json(options.config.read_text(encoding="utf-8"))
    train_restorer(config, options.run_dir, resume=options.resume, progress=_print)


if __name__ == "__main__":
    main()
