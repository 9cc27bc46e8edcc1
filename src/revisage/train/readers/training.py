"""Train the embedded face reader: what teachers say of clean faces, learnt on them jittered, hidden and damaged.

A run leaves ``weights.safetensors`` beside what every run has: the averaged weights in float16, with what they read of
faces held out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from revisage import models, nets
from revisage.core import Image, InputError, ModelError
from revisage.nets import READER_SIZE, CompactReader
from revisage.train.compute import Compute, started
from revisage.train.degrade import degrade, generator
from revisage.train.images import ImageCache, load_images
from revisage.train.loop import Check, Draws, Losses, SampleStage, train
from revisage.train.networks import save_weights
from revisage.train.readers.faces import ReadFaces, View, reduced, sample, trusted_faces, window_units
from revisage.train.readers.hints import TrunkTeacher
from revisage.train.readers.teachers import Labels, label_faces
from revisage.train.restorer.pairs import LEVELS
from revisage.train.run_folder import WEIGHTS, Report, RunFolder
from revisage.train.settings import ReaderTrainConfig

__all__ = ["reader_losses", "train_reader"]

_UNITS_OF_EYES = 2 * 35.24 / READER_SIZE
"""Distance of the eyes in the window of an aligned face, where its sides are at -1 and 1."""
_LABELS = "labels.npz"
_LOOKED_AT = 6
_DEGREES = 20.0
"""An error of this angle costs as much as one of a tenth of the eyes' distance."""


