"""VQ and FPA: whether restored faces look more natural, and have their parts where they belong; on a few of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from revisage.core import Crop
from revisage.faces import AlignedFace, FaceDetector, load_detector
from revisage.measures import MEASURES, Instruments, crop_landmarks, kept_components
from revisage.pipeline.networks import Networks

__all__ = ["FaceQuality", "QualitySums"]


@dataclass
class QualitySums:
    """Sums over the faces looked at; JSON values.

    Attributes:
        before, after: of each measure over the ``counted`` faces that it is defined for, by name.
        kept, parts: components found again where they belong, of all.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    parts: int = 0

    def add(self, other: QualitySums) -> None:
        """Take in the sums of another span."""
        for name, count in other.counted.items():
            self.before[name] = self.before.get(name, 0.0) + other.before[name]
            self.after[name] = self.after.get(name, 0.0) + other.after[name]
            self.counted[name] = self.counted.get(name, 0) + count
        self.kept += other.kept
        self.parts += other.parts

    @property
    def means(self) -> dict[str, tuple[float, float]]:
        """Of each measure the mean before and after; without those that no face could be measured by."""
        return {name: (self.before[name] / count, self.after[name] / count) for name, count in self.counted.items()}

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
        self._instruments = Instruments({name: info for name, info in MEASURES.items() if info.reported})
        self.sums = QualitySums()

    def look(self, before: AlignedFace, after: Crop) -> None:
        """Measure one face.

        The measures are those of the aligned crops, each by itself. A component belongs where the track has it, to
        0.15 of the distance between the eyes (see :func:`revisage.measures.kept_components`).

        Args:
            before: the face as it was.
            after: the same crop of the output.
        """
        for name in self._instruments.registry:
            function = self._instruments.get(name)
            if function is None:
                continue
            try:
                values = function(before.crop), function(after)
            except ValueError:  # NIQE has no value for crops smaller than its block, or without any texture
                continue
            self.sums.add(QualitySums({name: values[0]}, {name: values[1]}, {name: 1}))
        found = kept_components(crop_landmarks(after, self._detector), before.landmarks)
        self.sums.kept += sum(found)
        self.sums.parts += len(found)

    @cached_property
    def _detector(self) -> FaceDetector:
        loaded: FaceDetector | None = self._networks.__dict__.get("detector")
        return loaded if loaded is not None and loaded.name == "compact" else load_detector("compact")
