"""Earlier work: open it again, or delete it."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from revisage.core import RevisageError
from revisage.service import Job, JobStore

__all__ = ["show_history"]

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
