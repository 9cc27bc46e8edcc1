"""Looks into a file: a poster with its faces, a full scan, one restored moment, before and after of each face."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import faces, measures, media, pipeline, provenance
from revisage.core import Face, Image, InputError, Region, RestoreConfig
from revisage.service.work.scanning import crew_of, has_parts, scan_of
from revisage.service.work.task import Outcome, Task

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.pipeline import Scan, ScannedTrack, TrackSummary

__all__ = ["faces_before_and_after", "look", "preview", "scan", "verify"]

_MOMENTS = (Fraction(1, 2), Fraction(1, 5), Fraction(4, 5))
"""Where a poster is looked for, as parts of the length; the first with a face will do."""

_MOST_FACES = 60
_FACE_PX = 320
_POSTER_PX = 1600
_JPEG_QUALITY = 90


def look(task: Task) -> Outcome:
    """What the file holds, with a poster on which the faces are outlined and numbered.

    Raises:
        InputError: nothing that can be restored.
    """
    began = time.perf_counter()
    frame, faces, at = _poster(task)
    picture = frame.rgb()
    named = [_described(number, face, frame) for number, face in enumerate(faces, 1)]
    poster = task.named("poster", ".jpg")
    boxes = [(str(number), face.box) for number, face in enumerate(faces, 1)]
    _write_jpeg(poster, media.outlined(picture, boxes), _POSTER_PX)
    per_frame = _seconds_to_find(task, picture) + _seconds_to_restore(task, frame, faces)
    frames = task.frames
    result = {
        "info": _public_info(task),
        "poster": poster.name,
        "time": round(at, 3),
        "faces": named,
        "seconds_per_frame": round(per_frame, 4),
        "estimate_seconds": None if frames is None else round(per_frame * frames, 1),
        "seconds": round(time.perf_counter() - began, 3),
    }
    return Outcome(result, [poster])


def _poster(task: Task) -> tuple[Frame, list[Face], float]:
    """A frame that shows faces, if any does, and where it stands in seconds."""
    best: tuple[Frame, list[Face], float] | None = None
    length = task.info.duration or Fraction(0)
    detector = task.networks.detector
    for part in _MOMENTS if length else (Fraction(0),):
        task.token.check()
        frame, at = _frame_at(task, float(part * length))
        faces = detector(frame.rgb())
        found = (frame, faces, at)
        if faces:
            return found
        best = best or found
    assert best is not None
    return best


def _frame_at(task: Task, seconds: float) -> tuple[Frame, float]:
    """The frame that is shown ``seconds`` after the start, the last one when that lies beyond the end."""
    info = task.info
    wanted = info.start_pts + int(Fraction(str(seconds)) / info.time_base)
    with media.open_source(task.source, deinterlace=task.config.deinterlace, info=info) as source:
        shown = _shown_at(source.frames(), wanted, task) if info.kind != "video" else None
        if shown is None:
            shown = _shown_at(source.frames(1, first_pts=_before(task, wanted)), wanted, task)
        if shown is None:
            shown = _shown_at(source.frames(), wanted, task)
    if shown is None:
        raise InputError(f"{task.job.input.name}: no frame could be read")
    return shown, float((shown.pts - info.start_pts) * info.time_base)


def _before(task: Task, wanted: int) -> int:
    """Where to begin decoding for the frame shown at ``wanted``: no frame is shown for longer than two seconds."""
    return max(task.info.start_pts, wanted - int(2 / task.info.time_base))


def _shown_at(frames: Iterator[Frame], wanted: int, task: Task) -> Frame | None:
    last: Frame | None = None
    for frame in frames:
        task.token.check()
        if frame.pts > wanted and last is not None:
            break
        last = frame
        if frame.pts >= wanted:
            break
    return last


def _seconds_to_find(task: Task, picture: Image) -> float:
    """Seconds that looking for faces takes in a frame, once the network is warm."""
    began = time.perf_counter()
    task.networks.detector(picture)
    return time.perf_counter() - began


def _seconds_to_restore(task: Task, frame: Frame, found: list[Face]) -> float:
    """Seconds that restoring this frame takes on this machine; the mean cost per frame when it has no face is nil."""
    if not found:
        return 0.0
    restorer = task.networks.uncalibrated.restorer
    crops = np.stack([faces.align(frame, face, restorer.size).crop for face in found[: task.config.max_faces]])
    restorer(crops[:1])
    began = time.perf_counter()
    restorer(crops)
    return time.perf_counter() - began


def _public_info(task: Task) -> dict[str, Any]:
    """What the file holds, with its owner's name for it."""
    return {**task.info.to_json(), "path": task.job.input.name}


