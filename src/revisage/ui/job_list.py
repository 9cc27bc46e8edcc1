"""Jobs: the queue with a true progress bar for each, and earlier work to open again or delete."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.service import Job, JobStore
from revisage.ui.display import a_while, plain

__all__ = ["show_history", "watch"]

_STAGES = {
    "waiting": "Waiting for its turn",
    "scan": "Looking for faces",
    "people": "Telling people apart",
    "restore": "Restoring",
    "finish": "Putting the file together",
    "done": "Done",
}
_SILENT = "Its worker has gone silent. Another takes the work up where it stopped."
_STATES = {
    "queued": "waiting",
    "running": "at work",
    "done": "done",
    "failed": "failed",
    "cancelled": "stopped",
}


@st.fragment(run_every=0.7)
def watch(store: JobStore, job_ids: list[str]) -> None:
    """Show how far these jobs are, wherever their workers run; the page is drawn anew when one of them is finished."""
    try:
        current = sorted((store.job(job_id) for job_id in job_ids), key=lambda job: job.created)
    except service.NotFoundError:
        st.rerun(scope="app")
    waiting = 0
    for job in current:
        queued = job.status == "queued"
        _row_at_work(store, job, can_overtake=queued and waiting > 0)
        waiting += queued
    if any(job.is_finished for job in current):
        st.rerun(scope="app")


def _row_at_work(store: JobStore, job: Job, *, can_overtake: bool) -> None:
    bar, sooner, cancel = st.columns([8, 1, 1], vertical_alignment="center")
    progress = min(1.0, max(0.0, job.progress.fraction))
    bar.progress(progress, text=_how_far(job))
    if job.stalled:
        bar.warning(_SILENT, icon=":material/refresh:")
    if can_overtake and sooner.button("Sooner", key=f"sooner-{job.id}", help="Change places with the one before"):
        store.overtake(job.id)
        st.rerun(scope="app")
    if cancel.button("Cancel", key=f"cancel-{job.id}", disabled=job.cancel_requested):
        store.cancel(job.id)
        st.rerun(scope="app")


def _how_far(job: Job) -> str:
    """A job's name and progress as Markdown."""
    progress, name = job.progress, f"**{plain(job.input.name)}**"
    if job.cancel_requested:
        return f"{name}: stopping …"
    parts = [f"{name}: {_STAGES.get(progress.stage, progress.stage)}"]
    if progress.total:
        parts.append(f"{progress.done} of {progress.total} frames")
    if progress.fps:
        parts.append(f"{progress.fps:.1f} frames a second")
    if progress.seconds_left is not None and progress.seconds_left >= 1:
        parts.append(f"{a_while(progress.seconds_left)} left")
    return ", ".join(parts)


def show_history(store: JobStore) -> None:
    """The last twenty jobs."""
    page = store.jobs(limit=20)
    if not page.jobs:
        return
    with st.expander(f"Earlier work ({len(page.jobs)}{'+' if page.next else ''})"):
        for job in page.jobs:
            _row(store, job)


def _row(store: JobStore, job: Job) -> None:
    text, opening, removing = st.columns([4, 1, 1], vertical_alignment="center")
    moment = datetime.fromtimestamp(job.created).strftime("%d %b, %H:%M")
    text.markdown(f"{plain(job.input.name)}: {_STATES[job.status]}, {moment}")
    if opening.button("Open", key=f"open-{job.id}"):
        st.query_params["job"] = job.id
        st.rerun()
    if removing.button("Delete", key=f"delete-{job.id}"):
        _delete(store, job)


def _delete(store: JobStore, job: Job) -> None:
    try:
        if not job.is_finished:
            store.cancel(job.id)
        store.delete(job.id)
    except RevisageError as error:
        st.warning(plain(str(error)), icon=":material/hourglass_empty:")
        return
    st.query_params["job"] = [other for other in st.query_params.get_all("job") if other != job.id]
    st.rerun()
