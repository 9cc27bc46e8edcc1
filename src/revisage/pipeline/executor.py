"""Restore one file: scan, plan, segments, assembly, report. No final name appears before its file is complete."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from revisage._version import __version__
from revisage.core import CancelledError, CancelToken, ProgressCallback, RestoreConfig, UserError, output_error, publish
from revisage.pipeline.calibrate import calibration_crops
from revisage.pipeline.collect import keep_faces
from revisage.pipeline.fingerprint import Fingerprint, fingerprint
from revisage.pipeline.jobs import Work, write_output
from revisage.pipeline.lock import output_lock
from revisage.pipeline.networks import Networks
from revisage.pipeline.plan import Plan, make_plan
from revisage.pipeline.report import FileReport, Timings
from revisage.pipeline.scan import Scan
from revisage.pipeline.scanner import scan_settings, scan_source
from revisage.pipeline.side import publish_folder
from revisage.pipeline.summary import Totals, face_counts, measures, restorer_summary, track_summaries
from revisage.pipeline.target import Target, make_target
from revisage.pipeline.work import WorkFolder

if TYPE_CHECKING:
    from revisage.media import MediaInfo

__all__ = ["restore_file"]


@dataclass
class _Run:
    """One file on its way."""

    source: Path
    config: RestoreConfig
    networks: Networks
    cancel: CancelToken
    progress: ProgressCallback
    info: MediaInfo
    target: Target
    print: Fingerprint
    folder: WorkFolder
    given: Scan | None


def restore_file(
    source: Path,
    output: Path,
    config: RestoreConfig,
    networks: Networks,
    *,
    scan: Scan | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> FileReport:
    """Restore the faces of one file.

    A run that crashed is taken up again where it stopped: finished segments wait in a hidden folder beside the
    output. That folder is removed at success, when the user stops, and when the request turns out to be impossible.

    Args:
        source: a video, an animated image or a still.
        output: where to; its extension chooses the container.
        config: what to do.
        networks: loaded for that config; shared by the files of a batch.
        scan: made from this source before; its tracks may have been edited.
        progress: told of each frame.
        cancel: looked at between frames.

    Raises:
        UserError: the request cannot be carried out, or another run is writing this output; nothing was written.
        ProcessingError: a step failed; running again takes up where it stopped.
        CancelledError: stopped through ``cancel``; nothing is left behind.
        KeyboardInterrupt: stopped by Ctrl-C; nothing is left behind.
    """
    from revisage.media import probe

    started = time.perf_counter()
    info = probe(source)
    run = _Run(
        source=source,
        config=config,
        networks=networks,
        cancel=cancel or CancelToken(),
        progress=progress or (lambda _: None),
        info=info,
        target=make_target(source, output, info, config),
        print=fingerprint(source),
        folder=WorkFolder(output),
        given=scan,
    )
    if scan is not None:
        scan.require_source(run.print)
    if config.dry_run:
        return _dry_report(run, started)
    with output_lock(output), _work_kept_after_a_crash(run):
        return _restored(run, started)


@contextmanager
def _work_kept_after_a_crash(run: _Run) -> Iterator[None]:
    """Remove the work folder at the end, except where running again can take up what a failed run has finished."""
    try:
        yield
    except (UserError, CancelledError, KeyboardInterrupt):
        run.folder.remove()
        raise
    except OSError as error:
        run.folder.remove()
        raise output_error(run.target.output, error) from error
    except BaseException:
        if not run.folder.holds_segments:
            run.folder.remove()
        raise
    run.folder.remove()


def _dry_report(run: _Run, started: float) -> FileReport:
    scan = run.given or _scan(run)
    plan = make_plan(scan, run.config)
    report = _report(run, scan, plan, Totals([]))
    report.timings = Timings(total_seconds=round(time.perf_counter() - started, 3))
    return report


def _restored(run: _Run, started: float) -> FileReport:
    run.networks.load()
    run.folder.open(_key(run))
    began = time.perf_counter()
    scan = run.given or _scan_or_saved(run)
    scanned = time.perf_counter()
    plan = make_plan(scan, run.config)
    finished = run.folder.path / f"finished{run.target.output.suffix}"
    networks, notes = _networks_for(run, scan, plan)
    work = Work(
        run.source, run.info, run.config, networks, run.target, run.folder, scan, plan, run.cancel, run.progress
    )
    written = write_output(work, finished)
    run.cancel.check()
    totals = Totals(written.results)
    report = _report(run, scan, plan, totals)
    report.notes += notes + written.notes
    report.model = restorer_summary(networks)
    _measure(run, scan, report, totals, finished)
    _publish(run, finished)
    if run.config.collect is not None:
        _collect(work, report, run.print)
    now = time.perf_counter()
    report.timings = _timings(report, totals, started, scanned - began, now - scanned, written.reused)
    report.measures.pt_seconds_per_frame = report.timings.seconds_per_frame
    return report


def _networks_for(run: _Run, scan: Scan, plan: Plan) -> tuple[Networks, list[str]]:
    """The networks to restore with, and what there is to say about them."""
    if run.config.precision != "int8" or not plan.faces:
        return run.networks, []
    crops = calibration_crops(run.source, scan, plan, run.config, run.networks, run.cancel)
    if crops is None:
        other = run.networks.uncalibrated
        return other, [f"int8 needs four faces to be made with; {other.restorer.info.precision} was used"]
    return run.networks.calibrated(crops), []


def _key(run: _Run) -> str:
    """What a finished segment depends on: equal keys mean equal segments."""
    collected = {} if run.config.collect is None else {"picks": run.config.collect_frames}
    parts = {
        **collected,
        "revisage": __version__,
        "source": run.print.sha256,
        "settings": run.config.settings(),
        "scan": run.given.to_json() if run.given else scan_settings(run.config, run.networks).model_dump(mode="json"),
        "weights": run.networks.hashes(),
        "side": [str(run.config.save_faces), str(run.config.save_frames), str(run.config.compare)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _scan(run: _Run) -> Scan:
    return scan_source(
        run.source,
        run.print,
        run.config,
        run.networks,
        total=run.info.frame_count,
        progress=run.progress,
        cancel=run.cancel,
    )


def _scan_or_saved(run: _Run) -> Scan:
    """The scan that an interrupted run left (its key covers what a scan depends on), or a new one."""
    saved = run.folder.saved_scan()
    if saved is not None and saved.source.same_content(run.print):
        return saved
    scan = _scan(run)
    run.folder.save_scan(scan)
    return scan


def _report(run: _Run, scan: Scan, plan: Plan, totals: Totals) -> FileReport:
    from revisage.media import format_notes

    return FileReport(
        input=run.info.to_json(),
        frames=scan.frames,
        frames_changed=totals.changed,
        shots=len(scan.shots),
        segments=len(plan.segments),
        faces=face_counts(scan, plan.faces, totals),
        tracks=track_summaries(scan, totals),
        failures=totals.failures,
        warnings=scan.warnings,
        truncated=scan.truncated,
        notes=format_notes(run.source, run.target.output),
    )


def _measure(run: _Run, scan: Scan, report: FileReport, totals: Totals, finished: Path) -> None:
    """Look at the finished file: what it is, and what the measures say."""
    from revisage.media import probe

    after = probe(finished)
    report.output = {**after.to_json(), "path": str(run.target.output)}
    report.measures = measures(
        totals,
        size_hw=(run.info.height, run.info.width),
        output_hw=run.target.size_hw,
        rates=(run.info.average_rate, after.average_rate),
        avs_ms=_sync(run, scan, finished) if run.target.by_segments else None,
    )


def _sync(run: _Run, scan: Scan, finished: Path) -> float | None:
    from revisage.pipeline.sync import sync_difference_ms

    cut = run.config.start is not None
    return sync_difference_ms(run.source, finished, first=scan.pts[0] * scan.time_base if cut else None)


def _publish(run: _Run, finished: Path) -> None:
    """Give everything its final name; the output last, so that its presence means that all is there."""
    for name, folder in (("faces", run.config.save_faces), ("frames", run.config.save_frames)):
        if folder is not None:
            publish_folder(run.folder.path / name, folder)
    if run.target.compare is not None:
        path = run.target.compare[0]
        publish(run.folder.path / f"compare{path.suffix}", path)
    publish(finished, run.target.output)


def _collect(work: Work, report: FileReport, found: Fingerprint) -> None:
    """Keep the best faces in the store. The output is complete by now: whatever fails here is a warning."""
    assert work.config.collect is not None
    if not report.faces.restored:
        return
    try:
        info = work.networks.restorer.info
        report.notes.append(keep_faces(work.config, work.scan, work.source, found, work.picked, info))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        report.warnings.append(f"no faces were kept in {work.config.collect}: {reason}")


def _timings(report: FileReport, totals: Totals, started: float, scan: float, restore: float, reused: int) -> Timings:
    total = time.perf_counter() - started
    return Timings(
        total_seconds=round(total, 3),
        scan_seconds=round(scan, 3),
        restore_seconds=round(restore, 3),
        stages=totals.stages,
        seconds_per_frame=round(total / report.frames, 5),
        seconds_per_face=round(total / totals.faces, 5) if totals.faces else None,
        frames_per_second=round(report.frames / total, 2),
        reused_segments=reused,
    )
