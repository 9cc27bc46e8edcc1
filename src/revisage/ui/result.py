"""What came of a job: one view before and after, both in motion, faces, measures, and what there is to take away."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from revisage import media, service
from revisage.core import Image, InputError, RevisageError
from revisage.service import Job, JobStore
from revisage.ui.display import (
    alert,
    before_after,
    likeness_in_words,
    measures_in_words,
    moving_picture,
    picture,
    plain,
    videos_in_step,
)
from revisage.ui.film_ranges import Side, film_address

__all__ = ["frame_at", "show_result"]

_FACES_SHOWN = 12
_KINDS = {"video": "video", "animation": "animation", "image": "photo"}
_HINTS = {
    "disk_full": "Make room on the disk, or delete earlier work below; then try again.",
    "worker_died": "What is finished is kept: try again, and the work goes on where it stopped.",
    "too_large": "Try a shorter part of it (Begin at, Stop at), or a smaller size of the result.",
    "no_memory": "Try a smaller size of the result, or a shorter part of it.",
}


def show_result(store: JobStore, job: Job) -> None:
    """Everything about a finished job."""
    if job.status == "cancelled":
        st.info(f"{plain(job.input.name)}: stopped. Nothing was kept.", icon=":material/cancel:")
        return
    if job.status == "failed":
        _show_failure(store, job)
        return
    report = _json(store, job, "report")
    entry = report["files"][0] if report else {}
    _head(store, job)
    if not entry.get("faces", {}).get("restored"):
        st.warning(
            "No faces were found, so nothing was changed. Under “More settings” you can lower how sure the search "
            "must be.",
            icon=":material/search_off:",
        )
    _show_pictures(store, job)
    for note in [*entry.get("warnings", []), *entry.get("notes", [])]:
        st.caption(plain(note))
    _show_measures(entry)


def _show_failure(store: JobStore, job: Job) -> None:
    alert(job.error or f"{job.input.name} could not be restored.")
    hint = _HINTS.get(job.error_code or "")
    if hint:
        st.write(hint)
    if st.button("Try again", key=f"again-{job.id}"):
        again = store.create_job(job.input.id, config=job.config, params=job.params)
        st.query_params["job"] = [again.id if old == job.id else old for old in st.query_params.get_all("job")]
        st.rerun()


def _head(store: JobStore, job: Job) -> None:
    """The name, the one thing that everybody wants beside it, and the rest folded."""
    stem, kind = Path(job.input.name).stem, _KINDS[job.input.kind]
    heading, main, more = st.columns([5, 2, 1], vertical_alignment="bottom")
    heading.subheader(f"{plain(job.input.name)}, restored", anchor=False)
    with main:
        _download(store, job, "output", f"Download {kind}", f"{stem}_restored", main=True)
    with more.popover("More", width="stretch"):
        _download(store, job, "compare", "Download comparison", f"{stem}_comparison")
        _download(store, job, "report", "Download report", f"{stem}_report")


def _download(store: JobStore, job: Job, name: str, label: str, stem: str, *, main: bool = False) -> None:
    path = service.result_path(store, job, name)
    if path is None:
        return
    st.download_button(
        label,
        partial(path.open, "rb"),  # read when it is asked for, not for each drawing of the page
        f"{stem}{path.suffix}",
        media.media_type(path.suffix),
        key=f"{name}-{job.id}",
        on_click="ignore",
        type="primary" if main else "secondary",
        icon=":material/download:",
        width="stretch",
    )


def _show_pictures(store: JobStore, job: Job) -> None:
    """One large view with a bar between before and after, and beside it both in motion; faces beneath."""
    # There is no playable copy of an input that browsers play as it is.
    original = service.result_path(store, job, "playable_input") or store.local_input(job.input)
    restored = service.result_path(store, job, "playable") or service.result_path(store, job, "output")
    if restored is None:
        return
    if job.input.kind == "image":
        _show_moment(store.local_input(job.input), restored, 0.0, job)
        _show_faces(store, job, 4)
        return
    large, side = st.columns([3, 2], gap="large")
    with side:
        if job.input.kind == "video":
            _play(job)
        else:
            _show_moving(original, restored, job)
    with large:
        place, length = st.container(), _seconds(restored)
        moment = st.slider("Moment (seconds)", 0.0, length, 0.0, 0.04, key=f"moment-{job.id}") if length else 0.0
        with place:
            _show_moment(original, restored, moment, job)
    _show_faces(store, job, 4)


def _play(job: Job) -> None:
    """Both videos, under one control."""
    sides: tuple[Side, ...] = ("original", "restored")
    for side in sides:
        st.caption(side.capitalize())
        with st.container(key=f"{side}-{job.id}"):
            st.video(film_address(job, side))
    videos_in_step(original=f"original-{job.id}", restored=f"restored-{job.id}", key=f"step-{job.id}")


def _show_moving(original: Path, restored: Path, job: Job) -> None:
    """Both animations: browsers play GIF, APNG and WebP as pictures, not as videos."""
    for name, path in (("Original", original), ("Restored", restored)):
        st.caption(name)
        moving_picture(path, alt=f"{name}: {job.input.name}")


def _show_moment(before: Path, after: Path, seconds: float, job: Job) -> None:
    try:
        pictures = frame_at(before, seconds), frame_at(after, seconds)
    except RevisageError as error:
        st.caption(plain(f"This moment cannot be shown: {error}"))
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


def _show_faces(store: JobStore, job: Job, columns: int) -> None:
    faces = (_json(store, job, "faces") or {}).get("faces")
    if not faces:
        return
    st.markdown("**Faces, before and after**")
    places = st.columns(columns)
    for at, face in enumerate(faces[:_FACES_SHOWN]):
        with places[at % columns]:
            _show_face(store, job, face)
    if len(faces) > _FACES_SHOWN:
        st.caption(f"and {len(faces) - _FACES_SHOWN} more; the report has them all")


def _show_face(store: JobStore, job: Job, face: dict[str, Any]) -> None:
    for column, name in zip(st.columns(2), ("before", "after"), strict=True):
        path = service.result_path(store, job, face.get(name) or "")
        if path is not None:
            with column:
                picture(path, alt=f"Face {face['number']} {name}: {face['description']}")
    parts = [face.get("person"), face["description"]]
    st.caption(plain(", ".join(part for part in parts if part)))
    _show_likeness(face.get("likeness"))


def _show_likeness(likeness: dict[str, Any] | None) -> None:
    """Whether it is still the same person with the same look."""
    if likeness is None:
        return
    text, is_same = likeness_in_words(likeness)
    if is_same:
        st.caption(text)
    else:
        st.warning(text, icon=":material/person_alert:")


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
