"""From a scan, a plan and the results of the segments to the numbers of a report."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from revisage._version import __version__
from revisage.pipeline.networks import Networks
from revisage.pipeline.quality import QualitySums
from revisage.pipeline.report import FaceCounts, Measures, TrackSummary
from revisage.pipeline.scan import Scan, ScannedTrack
from revisage.pipeline.segment import SpanResult

__all__ = ["Totals", "detector_summary", "face_counts", "machine", "measures", "restorer_summary", "track_summaries"]


class Totals:
    """The sum of the results of all segments, in order."""

    def __init__(self, results: Iterable[SpanResult]) -> None:
        self.frames = self.changed = self.failed = self.measured = 0
        self.full = self.got = 0.0
        self.quality = QualitySums()
        self.failures: list[str] = []
        self.stages: dict[str, float] = {}
        self.restored: dict[int, tuple[int, float]] = {}
        for result in results:
            self._add(result)

    def _add(self, result: SpanResult) -> None:
        self.frames += result.frames
        self.changed += result.changed
        self.failed += result.failed
        self.failures += result.failures
        self.full += result.full
        self.got += result.got
        self.measured += result.measured
        self.quality.add(QualitySums(**result.quality))
        for stage, seconds in result.seconds.items():
            self.stages[stage] = round(self.stages.get(stage, 0.0) + seconds, 4)
        for track, (count, strength) in result.restored.items():
            before = self.restored.get(int(track), (0, 0.0))
            self.restored[int(track)] = (before[0] + count, before[1] + strength)

    @property
    def faces(self) -> int:
        """Faces restored."""
        return sum(count for count, _ in self.restored.values())

    @property
    def strength(self) -> float | None:
        """Mean strength over the restored faces."""
        return sum(strength for _, strength in self.restored.values()) / self.faces if self.faces else None


def face_counts(scan: Scan, planned: int, totals: Totals) -> FaceCounts:
    """How many faces were found, restored, left and given up."""
    return FaceCounts(
        tracks=len(scan.tracks),
        found=scan.faces,
        restored=totals.faces,
        left=scan.faces - planned,
        failed=totals.failed,
    )


def track_summaries(scan: Scan, totals: Totals) -> list[TrackSummary]:
    """What became of each track."""
    return [_summary(track, scan, *totals.restored.get(track.id, (0, 0.0))) for track in scan.tracks]


def _summary(track: ScannedTrack, scan: Scan, restored: int, strength: float) -> TrackSummary:
    frames = len(track.boxes)
    return TrackSummary(
        id=track.id,
        first_seconds=round(float(scan.pts[track.start] * scan.time_base), 3),
        last_seconds=round(float(scan.pts[track.stop - 1] * scan.time_base), 3),
        frames=frames,
        seen=sum(track.seen),
        restored=restored,
        mean_size=round(sum(max(box[2], box[3]) for box in track.boxes) / frames, 1),
        mean_score=round(sum(track.scores) / frames, 3),
        strength=round(strength / restored, 3) if restored else 0.0,
    )


def measures(
    totals: Totals,
    *,
    size_hw: tuple[int, int],
    output_hw: tuple[int, int],
    rates: tuple[Fraction | None, Fraction | None],
    avs_ms: float | None,
) -> Measures:
    """The source project's measures; ``rates`` are frames per second of input and output."""
    before, after = rates
    faces = {name: (round(a, 3), round(b, 3)) for name, (a, b) in totals.quality.means.items()}
    natural = faces.pop("niqe", (None, None))
    fpa = totals.quality.fpa
    return Measures(
        frr=str(before / after) if before and after else None,
        fei_asked=None if totals.strength is None else round(totals.strength, 4),
        fei_measured=round(totals.got / totals.full, 4) if totals.full > 0 else None,
        fei_change=round(totals.got / totals.measured, 3) if totals.measured else None,
        resolution_percent=round(100 * output_hw[0] / size_hw[0], 2),
        niqe_before=natural[0],
        niqe_after=natural[1],
        faces=faces,
        fpa=None if fpa is None else round(fpa, 4),
        avs_ms=avs_ms,
    )


def restorer_summary(networks: Networks) -> dict[str, Any] | None:
    """The restorer as a report states it; None when none was needed."""
    restorer = networks.__dict__.get("restorer")
    return None if restorer is None else asdict(restorer.info)


def detector_summary(networks: Networks) -> dict[str, Any] | None:
    """The detector as a report states it; None when none was needed."""
    detector = networks.__dict__.get("detector")
    return None if detector is None else {"name": detector.name, "sha256": detector.weight_hash}


def machine() -> dict[str, Any]:
    """Processor, system and library versions: what a figure means nothing without."""
    from importlib.metadata import distributions

    from revisage.engines import cpu_info

    cpu = cpu_info()
    names = ("av", "numpy", "opencv-python-headless", "openvino", "pillow", "torch")
    installed = {entry.name.lower(): entry.version for entry in distributions() if entry.name}
    libraries = {name: installed.get(name, "unknown") for name in names}
    return {
        "processor": cpu.name,
        "features": list(cpu.features),
        "cores": cpu.cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
        "revisage": __version__,
    }
