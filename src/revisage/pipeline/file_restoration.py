"""One file from source to output: scan, plan, segments, assembly, report.

No final name appears before its file is complete.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import media
from revisage._version import __version__
from revisage.core import (
    CancelledError,
    CancelToken,
    OutputExistsError,
    ProcessingError,
    Progress,
    ProgressCallback,
    RestoreConfig,
    RevisageError,
    output_error,
    publish,
    write_text,
)
from revisage.people import Guidance
from revisage.pipeline.calibration import calibration_crops
from revisage.pipeline.plan import (
    LONGEST,
    Plan,
    Segment,
    Span,
    busiest_frame,
    make_plan,
    planned_faces,
    planned_levels,
    usual_step,
    whole,
)
from revisage.pipeline.report import (
    FileReport,
    face_counts,
    likeness_warnings,
    measured,
    restorer_summary,
    sync_difference_ms,
    timings,
    track_summaries,
    unused_notes,
)
from revisage.pipeline.restoration import Networks, Preparation, Tally, Trace
from revisage.pipeline.runners import FrameCounter, ProcessRunner, Runner, SerialRunner, worker_devices
from revisage.pipeline.scan import Fingerprint, Scan, SourceWatch
from revisage.pipeline.scan_job import OnFaces, PartFolder
from revisage.pipeline.scanner import scan_settings, scan_source, told_apart
from revisage.pipeline.segment_job import SegmentJob, SegmentResult
from revisage.pipeline.targets import (
    PickTarget,
    SideTargets,
    Target,
    check_side_folders,
    keep_faces,
    make_target,
    pick_target,
    publish_folder,
    with_leave,
)
from revisage.pipeline.work_folder import WorkFolder, delivered, output_lock, tidy, told_where
from revisage.provenance import Statement, check_labels, label_output

if TYPE_CHECKING:
    from revisage.media import CopiedFrames, EncodeOptions, MediaInfo

__all__ = ["restore_file"]


@dataclass
class Run:
    """One file on its way.

    Attributes:
        has_leave: whether it may replace what an interrupted run has published, if that was the same one.
        given: a scan that was made before, or None.
        longest: frames of a segment at most.
        runner: who carries the segments out; None leaves it to ``config.workers``.
        scan, plan: once the source has been looked at.
        networks: to restore with; those that are made for the footage once it has been looked at.
        calibration: location of what they are made with, or None.
        reused: segments that an interrupted run had finished.
        notes: what there is to say about the run.
        trace, events: what this process and those of the segments did when.
        left: of each segment that was left as it was found, why.
        guidance: which guide photo serves which track.
    """

    source: Path
    config: RestoreConfig
    has_leave: bool
    networks: Networks
    cancel: CancelToken
    progress: ProgressCallback
    info: MediaInfo
    target: Target
    watch: SourceWatch
    folder: WorkFolder
    given: Scan | None
    runner: Runner | None
    longest: int
    scan: Scan = field(init=False)
    plan: Plan = field(init=False)
    calibration: str | None = None
    reused: int = 0
    notes: list[str] = field(default_factory=list)
    trace: Trace = field(default_factory=Trace)
    events: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    guidance: Guidance = field(default_factory=Guidance)

    @property
    def print(self) -> Fingerprint:
        """Of the source."""
        return self.watch.print

    @property
    def finished(self) -> Path:
        """Where the complete output waits for its name."""
        return self.folder.path / f"finished{self.target.output.suffix}"

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The pieces that are restored by themselves; one where the output is written in one pass."""
        return self.plan.segments if self.target.by_segments else (whole(self.scan, self.config),)

    def segment_path(self, segment: Segment) -> Path:
        """Where a segment's video waits for the others."""
        return self.folder.segment_path(segment.number, self.target.output.suffix)

    def part(self, segment: Segment) -> Path | CopiedFrames:
        """A segment as the output is put together from it."""
        if not segment.copied:
            return self.segment_path(segment)
        first, last = self.scan.pts[segment.start], self.scan.pts[segment.stop - 1]
        return media.CopiedFrames(first, last, segment.frames)

    def compare_path(self, segment: Segment | None = None) -> Path:
        """Where the comparison waits for its name, or a segment's part of it for the others."""
        assert self.target.compare is not None
        number = "" if segment is None else f"-{segment.number:05d}"
        return self.folder.path / f"compare{number}{self.target.compare[0].suffix}"

    @cached_property
    def busiest(self) -> int:
        """The frame that is worth a picture."""
        return busiest_frame(self.scan, self.plan)

    def job(self, segment: Segment) -> SegmentJob:
        """A segment with all that a worker needs."""
        read = slice(segment.read.start, segment.read.stop)
        return SegmentJob(
            segment=segment,
            source=str(self.source.absolute()),
            info=self.info,
            config=self.config.model_copy(update={"precision": self.networks.config.precision}),
            first=self.scan.first,
            pts=tuple(self.scan.pts[read]),
            step=usual_step(self.scan.pts),
            planned=planned_faces(self.scan, self.plan, segment, self.guidance.guides),
            levels=planned_levels(self.scan, segment, self.config),
            cuts=tuple(start for start, _ in self.scan.shots if start in segment.read),
            options=self.target.options,
            target=str(self.segment_path(segment) if self.target.by_segments else self.finished),
            calibration=self.calibration,
            compare=self._comparison(segment),
            pictures=self._pictures,
            picks=self.picks(segment),
        )

    def _comparison(self, segment: Segment) -> tuple[str, EncodeOptions | int] | None:
        if self.target.compare is None:
            return None
        options = self.target.compare[1]
        if options is not None:
            return str(self.compare_path(segment if self.target.by_segments else None)), options
        shown = segment.start <= self.busiest < segment.stop
        return (str(self.compare_path()), self.busiest - segment.start) if shown else None

    @property
    def _pictures(self) -> SideTargets | None:
        """Where faces and frames are collected, if they are wanted."""
        faces, frames = self.config.save_faces, self.config.save_frames
        if faces is None and frames is None:
            return None
        return SideTargets(
            stem=self.source.stem,
            still=self.info.kind == "image",
            faces=self.folder.path / "faces" if faces else None,
            frames=self.folder.path / "frames" if frames else None,
        )

    def picks(self, segment: Segment) -> PickTarget | None:
        """Which faces of a segment are picked for a store, if one is wanted."""
        if self.config.collect is None:
            return None
        return pick_target(self.folder.path, self.scan, segment, self.config.collect_frames)


