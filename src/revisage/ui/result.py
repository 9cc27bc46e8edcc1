"""What came of a job: original and restored side by side, faces before and after, the measures, the downloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from revisage import media, service
from revisage.core import Image, InputError, RevisageError
from revisage.service import Job, JobStore
from revisage.ui.display import before_after, measures_in_words, picture, videos_in_step

__all__ = ["frame_at", "show_result"]

_FACES_SHOWN = 12
_HINTS = {
    "disk_full": "Make room on the disk, or delete earlier work below; then try again.",
    "worker_died": "What is finished is kept: try again, and the work goes on where it stopped.",
    "too_large": "Try a shorter part of it (Begin at, Stop at), or a smaller size of the result.",
    "no_memory": "Try a smaller size of the result, or a shorter part of it.",
}


def show_result(store: JobStore, job: Job) -> None:
    """Everything about a finished job."""
    if job.status == "cancelled":
        st.info(f"{job.input.name}: stopped. Nothing was kept.", icon=":material/cancel:")
        return
    if job.status == "failed":
        _show_failure(store, job)
        return
    st.subheader(f"{job.input.name}, restored")
    report = _json(store, job, "report")
    entry = report["files"][0] if report else {}
    if not entry.get("faces", {}).get("restored"):
        st.warning(
            "No faces were found, so nothing was changed. Under “More settings” you can lower how sure the search "
            "must be.",
            icon=":material/search_off:",
        )
    for note in [*entry.get("warnings", []), *entry.get("notes", [])]:
        st.caption(note)
    _show_pictures(store, job)
    _downloads(store, job)
    _show_faces(store, job)
    _show_measures(entry)


def _show_failure(store: JobStore, job: Job) -> None:
    st.error(job.error or f"{job.input.name} could not be restored.", icon=":material/error:")
    hint = _HINTS.get(job.error_code or "")
    if hint:
        st.write(hint)
    if st.button("Try again", key=f"again-{job.id}"):
        again = store.create_job(job.input.id, config=job.config, params=job.params)
        st.query_params["job"] = [again.id if old == job.id else old for old in st.query_params.get_all("job")]
        st.rerun()


def _show_pictures(store: JobStore, job: Job) -> None:
    # There is no playable copy of an input that browsers play as it is.
    original = service.result_path(store, job, "playable_input") or store.input_path(job.input)
    restored = service.result_path(store, job, "playable")
    if job.input.kind == "image" or restored is None:
        output = service.result_path(store, job, "output")
        if output is not None:
            _show_moment(store.input_path(job.input), output, 0.0, job)
        return
    columns = st.columns(2)
    for column, name, path in zip(columns, ("Original", "Restored"), (original, restored), strict=True):
        with column:
            st.markdown(f"**{name}**")
            with st.container(key=f"{name.lower()}-{job.id}"):
                st.video(str(path))
    videos_in_step(original=f"original-{job.id}", restored=f"restored-{job.id}", key=f"step-{job.id}")
    length = _seconds(restored)
    st.markdown("**One moment, before and after**")
    moment = st.slider("Moment (seconds)", 0.0, max(0.1, length), 0.0, 0.04, key=f"moment-{job.id}") if length else 0.0
    _show_moment(original, restored, moment, job)


def _show_moment(before: Path, after: Path, seconds: float, job: Job) -> None:
    try:
        pictures = frame_at(before, seconds), frame_at(after, seconds)
    except RevisageError as error:
        st.caption(f"This moment cannot be shown: {error}")
        return
    before_after(*pictures, alt=f"{job.input.name} at {seconds:.1f} seconds", key=f"cut-{job.id}")


@st.cache_data(max_entries=32, show_spinner=False)
def frame_at(path: Path, seconds: float) -> Image:
    """The frame shown ``seconds`` after the first one, (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file cannot be read.
    """
    with media.open_source(path) as source:
        shown = None
        for frame in source.frames():
            if shown is None:
                first = frame.pts
            elif (frame.pts - first) * frame.time_base > seconds + 1e-6:
                break
            shown = frame
        if shown is None:
            raise InputError("there is no frame in it")
        return shown.rgb()


def _seconds(path: Path) -> float:
    return round(float(media.probe(path).duration or 0), 2)


def _downloads(store: JobStore, job: Job) -> None:
    stem = Path(job.input.name).stem
    output, report = (service.result_path(store, job, name) for name in ("output", "report"))
    compare = service.result_path(store, job, "compare")
    buttons = [
        ("Download video" if job.input.kind != "image" else "Download photo", output, f"{stem}_restored"),
        ("Download comparison", compare, f"{stem}_comparison"),
        ("Download report", report, f"{stem}_report"),
    ]
    shown = [button for button in buttons if button[1] is not None]
    for column, (label, path, name) in zip(st.columns(len(shown)), shown, strict=True):
        if path is not None:
            with column, path.open("rb") as stream:
                st.download_button(label, stream, f"{name}{path.suffix}", key=f"{label}-{job.id}", on_click="ignore")


def _show_faces(store: JobStore, job: Job) -> None:
    faces = (_json(store, job, "faces") or {}).get("faces")
    if not faces:
        return
    st.markdown("**Faces, before and after**")
    columns = st.columns(2)
    for at, face in enumerate(faces[:_FACES_SHOWN]):
        with columns[at % 2]:
            _show_face(store, job, face)
    if len(faces) > _FACES_SHOWN:
        st.caption(f"and {len(faces) - _FACES_SHOWN} more; the report has them all")


def _show_face(store: JobStore, job: Job, face: dict[str, Any]) -> None:
    for column, name in zip(st.columns(2), ("before", "after"), strict=True):
        path = service.result_path(store, job, face.get(name) or "")
        if path is not None:
            with column:
                picture(path, alt=f"Face {face['number']} {name}: {face['description']}")
                st.caption(name)
    st.caption(face["description"])


def _show_measures(entry: dict[str, Any]) -> None:
    if not entry:
        return
    rows = measures_in_words(
        entry["measures"],
        faces=entry["faces"]["restored"],
        frames=entry["frames"],
        seconds=entry["timings"]["total_seconds"],
    )
    with st.expander("What was measured"):
        for sentence, number in rows:
            left, right = st.columns([4, 1])
            left.write(sentence)
            right.write(f"**{number}**")


def _json(store: JobStore, job: Job, name: str) -> Any:
    path = service.result_path(store, job, name)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))
