"""Work under way: a true progress bar that follows the job, wherever its worker runs."""

from __future__ import annotations

import streamlit as st

from revisage import service
from revisage.service import Job, JobStore
from revisage.ui.words import a_while

__all__ = ["watch"]

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
    service.ensure_workers(store)
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
