"""Decoded training images on disk: written once, mapped into memory from then on, shared by all processes.

Two files per set, named by what is in it (files, sizes, times, and the images' size): KEY.pixels, (n, size, size, 3)
uint8 RGB as it lies in memory, and KEY.json, written last, so that its presence means that the other is complete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import DiskFullError, OutputError
from revisage.train.sources import ListedImage

__all__ = ["DecodedSet", "DecodedWriter", "decoded_key", "open_decoded"]

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


class DecodedWriter:
    """Writes a set image by image; a context manager. Left before :meth:`finish`, it leaves nothing behind.

    Raises OutputError when the folder cannot be written to, DiskFullError when it is full.
    """

    def __init__(self, folder: Path, key: str, size: int) -> None:
        self._folder, self._key, self._size = folder, key, size
        # Processes that write the same set side by side do not meet.
        self._part = folder / f".{key}.{os.getpid()}.part"
        self._digest = hashlib.sha256()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = self._part.open("wb")
        except OSError as error:
            raise self._problem(error) from None

    def __enter__(self) -> DecodedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self._part.unlink(missing_ok=True)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append one (size, size, 3) uint8 RGB image."""
        self._digest.update(image.data)
        try:
            self._stream.write(image.data)
        except OSError as error:
            raise self._problem(error) from None

    def finish(self, used: Sequence[int], skipped: Sequence[str]) -> DecodedSet:
        """Give the set its name. Arguments as the attributes of :class:`DecodedSet`."""
        pixels, record = self._folder / f"{self._key}.pixels", self._folder / f"{self._key}.json"
        found = DecodedSet(pixels, self._size, tuple(used), tuple(skipped), self._digest.hexdigest())
        text = json.dumps({"size": self._size, "used": used, "skipped": skipped, "sha256": found.digest})
        try:
            self._stream.close()
            self._part.replace(pixels)
            self._part.write_text(text, encoding="utf-8")
            self._part.replace(record)
        except OSError as error:
            raise self._problem(error) from None
        return found

    def _problem(self, error: OSError) -> OutputError:
        if error.errno == errno.ENOSPC:
            return DiskFullError(f"no space left for decoded images in {self._folder}; free some or choose another")
        return OutputError(f"cannot write decoded images to {self._folder}: {error.strerror or error}")
