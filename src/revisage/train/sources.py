"""Where training faces come from: folders, CSV lists and WebDataset shards, as one list of files to read."""

from __future__ import annotations

import csv
import fnmatch
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from revisage.core import InputError
from revisage.media import STILL_SUFFIXES

__all__ = ["FaceSource", "ListedImage", "listed_images", "read_image"]

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
        """Its bytes. Raises OSError."""
        if self.span is None:
            return self.file.read_bytes()
        with self.file.open("rb") as stream:
            stream.seek(self.span[0])
            return stream.read(self.span[1])


def listed_images(source: FaceSource) -> list[ListedImage]:
    """The images of a source with their weights, in a stable order.

    Raises InputError when there is no such source, its list has no column `file`, or a shard is damaged.
    """
    if source.path.is_dir():
        return [image for file in sorted(source.path.rglob("*")) for image in _of_file(file, source)]
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
