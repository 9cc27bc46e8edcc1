"""Which person of a store a track shows: by pixels, by the place in the same source, or by an identity network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from revisage import models, readers
from revisage.core import Crop
from revisage.facestore.contents import FaceSource, KeptTrack, content_hash
from revisage.facestore.index import faces as face_rows
from revisage.facestore.index import people, sources

__all__ = ["SAME_PERSON", "Identity", "Sighting", "find_person", "load_identity"]

Vector = NDArray[np.float32]

SAME_PERSON = 0.55
"""Cosine of two embeddings of MobileFaceNet from which they count as one person. Measured on the test faces at 256 px:
51 pairs of one person in studio light have 0.83 and more, 5,100 pairs of different people there at most 0.42; of 32,000
pairs of other photos 0.1 % have above 0.54. Two numbers for one person do less harm than one number for two."""

_SAME_PLACE = 0.5
"""Part that the boxes of a face share (IoU) when they are the same place of one frame."""
_FILES = ("mobilefacenet.onnx", "mobilefacenet.safetensors")


@dataclass(frozen=True)
class Sighting:
    """A person, and the frames (``stop`` excluded) of the track at hand's source that show them."""

    person: int
    start: int
    stop: int


def find_person(connection: sa.Connection, track: KeptTrack, source: FaceSource, seen: Sequence[Sighting]) -> int:
    """The number of the person that a track shows, a new one when nobody fits.

    Args:
        connection: of a writer.
        track: to be kept.
        source: that it comes from.
        seen: who was found in the same source just before; nobody is in two places of one frame.
    """
    taken = {sighting.person for sighting in seen if sighting.start < track.stop and track.start < sighting.stop}
    found = _by_pixels(connection, track)
    if found is None:
        found = _by_place(connection, track, source)
    if found is None and track.embedding is not None:
        found = _by_likeness(connection, track.embedding, taken)
    if found is None:
        found = connection.scalar(sa.insert(people).values(label=None).returning(people.c.id))
    return int(found)


def _by_pixels(connection: sa.Connection, track: KeptTrack) -> int | None:
    """Whoever has one of the input crops: the same source, restored in another way."""
    digests = [content_hash(frame.before) for frame in track.frames]
    return connection.scalar(sa.select(face_rows.c.person_id).where(face_rows.c.before_sha256.in_(digests)).limit(1))


def _by_place(connection: sa.Connection, track: KeptTrack, source: FaceSource) -> int | None:
    """Whoever is kept from the same place of the same frame of the same file."""
    numbers = {frame.frame: frame.face.box for frame in track.frames}
    query = (
        sa.select(face_rows.c.person_id, face_rows.c.frame, face_rows.c.box)
        .join(sources)
        .where(sources.c.sha256 == source.sha256, face_rows.c.frame.in_(numbers))
    )
    for person, frame, box in connection.execute(query):
        if _overlap(numbers[frame], box) > _SAME_PLACE:
            return int(person)
    return None


def _by_likeness(connection: sa.Connection, embedding: Vector, taken: set[int]) -> int | None:
    sums: dict[int, Vector] = {}
    query = sa.select(face_rows.c.person_id, face_rows.c.embedding).where(face_rows.c.embedding.is_not(None))
    for person, packed in connection.execute(query):
        vector = np.frombuffer(packed, "<f4")
        if person not in taken and vector.shape == embedding.shape:
            sums[person] = sums.get(person, 0) + vector
    scores = {person: float(total @ embedding / np.linalg.norm(total)) for person, total in sums.items()}
    best = max(scores, key=lambda person: scores[person], default=None)
    return best if best is not None and scores[best] >= SAME_PERSON else None


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


class Identity:
    """Turns crops into unit vectors whose cosines tell people apart."""

    def __init__(self, network: readers.IdentityNetwork) -> None:
        self._network = network

    def __call__(self, crops: list[Crop]) -> Vector:
        """The unit mean of the crops' embeddings, ``(128,) float32``.

        Args:
            crops: at least one, each ``(size, size, 3) uint8 RGB`` in FFHQ framing.
        """
        mean = self._network(np.stack(crops)).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


def load_identity() -> Identity | None:
    """The identity network, when its weights are in the folder of models; nothing is fetched.

    Raises:
        ModelError: they are damaged.
    """
    files = (models.folder() / name for name in _FILES)
    found = next((file for file in files if file.is_file()), None)
    return None if found is None else Identity(readers.load_identity_network(found))
