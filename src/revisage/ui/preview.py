"""What a file holds: one view of any moment of it, with its faces outlined or restored; and whom to restore."""

from __future__ import annotations

from typing import Any

import cv2
import streamlit as st

from revisage import service
from revisage.core import RevisageError
from revisage.service import InputFile, Job, JobStore
from revisage.ui.choices import USUAL_THRESHOLD
from revisage.ui.display import a_while, alert, before_after, bytes_of, counted, picture, plain, seconds_of, what_it_is
from revisage.ui.people_panel import pick_people, problem_of

__all__ = ["EAGER_THRESHOLD", "show_file"]

EAGER_THRESHOLD = 0.30
_SEARCH_FIELDS = ("detector", "detection_threshold", "start", "end", "aligned", "deinterlace")
_VIEWS = ("Faces found", "Before and after")


def show_file(store: JobStore, file: InputFile, config: dict[str, Any]) -> None:
    """Show a file: the view with its time bar, what was found, and everybody in it with a box to tick."""
    with st.spinner(f"Looking at {plain(file.name)} …"):
        seen = _looked_at(store, file, config)
    if seen is None or seen.status != "done":
        alert(problem_of(seen, file))
        return
    view = st.segmented_control(
        "What to show", _VIEWS, default=_VIEWS[0], key=f"view-{file.id}", label_visibility="collapsed", required=True
    )
    place, moment = st.container(), _ask_moment(seen, file)
    with place:
        if view == _VIEWS[1]:
            _show_restored(store, file, config, moment)
        else:
            _show_poster(store, seen, file)
    _describe(seen.result["faces"], seen.result["info"], seen.result.get("estimate_seconds"))
    if not seen.result["faces"]:
        _offer_eager_look()
    st.markdown("**Whom to restore**")
    info = seen.result["info"]
    pick_people(store, file, seconds_of(info) if info["kind"] != "image" else 0.0, _search(config))


def _search(config: dict[str, Any]) -> dict[str, Any]:
    """What of the settings decides which faces are found."""
    return {name: config[name] for name in _SEARCH_FIELDS if name in config}


def _looked_at(store: JobStore, file: InputFile, config: dict[str, Any]) -> Job | None:
    """The finished look at a file; asked for once per file and settings."""
    search = _search(config)
    asked: dict[tuple[str, str], str] = st.session_state.setdefault("asked", {})
    key = (file.id, repr(sorted(search.items())))
    try:
        if key not in asked:
            asked[key] = service.look(store, file.id, search, keep_seconds=3600.0).id
        return service.wait(store, asked[key], timeout=store.settings.max_quick_seconds)
    except RevisageError:
        asked.pop(key, None)
        return None


def _ask_moment(seen: Job, file: InputFile) -> float:
    """A bar over the film's time; returns seconds from its start. A photo has one moment."""
    length = seconds_of(seen.result["info"])
    if file.kind == "image" or length <= 0.1:
        return 0.0
    start = min(float(seen.result.get("time") or 0.0), length)

    def restore_it() -> None:
        st.session_state[f"view-{file.id}"] = _VIEWS[1]

    return st.slider(
        "Moment to restore (seconds)", 0.0, length, start, 0.1, key=f"preview-at-{file.id}", on_change=restore_it
    )


def _show_poster(store: JobStore, seen: Job, file: InputFile) -> None:
    info, poster = seen.result["info"], service.result_path(store, seen, "poster")
    text = what_it_is(info["kind"], info["width"], info["height"], seconds_of(info), info.get("frame_count"))
    seconds = seen.result.get("time")
    caption = f"{text}, {bytes_of(file.bytes)}" + (f"; this is the frame at {seconds:.1f} s" if seconds else "")
    if poster is not None:
        picture(poster, alt=f"{file.name}: {caption}")
    st.caption(caption)


def _show_restored(store: JobStore, file: InputFile, config: dict[str, Any], moment: float) -> None:
    """The moment before and after; restored once per moment and settings."""
    held: dict[tuple[str, float, str], str] = st.session_state.setdefault("previews", {})
    key = (file.id, moment, repr(sorted(config.items())))
    try:
        with st.spinner("Restoring this moment …"):
            if key not in held:
                held[key] = service.preview(store, file.id, moment, config, keep_seconds=3600.0).id
            job = service.wait(store, held[key], timeout=store.settings.max_quick_seconds)
    except RevisageError as error:
        held.pop(key, None)
        alert(str(error))
        return
    paths = [service.result_path(store, job, name) for name in ("before", "after")]
    before, after = (None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    if job.status != "done" or before is None or after is None:
        held.pop(key)
        alert(job.error or "This moment could not be restored.")
        return
    if not job.result.get("faces"):
        st.warning("No faces were found at this moment.", icon=":material/search_off:")
    pictures = [cv2.cvtColor(found, cv2.COLOR_BGR2RGB) for found in (before, after)]
    before_after(pictures[0], pictures[1], alt=f"{file.name} at {moment:.1f} seconds", key=f"preview-{file.id}")


def _describe(faces: list[dict[str, Any]], info: dict[str, Any], estimate: float | None) -> None:
    """What was found, what will happen, and about how long it takes."""
    if faces:
        names = "; ".join(f"no. {face['number']} {plain(face['description'])}" for face in faces)
        where = "it" if info["kind"] == "image" else "this frame"
        st.markdown(f"{counted(len(faces), 'face')} in {where}: {names}.")
    kept = "Everything else stays as it is"
    if info["kind"] == "video":
        sound = any(stream["kind"] == "audio" for stream in info["streams"])
        kept += f": background, timing{', sound and subtitles' if sound else ' and colours'}"
    time = f" It will take {a_while(estimate)} on this computer." if estimate else ""
    st.markdown(f"The faces will be restored. {kept}.{time}")


def _offer_eager_look() -> None:
    st.warning("No faces were found in this picture of it.", icon=":material/search_off:")
    if st.session_state.get("threshold", USUAL_THRESHOLD) > EAGER_THRESHOLD:
        st.button("Search again with a lower threshold", on_click=_search_eagerly)


def _search_eagerly() -> None:
    st.session_state.threshold = EAGER_THRESHOLD
