"""The chooser: files sent by the browser, or named by path when the page runs on the user's own computer."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.service import InputFile, JobStore

__all__ = ["choose_files"]

_HELP = "Videos (mp4, mov, mkv, webm, avi, mpg), animations (GIF, APNG, WebP) and photos (jpg, png, webp, tif)."


def choose_files(store: JobStore) -> list[InputFile]:
    """Show the chooser; returns the files that are chosen, in order. What cannot be used is said beneath it."""
    sent = st.file_uploader("Videos, GIFs or photos", accept_multiple_files=True, key="chooser", help=_HELP)
    known: dict[str, InputFile] = st.session_state.setdefault("received", {})
    refused: dict[str, str] = st.session_state.setdefault("refused", {})
    chosen = [file for upload in sent if (file := _received(store, upload, known, refused))]
    _forget_removed(store, known, {upload.file_id for upload in sent})
    for upload in sent:
        if upload.file_id in refused:
            st.error(refused[upload.file_id], icon=":material/error:")
    if _is_own_computer():
        named = _named_by_path(store)
        chosen += [named] if named else []
    return chosen


def _received(store: JobStore, upload: Any, known: dict[str, InputFile], refused: dict[str, str]) -> InputFile | None:
    """The store's copy of an upload; taken in when it is seen for the first time."""
    if upload.file_id not in known and upload.file_id not in refused:
        try:
            known[upload.file_id] = service.receive(store, upload, upload.name)
        except RevisageError as error:
            refused[upload.file_id] = str(error)
    return known.get(upload.file_id)


def _forget_removed(store: JobStore, known: dict[str, InputFile], present: set[str]) -> None:
    for file_id in set(known) - present:
        store.delete_input(known.pop(file_id).id)


def _is_own_computer() -> bool:
    """Whether only this computer can reach the page: then a path means a file of the person who types it."""
    address = st.get_option("server.address")
    try:
        return address == "localhost" or ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return False


def _named_by_path(store: JobStore) -> InputFile | None:
    with st.expander("Or name a file on this computer"):
        text = st.text_input("Path of the file", key="path", placeholder="/home/me/tape.mpg").strip()
        if not text:
            return None
        known: dict[str, InputFile] = st.session_state.setdefault("named", {})
        if text not in known:
            try:
                known[text] = store.add_path(Path(text).expanduser())
            except RevisageError as error:
                st.error(str(error), icon=":material/error:")
                return None
        return known[text]