def train_reader(
    config: ReaderTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train a reader until ``config.steps``; returns the path of the last checkpoint.

    Args:
        config: the settings.
        run_dir: what it holds stands in :mod:`revisage.train.run_folder` and above.
        resume: go on from the last checkpoint.
        progress: gets each line of the log.

    Raises:
        ConfigError, InputError, ModelError: what the user can mend.
        OutputError: the run directory holds another run or cannot be written to.
        ProcessingError: the loss is not finite.
    """
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="reader", resume=resume, leads=compute.group.leads, progress=progress)
        return train(_ReaderStage(config, compute, run_dir), run)


class _ReaderStage(SampleStage):
    name = "reader"
    config: ReaderTrainConfig
    gradient_norm = 5.0

    def __init__(self, config: ReaderTrainConfig, compute: Compute, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.folder = folder
        faces = load_images(config.data, config.side, cache=config.cache)
        labels = label_faces(faces.pixels.numpy(), config.teachers, _labels_file(config, faces, folder))
        weights = faces.weights * trusted_faces(labels)
        self.held_out = _HeldOut(faces, labels, np.flatnonzero(weights), config)
        weights[self.held_out.numbers] = 0
        if not weights.any():
            raise InputError("no face is left to learn from: add faces, or lower held_out")
        mixture = config.degradations()
        self.teacher = TrunkTeacher(config.teachers)
        self.dataset = ReadFaces(faces.pixels, labels, weights, mixture, occluded=config.occluded, seed=config.seed)
        self.net = _starting_net(config, labels)
        self.average = CompactReader()
        self.average.load_state_dict(self.net.state_dict())
        self.average.eval()
        compute.place(self.net, self.average, self.teacher.net)
        data = {**faces.record(), "learnt_from": int(np.count_nonzero(weights)), "held_out": len(self.held_out.numbers)}
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        super().__init__(config, compute, data, {"net": self.net, "average": self.average}, {"optimiser": optimiser})

    def learn(self, batch: Any, draws: Draws) -> Losses:
        """See :meth:`Stage.learn`: each part alone at first, then the trunk as its teacher, then the whole."""
        shown, clean, *targets = (part.to(self.compute.device) for part in batch)
        with self.compute.autocast():
            losses = self._lesson(draws.step)(self.compute.images(shown), self.compute.images(clean), targets)
        self.backward(torch.stack(list(losses.values())).sum())
        return losses

    def _lesson(self, step: int) -> Callable[[Tensor, Tensor, list[Tensor]], Losses]:
        if step < self.config.blockwise_steps:
            return self._parts_alone
        imitates = step < self.config.blockwise_steps + self.config.imitation_steps
        return self._imitating if imitates else self._whole

    def _parts_alone(self, shown: Tensor, clean: Tensor, targets: list[Tensor]) -> Losses:  # noqa: ARG002
        """Trunk and second branch on the teacher's maps of what is shown; who it is follows from the last of them."""
        maps = self.teacher.maps(self.net, shown)
        parts = self.teacher.part_errors(self.net, shown, maps)
        answers = [self.net.identity.named(maps[-1]), *self.net.described(maps)]
        return {"parts": parts, **reader_losses([answer.float() for answer in answers], targets)}

    def _imitating(self, shown: Tensor, clean: Tensor, targets: list[Tensor]) -> Losses:  # noqa: ARG002
        """All maps of the trunk, each from the one before, and the embedding as the teacher has them of what is shown.

        What can be imitated exactly brings the parts together; damage that the teacher must not be asked about waits.
        """
        taught, maps = self.teacher.maps(self.net, shown), self.net.identity.maps(self.net.normalised(shown))
        answers = [self.net.identity.named(maps[-1]), *self.net.described(maps)]
        targets = [self.teacher.named(taught).float(), *targets[1:]]
        losses = reader_losses([answer.float() for answer in answers], targets)
        return {"chain": self.teacher.chain_error(maps, taught), **losses}

    def _whole(self, shown: Tensor, clean: Tensor, targets: list[Tensor]) -> Losses:
        """The reader on what is shown; its maps are held to those that the teacher has of the whole clean face."""
        maps = self.net.identity.maps(self.net.normalised(shown))
        answers = [self.net.identity.named(maps[-1]), *self.net.described(maps)]
        hints = self.teacher.hint_error(maps, self.teacher.maps(self.net, clean))
        return {"hints": self.config.hints * hints, **reader_losses([answer.float() for answer in answers], targets)}

    def check(self, step: int) -> Check:
        """See :meth:`Stage.check`; writes the weights with what was measured."""
        measures = {level: self.held_out.measured(self.average, level, self.compute) for level in ("clean", "medium")}
        about = {"arch": "compact-reader", "config": self.settings, "step": step, "measures": measures}
        save_weights(self.average, self.folder / WEIGHTS, about)
        return Check(measures, self.held_out.drawn(self.average, self.compute))

    @property
    def settings(self) -> dict[str, Any]:
        """What ``revisage.nets.build`` makes the network of."""
        shapes = {name: tuple(value.shape) for name, value in self.net.state_dict().items()}
        return dict(nets.architecture("compact-reader").read(shapes))


def _labels_file(config: ReaderTrainConfig, faces: ImageCache, folder: Path) -> Path:
    """Beside the decoded faces, for every run on them, or in the run's folder."""
    return config.cache / f"{faces.digest[:32]}.{_LABELS}" if config.cache else folder / _LABELS


def _starting_net(config: ReaderTrainConfig, labels: Labels) -> CompactReader:
    """The net whose weights the settings name, or one at random that expects the mean face."""
    net = CompactReader()
    if config.start is not None:
        try:
            net.load_state_dict(models.load_state(config.start))
        except RuntimeError as error:
            raise ModelError(f"{config.start} holds no reader of this size") from error
        return net.float().train()
    with torch.no_grad():
        mean = window_units(labels.landmarks.mean(axis=0), View().affine(512), 512)
        net.answers.bias[3 : 3 + mean.size].copy_(torch.from_numpy(mean.reshape(-1)))
    return net.train()


def reader_losses(answers: list[Tensor], targets: list[Tensor]) -> Losses:
    """The weighted losses of what a reader answers, against the labels, in the order of :class:`CompactReader`."""
    identity, pose, landmarks, expression, visibility = answers
    off = (landmarks - targets[2]).norm(dim=2) / _UNITS_OF_EYES
    return {
        "identity": 2 * (1 - F.cosine_similarity(identity, targets[0], dim=1)).mean(),
        "pose": (pose - targets[1]).abs().mean() / _DEGREES,
        # Hidden landmarks are guesses: they count less.
        "landmarks": 10 * (off * (0.3 + 0.7 * targets[4])).mean(),
        "expression": 0.3 * F.cross_entropy(expression, targets[3]),
        "visibility": F.binary_cross_entropy_with_logits(visibility, targets[4]),
    }


class _HeldOut:
    """Faces that no training sees, and what a reader makes of them clean and at a level of damage."""

    def __init__(self, faces: ImageCache, labels: Labels, numbers: NDArray[np.intp], config: ReaderTrainConfig) -> None:
        random = np.random.default_rng(0)
        self.numbers = np.sort(random.choice(numbers, min(config.held_out, len(numbers) - 1), replace=False))
        self.faces, self.labels = faces.pixels, labels

    def samples(self, level: str) -> tuple[Tensor, ...]:
        """Windows and labels, upright; damaged at the faces' own size where the level is not ``clean``."""
        rows = []
        for number in self.numbers:
            face = self.faces[int(number)].numpy()
            if level != "clean":
                face, _ = degrade(face, LEVELS[level], generator(0, int(number)))
            rows.append(sample(reduced(face, False), self.labels, int(number), View(), mirrored=False, hidden=None))
        return tuple(map(torch.stack, zip(*rows, strict=True)))

    @torch.no_grad()
    def answers(self, net: nn.Module, shown: Tensor, compute: Compute) -> list[Tensor]:
        """What a net says of windows, in portions."""
        portions = [net(compute.images(portion)) for portion in shown.split(64)]
        return [torch.cat(parts).float().cpu() for parts in zip(*portions, strict=True)]

    def measured(self, net: nn.Module, level: str, compute: Compute) -> dict[str, float]:
        """Cosine, mean degrees over the angles, landmarks in eye distances, agreement of the likeliest expression."""
        shown, *targets = self.samples(level)
        identity, pose, landmarks, expression, visibility = self.answers(net, shown, compute)
        values = {
            "identity": F.cosine_similarity(identity, targets[0], dim=1).mean(),
            "pose_degrees": (pose - targets[1]).abs().mean(),
            "landmarks": (landmarks - targets[2]).norm(dim=2).mean() / _UNITS_OF_EYES,
            "expression": (expression.argmax(1) == targets[3].argmax(1)).float().mean(),
            "seen": (visibility > 0).float().mean(),
        }
        return {name: round(float(value), 4) for name, value in values.items()}

    def drawn(self, net: nn.Module, compute: Compute) -> Image:
        """A row of windows of medium damage with the landmarks read in them."""
        shown = self.samples("medium")[0][:: max(1, len(self.numbers) // _LOOKED_AT)][:_LOOKED_AT]
        landmarks = self.answers(net, shown, compute)[2]
        pictures = []
        for window, points in zip(shown, landmarks, strict=True):
            picture = cv2.resize(window.permute(1, 2, 0).numpy(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
            for x, y in ((points.numpy() + 1) / 2 * len(picture)).astype(int):
                cv2.circle(picture, (int(x), int(y)), 2, (0, 255, 0), -1, cv2.LINE_AA)
            pictures.append(picture)
        return np.hstack(pictures)
