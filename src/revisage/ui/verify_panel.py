"""A place to drop a file that shall say what was restored in it."""

from __future__ import annotations

import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.provenance import Provenance
from revisage.service import JobStore
from revisage.ui.display import alert, plain
from revisage.ui.uploads import take_upload

__all__ = ["ask_what_was_restored"]


def ask_what_was_restored(store: JobStore) -> None:
    """A switch that opens a chooser, and below it what the file in it says; the file is deleted at once."""
    if not st.toggle("Ask a file what was restored in it"):
        return
    sent = st.file_uploader("A video, GIF or photo", key="verified")
    if sent is None:
        return
    told: dict[str, Provenance | str] = st.session_state.setdefault("told", {})
    if sent.file_id not in told:
        try:
            told[sent.file_id] = _told(store, sent)
        except RevisageError as error:
            told[sent.file_id] = str(error)
    found = told[sent.file_id]
    if isinstance(found, str):
        alert(found)
        return
    for line in found.lines():
        st.markdown(f"* {plain(line)}")
    st.caption("A label proves nothing: it can be taken out, and anybody can write one.")


def _told(store: JobStore, sent: st.runtime.uploaded_file_manager.UploadedFile) -> Provenance | str:
    file = take_upload(store, sent, sent.name)
    try:
        job = service.wait(store, service.verify(store, file.id).id, timeout=store.settings.max_quick_seconds)
        path = service.result_path(store, job, "provenance")
        if path is None:
            return job.error or f"{sent.name} could not be looked at in time"
        return Provenance.model_validate_json(path.read_text("utf-8"))
    finally:
        store.forget(file.id)
