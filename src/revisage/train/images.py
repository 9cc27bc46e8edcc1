"""Where training images come from: listed in folders, CSV lists and WebDataset shards, decoded once, kept on disk."""

from __future__ import annotations

import contextlib
import csv
import fnmatch
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from revisage.core import Image, InputError, output_error
from revisage.media import STILL_SUFFIXES, visible_below

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MEMORY_BUDGET",
    "DecodedSet",
    "FaceSource",
    "ImageCache",
    "ListedImage",
    "decoded_key",
    "listed_images",
    "load_images",
    "open_decoded",
    "read_image",
    "to_images",
    "to_tensor",
]


_SHARD = ".tar"
_LICENCE_KEYS = ("licence", "license")


class FaceSource(BaseModel):
    """Where aligned faces come from, and how often each is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="a folder of images or WebDataset shards (.tar), one shard, or a CSV with a column `file` "
        "(relative to the CSV)"
    )
    images: Path | None = Field(default=None, description="the folder that the CSV's files lie in, if not beside it")
    weight: float = Field(default=1.0, gt=0, description="how often an image is drawn, relative to weight 1")
    weights: dict[str, float] = Field(
        default_factory=dict, description="weight by file-name pattern; the first that matches counts"
    )

    def weight_of(self, name: str) -> float:
        """How often a file of that name is drawn."""
        for pattern, weight in self.weights.items():
            if fnmatch.fnmatchcase(name, pattern):
                return weight
        return self.weight


@dataclass(frozen=True)
class ListedImage:
    """One image of a source, not yet read.

    Attributes:
        file: that holds it.
        member: its name inside the shard; empty for a file of its own.
        span: its first byte and its length in the shard.
        weight: how often it is drawn, relative.
        licence: as the list states it; may be empty.
    """

    file: Path
    weight: float
    licence: str = ""
    member: str = ""
    span: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file}/{self.member}" if self.member else str(self.file)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            OSError: it cannot be read.
        """
        if self.span is None:
            return self.file.read_bytes()
        with self.file.open("rb") as stream:
            stream.seek(self.span[0])
            return stream.read(self.span[1])


def listed_images(source: FaceSource) -> list[ListedImage]:
    """The images of a source with their weights, in a stable order.

    Raises:
        InputError: there is no such source, its list has no column ``file``, or a shard is damaged.
    """
    if source.path.is_dir():
        return [image for file in sorted(visible_below(source.path)) for image in _of_file(file, source)]
    if not source.path.is_file():
        raise InputError(f"no such folder or list of training images: {source.path}")
    if source.path.suffix.lower() == _SHARD:
        return list(_of_shard(source.path, source))
    return list(_of_list(source))


def _of_file(file: Path, source: FaceSource) -> Iterator[ListedImage]:
    suffix = file.suffix.lower()
    if suffix in STILL_SUFFIXES:
        yield ListedImage(file, source.weight_of(file.name))
    elif suffix == _SHARD:
        yield from _of_shard(file, source)


def _of_list(source: FaceSource) -> Iterator[ListedImage]:
    folder = source.images or source.path.parent
    try:
        with source.path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{source.path} is no CSV list of images: {error}") from None
    if rows and "file" not in rows[0]:
        raise InputError(f"{source.path} has no column 'file': name the images there")
    for row in rows:
        file = folder / row["file"]
        yield ListedImage(file, source.weight_of(file.name), row.get("licence") or "")


def _of_shard(shard: Path, source: FaceSource) -> Iterator[ListedImage]:
    """The images of a WebDataset shard: a plain tar whose files with the same name up to the first dot are a sample.

    The licence is taken from the sample's .json, where that names one.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            members = [member for member in archive if member.isfile()]
            licences = {_key(member.name): _licence(archive, member) for member in members if _is_json(member.name)}
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{shard} is no uncompressed tar archive or is damaged: {error}") from None
    for member in members:
        if Path(member.name).suffix.lower() in STILL_SUFFIXES:
            yield ListedImage(
                file=shard,
                weight=source.weight_of(Path(member.name).name),
                licence=licences.get(_key(member.name), ""),
                member=member.name,
                span=(member.offset_data, member.size),
            )


def _key(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _licence(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    try:
        record: Any = json.loads(stream.read()) if stream is not None else {}
    except ValueError:
        return ""
    if not isinstance(record, dict):
        return ""
    return str(next((record[key] for key in _LICENCE_KEYS if record.get(key)), ""))


def read_image(image: ListedImage) -> NDArray[np.uint8] | str:
    """The image as (H, W, 3) uint8 RGB, or why it cannot be used."""
    try:
        data = image.read()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        return "is no image that can be decoded"
    if _is_cut_jpeg(data):
        return "is a JPEG that ends early"
    return np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG has no end after its last scan's start: decoders fill what is missing with grey.

    Inside a scan no byte of FF is followed by a marker, so the search cannot be misled.
    """
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