def _described(number: int, face: Face, frame: Frame) -> dict[str, Any]:
    """A face in numbers and words."""
    detail = measures.face_sharpness(faces.align(frame, face, 256).crop)
    quality = _quality(detail)
    return {
        "number": number,
        "box": [round(value, 1) for value in face.box],
        "size": round(face.size),
        "score": round(face.score, 3),
        "sharpness": detail,
        "quality": quality,
        "description": f"{_size_word(face.size)} ({face.size:.0f} px), {quality}",
    }


def _quality(detail: float) -> str:
    if detail >= measures.CLEAN_SHARPNESS[0]:
        return "sharp" if detail <= measures.CLEAN_SHARPNESS[1] else "grainy"
    return "a little soft" if detail >= 0.42 else "blurred"


def _size_word(size: float) -> str:
    return "small" if size < 40 else "medium" if size < 120 else "large"


def scan(task: Task) -> Outcome:
    """All faces of the file, tracked, each with a picture.

    Raises:
        InputError: nothing that can be restored.
        CancelledError: stopped.
    """
    with ExitStack() as stack:
        found = scan_of(task, crew_of(task, stack, several=has_parts(task)))
    file = task.named("scan", ".json")
    shown = found.model_copy(update={"source": found.source.model_copy(update={"name": task.job.input.name})})
    shown.save(file, overwrite=True)
    tracks, pictures = _tracks(task, found, {"picture": (task.source, found.first, 1.0)})
    result = {"scan": file.name, "frames": found.frames, "shots": len(found.shots), "tracks": tracks}
    result.update({"truncated": found.truncated, "info": _public_info(task)})
    return Outcome(result, [file, *pictures])


def verify(task: Task) -> Outcome:
    """What the file says of faces that were restored in it.

    Raises:
        InputError: it is none of the kinds that revisage reads.
    """
    file = task.named("provenance", ".json")
    file.write_text(provenance.read_provenance(task.source).model_dump_json(), encoding="utf-8")
    return Outcome({"provenance": file.name}, [file])


def preview(task: Task) -> Outcome:
    """One restored moment.

    Raises:
        InputError: nothing that can be restored.
    """
    began = time.perf_counter()
    frame, at = _frame_at(task, float(task.job.params.get("time", 0.0)))
    picture = frame.rgb()
    faces = len(task.networks.detector(picture))
    task.token.check()
    after = pipeline.restored_image(picture, _of_one_picture(task), task.networks)
    before_path, after_path = task.named("before", ".png"), task.named("after", ".png")
    media.write_picture(before_path, picture)
    media.write_picture(after_path, after)
    result = {"before": before_path.name, "after": after_path.name, "time": round(at, 3), "faces": faces}
    result["seconds"] = round(time.perf_counter() - began, 3)
    return Outcome(result, [before_path, after_path])


def _of_one_picture(task: Task) -> RestoreConfig:
    """The config for one moment: without photos a single picture does not tell who is who, and everybody is shown."""
    config = task.config
    return config if config.who else config.model_copy(update={"only": (), "except_": ()})


