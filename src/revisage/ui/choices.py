"""What the user chooses: files, settings with a person's words first and the rest folded away, kept under names."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from revisage.core import (
    PRESETS,
    ConfigError,
    PresetName,
    RestoreConfig,
    RevisageError,
    make_config,
    write_text,
)
from revisage.service import InputFile, JobStore
from revisage.ui.display import alert, plain
from revisage.ui.people_panel import forget_people
from revisage.ui.uploads import take_upload

__all__ = ["STRENGTHS", "USUAL_THRESHOLD", "ask_settings", "choose_files", "chosen_files", "take_in"]


def chosen_files() -> list[InputFile]:
    """The files that are chosen, in order."""
    files: list[InputFile] = st.session_state.setdefault("files", [])
    return files


def choose_files(store: JobStore) -> list[InputFile]:
    """Show the chooser and what is chosen, each with a way to take it out; returns the files that are chosen.

    An upload is taken into the store and the chooser emptied at once: Streamlit holds in memory what it shows as
    chosen, a few bytes for each (:mod:`revisage.ui.uploads`).
    """
    turn = st.session_state.setdefault("turn", 0)
    files = chosen_files()
    label = "Add videos, GIFs or photos" if files else "Videos, GIFs or photos"
    sent = st.file_uploader(label, accept_multiple_files=True, key=f"chooser-{turn}")
    if sent:
        st.session_state.refused = []
        for upload in sent:
            take_in(store, upload, upload.name)
        st.session_state.turn = turn + 1
        st.rerun()
    for message in st.session_state.get("refused", []):
        alert(message)
    for file in files:
        _row(store, file)
    if _is_own_computer():
        _name_by_path(store)
    return files


def take_in(store: JobStore, stream: BinaryIO, name: str) -> None:
    """Add a file to those that are chosen, or note why it cannot be used."""
    try:
        chosen_files().append(take_upload(store, stream, name))
    except RevisageError as error:
        st.session_state.setdefault("refused", []).append(str(error))


def _row(store: JobStore, file: InputFile) -> None:
    name, removing = st.columns([2, 1], vertical_alignment="center")
    name.markdown(plain(file.name))
    # In words: a picture alone has no name for those who hear the page.
    if removing.button("Take out", help=f"Take out {plain(file.name)}", key=f"out-{file.id}"):
        chosen_files().remove(file)
        forget_people(file)
        store.forget(file.id)
        st.rerun()


def _is_own_computer() -> bool:
    """Whether only this computer can reach the page: then a path means a file of the person who types it."""
    address = st.get_option("server.address")
    try:
        return address == "localhost" or ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return False


def _name_by_path(store: JobStore) -> None:
    with st.expander("Or name a file on this computer"):
        text = st.text_input("Path of the file", key="path", placeholder="/home/me/tape.mpg").strip()
        known: dict[str, InputFile] = st.session_state.setdefault("named", {})
        if not text or text in known:
            return
        try:
            known[text] = store.add_path(Path(text).expanduser())
        except RevisageError as error:
            alert(str(error))
            return
    chosen_files().append(known[text])
    st.rerun()


USUAL_THRESHOLD = 0.48
"""About what the embedded detector asks for; left alone, its own threshold counts."""

STRENGTHS = {"Gentle": 50, "Balanced": 80, "Full": 100}
"""In percent, by name."""

_SIZES = {"Same size": 1.0, "1.5 times": 1.5, "2 times": 2.0, "4 times": 4.0}
_BACKGROUNDS = {
    "Leave it as it is": "none",
    "Sharpen it, twice the size (Real-ESRGAN, slow)": "realesrgan-x2",
    "Sharpen it, four times the size (Real-ESRGAN, very slow)": "realesrgan-x4",
}
_USUAL: dict[str, Any] = {
    "footage": "none",
    "named-strength": "Full",
    "strength": 100,
    "size": "Same size",
    "background": "Leave it as it is",
    "steady": True,
    "threshold": USUAL_THRESHOLD,
    "smallest": RestoreConfig.model_fields["min_face"].default,
    "center": False,
    "guide": False,
    "texture": False,
    "begin": "",
    "end": "",
    "crf": 16,
}
"""The state of each setting of the page before anybody touches it; kept settings hold the same keys."""


def ask_settings(store: JobStore) -> dict[str, Any]:
    """Show the settings; returns the fields of a RestoreConfig that differ from their defaults, as JSON values."""
    for key, value in _USUAL.items():
        st.session_state[key] = st.session_state.get(key, value)  # set anew: Streamlit forgets what was not drawn
    values = {"preset": _footage(), "strength": _strength(), "upscale": _size(), "background": _background()}
    steady = st.toggle(
        "Keep faces steady from frame to frame",
        key="steady",
        help="Smooths what flickers in a video. Photos are not affected.",
    )
    values["temporal"] = "flow" if steady else "off"
    with st.expander("More settings"):
        values |= _more()
    _kept_settings(store.settings.data_dir / "presets.json")
    return _changed(values)


def _kept_settings(path: Path) -> None:
    """Settings to keep under a name and to take again."""
    kept = _read_kept(path)
    with st.expander(f"Kept settings ({len(kept)})"):
        name = st.selectbox("Settings to use", list(kept), index=None, key="kept", placeholder="None chosen")
        using, deleting = st.columns(2)
        if using.button("Use", disabled=name is None, width="stretch", on_click=_use, args=(kept.get(name or ""),)):
            st.toast("Kept settings are in use")
        if deleting.button("Delete settings", disabled=name is None, width="stretch") and name is not None:
            del kept[name]
            _write_kept(path, kept)
        new = st.text_input("Keep the settings above as", key="kept-name", max_chars=60).strip()
        if st.button("Keep", disabled=not new, width="stretch"):
            kept[new] = {key: st.session_state[key] for key in _USUAL}
            _write_kept(path, kept)


def _use(kept: dict[str, Any] | None) -> None:
    """Take settings that were kept; what this version does not offer is left out."""
    offered: dict[str, Any] = {
        "footage": PRESETS,
        "named-strength": STRENGTHS,
        "size": _SIZES,
        "background": _BACKGROUNDS,
    }
    for key, value in (kept or {}).items():
        if isinstance(value, type(_USUAL.get(key))) and value in offered.get(key, (value,)):
            st.session_state[key] = value
    _name_strength()


def _read_kept(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_kept(path: Path, kept: dict[str, dict[str, Any]]) -> None:
    write_text(path, json.dumps(kept, indent=2) + "\n", overwrite=True)
    st.rerun()


def _footage() -> PresetName:
    def take_strength() -> None:
        asked = PRESETS[st.session_state.footage].options.get("strength", 1.0)
        st.session_state.strength = round(100 * float(asked))
        _name_strength()

    chosen: PresetName | None = st.selectbox(
        "What it is",
        list(PRESETS),
        key="footage",
        on_change=take_strength,
        format_func=lambda name: PRESETS[name].footage[:1].upper() + PRESETS[name].footage[1:],
        help="Sets what this kind of footage needs beside the settings here: noise, dust, colour, fields.",
    )
    return chosen or "none"


def _strength() -> float:
    def take_named() -> None:
        if st.session_state["named-strength"] is not None:
            st.session_state.strength = STRENGTHS[st.session_state["named-strength"]]

    st.segmented_control(
        "Strength", list(STRENGTHS), key="named-strength", on_change=take_named, help="How far faces are restored."
    )
    st.slider("In percent", 0, 100, key="strength", format="%d %%", on_change=_name_strength)
    return st.session_state.strength / 100


def _name_strength() -> None:
    """Show the name of the strength where it has one."""
    percent = st.session_state.strength
    st.session_state["named-strength"] = next((name for name, value in STRENGTHS.items() if value == percent), None)


def _size() -> float:
    return _SIZES[st.selectbox("Size of the result", list(_SIZES), key="size") or next(iter(_SIZES))]


def _background() -> str:
    chosen = st.selectbox("Everything around the faces", list(_BACKGROUNDS), key="background")
    return _BACKGROUNDS[chosen or next(iter(_BACKGROUNDS))]


def _more() -> dict[str, Any]:
    threshold = st.slider(
        "How sure the search for faces must be",
        0.20,
        0.90,
        step=0.01,
        key="threshold",
        help="Lower finds more faces, and more that are none.",
    )
    smallest = st.number_input("Smallest face to restore (px)", 1, 1000, key="smallest")
    center = st.checkbox("Only the face nearest to the middle", key="center")
    guide = st.checkbox(
        "Let the best frames of each person guide the others",
        key="guide",
        help="For videos that are sharper at some times than at others. Photos are not affected.",
    )
    texture = st.checkbox(
        "Skin and hair with the texture of photos",
        key="texture",
        help="Crisper where much was lost. Some of it is made up; without it, such places come out smooth.",
    )
    begin = st.text_input("Begin at (seconds or h:mm:ss)", key="begin", placeholder="from the start")
    end = st.text_input("Stop at (seconds or h:mm:ss)", key="end", placeholder="to the end")
    crf = st.slider("Quality of the video file (CRF, lower is better and larger)", 0, 40, key="crf")
    values: dict[str, Any] = {"min_face": int(smallest), "only_center_face": center, "guide_frames": guide}
    values["look"] = "natural" if texture else RestoreConfig.model_fields["look"].default
    if threshold != USUAL_THRESHOLD:
        values["detection_threshold"] = threshold
    if crf != _USUAL["crf"]:
        values["crf"] = crf
    return values | {name: text for name, text in (("start", begin.strip()), ("end", end.strip())) if text}


def _changed(values: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, and what the preset sets, checked; a mistake is shown beside them."""
    fields, preset = RestoreConfig.model_fields, PRESETS[values["preset"]].options
    try:
        # What a preset sets and the page shows counts as shown, also where that is the default.
        given = {name: value for name, value in values.items() if name in preset or value != fields[name].default}
        config = make_config(given)
    except ConfigError as error:
        alert(str(error))
        return {}
    return config.model_dump(mode="json", exclude_unset=True)