_VERSION = 1


@dataclass(frozen=True)
class DecodedSet:
    """A set on disk.

    Attributes:
        pixels: the file of the images.
        size: their side, px.
        used: for each image its place in the list it was made from.
        skipped: one line per file that could not be used.
        digest: SHA-256 over the pixels.
    """

    pixels: Path
    size: int
    used: tuple[int, ...]
    skipped: tuple[str, ...]
    digest: str

    def mapped(self) -> NDArray[np.uint8]:
        """The images, (n, size, size, 3); read from the disk as they are touched, changes stay in memory."""
        return np.memmap(self.pixels, np.uint8, mode="c", shape=(len(self.used), self.size, self.size, 3))


def decoded_key(images: Sequence[ListedImage], size: int) -> str:
    """What a decoded set is known by: the files with their lengths and times, their order, and the images' size."""
    digest = hashlib.sha256(f"{_VERSION} {size}".encode())
    for image in images:
        try:
            status = image.file.stat()
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            stamp = "absent"
        digest.update(f"\n{image.name}\t{image.span}\t{stamp}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def open_decoded(folder: Path, key: str, size: int) -> DecodedSet | None:
    """The set of that key; None when it is not there or not whole."""
    pixels = folder / f"{key}.pixels"
    try:
        record: dict[str, Any] = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        found = DecodedSet(pixels, size, tuple(record["used"]), tuple(record["skipped"]), record["sha256"])
        whole = pixels.stat().st_size == len(found.used) * size * size * 3
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole and found.used else None


MEMORY_BUDGET = 12 * 2**30
"""Decoded images that may be held in memory, bytes."""


@dataclass(frozen=True)
class ImageCache:
    """All training images, in memory or mapped from a file of decoded images.

    Attributes:
        pixels: (n, size, size, 3) uint8 RGB.
        files: their paths, in the same order.
        weights: how often each is drawn, relative.
        skipped: one line per file that could not be used: the file and the reason.
        digest: SHA-256 over the pixels: which data a run has seen.
        licences: images by licence, where the lists name one (column ``licence``).
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

    def draw(self, random: np.random.Generator) -> Image:
        """An image, (size, size, 3), as often as its weight says."""
        return self.pixels[int(np.searchsorted(self._shares, random.random(), side="right"))].numpy()

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = np.cumsum(self.weights) / self.weights.sum()
        return shares

    def record(self) -> dict[str, Any]:
        """What a run writes down about the images."""
        counts = {"images": len(self.files), "sha256": self.digest, "licences": self.licences}
        return {**counts, "skipped": list(self.skipped)}

    def __getstate__(self) -> dict[str, Any]:
        """Mapped pixels do not travel to a worker: it maps them itself, and all share the same memory."""
        return {**self.__dict__, "pixels": None} if self.mapped else dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        import torch

        if self.mapped is not None:
            self.__dict__["pixels"] = torch.from_numpy(self.mapped.mapped())


def load_images(
    sources: Sequence[FaceSource], size: int, *, cache: Path | None = None, memory: int = MEMORY_BUDGET
) -> ImageCache:
    """Read every image of the sources once, at ``size``; files that cannot be used are left out and named.

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
    import torch

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
    digest = hashlib.sha256()
    pixels = folder / f"{key}.pixels"
    # Of this process alone: those that write the same set side by side must not meet.
    part = folder / f".{key}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            for place, image in _read_all(listed, size, skipped):
                stream.write(image.data)
                digest.update(image.data)
                used.append(place)
        _require_images(used, skipped, size, sources)
        found = DecodedSet(pixels, size, tuple(used), tuple(skipped), digest.hexdigest())
        part.replace(pixels)
        part.write_text(json.dumps({"size": size, "used": used, "skipped": skipped, "sha256": found.digest}))
        part.replace(folder / f"{key}.json")
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        # Where the folder is a file there is nothing beside it to clear away.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return found


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


def to_tensor(images: list[Image] | Image) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 [-1, 1]."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(np.asarray(images)))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(output: Tensor) -> list[Image]:
    """(N, 3, H, W) RGB [-1, 1] to uint8 images (H, W, 3), rounded."""
    import torch

    pixels = ((output.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
