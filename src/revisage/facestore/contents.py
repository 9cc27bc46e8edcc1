"""What goes into a face store and what comes out of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop, Face

__all__ = [
    "Added",
    "Consent",
    "FaceSource",
    "KeptFrame",
    "KeptTrack",
    "MadeWith",
    "Person",
    "StoredFace",
    "content_hash",
]


@dataclass(frozen=True)
class Consent:
    """What the people shown have agreed to, in the words of whoever collects, and the day it was stated.

    Raises:
        ValueError: the text is without words.
    """

    text: str
    stated_on: date

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a consent needs words")


@dataclass(frozen=True)
class FaceSource:
    """The file that faces come from: its name without folders, SHA-256 of the whole content, and size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class MadeWith:
    """How the restored crops came about: model and SHA-256 of its weights, and SHA-256 of the run's settings."""

    model: str
    model_sha256: str
    config_sha256: str


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """One face of one frame.

    Attributes:
        frame: number of the frame in the source, from 0.
        pts, time_base: when it is shown; ``time_base`` is a fraction of a second as text.
        face: box, landmarks (px of the frame) and score.
        strength: how strongly it was restored, 0 to 1.
        native_px: how many pixels of the frame the crop's width covers: below the crop's size it was enlarged.
        sharpness: of the input crop, see :func:`revisage.measures.face_sharpness`.
        before, after: ``(size, size, 3) uint8 RGB`` crops, as cut out and as restored.
    """

    frame: int
    pts: int
    time_base: str
    face: Face
    strength: float
    native_px: float
    sharpness: float
    before: Crop
    after: Crop


@dataclass(frozen=True, eq=False)
class KeptTrack:
    """The frames kept of one person in one shot.

    Attributes:
        track: its number in the scan.
        start, stop: first frame and the one after the last, in the source.
        frames: at least one.
        embedding: unit vector ``float32`` of an identity network, the mean over the frames; None without one.
    """

    track: int
    start: int
    stop: int
    frames: tuple[KeptFrame, ...]
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Added:
    """What adding did: faces kept, faces that were there already, and the persons (ids) they belong to."""

    kept: int
    known: int
    people: tuple[int, ...]


@dataclass(frozen=True)
class StoredFace:
    """A face as the store has it. Meanings as in :class:`KeptFrame`, :class:`FaceSource` and :class:`MadeWith`."""

    id: int
    person: int
    label: str | None
    source: str
    source_sha256: str
    consent: str
    consent_date: date
    kept_at: datetime
    track: int
    frame: int
    pts: int
    time_base: str
    box: tuple[float, ...]
    landmarks: tuple[tuple[float, float], ...]
    score: float
    strength: float
    size: int
    native_px: float
    sharpness: float
    model: str
    model_sha256: str
    config_sha256: str
    before: Path
    after: Path

    def to_json(self) -> dict[str, Any]:
        """This face as JSON values."""
        values = asdict(self)
        values.update(
            consent_date=self.consent_date.isoformat(),
            kept_at=self.kept_at.isoformat(),
            before=str(self.before),
            after=str(self.after),
        )
        return values


@dataclass(frozen=True)
class Person:
    """A person of a store, with all faces kept of them."""

    id: int
    label: str | None
    faces: tuple[StoredFace, ...] = field(default=())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the files this person was seen in, sorted."""
        return tuple(sorted({face.source for face in self.faces}))

    @property
    def consents(self) -> tuple[str, ...]:
        """The consents, oldest first, each with its date."""
        found = sorted({(face.consent_date, face.consent) for face in self.faces})
        return tuple(f"{text} ({day.isoformat()})" for day, text in found)

    def to_json(self) -> dict[str, Any]:
        """This person as JSON values."""
        return {"person": self.id, "label": self.label, "faces": [face.to_json() for face in self.faces]}


def content_hash(crop: Crop) -> str:
    """SHA-256 of the shape and the pixels: it does not change with the version of a picture format's encoder."""
    digest = hashlib.sha256(repr(crop.shape).encode())
    digest.update(np.ascontiguousarray(crop).data)
    return digest.hexdigest()