def restore_file(
    source: Path,
    output: Path,
    config: RestoreConfig,
    networks: Networks,
    *,
    scan: Scan | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    runner: Runner | None = None,
    segment_frames: int = LONGEST,
) -> FileReport:
    """Restore the faces of one file.

    A run that crashed, was terminated or met a full disk is taken up again where it stopped: finished segments wait in
    a hidden folder beside the output, or in ``config.work_dir``. That folder is removed at success and when the user
    stops, unless ``config.keep_work`` says otherwise, and where nothing is finished yet.

    Args:
        source: a video, an animated image or a still.
        output: where to, also an address; its extension chooses the container.
        config: what to do.
        networks: loaded for that config; shared by the files of a batch.
        scan: made from this source before; its tracks may have been edited.
        progress: told of each frame.
        cancel: looked at between frames.
        runner: who carries the segments of a video out; by default this process, or ``config.workers`` of them.
        segment_frames: frames of a segment at most.

    Raises:
        UserError: the request cannot be carried out, or another run is writing this output; nothing was written but,
            where the disk was full or the segments could not be joined, finished segments, as the message says.
        ProcessingError: a step failed; running again takes up where it stopped.
        CancelledError: stopped through ``cancel``; nothing is left behind.
        KeyboardInterrupt: stopped by Ctrl-C; nothing is left behind.
    """
    if media.is_address(output):
        with delivered(output, config) as local:
            rest: dict[str, Any] = {"scan": scan, "progress": progress, "cancel": cancel, "runner": runner}
            report = restore_file(source, local, config, networks, segment_frames=segment_frames, **rest)
        return told_where(report, output)
    started = time.perf_counter()
    info = media.probe(source)
    allowed = with_leave(config, output)
    run = Run(
        source=source,
        config=config,
        has_leave=allowed is not config,
        networks=networks,
        cancel=cancel or CancelToken(),
        progress=progress or (lambda _: None),
        info=info,
        target=_target(source, output, info, allowed),
        watch=SourceWatch(source),
        folder=WorkFolder(output, config.work_dir),
        given=scan,
        runner=runner,
        longest=segment_frames,
    )
    run.given = None if scan is None else scan.asked(config, info, run.print)
    if config.dry_run:
        _look(run, run.given or _scan(run))
        report = _report(run, Tally())
        report.timings.total_seconds = round(time.perf_counter() - started, 3)
        return report
    with output_lock(output), _work_kept_after_a_crash(run):
        return _restored(run, started)


