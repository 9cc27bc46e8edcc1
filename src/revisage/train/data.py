"""Training faces: decoded once, held in memory or mapped from the disk, degraded on the fly."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from revisage.core import InputError
from revisage.train.decoded import DecodedSet, DecodedWriter, decoded_key, open_decoded
from revisage.train.degradation import Degradation, degrade, generator
from revisage.train.sources import FaceSource, ListedImage, listed_images, read_image

__all__ = ["MEMORY_BUDGET", "DegradedFaces", "FaceSource", "ImageCache", "batches", "load_images"]

#: Decoded images that may be held in memory, bytes.
MEMORY_BUDGET = 12 * 2**30


@dataclass(frozen=True)
class ImageCache:
    """All training images, in memory or mapped from a file of decoded images.

    Attributes:
        pixels: (n, size, size, 3) uint8 RGB.
        files: their paths, in the same order.
        weights: how often each is drawn, relative.
        skipped: one line per file that could not be used: the file and the reason.
        digest: SHA-256 over the pixels: which data a run has seen.
        licences: images by licence, where the lists name one (column `licence`).
        mapped: the decoded set that the pixels are mapped from; None when they are in memory.
    """

    pixels: Tensor
    files: tuple[str, ...]
    weights: NDArray[np.float64]
    skipped: tuple[str, ...] = field(default=())
    digest: str = ""
    licences: dict[str, int] = field(default_factory=dict)
    mapped: DecodedSet | None = None

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.files) == len(self.weights):
            raise ValueError(
                f"{len(self.pixels)} images, {len(self.files)} files and {len(self.weights)} weights differ"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Mapped pixels do not travel to a worker: it maps them itself, and all share the same memory."""
        return {**self.__dict__, "pixels": None} if self.mapped else dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.mapped is not None:
            self.__dict__["pixels"] = torch.from_numpy(self.mapped.mapped())


def load_images(
    sources: Sequence[FaceSource], size: int, *, cache: Path | None = None, memory: int = MEMORY_BUDGET
) -> ImageCache:
    """Read every image of the sources once, at `size`; files that cannot be used are left out and named.

    Args:
        sources: where from.
        size: side of the images, px; larger ones are averaged down.
        cache: a folder for decoded images: the first start writes them there, later ones map them, whatever the size
            of the set. Without it they are held in memory.
        memory: bytes that may be held so.

    Raises:
        InputError: a source is missing, no image is left, or the set outgrows the memory and no folder is named.
        OutputError: the folder cannot be written to.
    """
    listed = [image for source in sources for image in listed_images(source)]
    if cache is not None:
        found = _decoded(listed, size, cache, sources)
        pixels = torch.from_numpy(found.mapped())
        return _cache_of(listed, found.used, pixels, found.skipped, found.digest, found)
    needed = len(listed) * size * size * 3
    if needed > memory:
        raise InputError(
            f"{len(listed)} images of {size} px need {needed / 2**30:.1f} GiB of memory, {memory / 2**30:.1f} are "
            "allowed: name a folder for decoded images (cache)"
        )
    pixels = torch.empty((len(listed), size, size, 3), dtype=torch.uint8)
    used: list[int] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    for place, image in _read_all(listed, size, skipped):
        pixels[len(used)] = torch.from_numpy(image)
        digest.update(image.data)
        used.append(place)
    _require_images(used, skipped, size, sources)
    return _cache_of(listed, used, pixels[: len(used)], skipped, digest.hexdigest(), None)


def _decoded(listed: Sequence[ListedImage], size: int, folder: Path, sources: Sequence[FaceSource]) -> DecodedSet:
    """The decoded set of a list, made now if it is not there yet."""
    key = decoded_key(listed, size)
    found = open_decoded(folder, key, size)
    if found is not None:
        return found
    used: list[int] = []
    skipped: list[str] = []
    with DecodedWriter(folder, key, size) as writer:
        for place, image in _read_all(listed, size, skipped):
            writer.add(image)
            used.append(place)
        _require_images(used, skipped, size, sources)
        return writer.finish(used, skipped)


def _read_all(listed: Sequence[ListedImage], size: int, skipped: list[str]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Place in the list and pixels of each image that can be used; a line for each other one."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        # In portions: a pool would read ahead of a slow disk without end.
        for first in range(0, len(listed), 256):
            portion = listed[first : first + 256]
            images = pool.map(lambda image: _at_size(read_image(image), size), portion)
            for place, image in enumerate(images, first):
                if isinstance(image, str):
                    skipped.append(f"{listed[place].name} {image}")
                else:
                    yield place, image


def _at_size(image: NDArray[np.uint8] | str, size: int) -> NDArray[np.uint8] | str:
    if isinstance(image, str):
        return image
    height, width = image.shape[:2]
    if min(height, width) < size:
        return f"is {width}x{height}, smaller than {size}x{size}"
    if (height, width) == (size, size):
        return image
    return np.ascontiguousarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _require_images(used: Sequence[int], skipped: Sequence[str], size: int, sources: Sequence[FaceSource]) -> None:
    if not used:
        where = ", ".join(str(source.path) for source in sources)
        reason = f"; the first: {skipped[0]}" if skipped else ""
        raise InputError(f"no training image of {size} px or more in {where}{reason}")


def _cache_of(
    listed: Sequence[ListedImage],
    used: Sequence[int],
    pixels: Tensor,
    skipped: Sequence[str],
    digest: str,
    mapped: DecodedSet | None,
) -> ImageCache:
    chosen = [listed[place] for place in used]
    return ImageCache(
        pixels=pixels,
        files=tuple(image.name for image in chosen),
        weights=np.asarray([image.weight for image in chosen]),
        skipped=tuple(skipped),
        digest=digest,
        licences=dict(Counter(image.licence or "not stated" for image in chosen)),
        mapped=mapped,
    )


class DegradedFaces(Dataset[tuple[Tensor, Tensor]]):
    """An endless stream of (input, target) pairs; the sample at an index depends on (seed, index) alone.

    Each is a (3, size, size) uint8 RGB tensor: half of them mirrored, degraded by a configuration that is drawn from
    `mixture`, and, with `tone_probability`, of another exposure and gamma than the source (both alike).
    """

    def __init__(
        self,
        cache: ImageCache,
        mixture: Sequence[tuple[Degradation, float]],
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