def faces_before_and_after(
    task: Task, found: Scan, output: Path, told: Sequence[TrackSummary]
) -> tuple[Path, list[Path]]:
    """A JSON file of the tracks, with what the report tells of each, and pictures of them before and after."""
    factor = media.probe(output).width / found.size_hw[1]
    tracks, pictures = _tracks(task, found, {"before": (task.source, found.first, 1.0), "after": (output, 0, factor)})
    of_report = {track.id: track.model_dump(mode="json", include={"person", "likeness"}) for track in told}
    tracks = [{**row, **of_report.get(row["id"], {})} for row in tracks]
    file = task.named("faces", ".json")
    file.write_text(json.dumps({"faces": tracks}, indent=2) + "\n", encoding="utf-8")
    return file, pictures


def _tracks(
    task: Task, found: Scan, sources: dict[str, tuple[Path, int, float]]
) -> tuple[list[dict[str, Any]], list[Path]]:
    """The tracks in numbers and words, the longest first in view kept in the scan's order, with pictures from each of
    ``sources``: a file, the number of its frame that is the scan's first, and its size over the scan's."""
    best = {track.id: _best_frame(track) for track in found.tracks[:_MOST_FACES]}
    rows = {track.id: _numbers(track, found) for track in found.tracks}
    pictures: list[Path] = []
    for index, (name, (path, first, factor)) in enumerate(sources.items()):
        wanted = {first + at for at in best.values()}
        for number, frame in _frames(path, wanted, task):
            for track in found.tracks[:_MOST_FACES]:
                if first + best[track.id] != number:
                    continue
                face = track.face(number - first)
                target = task.named(f"face-{track.id}-{name}", ".jpg")
                _write_jpeg(target, frame.rgb(_around(face, frame, factor)), _FACE_PX)
                rows[track.id][name] = target.name
                pictures.append(target)
                if index == 0:
                    told = _described(track.id + 1, face, frame)
                    rows[track.id] |= {key: told[key] for key in ("number", "sharpness", "quality", "description")}
    return list(rows.values()), pictures


def _frames(path: Path, wanted: Iterable[int], task: Task) -> Iterator[tuple[int, Frame]]:
    """The frames of these numbers."""
    missing = set(wanted)
    if not missing:
        return
    with media.open_source(path) as source:
        for number, frame in enumerate(source.frames()):
            task.token.check()
            if number in missing:
                yield number, frame
                missing.remove(number)
            if not missing:
                return


def _best_frame(track: ScannedTrack) -> int:
    """The frame in which a face was seen largest and surest."""
    values = zip(track.boxes, track.scores, track.seen, strict=True)
    ranked = [(bool(seen), max(box[2], box[3]) * score) for box, score, seen in values]
    return track.start + max(range(len(ranked)), key=lambda at: ranked[at])


def _numbers(track: ScannedTrack, found: Scan) -> dict[str, Any]:
    start = found.pts[0] * found.time_base
    times = [float(found.pts[at] * found.time_base - start) for at in (track.start, track.stop - 1)]
    return {
        "id": track.id,
        "first_seconds": round(times[0], 3),
        "last_seconds": round(times[1], 3),
        "frames": len(track.boxes),
        "seen": sum(track.seen),
        "mean_size": round(statistics.fmean(max(box[2], box[3]) for box in track.boxes), 1),
        "mean_score": round(statistics.fmean(track.scores), 3),
        "strength": track.strength,
    }


def _around(face: Face, frame: Frame, factor: float) -> Region:
    """The face with some room about it, in pixels of ``frame``."""
    x, y, width, height = (value * factor for value in face.box)
    room = 0.35 * max(width, height)
    rows, columns = frame.size_hw
    left, top = min(max(0, int(x - room)), columns - 1), min(max(0, int(y - room)), rows - 1)
    right, bottom = min(columns, int(x + width + room) + 1), min(rows, int(y + height + room) + 1)
    return Region(left, top, max(right, left + 1), max(bottom, top + 1))


def _write_jpeg(path: Path, picture: Image, longest: int) -> None:
    media.write_jpeg(path, picture, longest=longest, quality=_JPEG_QUALITY)
