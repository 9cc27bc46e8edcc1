"""Whether restored faces are the same people's with the same look: identity, eyes and mouth, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage.core import Crop, ProcessingError
from revisage.pipeline.restoration.run_networks import Networks

if TYPE_CHECKING:
    from revisage.pipeline.restoration.frame_stages import PlannedFace

__all__ = ["Likeness", "LikenessSums"]

_EVERY = 25
"""One in so many restored faces of a track is looked at: each costs two runs of the reader, about 8 ms."""

_SHOWN = 0.9
"""Faces that are restored by less than this part of the strength asked for are fading in or out: they say little."""

_EYES, _MOUTH = 0.08, 0.12
"""Changes of the openings up to which a look is kept: about a quarter of an open eye, and lips that part."""


@dataclass
class LikenessSums:
    """Sums over the faces of a track that were looked at; JSON values.

    Attributes:
        faces: looked at, ``read`` of them by a reader that knows eyes and mouths.
        identity: of the cosines between the face before and after.
        eyes, mouth: of the openings before, and after.
        kept: faces whose eyes and mouth are open as far as before.
    """

    faces: int = 0
    read: int = 0
    identity: float = 0.0
    eyes: tuple[float, float] = (0.0, 0.0)
    mouth: tuple[float, float] = (0.0, 0.0)
    kept: int = 0

    @classmethod
    def of(cls, values: dict[str, Any]) -> LikenessSums:
        """What :meth:`to_dict` gave."""
        return cls(**{**values, "eyes": tuple(values["eyes"]), "mouth": tuple(values["mouth"])})

    def to_dict(self) -> dict[str, Any]:
        """These sums as JSON values."""
        return asdict(self)

    def add(self, other: LikenessSums) -> None:
        """Take in the sums of another span."""
        for name in ("faces", "read", "identity", "kept"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.eyes = self.eyes[0] + other.eyes[0], self.eyes[1] + other.eyes[1]
        self.mouth = self.mouth[0] + other.mouth[0], self.mouth[1] + other.mouth[1]


@dataclass
class Likeness:
    """Looks at some faces of each track; at none where no reader is on this machine.

    Args:
        networks: of the run.
        strength: asked for.

    Attributes:
        sums: by the track's id as text, as JSON has it.
    """

    networks: Networks
    strength: float
    sums: dict[str, LikenessSums] = field(default_factory=dict)
    _passed: dict[int, int] = field(default_factory=dict)

    def is_due(self, planned: PlannedFace) -> bool:
        """Whether this face is one to look at. To be asked once for each restored face, in order."""
        if self.networks.likeness_reader is None or planned.strength < _SHOWN * self.strength:
            return False
        number = self._passed.get(planned.track, 0)
        self._passed[planned.track] = number + 1
        return number % _EVERY == 0

    def look(self, planned: PlannedFace, before: Crop, after: Crop) -> None:
        """Compare a face with what became of it.

        Args:
            planned: whose face.
            before, after: ``(size, size, 3) uint8 RGB``, the same crop of source and output.
        """
        reader = self.networks.likeness_reader
        assert reader is not None
        try:
            identities, readings = reader(np.stack([before, after]))
        except ProcessingError:  # a face that cannot be read is restored all the same
            return
        found = LikenessSums(faces=1, identity=float(identities[0] @ identities[1]))
        if readings is not None:
            eyes, mouth = readings.eye_opening, readings.mouth_opening
            found.read = 1
            found.eyes = float(eyes[0].mean()), float(eyes[1].mean())
            found.mouth = float(mouth[0]), float(mouth[1])
            found.kept = int(np.abs(eyes[1] - eyes[0]).max() <= _EYES and abs(mouth[1] - mouth[0]) <= _MOUTH)
        self.sums.setdefault(str(planned.track), LikenessSums()).add(found)
