"""VQ and FPA: whether restored faces look more natural, and have their parts where they belong; on a few of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.faces import AlignedFace, crop_landmarks, kept_components, niqe
from revisage.pipeline.networks import Networks

if TYPE_CHECKING:
    from revisage.faces import FaceDetector

__all__ = ["FaceQuality", "QualitySums"]

Crop = NDArray[np.uint8]


@dataclass
class QualitySums:
    """Sums over the faces looked at; JSON values.

    Attributes:
        before, after: NIQE of the crops, over ``natural`` faces.
        kept, parts: components found again where they belong, of all.
    """

    before: float = 0.0
    after: float = 0.0
    natural: int = 0
    kept: int = 0
    parts: int = 0

    def add(self, other: QualitySums) -> None:
        """Take in the sums of another span."""
        self.before += other.before
        self.after += other.after
        self.natural += other.natural
        self.kept += other.kept
        self.parts += other.parts

    @property
    def niqe(self) -> tuple[float, float] | None:
        """Mean NIQE before and after; None where no face could be measured."""
        return (self.before / self.natural, self.after / self.natural) if self.natural else None

    @property
    def fpa(self) -> float | None:
        """Facial parsing accuracy, 0 to 1: the part of the components that was found again; None without any face."""
        return self.kept / self.parts if self.parts else None


class FaceQuality:
    """Looks at restored faces beside what they were.

    The landmarks come from the embedded detector, whatever found the faces: it is always there, and the same for all.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.sums = QualitySums()

    def look(self, before: AlignedFace, after: Crop) -> None:
        """Measure one face.

        NIQE is that of the aligned crops, each by itself. A component belongs where the track has it, to 0.15 of the
        distance between the eyes (see :mod:`revisage.faces.components`).

        Args:
            before: the face as it was.
            after: the same crop of the output.
        """
        try:
            values = niqe(before.crop), niqe(after)
        except ValueError:  # smaller than a block of NIQE, or without any texture
            values = None
        if values is not None:
            self.sums.before += values[0]
            self.sums.after += values[1]
            self.sums.natural += 1
        found = kept_components(crop_landmarks(after, self._detector), before.landmarks)
        self.sums.kept += sum(found)
        self.sums.parts += len(found)

    @cached_property
    def _detector(self) -> FaceDetector:
        from revisage.faces import load_detector

        loaded: FaceDetector | None = self._networks.__dict__.get("detector")
        return loaded if loaded is not None and loaded.name == "compact" else load_detector("compact")
