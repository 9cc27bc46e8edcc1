"""Report: what was done to which face, how long it took, and the measures. JSON that can be fed back as a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from revisage._version import __version__
from revisage.core import write_text

__all__ = ["FaceCounts", "FileReport", "Measures", "Report", "Timings", "TrackSummary"]

_RECORD = ConfigDict(extra="forbid")


class TrackSummary(BaseModel):
    """What became of one person in one shot.

    Attributes:
        id: as in the scan.
        first_seconds, last_seconds: of its first and last frame, on the source's clock.
        frames: frames of the track; ``seen`` of them by the detector, the others filled in.
        restored: frames in which it was restored.
        mean_size: longer side of the box (px).
        mean_score: of the detector.
        strength: mean over the restored frames, fades included; 0 when none was.
    """

    model_config = _RECORD

    id: int
    first_seconds: float
    last_seconds: float
    frames: int
    seen: int
    restored: int
    mean_size: float
    mean_score: float
    strength: float


class FaceCounts(BaseModel):
    """How many faces there were and what became of them.

    Attributes:
        tracks: persons per shot, summed over shots.
        found: faces over all frames, filled-in ones included.
        restored: faces restored.
        left: faces left as they were on purpose (size, choice, strength 0).
        failed: faces whose restoration failed; their frames were kept as they were.
    """

    model_config = _RECORD

    tracks: int = 0
    found: int = 0
    restored: int = 0
    left: int = 0
    failed: int = 0


class Timings(BaseModel):
    """Where the time went. Stages overlap, so that they may add up to more than the total.

    Attributes:
        total_seconds: wall clock from start to finished file; ``scan_seconds`` and ``restore_seconds`` of it.
        stages: seconds of work in each stage, summed over workers.
        seconds_per_frame: PT, the processing time: total / frames.
        seconds_per_face: total / restored faces; None when there was none.
        frames_per_second: frames / total.
        reused_segments: segments that an earlier, interrupted run had finished.
    """

    model_config = _RECORD

    total_seconds: float = 0.0
    scan_seconds: float = 0.0
    restore_seconds: float = 0.0
    stages: dict[str, float] = {}
    seconds_per_frame: float = 0.0
    seconds_per_face: float | None = None
    frames_per_second: float = 0.0
    reused_segments: int = 0


class Measures(BaseModel):
    """The source project's measures that need no reference.

    Attributes:
        frr: frame-rate ratio, input / output as an exact fraction; "1" unless frames were lost or added.
        fei_asked: facial enhancement intensity: the strength asked for, averaged over the restored faces.
        fei_measured: change found inside faces / change of a full restoration; None when no face was restored.
        fei_change: mean absolute change inside faces, in steps of 1/255.
        resolution_percent: VQ's first part: output height / input height x 100.
        niqe_before, niqe_after: VQ's second part: NIQE (no reference, lower is more natural) of a sample of the faces,
            as they were and as they are; None where no restored face was sampled or the crops are below 96 px.
        faces: other measures of the same sample before and after, by their name in :data:`revisage.measures.MEASURES`.
        fpa: facial parsing accuracy, 0 to 1: eyes, nose and mouth corners that a detector finds again in a sample of
            the restored faces where they belong, to 0.15 of the eyes' distance / all.
        pt_seconds_per_frame: processing time.
        avs_ms: the largest difference in ms between audio and video (start, end, each packet) before against after;
            None without audio.
    """

    model_config = _RECORD

    frr: str | None = None
    fei_asked: float | None = None
    fei_measured: float | None = None
    fei_change: float | None = None
    resolution_percent: float = 100.0
    niqe_before: float | None = None
    niqe_after: float | None = None
    faces: dict[str, tuple[float, float]] = {}
    fpa: float | None = None
    pt_seconds_per_frame: float = 0.0
    avs_ms: float | None = None


class FileReport(BaseModel):
    """What was done with one file.

    Attributes:
        input, output: as :func:`revisage.probe` describes them; ``output`` is None in a dry run.
        frames: frames of the span that was worked on; ``frames_changed`` of them hold a restored face.
        failures: one line for each frame that was kept as it was because its restoration failed.
        warnings: damage met in the source.
        notes: what was done differently from what one might expect (a codec chosen, audio converted, …).
        truncated: whether the source broke off and only what could be read was restored.
        model: the restorer that was used, as in :class:`Report`.
        error: why the file could not be restored at all (in a batch).
    """

    model_config = _RECORD

    input: dict[str, Any]
    output: dict[str, Any] | None = None
    frames: int = 0
    frames_changed: int = 0
    shots: int = 0
    segments: int = 0
    faces: FaceCounts = Field(default_factory=FaceCounts)
    tracks: list[TrackSummary] = []
    failures: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []
    truncated: bool = False
    timings: Timings = Field(default_factory=Timings)
    measures: Measures = Field(default_factory=Measures)
    model: dict[str, Any] | None = None
    error: str | None = None
    error_code: int = 0


class Report(BaseModel):
    """What a run did. ``config`` can be fed back with ``--config report.json``.

    Attributes:
        revisage: version that wrote it.
        config: the options of the run.
        model: name, architecture, weight hash, licence, engine, precision and device of the restorer; None when no
            face was to be restored.
        detector: name and weight hash.
        machine: processor, its features that matter, cores, system, versions of the libraries.
        dry_run: True when nothing was written.
        files: one entry per input.
    """

    model_config = _RECORD

    revisage: str = __version__
    config: dict[str, Any]
    model: dict[str, Any] | None = None
    detector: dict[str, Any] | None = None
    machine: dict[str, Any] = {}
    dry_run: bool = False
    files: list[FileReport]

    @property
    def output(self) -> Path | None:
        """Path of the output; of the first one when there are several."""
        outputs = self.outputs
        return outputs[0] if outputs else None

    @property
    def outputs(self) -> list[Path]:
        """Paths of all files written."""
        return [Path(entry.output["path"]) for entry in self.files if entry.output]

    @property
    def frames(self) -> int:
        """Frames over all files."""
        return sum(entry.frames for entry in self.files)

    @property
    def faces(self) -> int:
        """Faces restored, over all frames of all files."""
        return sum(entry.faces.restored for entry in self.files)

    @property
    def tracks(self) -> list[TrackSummary]:
        """One person in one shot each, of all files."""
        return [track for entry in self.files for track in entry.tracks]

    @property
    def truncated(self) -> bool:
        """Whether a source broke off and only what could be read was restored."""
        return any(entry.truncated for entry in self.files)

    @property
    def warnings(self) -> list[str]:
        """Warnings of all files."""
        return [text for entry in self.files for text in entry.warnings]

    @property
    def notes(self) -> list[str]:
        """Notes of all files."""
        return [text for entry in self.files for text in entry.notes]

    @property
    def failed(self) -> list[FileReport]:
        """Files of a batch that could not be restored."""
        return [entry for entry in self.files if entry.error]

    def to_json(self) -> str:
        """This report as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the report; the file appears when it is complete.

        Raises:
            OutputError: the file exists and ``overwrite`` is off, or it cannot be written.
        """
        write_text(path, self.to_json(), overwrite=overwrite)
