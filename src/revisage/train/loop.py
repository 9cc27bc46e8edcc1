"""The loop that everything is trained by: a stage gives nets, optimisers, batches and losses, the loop does the rest.

Everything that is random follows from (seed, step) or (seed, sample index), so a run that is stopped and resumed gives
the same bits, and several processes (``torchrun``) see what one with a batch as large as theirs together would see.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from revisage.core import Image, ProcessingError
from revisage.train.compute import Compute, average_gradients, average_values, share_weights
from revisage.train.run_folder import RunFolder
from revisage.train.settings import SampleConfig, StageConfig

__all__ = ["Check", "Draws", "Losses", "SampleStage", "Stage", "follow", "sample_batches", "train", "warmed_up"]

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Check:
    """What a look at the averaged weights gives.

    Attributes:
        measures: by level and name, for the log; empty where there is only a picture to look at.
        picture: (H, W, 3) uint8 RGB, for people.
        value: the measure that ``best.pt`` is chosen by; None where none is kept.
        larger_is_better: which way that measure is better.
    """

    measures: Mapping[str, Any]
    picture: Image | None = None
    value: float | None = None
    larger_is_better: bool = True

    def beats(self, best: float | None) -> bool:
        """Whether it is better than the best so far."""
        if self.value is None or best is None:
            return self.value is not None
        return self.value > best if self.larger_is_better else self.value < best


class Stage(ABC):
    """One kind of training: what is learnt, from what, and how it is looked at.

    Attributes:
        name: by which a checkpoint tells what it is of.
        may_join: parts that a run may gain when it goes on; they begin anew then.
        gradient_norm: to which the net's gradients are scaled down.
        config, compute: as given.
        data: what it learns from, for ``data.json``; ``skipped`` names the files that could not be used.
        nets: by their name in a checkpoint; ``net`` is what learns, ``average`` what is exported.
        optimisers: likewise. A group's ``share`` is its factor of the learning rate.
    """

    name: ClassVar[str]
    may_join: ClassVar[frozenset[str]] = frozenset({"scaler"})
    gradient_norm: float = math.inf

    def __init__(
        self,
        config: StageConfig,
        compute: Compute,
        data: Mapping[str, Any],
        nets: Mapping[str, nn.Module],
        optimisers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        self.config, self.compute, self.data = config, compute, data
        self.nets, self.optimisers = nets, optimisers
        self.scaler = compute.scaler()

    @abstractmethod
    def batches(self, first_step: int) -> Iterator[Any]:
        """What this process learns from, from a step on; see :func:`sample_batches`."""

    @abstractmethod
    def learn(self, batch: Any, draws: Draws) -> Losses:
        """Go through one batch: add up the gradients by :meth:`backward`, and return the losses, weighted."""

    @abstractmethod
    def decay(self, step: int) -> float:
        """How much of the averaged weights stays in a step; see :func:`warmed_up`."""

    @abstractmethod
    def check(self, step: int) -> Check | None:
        """Look at the averaged weights; None where there is nothing to look at them with."""

    def rate(self, optimiser: str, step: int) -> float:  # noqa: ARG002 - a stage may have a rate for each
        """The learning rate of an optimiser in a step."""
        return self.config.rate_at(step)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one of a step's batches."""
        self.scaler.scale(loss / self.config.accumulate).backward()

    def parts(self) -> dict[str, Any]:
        """Everything with a state of its own, by its name in a checkpoint."""
        return {**self.nets, **self.optimisers, **({"scaler": self.scaler} if self.scaler.is_enabled() else {})}


class SampleStage(Stage):
    """A stage that learns from samples of one data set, which forked workers make: they share what it holds in memory,
    where spawned ones would copy it.

    Attributes:
        dataset: see :func:`sample_batches`.
    """

    config: SampleConfig
    dataset: Dataset[Any]

    def batches(self, first_step: int) -> Iterator[Any]:
        """See :meth:`Stage.batches`."""
        return sample_batches(self.dataset, self.config, self.compute, first_step, context="fork")

    def decay(self, step: int) -> float:
        """See :meth:`Stage.decay`."""
        return warmed_up(self.config.ema, step)


