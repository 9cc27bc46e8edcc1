"""The page: choose, look, set, restore, compare, take away. Run by ``revisage ui``.

What is under way stands first, then what came of it, then what can be restored next. Names of files and messages that
hold them are shown literally (:func:`revisage.ui.display.plain`): Streamlit would read them as Markdown, and a picture
in it would be fetched from wherever it says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.demo import write_demo_clip
from revisage.service import InputFile, Job, JobStore
from revisage.ui.choices import ask_settings, choose_files, chosen_files, take_in
from revisage.ui.display import alert, plain
from revisage.ui.job_list import show_history, watch
from revisage.ui.live import show_live
from revisage.ui.people_panel import chosen_scan
from revisage.ui.preview import show_file
from revisage.ui.result import show_result
from revisage.ui.verify_panel import ask_what_was_restored

__all__ = ["main"]

_HALF_A_DAY = 12 * 3600.0

_STYLE = """<style>
.stMainBlockContainer { max-width: 1280px; padding-top: 4.5rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { padding: 0; }
.st-key-invitation [data-testid="stFileUploaderDropzone"] { min-height: 11rem; justify-content: center; }
</style>"""


@st.cache_resource(show_spinner=False)
def _open_store() -> JobStore:
    """The job store, and workers for it that end with the page's server."""
    store = service.open_store()
    service.Supervisor(store, 1).start()
    return store


def main() -> None:
    """Draw the page: of files, or of the camera."""
    st.set_page_config(page_title="revisage", layout="wide")
    st.html(_STYLE)
    pages = [
        st.Page(_show_files, title="Files", default=True),
        st.Page(show_live, title="Live", url_path="live"),
    ]
    chosen = st.navigation(pages, position="top")
    st.title("revisage")
    st.markdown(
        "Restores the faces in videos, GIFs and photos, and leaves everything else as it was. "
        "*What comes out is a plausible restoration, not evidence: a network paints detail that was never recorded.*"
    )
    chosen.run()


def _show_files() -> None:
    try:
        _page(_open_store())
    except RevisageError as error:
        alert(str(error))


def _page(store: JobStore) -> None:
    jobs = _jobs_at_hand(store)
    active = [job.id for job in jobs if not job.is_finished]
    if active:
        watch(store, active)
    _show_finished(store, [job for job in jobs if job.is_finished])
    if jobs:
        with st.expander("Restore something else"):
            _workbench(store, jobs)
    else:
        _workbench(store, jobs)
    ask_what_was_restored(store)
    show_history(store)


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


def _show_finished(store: JobStore, jobs: list[Job]) -> None:
    """The result of the only job, or of the one that is picked."""
    if len(jobs) > 1:
        at = st.selectbox(
            f"{len(jobs)} files are finished; this one is shown",
            range(len(jobs)),
            format_func=lambda at: f"{jobs[at].input.name} ({jobs[at].status})",
        )
        jobs = [jobs[at or 0]]
    for job in jobs:
        show_result(store, job)


def _workbench(store: JobStore, jobs: list[Job]) -> None:
    """Files, settings and the one view of the file at hand; an invitation while there is no file."""
    if not chosen_files():
        _invite(store)
        return
    view, side = st.columns([3, 2], gap="large")
    with side:
        with st.container(border=True):
            config = ask_settings(store)
        _keep_or_not()
        wanted = st.button("Restore", type="primary", width="stretch", icon=":material/auto_fix_high:")
        files = choose_files(store)
    if wanted:
        _start(store, files, config, jobs)
    with view:
        show_file(store, _file_at_hand(files), config)


def _invite(store: JobStore) -> None:
    """The empty page: where to put files, what works, and something to try it with."""
    with st.container(key="invitation"):
        choose_files(store)
    st.caption(
        "Videos (mp4, mov, mkv, webm, avi, mpg and more), animations (GIF, APNG, WebP) and photos (jpg, png, webp, "
        "tif). Nothing ever leaves this computer."
    )
    if st.button("Try the demo clip", icon=":material/play_circle:"):
        with st.spinner("Making four seconds of a damaged talking face …"), tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "demo.mp4"
            write_demo_clip(clip)
            with clip.open("rb") as stream:
                take_in(store, stream, "demo.mp4")
        st.rerun()


def _keep_or_not() -> None:
    days = round(st.session_state.get("keep_days", 7))
    st.checkbox(
        f"Keep the files and the result on this computer for {days} days",
        key="keep",
        help="Otherwise everything is deleted twelve hours after the work is done. Nothing ever leaves this computer.",
    )


def _start(store: JobStore, files: list[InputFile], config: dict[str, Any], jobs: list[Job]) -> None:
    """Queue all chosen files, and put the jobs into the address, behind those that are not finished."""
    keep = None if st.session_state.get("keep") else _HALF_A_DAY
    made = [
        service.restore(
            store, file.id, config, scan=chosen_scan(store, file), compare=True, playable=True, keep_seconds=keep
        )
        for file in files
    ]
    st.query_params["job"] = [job.id for job in jobs if not job.is_finished] + [job.id for job in made]
    st.rerun()


def _file_at_hand(files: list[InputFile]) -> InputFile:
    """The file that the view and the ticks are about."""
    if len(files) == 1:
        st.markdown(f"**{plain(files[0].name)}**")
        return files[0]
    at = st.selectbox(
        f"{len(files)} files chosen; this one is shown", range(len(files)), format_func=lambda at: files[at].name
    )
    return files[at or 0]


main()
