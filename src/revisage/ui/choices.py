"""What the user chooses: files, and settings with a person's words first and the rest folded away."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import streamlit as st

from revisage import service
from revisage.core import ConfigError, RevisageError, make_config
from revisage.service import InputFile, JobStore

__all__ = ["LOOKS", "USUAL_THRESHOLD", "ask_settings", "choose_files"]

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


USUAL_THRESHOLD = 0.48
"""About what the embedded detector asks for; left alone, its own threshold counts."""

LOOKS = {"Natural": 50, "Balanced": 80, "Maximum": 100}
"""Strength in percent by the name of a look."""

_SIZES = {"Same size": 1.0, "1.5 times": 1.5, "2 times": 2.0, "4 times": 4.0}
_BACKGROUNDS = {
    "Leave it as it is": "none",
    "Sharpen it, twice the size (Real-ESRGAN, slow)": "realesrgan-x2",
    "Sharpen it, four times the size (Real-ESRGAN, very slow)": "realesrgan-x4",
}


def ask_settings() -> dict[str, Any]:
    """Show the settings; returns the fields of a RestoreConfig that differ from their defaults, as JSON values."""
    values = {"strength": _strength(), "upscale": _size(), "background": _background()}
    steady = st.toggle(
        "Keep faces steady from frame to frame",
        value=True,
        key="steady",
        help="Smooths what flickers in a video. Photos are not affected.",
    )
    values["temporal"] = "flow" if steady else "off"
    with st.expander("More settings"):
        values |= _more()
    return _changed(values)


def _strength() -> float:
    def take_look() -> None:
        if st.session_state.look is not None:
            st.session_state.strength = LOOKS[st.session_state.look]

    def forget_look() -> None:
        percent = st.session_state.strength
        st.session_state.look = next((name for name, value in LOOKS.items() if value == percent), None)

    st.session_state.setdefault("strength", 100)
    st.session_state.setdefault("look", "Maximum")
    st.segmented_control("Look", list(LOOKS), key="look", on_change=take_look, help="How far faces are restored.")
    st.slider("Strength", 0, 100, key="strength", format="%d %%", on_change=forget_look)
    return st.session_state.strength / 100


def _size() -> float:
    return _SIZES[st.selectbox("Size of the result", list(_SIZES), key="size") or next(iter(_SIZES))]


def _background() -> str:
    chosen = st.selectbox("Everything around the faces", list(_BACKGROUNDS), key="background")
    return _BACKGROUNDS[chosen or next(iter(_BACKGROUNDS))]


def _more() -> dict[str, Any]:
    st.session_state.setdefault("threshold", USUAL_THRESHOLD)
    threshold = st.slider(
        "How sure the search for faces must be",
        0.20,
        0.90,
        step=0.01,
        key="threshold",
        help="Lower finds more faces, and more that are none.",
    )
    smallest = st.number_input("Smallest face to restore (px)", 1, 1000, 16, key="smallest")
    center = st.checkbox("Only the face nearest to the middle", key="center")
    begin = st.text_input("Begin at (seconds or h:mm:ss)", key="begin", placeholder="from the start")
    end = st.text_input("Stop at (seconds or h:mm:ss)", key="end", placeholder="to the end")
    crf = st.slider("Quality of the video file (CRF, lower is better and larger)", 0, 40, 16, key="crf")
    values: dict[str, Any] = {"min_face": int(smallest), "only_center_face": center}
    if threshold != USUAL_THRESHOLD:
        values["detection_threshold"] = threshold
    if crf != 16:
        values["crf"] = crf
    return values | {name: text for name, text in (("start", begin.strip()), ("end", end.strip())) if text}


def _changed(values: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, checked; a mistake is shown beside the settings."""
    try:
        config = make_config(values)
    except ConfigError as error:
        st.error(str(error), icon=":material/error:")
        return {}
    given: dict[str, Any] = config.model_dump(mode="json", exclude_defaults=True)
    return given
