"""Jobs: those under way with a true progress bar, and earlier work to open again or delete."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from revisage.core import RevisageError
from revisage.service import Job, JobStore
from revisage.ui.display import a_while

__all__ = ["show_history", "watch"]

_STAGES = {
    "waiting": "Waiting for its turn",
    "scan": "Looking for faces",
    "restore": "Restoring",
    "finish": "Putting the file together",
    "done": "Done",
}


@st.fragment(run_every=0.7)
def watch(store: JobStore, job_ids: list[str]) -> None:
    """Show how far these jobs are, until the last one is finished; then the page is drawn anew."""
    current = [store.job(job_id) for job_id in job_ids]
    for job in current:
        if not job.is_finished:
            _bar(job)
    if all(job.is_finished for job in current):
        st.rerun(scope="app")


def _bar(job: Job) -> None:
    progress = job.progress
    parts = [f"**{job.input.name}**: {_STAGES.get(progress.stage, progress.stage)}"]
    if progress.total:
        parts.append(f"{progress.done} of {progress.total} frames")
    if progress.fps:
        parts.append(f"{progress.fps:.1f} frames a second")
    if progress.seconds_left is not None and progress.seconds_left >= 1:
        parts.append(f"{a_while(progress.seconds_left)} left")
    if job.cancel_requested:
        parts = [f"**{job.input.name}**: stopping …"]
    st.progress(min(1.0, max(0.0, progress.fraction)), text=", ".join(parts))
    if job.stalled:
        st.warning("Its worker has gone silent. Another takes the work up where it stopped.", icon=":material/refresh:")


_STATES = {
    "queued": "waiting",
    "running": "at work",
    "done": "done",
    "failed": "failed",
    "cancelled": "stopped",
}


def show_history(store: JobStore) -> None:
    """The last twenty jobs."""
    page = store.jobs(limit=20)
    with st.expander(f"Earlier work ({len(page.jobs)}{'+' if page.next else ''})"):
        if not page.jobs:
            st.write("Nothing yet.")
        for job in page.jobs:
            _row(store, job)


def _row(store: JobStore, job: Job) -> None:
    text, opening, removing = st.columns([4, 1, 1], vertical_alignment="center")
    moment = datetime.fromtimestamp(job.created).strftime("%d %b, %H:%M")
    text.write(f"{job.input.name}: {_STATES[job.status]}, {moment}")
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
        st.warning(str(error), icon=":material/hourglass_empty:")
        return
    st.query_params["job"] = [other for other in st.query_params.get_all("job") if other != job.id]
    st.rerun()