def train(stage: Stage, run: RunFolder) -> Path:
    """Train until ``config.steps``; returns the path of the last checkpoint.

    Raises:
        InputError: the checkpoint to go on from is absent, damaged or of another architecture.
        OutputError: the run's folder cannot be written to, or is full.
        ProcessingError: a loss is no number.
    """
    config, compute = stage.config, stage.compute
    run.begin(stage.data)
    first, best = run.load(stage.parts(), stage.may_join) if run.resume else (0, None)
    share_weights(compute.group, stage.nets.values())

    images = config.batch * config.accumulate * compute.group.size
    batches, clock, recent = stage.batches(first), _Clock(first), _Means()
    for step in range(first, config.steps):
        for name, optimiser in stage.optimisers.items():
            _set_rate(optimiser, stage.rate(name, step))
            optimiser.zero_grad(set_to_none=True)
        draws = (Draws(config, compute, step, part) for part in range(config.accumulate))
        batches_losses = [stage.learn(next(batches), each) for each in draws]
        norm = _gathered_gradients(stage)
        if not _is_finite(stage, batches_losses, norm):
            raise ProcessingError(_not_finite(step, images, run.folder / "last.pt"))
        for optimiser in _with_gradients(stage):
            stage.scaler.step(optimiser)
        stage.scaler.update()
        follow(stage.nets["average"], stage.nets["net"], stage.decay(step))
        for losses in batches_losses:
            recent.add(losses)
        recent.add({"gradient": norm})

        done, last = step + 1, step + 1 == config.steps
        if done % config.log_every == 0 or last:
            means = {name: round(value, 5) for name, value in average_values(compute.group, recent.read()).items()}
            run.log({"step": done, "rate": stage.rate("optimiser", step), **means, **clock.read(done, images)})
        if compute.group.leads and (done % config.validate_every == 0 or last):
            best = _checked(stage, run, done, best)
        if done % config.checkpoint_every == 0 or last:
            run.save(done, {**{name: part.state_dict() for name, part in stage.parts().items()}, "best": best})
    return run.folder / "last.pt"


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def _with_gradients(stage: Stage) -> list[torch.optim.Optimizer]:
    """The optimisers that this step has gradients for: an adversary may not play yet."""
    return [
        optimiser
        for optimiser in stage.optimisers.values()
        if any(parameter.grad is not None for group in optimiser.param_groups for parameter in group["params"])
    ]


def _gathered_gradients(stage: Stage) -> Tensor:
    """Average the gradients over the processes, undo their scaling, bound the net's; returns its norm before that."""
    for optimiser in _with_gradients(stage):
        parameters = (parameter for group in optimiser.param_groups for parameter in group["params"])
        average_gradients(stage.compute.group, parameters)
        stage.scaler.unscale_(optimiser)
    return nn.utils.clip_grad_norm_(stage.nets["net"].parameters(), stage.gradient_norm)


def _is_finite(stage: Stage, batches_losses: list[Losses], norm: Tensor) -> bool:
    healthy = all(bool(torch.isfinite(loss)) for losses in batches_losses for loss in losses.values())
    # Scaled gradients that burst are the scaler's affair: it leaves the step out and scales less.
    return healthy and (bool(torch.isfinite(norm)) or stage.scaler.get_scale() > 1)


def _not_finite(step: int, images: int, last: Path) -> str:
    """Why a run stops whose loss is no longer a number: the step, its samples, and what is left."""
    advice = "there is no checkpoint yet: begin anew with a lower learning rate"
    if last.is_file():
        advice = f"the last good checkpoint is {last}: resume with a lower learning rate"
    samples = f"samples {step * images} to {(step + 1) * images - 1}"
    return f"the loss is not finite at step {step + 1} ({samples}); {advice}"


def _checked(stage: Stage, run: RunFolder, step: int, best: float | None) -> float | None:
    """Look at the averaged weights, keep them if they are the best so far, and return the best measure."""
    found = stage.check(step)
    if found is None:
        return best
    if found.picture is not None:
        run.show(step, found.picture)
    if found.beats(best):
        best = found.value
        run.save(step, {"average": stage.nets["average"].state_dict(), "best": best}, "best.pt")
    if found.measures:
        run.log({"step": step, "validation": found.measures, "best": best})
    return best