def _target(source: Path, output: Path, info: MediaInfo, config: RestoreConfig) -> Target:
    check_labels(config, output)
    try:
        return make_target(source, output, info, config)
    except OutputExistsError:
        tidy(output, config.work_dir, done=False)
        raise


@contextmanager
def _work_kept_after_a_crash(run: Run) -> Iterator[None]:
    """Remove the work folder at the end, except where running again can take up what a failed run has finished.

    A stop by the user wants nothing left, unless told otherwise. Whatever else ends a run, a full disk or an assembly
    that fails too, may be mended, and what took hours to restore serves again.
    """
    try:
        yield
    except (CancelledError, KeyboardInterrupt) as stop:
        if run.config.keep_work and run.folder.holds_work:
            stop.args = (f"stopped; {_what_is_kept(run)}",)
        else:
            run.folder.give_up()
            if run.folder.set_aside:
                stop.args = (f"stopped; nothing of this run was left behind{_of_another_run(run)}",)
        raise
    except OSError as error:
        raise _told_what_is_kept(output_error(run.target.output, error), run) from error
    except RevisageError as error:
        raise _told_what_is_kept(error, run) from error.__cause__
    except BaseException:
        _told_what_is_kept(RevisageError(), run)
        raise
    if run.config.keep_work:
        run.folder.note_published()
    else:
        run.folder.remove_all()


def _told_what_is_kept(error: RevisageError, run: Run) -> RevisageError:
    """The error, saying what is kept and how to go on; the folder is removed where it holds nothing of use."""
    if not run.folder.holds_work:
        run.folder.give_up()
        return error
    error.args = (f"{error}; {_what_is_kept(run)}",)
    return error


def _what_is_kept(run: Run) -> str:
    place = "beside the output" if run.config.work_dir is None else f"in {run.config.work_dir}"
    count = "what was scanned is"
    if run.folder.segments:
        count = f"{run.folder.segments} of {sum(not segment.copied for segment in run.plan.segments)} segments are"
    return f"{count} finished and kept {place}: do the same again to go on from there{_of_another_run(run)}"


def _of_another_run(run: Run) -> str:
    count = run.folder.set_aside
    return f"; {count} segments of a run with another input, model, version or options are kept too" if count else ""


def _restored(run: Run, started: float) -> FileReport:
    with run.trace.span("load"):
        run.networks.load()
    key = _key(run)
    if run.has_leave and not run.folder.holds(key):
        # What an interrupted run with another key has published is not this one's to replace.
        check_side_folders(run.config)
        make_target(run.source, run.target.output, run.info, run.config)
    run.folder.open(key, resume=run.config.resume)
    published = run.folder.published(run.target.output)
    if published is not None and run.config.collect is None:
        return FileReport(**published)
    began = time.perf_counter()
    with run.trace.span("scan"):
        _look(run, run.given or _scan_or_saved(run))
    scanned = time.perf_counter()
    _calibrate(run)
    tally = _write_output(run)
    run.cancel.check()
    report = _report(run, tally)
    report.model = restorer_summary(run.networks)
    _measure(run, report, tally)
    now = time.perf_counter()
    seconds = (now - started, scanned - began, now - scanned)
    report.timings = timings(tally, report.frames, *seconds, reused_segments=run.reused)
    report.measures.pt_seconds_per_frame = report.timings.seconds_per_frame
    _publish(run, report)
    if run.config.profile is not None:
        events = [*run.trace.events(), *run.events]
        write_text(run.config.profile, json.dumps(events), overwrite=True)
    if run.config.collect is not None and report.faces.restored:
        _collect(run, report)
    return report


def _look(run: Run, scan: Scan) -> None:
    found = media.CopyableGroups()

    def groups() -> tuple[Span, ...]:
        nonlocal found
        if run.target.by_segments and run.config.copies and not (scan.truncated or scan.warnings):
            found = media.copyable_groups(run.info, run.target.output, run.target.options, scan.pts)
        return found.groups

    if run.config.who or run.config.reference or run.config.guide_frames:
        rest: dict[str, Any] = {"progress": run.progress, "cancel": run.cancel}
        told, analysis = told_apart(scan, run.source, run.networks, guide_frames=run.config.guide_frames, **rest)
        run.notes, run.guidance = run.notes + analysis.notes, analysis.guidance
        # A scan that was given may have names, which nobody asked to be looked at again.
        scan = told if run.config.who else scan
    run.scan, run.plan = scan, make_plan(scan, run.config, longest=run.longest, groups=groups)
    if any(segment.copied for segment in run.plan.segments):
        options = replace(run.target.options, parameter_set=found.parameter_set)
        run.target = replace(run.target, options=options)


