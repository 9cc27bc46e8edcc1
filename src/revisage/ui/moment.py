"""One moment restored before the whole is committed to."""

from __future__ import annotations

from typing import Any

import cv2
import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.service import InputFile, Job, JobStore
from revisage.ui.viewers import before_after
from revisage.ui.words import seconds_of

__all__ = ["ask_moment", "show_preview"]


def ask_moment(seen: Job, file: InputFile) -> float:
    """A slider over the film's time; returns seconds from its start. A photo has one moment."""
    length = seconds_of(seen.result["info"])
    if file.kind == "image" or length <= 0.1:
        return 0.0
    start = min(float(seen.result.get("time") or 0.0), length)
    return st.slider("Moment for the preview (seconds)", 0.0, length, start, 0.1, key=f"preview-at-{file.id}")


def show_preview(store: JobStore, file: InputFile, config: dict[str, Any], moment: float, *, wanted: bool) -> None:
    """Restore the moment when the button was pressed, and show the last preview of this file."""
    held: dict[str, str] = st.session_state.setdefault("previews", {})
    if wanted:
        with st.spinner("Restoring one moment …"):
            job = _ask(store, file, config, moment)
        if job is None or job.status != "done":
            st.error((job.error if job else None) or "The preview could not be made.", icon=":material/error:")
            return
        held[file.id] = job.id
    if file.id in held:
        _show(store, file, held[file.id])


def _ask(store: JobStore, file: InputFile, config: dict[str, Any], moment: float) -> Job | None:
    try:
        asked = service.preview(store, file.id, moment, config, keep_seconds=3600.0)
        return service.wait(store, asked.id, timeout=store.settings.max_quick_seconds)
    except RevisageError as error:
        st.error(str(error), icon=":material/error:")
        return None


def _show(store: JobStore, file: InputFile, job_id: str) -> None:
    try:
        job = store.job(job_id)
    except service.NotFoundError:
        return
    paths = [service.result_path(store, job, name) for name in ("before", "after")]
    before, after = (None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    if before is None or after is None:
        return
    if not job.result.get("faces"):
        st.warning("No faces were found at this moment.", icon=":material/search_off:")
    seconds = float(job.params.get("time", 0))
    pictures = [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in (before, after)]
    before_after(pictures[0], pictures[1], alt=f"{file.name} at {seconds:.1f} seconds", key=f"preview-{file.id}")
