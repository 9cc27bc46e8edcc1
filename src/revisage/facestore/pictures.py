"""Pictures of a store, named by their content: the same pixels are one file, however often they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pictures", "content_hash"]

Crop = NDArray[np.uint8]


def content_hash(crop: Crop) -> str:
    """SHA-256 of the shape and the pixels: it does not change with the version of a picture format's encoder."""
    digest = hashlib.sha256(repr(crop.shape).encode())
    digest.update(np.ascontiguousarray(crop).data)
    return digest.hexdigest()


class Pictures:
    """Lossless WebP files below one folder. A file appears under its name when it is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the picture with that content is, or would be."""
        return self._folder / sha256[:2] / f"{sha256}.webp"

    def put(self, sha256: str, crop: Crop) -> None:
        """Write a picture unless it is there. Raises OSError."""
        path = self.path(sha256)
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._partial(path)
        try:
            Image.fromarray(crop).save(partial, format="WEBP", lossless=True, method=4)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def remove(self, hashes: Iterable[str]) -> None:
        """Delete pictures, begun ones too, and folders that are empty then. Raises OSError."""
        for sha256 in hashes:
            path = self.path(sha256)
            path.unlink(missing_ok=True)
            self._partial(path).unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def hashes(self) -> set[str]:
        """The content hashes of all pictures that are there."""
        return {path.stem for path in self._folder.glob("??/*.webp")}

    def _partial(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.part")
