"""The work of a restore job: the output, its report, before and after of each face, copies that browsers play."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage import media, pipeline
from revisage.core import Progress
from revisage.service.jobs import public_values
from revisage.service.work.inspection import faces_before_and_after
from revisage.service.work.scanning import crew_of, scan_of
from revisage.service.work.task import Outcome, Task

if TYPE_CHECKING:
    from revisage.pipeline import FileReport, Report, Scan

__all__ = ["restore"]


def restore(task: Task) -> Outcome:
    """Restore the job's file.

    Raises:
        RevisageError: see :func:`revisage.api.restore`.
    """
    suffix = _suffix(task)
    output = task.work / f"output{suffix}"
    compare = None
    if task.job.params.get("compare"):  # its name is a part of what a resumed run compares: the same in each attempt
        compare = task.folder / f"compare{'.mp4' if task.info.kind == 'video' else suffix}"
    config = task.config.model_copy(update={"compare": compare})
    with ExitStack() as stack:
        crew = crew_of(task, stack, several=(task.frames or 0) > pipeline.LONGEST)
        began = time.perf_counter()
        scan = scan_of(task, crew)
        scanned = time.perf_counter() - began
        crew = crew or crew_of(task, stack, several=len(scan.shots) > 1 or scan.frames > pipeline.LONGEST)
        entry = pipeline.restore_file(
            task.source, output, config, task.networks, scan=scan, progress=task.meter, cancel=task.token, runner=crew
        )
    _count_scan(entry, scanned)
    task.meter(Progress("finish", 0, None, 0, ""))
    return _collected(task, entry, scan, output, compare)


def _suffix(task: Task) -> str:
    """Ending of the output: the input's own container, as far as it can be written."""
    return media.written_suffix(f".{task.job.input.format}", task.info)


def _count_scan(entry: FileReport, seconds: float) -> None:
    """Add the time of the scan, which was made before the run, to the run's."""
    timings = entry.timings
    timings.scan_seconds = round(seconds, 3)
    timings.total_seconds = round(timings.total_seconds + seconds, 3)
    timings.seconds_per_frame = round(timings.total_seconds / entry.frames, 5)
    timings.frames_per_second = round(entry.frames / timings.total_seconds, 2)
    if entry.faces.restored:
        timings.seconds_per_face = round(timings.total_seconds / entry.faces.restored, 5)
    entry.measures.pt_seconds_per_frame = timings.seconds_per_frame


def _collected(task: Task, entry: FileReport, scan: Scan, output: Path, compare: Path | None) -> Outcome:
    """Give all that belongs to the result its place in the job's folder."""
    report = _report(task, entry, output)
    made = {"output": task.named("output", output.suffix), "report": task.named("report", ".json")}
    made["report"].write_text(report.to_json(), encoding="utf-8")
    if compare is not None and compare.exists():
        made["compare"] = task.named("compare", compare.suffix)
        compare.replace(made["compare"])
    pictures: list[Path] = []
    if task.job.kind == "restore":
        made["faces"], pictures = faces_before_and_after(task, scan, output, entry.tracks)
    if task.job.params.get("playable"):
        made.update(_playable(task, output, made))
    output.replace(made["output"])
    made = {key: made["output"] if path == output else path for key, path in made.items()}
    result: dict[str, Any] = {key: path.name for key, path in made.items()}
    result.update(_numbers(entry))
    return Outcome(result, [*dict.fromkeys(made.values()), *pictures])


def _playable(task: Task, output: Path, made: dict[str, Path]) -> dict[str, Path]:
    """Copies that browsers play, of what they do not play as it is."""
    found: dict[str, Path] = {}
    wanted = {"playable": output, "playable_input": task.source, "playable_compare": made.get("compare")}
    for name, path in wanted.items():
        if path is None:
            continue
        info = media.probe(path)
        if not media.is_playable(info):
            found[name] = task.named(name, ".png" if info.kind == "image" else ".mp4")
            media.write_playable(path, found[name], info, task.token)
        elif name == "playable":
            found[name] = path
    return found


def _report(task: Task, entry: FileReport, output: Path) -> Report:
    """The run's report without paths."""
    shown = f"{Path(task.job.input.name).stem}_restored{output.suffix}"
    names = {**task.names, output: shown}
    values = public_values(entry.model_dump(mode="json"), names)
    return pipeline.Report(
        config=task.job.config,
        model=values["model"],
        detector=pipeline.detector_summary(task.networks),
        machine=pipeline.machine(),
        files=[pipeline.FileReport(**values)],
    )


def _numbers(entry: FileReport) -> dict[str, Any]:
    return {
        "frames": entry.frames,
        "frames_changed": entry.frames_changed,
        "face_tracks": entry.faces.tracks,
        "faces_restored": entry.faces.restored,
        "seconds": entry.timings.total_seconds,
        "resumed_segments": entry.timings.reused_segments,
        "truncated": entry.truncated,
        "measures": entry.measures.model_dump(mode="json"),
    }