def _key(run: Run) -> str:
    """What a finished segment depends on, of photos not where they lie: equal keys mean equal segments."""
    collected = {} if run.config.collect is None else {"picks": run.config.collect_frames}
    parts = {
        **collected,
        "revisage": __version__,
        "longest": run.longest,
        "source": run.print.sha256,
        "settings": run.config.model_copy(update={"who": (), "reference": ()}).settings(),
        "scan": run.given.to_json() if run.given else scan_settings(run.config, run.networks).model_dump(mode="json"),
        "weights": run.networks.hashes(),
        "side": [str(run.config.save_faces), str(run.config.save_frames), str(run.config.compare)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _scan(run: Run, kept: PartFolder | None = None, on_faces: OnFaces | None = None) -> Scan:
    rest: dict[str, Any] = {"progress": run.progress, "cancel": run.cancel, "runner": run.runner, "kept": kept}
    rest |= {"total": run.info.frame_count, "on_faces": on_faces}
    return scan_source(run.source, run.print, run.config, run.networks, **rest)


def _scan_or_saved(run: Run) -> Scan:
    """The scan that an interrupted run left (its key covers what a scan depends on), or a new one."""
    saved = run.folder.saved_scan()
    if saved is not None and saved.source.same_content(run.print):
        return saved
    scan = _scan(run, run.folder.scan_parts, Preparation(run.networks))
    run.folder.save_scan(scan)
    return scan


def _calibrate(run: Run) -> None:
    """Settle the networks to restore with: int8 is made with faces of the footage, and needs some."""
    if not run.networks.calibrates or not run.plan.faces:
        return
    crops = calibration_crops(run.source, run.scan, run.plan, run.config, run.networks, run.cancel)
    if crops is None:
        run.networks = run.networks.uncalibrated
        used = run.networks.restorer.info.precision
        run.notes.append(f"int8 needs four faces to be made with; {used} was used")
        return
    run.networks = run.networks.calibrated(crops)
    place = run.folder.path / "calibration.npy"
    np.save(place, crops)
    run.calibration = str(place)


def _write_output(run: Run) -> Tally:
    """Write the complete output to its waiting place, and the side outputs into the work folder.

    Raises:
        ProcessingError: every frame with faces failed, or a worker died.
        OutputError: it cannot be written.
        CancelledError: a stop was asked for.
    """
    results = _run_jobs(run)
    tally = Tally()
    for segment in run.segments:
        tally.add(results[segment.number].tally)
    statement = _statement(run, tally)
    if run.target.by_segments:
        run.progress(Progress("finish", 0, None, 0, run.source.name))
        with run.trace.span("assemble"):
            _assemble(run, statement)
    run.notes += label_output(run.finished, statement, run.source, run.config)
    for segment in run.segments:
        result = results[segment.number]
        run.notes += [note for note in result.notes if note not in run.notes]
        run.events += result.events
        run.left += [result.problem] if result.problem is not None else []
    if tally.unmeasured is not None:
        run.notes.append(f"not all faces could be measured: {tally.unmeasured}")
    if tally.failures and not tally.changed:
        raise ProcessingError(f"{run.source}: no face could be restored; {tally.failures[0]}")
    return tally


def _statement(run: Run, tally: Tally) -> Statement | None:
    """What the output says was done to it; None where nothing was, or nothing shall be said."""
    faces = sum(count for count, _ in tally.restored.values())
    if not (run.config.provenance and faces):
        return None
    info = run.networks.restorer.info
    return Statement(
        software=f"revisage {__version__}",
        model=info.name,
        sha256=info.sha256,
        strength=run.config.strength,
        frames=tally.changed,
        faces=faces,
    )


def _run_jobs(run: Run) -> dict[int, SegmentResult]:
    """The results of all segments by their numbers: of those that an interrupted run has finished, and of the rest."""
    segments, suffix = run.segments, run.target.output.suffix
    counter, results = FrameCounter(run.progress, run.scan.frames, run.source.name), {}
    if run.target.by_segments:
        for segment in segments:
            saved = run.folder.finished(segment.number, suffix)
            if saved is not None:
                result = results[segment.number] = SegmentResult.of(saved)
                counter(result.tally.faces, result.tally.frames)
    run.reused = len(results)
    for segment in segments:
        if segment.copied:
            results[segment.number] = SegmentResult(segment.number, Tally(frames=segment.frames))
            counter(0, segment.frames)
    jobs = (run.job(segment) for segment in segments if segment.number not in results)
    for result in _runner(run).run(jobs, cancel=run.cancel, on_frame=counter):
        run.watch.check()
        if run.target.by_segments and result.is_final:
            run.folder.record(result.number, suffix, result.to_dict())
        results[result.number] = result
    return results


def _runner(run: Run) -> Runner:
    """Who carries the jobs out. What is written in one pass is restored here, whoever else there may be."""
    if run.runner is not None and run.target.by_segments:
        return run.runner
    devices = worker_devices(run.config, sum(not segment.copied for segment in run.segments))
    return ProcessRunner(devices) if len(devices) > 1 else SerialRunner(run.networks)


def _assemble(run: Run, statement: Statement | None) -> None:
    """Join the segments and copy everything else of the source."""
    parts = [run.part(segment) for segment in run.segments]
    label = "" if statement is None else statement.to_text()
    options = run.target.options
    joined = media.assemble(parts, run.source, run.finished, source_info=run.info, options=options, label=label)
    run.notes += joined.notes
    if run.target.compare_file is not None:
        compared = [run.compare_path(segment) for segment in run.segments]
        options = run.target.compare_file[1]
        media.assemble(compared, run.source, run.compare_path(), source_info=run.info, options=options, label=label)


def _report(run: Run, tally: Tally) -> FileReport:
    scan, tracks = run.scan, track_summaries(run.scan, tally, run.guidance.guides)
    return FileReport(
        input=run.info.to_json(),
        frames=scan.frames,
        frames_changed=tally.changed,
        frames_copied=sum(segment.frames for segment in run.plan.segments if segment.copied),
        shots=len(scan.shots),
        segments=len(run.plan.segments),
        faces=face_counts(scan, run.plan, tally),
        tracks=tracks,
        failures=tally.failures,
        warnings=[*scan.warnings, *run.guidance.refused, *run.left, *likeness_warnings(tracks)],
        truncated=scan.truncated,
        segments_left=len(run.left),
        notes=[
            *media.format_notes(run.source, run.target.output),
            *media.start_notes(run.info),
            *unused_notes(run.config, run.info, to_video=run.target.by_segments),
            *run.notes,
        ],
    )


def _measure(run: Run, report: FileReport, tally: Tally) -> None:
    """Look at the finished file: what it is, and what the measures say."""
    after = media.probe(run.finished)
    report.output = {**after.to_json(), "path": str(run.target.output)}
    first = None if run.config.start is None else run.scan.pts[0] * run.scan.time_base
    report.measures = measured(
        tally,
        size_hw=(run.info.height, run.info.width),
        output_hw=run.target.size_hw,
        rates=(run.info.average_rate, after.average_rate),
        avs_ms=sync_difference_ms(run.source, run.finished, first=first) if run.target.by_segments else None,
    )


def _publish(run: Run, report: FileReport) -> None:
    """Give everything its final name; the output last, so that its presence means that all is there."""
    run.watch.check()
    told = report.model_copy(deep=True)
    told.timings.reused_segments = run.folder.segments  # to whom it is told, all of them will have been there
    run.folder.note_publishing(run.finished, told.model_dump(mode="json"))
    for name, folder in (("faces", run.config.save_faces), ("frames", run.config.save_frames)):
        if folder is not None:
            publish_folder(run.folder.path / name, folder)
    if run.target.compare is not None:
        publish(run.compare_path(), run.target.compare[0])
    publish(run.finished, run.target.output)


def _collect(run: Run, report: FileReport) -> None:
    """Keep the best faces in the store. The output is complete by now: whatever fails here is a warning."""
    files = [target.path for segment in run.segments if not segment.copied and (target := run.picks(segment))]
    try:
        report.notes.append(keep_faces(run.config, run.scan, run.source, run.print, files, run.networks.restorer.info))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        report.warnings.append(f"no faces were kept in {run.config.collect}: {reason}")
