"""Training faces: folders or CSV lists with weights, kept in memory as uint8, degraded on the fly."""

from __future__ import annotations

import contextlib
import csv
import fnmatch
import hashlib
import queue
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from revisage.core.errors import InputError
from revisage.train.degradation import DegradationConfig, degrade, generator

__all__ = ["DegradedFaces", "FaceSource", "ImageCache", "batches", "load_images"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


class FaceSource(BaseModel):
    """Where aligned faces come from, and how often each is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="a folder of images, or a CSV with a column `file` (relative to the CSV)")
    images: Path | None = Field(default=None, description="the folder that the CSV's files lie in, if not beside it")
    weight: float = Field(default=1.0, gt=0, description="how often an image is drawn, relative to weight 1")
    weights: dict[str, float] = Field(
        default_factory=dict, description="weight by file-name pattern; the first that matches counts"
    )


@dataclass(frozen=True)
class ImageCache:
    """All training images in memory.

    Attributes:
        pixels: (n, size, size, 3) uint8 RGB.
        files: their paths, in the same order.
        weights: how often each is drawn, relative.
        skipped: one line per file that could not be used: the file and the reason.
        digest: SHA-256 over the pixels: which data a run has seen.
        licences: images by licence, where the lists name one (column `licence`).
    """

    pixels: Tensor
    files: tuple[str, ...]
    weights: NDArray[np.float64]
    skipped: tuple[str, ...] = field(default=())
    digest: str = ""
    licences: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.files) == len(self.weights):
            raise ValueError(
                f"{len(self.pixels)} images, {len(self.files)} files and {len(self.weights)} weights differ"
            )


@dataclass(frozen=True)
class _Listed:
    file: Path
    weight: float
    licence: str


def _listed(source: FaceSource) -> list[_Listed]:
    """The files of a source with their weights, in a stable order."""
    if source.path.is_dir():
        files = sorted(path for path in source.path.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        licences = [""] * len(files)
    elif source.path.is_file():
        folder = source.images or source.path.parent
        with source.path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if rows and "file" not in rows[0]:
            raise InputError(f"{source.path} has no column 'file': name the images there")
        files = [folder / row["file"] for row in rows]
        licences = [row.get("licence") or "" for row in rows]
    else:
        raise InputError(f"no such folder or list of training images: {source.path}")
    return [_Listed(file, _weight(file, source), licence) for file, licence in zip(files, licences, strict=True)]


def _weight(file: Path, source: FaceSource) -> float:
    for pattern, weight in source.weights.items():
        if fnmatch.fnmatchcase(file.name, pattern):
            return weight
    return source.weight


def _read(file: Path, size: int) -> NDArray[np.uint8] | str:
    """The image as (size, size, 3) uint8 RGB, or why it cannot be used."""
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        return "is no image that can be decoded"
    if min(bgr.shape[:2]) < size:
        return f"is {bgr.shape[1]}x{bgr.shape[0]}, smaller than {size}x{size}"
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    if rgb.shape[:2] != (size, size):
        rgb = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(rgb, dtype=np.uint8)


def load_images(sources: Sequence[FaceSource], size: int) -> ImageCache:
    """Read every image of the sources once, at `size`; files that cannot be used are left out and named.

    Raises `InputError` when a source is missing or no image is left.
    """
    listed = [entry for source in sources for entry in _listed(source)]
    pixels = torch.empty((len(listed), size, size, 3), dtype=torch.uint8)
    used: list[_Listed] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max_workers=4) as pool:
        images = pool.map(lambda entry: _read(entry.file, size), listed)
        for entry, image in zip(listed, images, strict=True):
            if isinstance(image, str):
                skipped.append(f"{entry.file} {image}")
                continue
            pixels[len(used)] = torch.from_numpy(image)
            digest.update(image.data)
            used.append(entry)
    if not used:
        where = ", ".join(str(source.path) for source in sources)
        reason = f"; the first: {skipped[0]}" if skipped else ""
        raise InputError(f"no training image of {size} px or more in {where}{reason}")
    return ImageCache(
        pixels=pixels[: len(used)],
        files=tuple(str(entry.file) for entry in used),
        weights=np.asarray([entry.weight for entry in used]),
        skipped=tuple(skipped),
        digest=digest.hexdigest(),
        licences=dict(Counter(entry.licence or "not stated" for entry in used)),
    )


class DegradedFaces(Dataset[tuple[Tensor, Tensor]]):
    """An endless stream of (input, target) pairs; the sample at an index depends on (seed, index) alone.

    Each is a (3, size, size) uint8 RGB tensor: half of them mirrored, degraded by a configuration that is drawn from
    `mixture`, and, with `tone_probability`, of another exposure and gamma than the source (both alike).
    """

    def __init__(
        self,
        cache: ImageCache,
        mixture: Sequence[tuple[DegradationConfig, float]],
        *,
        seed: int,
        tone_probability: float = 0.0,
    ) -> None:
        self.cache = cache
        self.seed = seed
        self.tone_probability = tone_probability
        self.configs = [config for config, _ in mixture]
        self._mixture = np.cumsum([share for _, share in mixture]) / sum(share for _, share in mixture)
        self._images = np.cumsum(cache.weights) / cache.weights.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = generator(self.seed, index)
        image = self.cache.pixels[int(np.searchsorted(self._images, random.random(), side="right"))].numpy()
        if random.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        if random.random() < self.tone_probability:
            image = _retone(image, random)
        config = self.configs[int(np.searchsorted(self._mixture, random.random(), side="right"))]
        degraded, target = degrade(image, config, random)
        return _tensor(degraded), _tensor(target)


def _retone(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Another exposure, gamma and white balance: official portraits are lit evenly, videos are not."""
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    gain = random.uniform(0.55, 1.1) * random.uniform(0.9, 1.1, size=3)
    curve = np.clip(gain * levels ** random.uniform(0.7, 1.5), 0, 1)
    table = np.rint(curve * 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class _Indexes(Sampler[list[int]]):
    """Batches of consecutive sample indexes: each `every`-th step, from a step on, to a step."""

    def __init__(self, first_step: int, last_step: int, batch: int, every: int) -> None:
        self.steps = range(first_step, last_step, every)
        self.batch = batch

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield list(range(step * self.batch, (step + 1) * self.batch))


def _calm(_: int) -> None:
    """One thread per worker: the training has the cores."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def batches(
    dataset: DegradedFaces, *, first_step: int, last_step: int, batch: int, workers: int, every: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """(input, target) batches, (N, 3, size, size) uint8, of each `every`-th step from `first_step` up to `last_step`.

    Of several processes that train together, each takes every n-th batch.
    """
    sampler = _Indexes(first_step, last_step, batch, every)
    if workers == 0:
        yield from DataLoader(dataset, batch_sampler=sampler)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork. The cache travels as shared memory.
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=_calm,
        multiprocessing_context="spawn",
        prefetch_factor=4,
    )
    yield from _fetched_ahead(loader, depth=8)


def _fetched_ahead(loader: Iterable[tuple[Tensor, Tensor]], depth: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches taken over from the workers by a thread: on a busy machine each hand-over waits for a worker's turn."""
    ready: queue.Queue[tuple[Tensor, Tensor] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def offer(item: tuple[Tensor, Tensor] | BaseException | None) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.2)
                return True
        return False

    def fetch() -> None:
        end: BaseException | None = None
        try:
            for item in loader:
                if not offer((item[0], item[1])):
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
