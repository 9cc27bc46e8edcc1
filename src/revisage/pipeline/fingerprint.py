"""Know a source again: its size and a SHA-256 of its content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fingerprint", "fingerprint"]

_WHOLE = 64 * 2**20
"""Files up to this size (bytes) are hashed whole."""

_CHUNK = 2**20
_CHUNKS = 32


class Fingerprint(BaseModel):
    """Size and hash of a file.

    Attributes:
        name: the file's name when it was taken; for messages, never compared.
        size: in bytes.
        sha256: of the whole content, or of parts of a large file.
        hashed: ``whole``, or ``parts``: 32 chunks of 1 MiB spread evenly from the first byte to the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    hashed: Literal["whole", "parts"]

    def same_content(self, other: Fingerprint) -> bool:
        """Whether both were taken from the same bytes, whatever the file is called."""
        return (self.size, self.sha256, self.hashed) == (other.size, other.sha256, other.hashed)


def fingerprint(path: Path) -> Fingerprint:
    """The fingerprint of a file. Reads at most 64 MiB, so that a film on a slow disk costs a second, not minutes."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if size <= _WHOLE:
            while block := stream.read(_CHUNK):
                digest.update(block)
        else:
            for number in range(_CHUNKS):
                stream.seek(number * (size - _CHUNK) // (_CHUNKS - 1))
                digest.update(stream.read(_CHUNK))
    hashed: Literal["whole", "parts"] = "whole" if size <= _WHOLE else "parts"
    return Fingerprint(name=path.name, size=size, sha256=digest.hexdigest(), hashed=hashed)
