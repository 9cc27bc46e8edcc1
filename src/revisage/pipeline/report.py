"""Report: what was done to which face, how long it took, and the measures. JSON that can be fed back as a config."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from revisage import engines, media, readers
from revisage._version import __version__
from revisage.core import RestoreConfig, Use, given_for, write_text

if TYPE_CHECKING:
    from revisage.media import MediaInfo, StreamTimes
    from revisage.people import Guide
    from revisage.pipeline.plan import Plan
    from revisage.pipeline.restoration import LikenessSums, Networks, Tally
    from revisage.pipeline.scan import Scan, ScannedTrack

__all__ = [
    "FaceCounts",
    "FileReport",
    "Measures",
    "Report",
    "Timings",
    "TrackLikeness",
    "TrackSummary",
    "detector_summary",
    "face_counts",
    "likeness_warnings",
    "machine",
    "measured",
    "restorer_summary",
    "sync_difference_ms",
    "timings",
    "track_summaries",
    "unused_notes",
]

_RECORD = ConfigDict(extra="forbid")


class TrackLikeness(BaseModel):
    """Some restored faces of a track beside what they were.

    Attributes:
        faces: that were compared.
        identity: mean cosine of the reader's identities before and after: 1 is nobody else at all.
        expression_kept: part of the faces with eyes and mouth as far open as before; None where the reader tells
            identities only.
        eyes, mouth: mean openings (height over width) before, and after.
    """

    model_config = _RECORD

    faces: int
    identity: float
    expression_kept: float | None = None
    eyes: tuple[float, float] | None = None
    mouth: tuple[float, float] | None = None


class TrackSummary(BaseModel):
    """What became of one person in one shot.

    Attributes:
        id: as in the scan.
        person: whom it shows, where that is known.
        guide: the photo that guided it; None without.
        first_seconds, last_seconds: of its first and last frame, on the source's clock.
        frames: frames of the track; ``seen`` of them by the detector, the others filled in.
        restored: frames in which it was restored.
        mean_size: longer side of the box (px).
        mean_score: of the detector.
        strength: mean over the restored frames, fades included; 0 when none was.
        likeness: whether it is still the same person with the same look; None where that was not looked at: it takes
            a reader of faces.
    """

    model_config = _RECORD

    id: int
    person: str | None = None
    guide: str | None = None
    first_seconds: float
    last_seconds: float
    frames: int
    seen: int
    restored: int
    mean_size: float
    mean_score: float
    strength: float
    likeness: TrackLikeness | None = None


class FaceCounts(BaseModel):
    """How many faces there were and what became of them.

    Attributes:
        tracks: persons per shot, summed over shots.
        found: faces over all frames, filled-in ones included.
        restored: faces restored.
        carried: those of them that had hardly changed and took over what was restored in a frame before.
        clean: those of them that were clean and sharp already: nothing of them was changed.
        left: faces left as they were on purpose (size, choice, strength 0, cut off by the frame's edge).
        beyond: those of them that were left because a frame held more than ``max_faces``.
        failed: faces whose restoration failed; their frames were kept as they were.
    """

    model_config = _RECORD

    tracks: int = 0
    found: int = 0
    restored: int = 0
    carried: int = 0
    clean: int = 0
    left: int = 0
    beyond: int = 0
    failed: int = 0


class Timings(BaseModel):
    """Where the time went. Stages overlap, so that they may add up to more than the total.

    Attributes:
        total_seconds: wall clock from start to finished file; ``scan_seconds`` and ``restore_seconds`` of it.
        stages: seconds of work in each stage, summed over workers; ``busy``: as parts of ``restore_seconds``. A stage
            near 1 for each worker is the one that all others wait for.
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
    busy: dict[str, float] = {}
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
        frames: frames of the span that was worked on; ``frames_changed`` of them hold a restored face, and
            ``frames_copied`` were taken over from the source as they are, not encoded again.
        failures: one line for each frame that was kept as it was because its restoration failed.
        warnings: damage met in the source.
        notes: what was done differently from what one might expect (a codec chosen, audio converted, …).
        truncated: whether the source broke off and only what could be read was restored.
        segments_left: segments that were left as they were found, after several tries; warnings say which.
        model: the restorer that was used, as in :class:`Report`.
        error: why the file could not be restored at all (in a batch).
    """

    model_config = _RECORD

    input: dict[str, Any]
    output: dict[str, Any] | None = None
    frames: int = 0
    frames_changed: int = 0
    frames_copied: int = 0
    shots: int = 0
    segments: int = 0
    faces: FaceCounts = Field(default_factory=FaceCounts)
    tracks: list[TrackSummary] = []
    failures: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []
    truncated: bool = False
    segments_left: int = 0
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
        skipped: files of a folder or pattern that were left alone, because no format has their ending.
    """

    model_config = _RECORD

    revisage: str = __version__
    config: dict[str, Any]
    model: dict[str, Any] | None = None
    detector: dict[str, Any] | None = None
    machine: dict[str, Any] = {}
    dry_run: bool = False
    files: list[FileReport]
    skipped: list[str] = []

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
    def partly(self) -> bool:
        """Whether less was restored than the file holds: it broke off, or a part was left as it was found."""
        return self.truncated or any(entry.segments_left for entry in self.files)

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


def face_counts(scan: Scan, plan: Plan, tally: Tally) -> FaceCounts:
    """How many faces were found, restored, left and given up."""
    return FaceCounts(
        tracks=len(scan.tracks),
        found=scan.faces,
        restored=tally.faces,
        carried=tally.carried,
        clean=tally.clean,
        left=scan.faces - plan.faces,
        beyond=plan.beyond,
        failed=tally.failed,
    )


def track_summaries(scan: Scan, tally: Tally, guides: Mapping[int, Guide]) -> list[TrackSummary]:
    """What became of each track, by which guide."""
    summaries = [_summary(track, scan, *tally.restored.get(str(track.id), (0, 0.0))) for track in scan.tracks]
    for summary in summaries:
        summary.likeness = _likeness(tally.likeness.get(str(summary.id)))
        guide = guides.get(summary.id)
        summary.guide = None if guide is None or not summary.restored else guide.name
    return summaries


def _likeness(sums: LikenessSums | None) -> TrackLikeness | None:
    if sums is None or not sums.faces:
        return None
    found = TrackLikeness(faces=sums.faces, identity=round(sums.identity / sums.faces, 3))
    if sums.read:
        found.expression_kept = round(sums.kept / sums.read, 3)
        found.eyes = round(sums.eyes[0] / sums.read, 3), round(sums.eyes[1] / sums.read, 3)
        found.mouth = round(sums.mouth[0] / sums.read, 3), round(sums.mouth[1] / sums.read, 3)
    return found


def likeness_warnings(tracks: Sequence[TrackSummary]) -> list[str]:
    """A line for each track whose restored faces look like somebody else's."""
    lines = []
    for track in tracks:
        if track.likeness is not None and track.likeness.identity < readers.SAME_PERSON:
            who = "" if track.person is None else f" ({track.person})"
            lines.append(
                f"track {track.id}{who}: the restored face looks like somebody else (identity "
                f"{track.likeness.identity:.2f} of 1, from {readers.SAME_PERSON:g} on it counts as the same person); "
                "look at it, and lower its strength or choose another model"
            )
    return lines


_WITHOUT: dict[Use, str] = {
    "frames in a row": "the source is a single picture",
    "interlaced video": "the source is not interlaced",
    "video encoders": "the output is no video",
}


def unused_notes(config: RestoreConfig, source: MediaInfo, *, to_video: bool) -> list[str]:
    """A line for each kind of options that were given though this source, or the output, has no use for them."""
    suits: dict[Use, bool] = {
        "frames in a row": source.kind != "image",
        "interlaced video": source.interlaced,
        "video encoders": to_video,
    }
    unused = ((given_for(config, use), reason) for use, reason in _WITHOUT.items() if not suits[use])
    return [f"{', '.join(names)} not used: {reason}" for names, reason in unused if names]


def _summary(track: ScannedTrack, scan: Scan, restored: int, strength: float) -> TrackSummary:
    frames = len(track.boxes)
    return TrackSummary(
        id=track.id,
        person=track.person,
        first_seconds=round(float(scan.pts[track.start] * scan.time_base), 3),
        last_seconds=round(float(scan.pts[track.stop - 1] * scan.time_base), 3),
        frames=frames,
        seen=sum(track.seen),
        restored=restored,
        mean_size=round(sum(max(box[2], box[3]) for box in track.boxes) / frames, 1),
        mean_score=round(sum(track.scores) / frames, 3),
        strength=round(strength / restored, 3) if restored else 0.0,
    )


def measured(
    tally: Tally,
    *,
    size_hw: tuple[int, int],
    output_hw: tuple[int, int],
    rates: tuple[Fraction | None, Fraction | None],
    avs_ms: float | None,
) -> Measures:
    """The source project's measures; ``rates`` are frames per second of input and output."""
    before, after = rates
    faces = {name: (round(a, 3), round(b, 3)) for name, (a, b) in tally.quality.means.items()}
    natural = faces.pop("niqe", (None, None))
    fpa = tally.quality.fpa
    return Measures(
        frr=str(before / after) if before and after else None,
        fei_asked=None if tally.strength is None else round(tally.strength, 4),
        fei_measured=round(tally.got / tally.full, 4) if tally.full > 0 else None,
        fei_change=round(tally.got / tally.measured, 3) if tally.measured else None,
        resolution_percent=round(100 * output_hw[0] / size_hw[0], 2),
        niqe_before=natural[0],
        niqe_after=natural[1],
        faces=faces,
        fpa=None if fpa is None else round(fpa, 4),
        avs_ms=avs_ms,
    )


def timings(
    tally: Tally, frames: int, total: float, scan: float, restore: float, *, reused_segments: int = 0
) -> Timings:
    """Where the time went, of ``frames`` frames; seconds of the whole, of the scan and of what came after it."""
    return Timings(
        total_seconds=round(total, 3),
        scan_seconds=round(scan, 3),
        restore_seconds=round(restore, 3),
        stages=tally.seconds,
        busy={name: round(seconds / restore, 3) for name, seconds in tally.seconds.items()},
        seconds_per_frame=round(total / frames, 5),
        seconds_per_face=round(total / tally.faces, 5) if tally.faces else None,
        frames_per_second=round(frames / total, 2),
        reused_segments=reused_segments,
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
    cpu = engines.cpu_info()
    names = ("av", "numpy", "opencv-python-headless", "openvino", "pillow", "torch")
    libraries = {name: _version_of(name) for name in names}
    return {
        "processor": cpu.name,
        "features": list(cpu.features),
        "cores": cpu.cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
        "revisage": __version__,
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def sync_difference_ms(before: Path, after: Path, *, first: Fraction | None = None) -> float | None:
    """The largest change in ms of an audio packet's time against the video's first frame; None without audio.

    Packets are compared in order where a track kept their number, and with the ones of equal bytes where a part was
    cut out. Where they were encoded again, the start and end of the track, against the start and end of the video, are.

    Args:
        before, after: source and output.
        first: time in the source, in seconds, of the output's first frame; the source's own first when None.
    """
    old, new = media.stream_times(before), media.stream_times(after)
    pairs = list(zip(old.audio, new.audio, strict=False))
    if not pairs or not old.video.pts or not new.video.pts:
        return None
    if first is None:
        first = old.video.start
    changes = (_change(a, b, old.video.stop - first, new.video, first) for a, b in pairs)
    return round(max(float(change) for change in changes) * 1000, 3)


def _change(old: StreamTimes, new: StreamTimes, length: Fraction, video: StreamTimes, first: Fraction) -> Fraction:
    """Seconds; ``length`` is that of the source's video from ``first`` on, ``video`` the output's."""
    if not old.pts or not new.pts:
        return Fraction(0)
    skipped = _position(old.marks, new.marks)
    if skipped is not None:
        kept = old.pts[skipped : skipped + len(new.pts)]
        return max(abs((a - first) - (b - video.start)) for a, b in zip(kept, new.pts, strict=True))
    return max(
        abs((old.start - first) - (new.start - video.start)),
        abs((old.stop - first - length) - (new.stop - video.stop)),
    )


def _position(marks: list[int], part: list[int]) -> int | None:
    """Where ``part`` lies in ``marks``; None when it does not, 0 when both have the same length."""
    if len(marks) == len(part):
        return 0
    starts = (at for at, mark in enumerate(marks) if mark == part[0])
    return next((at for at in starts if marks[at : at + len(part)] == part), None)
