"""Train the branch of a reader that says where something is before a face: hands, hair, letters, whatever is drawn.

The rest of the reader stays as it is, to the bit: the branch learns from its maps, and needs no teacher, as what is
drawn is known. A run leaves ``weights.safetensors``: the whole reader in float16, its averaged branch put beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from revisage import models, nets
from revisage.core import Image, InputError, ModelError
from revisage.nets import READER_SIZE, CompactReader
from revisage.train.compute import Compute, started
from revisage.train.degrade import Degradation, degrade, generator
from revisage.train.images import FaceSource, ImageCache, listed_images, load_images, read_image
from revisage.train.loop import Check, Draws, Losses, SampleStage, train
from revisage.train.networks import save_weights
from revisage.train.readers.faces import View, reduced
from revisage.train.readers.occluders import occlude
from revisage.train.restorer.pairs import LEVELS
from revisage.train.run_folder import WEIGHTS, Report, RunFolder
from revisage.train.settings import CoverTrainConfig

__all__ = ["CoveredFaces", "cover_losses", "train_cover"]

_GRID = READER_SIZE // 2
_SURFACES, _SURFACE_SIDE = 400, 320
"""Pictures that textures are taken from at most, and their shorter side, px."""
_LOOKED_AT = 6
_LETTERED = 0.2
"""Share of the covered faces with letters alone before them: thin as they are, they are the hardest to find."""


def train_cover(
    config: CoverTrainConfig, run_dir: Path, *, resume: bool = False, progress: Report | None = None
) -> Path:
    """Train a reader's cover branch until ``config.steps``; returns the path of the last checkpoint.

    Args and errors as of :func:`revisage.train.readers.train_reader`.
    """
    with started(config) as compute:
        run = RunFolder(run_dir, config, stage="cover", resume=resume, leads=compute.group.leads, progress=progress)
        return train(_CoverStage(config, compute, run_dir), run)


class CoveredFaces(Dataset[tuple[Tensor, Tensor]]):
    """An endless stream of samples; the one at an index depends on (seed, index) alone.

    Each is a (3, 112, 112) uint8 RGB window and (56, 56) float32, how much of each cell is before the face.

    Args:
        faces: ``(n, size, size, 3)`` uint8 RGB, aligned (FFHQ frame).
        weights: ``(n,)``, how often each is drawn.
        surfaces: pictures that things take their texture from; empty: other faces.
        config: mixture, share of covered faces and seed.
    """

    def __init__(
        self, faces: Tensor, weights: NDArray[np.float64], surfaces: list[Image], config: CoverTrainConfig
    ) -> None:
        self.faces, self._surfaces = faces, surfaces
        self._seed, self._occluded = config.seed, config.occluded
        mixture: list[tuple[Degradation, float]] = config.degradations()
        self._kinds = [kind for kind, _ in mixture]
        self._mixture = np.cumsum([share for _, share in mixture]) / sum(share for _, share in mixture)
        self._shares = np.cumsum(weights) / weights.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = generator(self._seed, index)
        face = reduced(self._face(random), random.random() < 0.5)
        hidden = np.zeros(face.shape[:2], bool)
        if random.random() < self._occluded:
            kinds = ("lettering",) if random.random() < _LETTERED else ()
            face, hidden = occlude(face, random, kinds=kinds, surface=self._surface(random))
        kind = self._kinds[int(np.searchsorted(self._mixture, random.random(), side="right"))]
        face, _ = degrade(face, kind, random)
        return shown_and_covered(face, hidden, View.drawn(random))

    def _face(self, random: np.random.Generator) -> Image:
        number = int(np.searchsorted(self._shares, random.random(), side="right"))
        face: Image = self.faces[number].numpy()
        return face

    def _surface(self, random: np.random.Generator) -> Image:
        if not self._surfaces or random.random() < 0.3:
            return self._face(random)
        return self._surfaces[int(random.integers(len(self._surfaces)))]


def shown_and_covered(face: Image, hidden: NDArray[np.bool_], view: View) -> tuple[Tensor, Tensor]:
    """A view's window of a face, and how much of each cell of it is hidden."""
    affine, size = view.affine(len(face)), (READER_SIZE, READER_SIZE)
    shown = cv2.warpAffine(face, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mask = hidden.astype(np.float32)
    moved = cv2.warpAffine(mask, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    cells = cv2.resize(moved, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(shown.transpose(2, 0, 1).copy()), torch.from_numpy(cells)


def cover_losses(logits: Tensor, covered: Tensor) -> Losses:
    """Cross entropy by cell, and 1 less Dice's coefficient over the batch (Milletari et al., 3DV 2016).

    Few cells are covered, and thin things would be lost among the others.
    """
    found = logits.sigmoid()
    shared = 2 * (found * covered).sum() + 1
    return {
        "cover": F.binary_cross_entropy_with_logits(logits, covered),
        "overlap": 0.2 * (1 - shared / ((found + covered).sum() + 1)),
    }


class _CoverStage(SampleStage):
    name = "cover"
    config: CoverTrainConfig
    gradient_norm = 5.0

    def __init__(self, config: CoverTrainConfig, compute: Compute, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.folder = folder
        faces = load_images(config.data, config.side, cache=config.cache)
        weights = faces.weights.copy()
        self.held_out = _HeldOut(faces, np.flatnonzero(weights), config)
        weights[self.held_out.numbers] = 0
        if not weights.any():
            raise InputError("no face is left to learn from: add faces, or lower held_out")
        self.dataset = CoveredFaces(faces.pixels, weights, _surfaces(config.surfaces), config)
        self.reader = _reader(config)
        self.branch = self.reader.cover
        assert self.branch is not None
        self.average = _reader(config).cover
        assert self.average is not None
        self.average.load_state_dict(self.branch.state_dict())
        compute.place(self.reader, self.branch, self.average)
        data = {**faces.record(), "learnt_from": int(np.count_nonzero(weights)), "held_out": len(self.held_out.numbers)}
        optimiser = torch.optim.AdamW(
            self.branch.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, compute, data, {"net": self.branch, "average": self.average}, {"optimiser": optimiser})

    def learn(self, batch: Any, draws: Draws) -> Losses:  # noqa: ARG002 - nothing is drawn but samples
        """See :meth:`Stage.learn`."""
        shown, covered = (part.to(self.compute.device) for part in batch)
        with self.compute.autocast():
            with torch.no_grad():
                maps = _cover_maps(self.reader, self.compute.images(shown))
            logits = self.nets["net"](maps)
        losses = cover_losses(logits.float(), covered)
        self.backward(torch.stack(list(losses.values())).sum())
        return losses

    def check(self, step: int) -> Check:
        """See :meth:`Stage.check`; writes the whole reader with what was measured."""
        whole = _reader(self.config)
        assert whole.cover is not None
        whole.cover.load_state_dict(self.nets["average"].state_dict())
        measures = {level: self.held_out.measured(whole, level) for level in ("clean", "medium")}
        shapes = {name: tuple(value.shape) for name, value in whole.state_dict().items()}
        settings = dict(nets.architecture("compact-reader").read(shapes))
        about = {"arch": "compact-reader", "config": settings, "step": step, "measures": measures}
        save_weights(whole, self.folder / WEIGHTS, about)
        return Check(measures, self.held_out.drawn(whole))


def _cover_maps(reader: CompactReader, shown: Tensor) -> list[Tensor]:
    normalised = reader.normalised(shown)
    return reader.cover_maps(normalised, reader.identity.maps(normalised))


def _reader(config: CoverTrainConfig) -> CompactReader:
    """The reader that the settings name, frozen, with a new branch, or the one that it has, to be learnt."""
    state = models.load_state(config.start)
    settings = nets.architecture("compact-reader").recognise({name: value.shape for name, value in state.items()})
    if settings is None:
        raise ModelError(f"{config.start} holds no face reader")
    reader = CompactReader(**{**settings, "cover": config.width})
    try:
        left = reader.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{config.start} holds a reader with a branch of another width") from error
    if any(not name.startswith("cover.") and "num_batches" not in name for name in left.missing_keys):
        raise ModelError(f"{config.start} holds no reader of this size")
    reader.float().eval().requires_grad_(False)
    assert reader.cover is not None
    reader.cover.train().requires_grad_(True)
    return reader


def _surfaces(folder: Path | None) -> list[Image]:
    """Pictures of a folder, reduced; none without one."""
    if folder is None:
        return []
    listed = listed_images(FaceSource(path=folder))
    places = np.unique(np.linspace(0, len(listed) - 1, min(len(listed), _SURFACES)).astype(int))
    found = [read_image(listed[place]) for place in places]
    return [_small(image) for image in found if not isinstance(image, str)]


def _small(image: Image) -> Image:
    scale = min(1.0, _SURFACE_SIDE / min(image.shape[:2]))
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


class _HeldOut:
    """Faces that no training sees, half of them with something before them, and what a branch makes of them."""

    def __init__(self, faces: ImageCache, numbers: NDArray[np.intp], config: CoverTrainConfig) -> None:
        random = np.random.default_rng(0)
        self.numbers = np.sort(random.choice(numbers, min(config.held_out, len(numbers) - 1), replace=False))
        self.faces = faces.pixels

    def samples(self, level: str) -> tuple[Tensor, Tensor]:
        """Windows and what is covered of them, upright; damaged where the level is not ``clean``."""
        rows = []
        for place, number in enumerate(self.numbers):
            random, face = generator(0, int(number)), self.faces[int(number)].numpy()
            hidden = np.zeros(face.shape[:2], bool)
            if place % 2:
                face, hidden = occlude(face, random)
            if level != "clean":
                face, _ = degrade(face, LEVELS[level], random)
            small = cv2.resize(hidden.astype(np.float32), (144, 144), interpolation=cv2.INTER_AREA) > 0.5
            rows.append(shown_and_covered(reduced(face, False), small, View()))
        shown, covered = (torch.stack(parts) for parts in zip(*rows, strict=True))
        return shown, covered

    @torch.no_grad()
    def found(self, reader: nn.Module, shown: Tensor) -> Tensor:
        """Probabilities of windows, in portions."""
        portions = [reader.eval()(portion.float() / 127.5 - 1)[-1] for portion in shown.split(64)]
        return torch.cat(portions).sigmoid()

    def measured(self, reader: nn.Module, level: str) -> dict[str, float]:
        """Parts of 1: of covered cells found, of found ones covered, and of the free cells of whole faces called so."""
        shown, covered = self.samples(level)
        found, there = self.found(reader, shown) > 0.5, covered > 0.5
        whole = ~there.flatten(1).any(1)
        values = {
            "recall": (found & there).sum() / there.sum().clamp(min=1),
            "precision": (found & there).sum() / found.sum().clamp(min=1),
            "false_in_whole": found[whole].float().mean(),
        }
        return {name: round(float(value), 4) for name, value in values.items()}

    def drawn(self, reader: nn.Module) -> Image:
        """Windows of medium damage over what is found to be before them."""
        shown = self.samples("medium")[0][1 :: max(2, 2 * (len(self.numbers) // 2 // _LOOKED_AT))][:_LOOKED_AT]
        columns = []
        for window, found in zip(shown, self.found(reader, shown), strict=True):
            picture = window.permute(1, 2, 0).numpy()
            grey = cv2.resize((found.numpy() * 255).astype(np.uint8), (READER_SIZE, READER_SIZE))
            columns.append(np.vstack([picture, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)]))
        return np.hstack(columns)