def warmed_up(decay: float, step: int) -> float:
    """An average's decay, less at the start, as early weights are not worth keeping (as TensorFlow has it)."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """The exponential moving average of weights and batch statistics, in place."""
    floats: tuple[list[Tensor], list[Tensor]] = [], []
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            floats[0].append(mean)
            floats[1].append(value)
        else:
            mean.copy_(value)
    torch._foreach_lerp_(*floats, 1 - decay)


@dataclass(frozen=True)
class Draws:
    """What chance decides in one batch: this process's share of what is drawn for the whole step.

    Attributes:
        part: which of the batches that make one step.
    """

    config: StageConfig
    compute: Compute
    step: int
    part: int

    def _share(self) -> tuple[int, slice]:
        """How many images a step takes, and which of them are this batch's."""
        size, batch = self.compute.group.size, self.config.batch
        first = (self.part * size + self.compute.group.rank) * batch
        return batch * self.config.accumulate * size, slice(first, first + batch)

    def _generator(self, stream: int) -> torch.Generator:
        # 31 streams a step: more than the decoder of any size has layers, which draw their noise from the 10th on.
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step * 31 + stream)

    def normal(self, stream: int, *shape: int) -> Tensor:
        """(N, *shape) standard normal numbers. stream: a number for each use, so that they differ."""
        whole, mine = self._share()
        return torch.randn((whole, *shape), generator=self._generator(stream))[mine].to(self.compute.device)

    def uniform(self, stream: int) -> Tensor:
        """(N,) numbers from 0 to 1."""
        whole, mine = self._share()
        return torch.rand(whole, generator=self._generator(stream))[mine].to(self.compute.device)

    def noise(self, sides: Iterable[int]) -> list[Tensor]:
        """Fresh noise (N, 1, side, side) for each layer of a StyleGAN2 decoder."""
        return [self.normal(10 + layer, 1, side, side) for layer, side in enumerate(sides)]

    def windows(self, stream: int, size: int, window: int) -> list[tuple[int, int]]:
        """Top-left corners, one per image, of windows anywhere inside a size x size image.

        Odd corners too: the pooling of the perceptual net must not always meet the same phase of the pixel-shuffle.
        """
        whole, mine = self._share()
        corners = torch.randint(size - window + 1, (whole, 2), generator=self._generator(stream))
        return [(int(top), int(left)) for top, left in corners[mine]]


class _Indexes(Sampler[list[int]]):
    """Batches of consecutive sample indexes: each ``every``-th, from one on, to one."""

    def __init__(self, numbers: range, batch: int) -> None:
        self.numbers, self.batch = numbers, batch

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers:
            yield list(range(number * self.batch, (number + 1) * self.batch))


def _calm(_: int) -> None:
    """One thread per worker: the training has the cores."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def sample_batches(
    dataset: Dataset[Any],
    config: StageConfig,
    compute: Compute,
    first_step: int,
    *,
    context: Literal["spawn", "fork"] = "spawn",
) -> Iterator[Any]:
    """The batches of this process, from a step on to the end of the run.

    Args:
        dataset: index to sample, a tensor or several, which follows from the index alone.
        config: how many to a batch, and by how many workers they are made.
        compute: of the processes that train together, each takes every n-th batch.
        first_step: of the run.
        context: how workers start: ``fork`` shares what the dataset holds, but OpenCV's threads do not survive it.
    """
    group, a_step = compute.group, config.accumulate * compute.group.size
    sampler = _Indexes(range(first_step * a_step + group.rank, config.steps * a_step, group.size), config.batch)
    if config.workers == 0:
        yield from DataLoader(dataset, batch_sampler=sampler)
        return
    if context == "fork":
        cv2.setNumThreads(1)  # a forked worker could not end threads that it does not have
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=config.workers,
        worker_init_fn=_calm,
        multiprocessing_context=context,
        prefetch_factor=4,
    )
    yield from _fetched_ahead(loader, depth=8)


def _fetched_ahead(loader: Iterable[Any], depth: int) -> Iterator[Any]:
    """Batches taken over from the workers by a thread: on a busy machine each hand-over waits for a worker's turn."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def offer(item: Any) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.2)
                return True
        return False

    def fetch() -> None:
        end: BaseException | None = None
        try:
            for item in loader:
                if not offer(item):
                    return
        except BaseException as error:
            end = error
        offer(end)

    thread = threading.Thread(target=fetch, name="training batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


class _Clock:
    """Seconds since the start, and images a second since the last look."""

    def __init__(self, step: int) -> None:
        self.started = self.looked = time.monotonic()
        self.step = step

    def read(self, step: int, images: int) -> dict[str, float]:
        """The pace up to a step; ``images`` is how many a step takes."""
        now = time.monotonic()
        pace = (step - self.step) * images / max(now - self.looked, 1e-9)
        self.looked, self.step = now, step
        return {"seconds": round(now - self.started, 1), "images_per_second": round(pace, 2)}


class _Means:
    """The mean of each loss since the last look: single batches differ too much to be read."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of one batch."""
        for name, loss in losses.items():
            self.values.setdefault(name, []).append(loss.detach())

    def read(self) -> dict[str, Tensor]:
        """The means, and begin anew."""
        means = {name: torch.stack(values).mean() for name, values in self.values.items()}
        self.values = {}
        return means
