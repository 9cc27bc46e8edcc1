"""The loop that both stages of the face detector are trained by: steps, their log, measures, checkpoints."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from revisage.core import InputError, ProcessingError
from revisage.train.checkpoint import write_checkpoint
from revisage.train.detector_eval import DetectorMeasures
from revisage.train.run import not_finite

__all__ = ["DetectorRun", "RunLog", "RunSettings", "average_into", "learning_rate_at", "resume", "rounded"]


class RunSettings(Protocol):
    """What the loop needs of a config."""

    @property
    def batch(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def log_every(self) -> int: ...
    @property
    def evaluate_every(self) -> int: ...
    @property
    def bf16(self) -> bool: ...


class RunLog:
    """JSON lines, flushed one by one, and passed on to a listener."""

    def __init__(self, path: Path, report: Callable[[dict[str, Any]], None] | None) -> None:
        self._path, self._report = path, report

    def write(self, record: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._report is not None:
            self._report(record)


@dataclass
class DetectorRun:
    """A run that goes on where its folder left off.

    loss_of: (outputs of the network, targets) to the loss and its parts. evaluate: measures of the averaged
    network. save: writes its weights, at a step with measures.
    """

    folder: Path
    config: RunSettings
    model: nn.Module
    averaged: nn.Module
    optimisers: Sequence[torch.optim.Optimizer]
    log: RunLog
    loss_of: Callable[[Any, Tensor], tuple[Tensor, dict[str, Tensor]]]
    evaluate: Callable[[], DetectorMeasures]
    save: Callable[[int, DetectorMeasures], None]
    step: int = 0
    _sums: dict[str, float] = field(default_factory=dict)
    _since: float = 0.0

    def __post_init__(self) -> None:
        self.step = resume(self._checkpoint, self.model, self.averaged, self.optimisers)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def train(self, batches: Iterable[tuple[Tensor, Tensor]]) -> DetectorMeasures:
        """Learn from the batches from the run's step on; the last measures.

        Raises ProcessingError when the loss is no number, OutputError when the checkpoint cannot be written.
        """
        config = self.config
        measures = self.evaluate() if self.step >= config.steps else None
        self._since = time.monotonic()
        for images, targets in batches:
            self._learn(images, targets)
            if self.step % config.log_every == 0:
                self._write_step()
            if self.step % config.evaluate_every == 0 or self.step == config.steps:
                measures = self._measured()
        assert measures is not None
        return measures

    def _learn(self, images: Tensor, targets: Tensor) -> None:
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = learning_rate_at(self.step, self.config)
        self.model.train()
        batch = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            outputs = self.model(batch)
        loss, parts = self.loss_of(outputs, targets)
        if not torch.isfinite(loss):
            raise ProcessingError(not_finite(self.step, self.config.batch, self._checkpoint))
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)):
            for optimiser in self.optimisers:
                optimiser.step()
        self.step += 1
        average_into(self.averaged, self.model, min(self.config.average, (1 + self.step) / (20 + self.step)))
        for name, value in {"loss": loss.detach(), **parts}.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) / self.config.log_every

    def _write_step(self) -> None:
        seconds = (time.monotonic() - self._since) / self.config.log_every
        self.log.write({"event": "step", "step": self.step, **rounded({**self._sums, "s_per_step": seconds})})
        self._sums, self._since = {}, time.monotonic()

    def _measured(self) -> DetectorMeasures:
        measures = self.evaluate()
        self.log.write({"event": "measures", "step": self.step, **rounded(asdict(measures))})
        self.save(self.step, measures)
        optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
        states = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict(), "optimisers": optimisers}
        write_checkpoint(self._checkpoint, {"step": self.step, **states})
        self._since = time.monotonic()
        return measures


def learning_rate_at(step: int, config: RunSettings) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    part = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(part, 1.0))))


@torch.no_grad()
def average_into(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and batch statistics, in place."""
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def resume(path: Path, model: nn.Module, averaged: nn.Module, optimisers: Sequence[torch.optim.Optimizer]) -> int:
    """Load a checkpoint where there is one; the step to go on with. Raises InputError when it does not fit the run."""
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        return int(state["step"])
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged or of another kind of run: name another folder for this one") from error


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Floats to five places, for a log."""
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}
