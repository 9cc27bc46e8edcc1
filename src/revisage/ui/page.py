"""The page: choose, look, set, preview, restore, compare, take away. Run by ``revisage ui``."""

from __future__ import annotations

from typing import Any

import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.service import InputFile, Job, JobStore
from revisage.ui.choices import ask_settings, choose_files
from revisage.ui.job_list import show_history, watch
from revisage.ui.preview import ask_moment, chosen_scan, pick_faces, show_file, show_preview
from revisage.ui.result import show_result

__all__ = ["main"]

_HALF_A_DAY = 12 * 3600.0
_NOTHING_CHOSEN = "Choose a video first."


@st.cache_resource(show_spinner=False)
def _open_store() -> JobStore:
    """The job store, and workers for it that end with the page's server."""
    store = service.open_store()
    service.Supervisor(store, 1).start()
    return store


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="revisage", layout="centered")
    st.title("revisage")
    st.markdown(
        "Restores the faces in videos, GIFs and photos, and leaves everything else as it was. "
        "*What comes out is a plausible restoration, not evidence: a network paints detail that was never recorded.*"
    )
    try:
        store = _open_store()
        _page(store)
    except RevisageError as error:
        st.error(str(error), icon=":material/error:")


def _page(store: JobStore) -> None:
    """Everything that can be drawn at once is drawn first; what waits for a worker fills its place later."""
    files = choose_files(store)
    poster_place = st.container()
    config = _settings(files)
    moment_place, button_place = st.container(), st.container()
    current = _jobs_at_hand(store)
    with button_place:
        wanted = _buttons(store, current)
    message_place, job_place, people_place = st.container(), st.container(), st.container()
    if wanted and not files:
        message_place.warning(_NOTHING_CHOSEN, icon=":material/video_file:")
    if wanted == "restore" and files:
        _start(store, files, config)
    with job_place:
        _show_jobs(store, current)
    show_history(store)
    if not files:
        return
    file = _file_at_hand(files, poster_place)
    with poster_place:
        seen = show_file(store, file, config)
    if seen is not None:
        with moment_place:
            moment = ask_moment(seen, file)
        with message_place:
            show_preview(store, file, config, moment, wanted=wanted == "preview")
        with people_place, st.expander("Choose faces"):
            pick_faces(store, file, seen, config)


def _settings(files: list[InputFile]) -> dict[str, Any]:
    """The settings, once there is something to set them for."""
    if not files:
        return {}
    with st.container(border=True):
        config = ask_settings()
    days = round(st.session_state.get("keep_days", 7))
    st.checkbox(
        f"Keep the files and the result on this computer for {days} days",
        key="keep",
        help="Otherwise everything is deleted twelve hours after the work is done. Nothing ever leaves this computer.",
    )
    return config


def _jobs_at_hand(store: JobStore) -> list[Job]:
    """The jobs that the address names: they survive a reload of the page and a closed tab."""
    found = [_job(store, job_id) for job_id in st.query_params.get_all("job")]
    if None in found:
        st.info("One of the jobs in the address is no longer there.", icon=":material/delete:")
    return [job for job in found if job is not None]


def _job(store: JobStore, job_id: str) -> Job | None:
    try:
        return store.job(job_id)
    except service.NotFoundError:
        return None


def _buttons(store: JobStore, current: list[Job]) -> str | None:
    """The three buttons; returns what is wanted: ``preview`` or ``restore``."""
    active = [job for job in current if not job.is_finished]
    preview, restore, cancel = st.columns(3)
    wanted = None
    if preview.button("Preview", width="stretch", help="Restore one moment first, in a second or two."):
        wanted = "preview"
    if restore.button("Restore", type="primary", width="stretch", disabled=bool(active)):
        wanted = "restore"
    if cancel.button("Cancel", width="stretch", disabled=not active):
        for job in active:
            store.cancel(job.id)
        st.rerun()
    return wanted


def _start(store: JobStore, files: list[InputFile], config: dict[str, Any]) -> None:
    """Queue all chosen files, and put the jobs into the address."""
    keep = None if st.session_state.get("keep") else _HALF_A_DAY
    made = [
        service.restore(
            store, file.id, config, scan=chosen_scan(store, file), compare=True, playable=True, keep_seconds=keep
        )
        for file in files
    ]
    st.query_params["job"] = [job.id for job in made]
    st.rerun()


def _show_jobs(store: JobStore, current: list[Job]) -> None:
    active = [job.id for job in current if not job.is_finished]
    if active:
        watch(store, active)
    for job in current:
        if job.is_finished:
            show_result(store, job)


def _file_at_hand(files: list[InputFile], place: Any) -> InputFile:
    """The file that the picture, the preview and the ticks are about."""
    if len(files) == 1:
        return files[0]
    with place:
        at = st.selectbox(
            f"{len(files)} files chosen; this one is shown", range(len(files)), format_func=lambda at: files[at].name
        )
    return files[at or 0]


main()
