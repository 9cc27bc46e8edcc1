"""Who is in a file: portraits with names and ticks, names by photos, a timeline, and the analysis to take away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import streamlit as st

from revisage import people, service
from revisage.core import Crop, RevisageError
from revisage.people import Analysis, Person
from revisage.service import InputFile, Job, JobStore
from revisage.ui.display import alert, picture, plain
from revisage.ui.uploads import take_photo

__all__ = ["chosen_scan", "forget_people", "pick_people", "problem_of"]

_AT_ONCE = 20.0
"""Films up to so many seconds are searched for everybody at once; longer ones when asked."""

_KEPT_SECONDS = 3600.0
_COLUMNS = 3
_HINT = (
    "Names are guesses from likeness: check them. Expressions say how a face looks to a small network, not what "
    "somebody feels. Ask the people whom you look for; photos are deleted when the search is done."
)

Photos = list[tuple[str, str, bytes]]
"""Name of the person, of the file, and its content."""


def pick_people(store: JobStore, file: InputFile, seconds: float, search: dict[str, Any]) -> None:
    """Everybody in the file with a box to tick and a name to give; long films are searched when asked.

    Args:
        store: with the file.
        file: to look at.
        seconds: its length; 0 for a photo.
        search: fields of RestoreConfig that decide which faces are found.
    """
    wanted = f"search-{file.id}"
    if seconds > _AT_ONCE and wanted not in st.session_state:
        st.button("Find everybody in it", on_click=lambda: st.session_state.update({wanted: True}))
        return
    with st.spinner("Finding everybody …"):
        job = _analysed(store, file, search)
    if job is None or job.status != "done":
        if job is not None:
            alert(problem_of(job, file))
        _drop_photos(file)
        return
    st.session_state[f"people-{file.id}"] = job.id
    found = _read(store, job)
    if not found.people:
        st.write("Nobody was found.")
        return
    for note in found.notes:
        st.warning(plain(f"{note[:1].upper()}{note[1:]}."), icon=":material/person_search:")
    _ask_each(job, found, is_film=seconds > 0)
    named = found.renamed(_typed_names(job, found))
    if seconds > 0:
        _show_timeline(named)
    _ask_photos(store, file)
    if seconds > 0:
        _offer(job, named)


def problem_of(job: Job | None, file: InputFile) -> str:
    """Why a quick job gave nothing."""
    if job is not None and job.error:
        return job.error
    return f"{file.name} could not be looked at in time; choose it again, or try a shorter part of it"


def _photos(file: InputFile) -> Photos:
    """Those that were given of people in this file. They stay in the memory of this visit until it ends, or until the
    file is taken out."""
    held: Photos = st.session_state.setdefault(f"photos-{file.id}", [])
    return held


def _drop_photos(file: InputFile) -> None:
    """Forget photos that cannot be used, so that the file can be looked at without them."""
    if _photos(file):
        st.session_state[f"photos-{file.id}"] = []
        st.button("Go on without these photos")


def _analysed(store: JobStore, file: InputFile, search: dict[str, Any]) -> Job | None:
    """The finished analysis of a file; asked for once per file, settings and photos."""
    photos = _photos(file)
    asked: dict[tuple[str, str, str], str] = st.session_state.setdefault("analysed", {})
    key = (file.id, repr(sorted(search.items())), repr([(name, photo) for name, photo, _ in photos]))
    try:
        if key not in asked:
            who = [f"{name}={photo}" for name, photo, _ in photos]
            config = {**search, **({"who": who} if who else {})}
            # Somebody waits for it: it does not stand behind restorations.
            asked[key] = service.analyze(
                store,
                file.id,
                config,
                photos=[_sent(store, photo, data) for _, photo, data in photos],
                scan=_known_scan(store, asked.get((*key[:2], repr([])))),
                lane="quick",
                keep_seconds=_KEPT_SECONDS,
            ).id
        return service.wait(store, asked[key], timeout=store.settings.max_quick_seconds)
    except RevisageError as error:
        asked.pop(key, None)
        alert(str(error))
        return None


def _known_scan(store: JobStore, job_id: str | None) -> dict[str, Any] | None:
    """The scan that an analysis without photos has made: looking for faces takes longest."""
    path = None if job_id is None else service.result_path(store, store.job(job_id), "scan")
    return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))


def _sent(store: JobStore, name: str, data: bytes) -> service.Photo:
    part = store.folder.new_part()
    part.write_bytes(data)
    return store.photo(part, name)


def forget_people(file: InputFile) -> None:
    """Forget the photos that were given of the people of a file."""
    for name in ("photos", "people"):
        st.session_state.pop(f"{name}-{file.id}", None)


@st.cache_data(max_entries=16, show_spinner=False)
def _parsed(path: Path, portraits: list[Path | None]) -> Analysis:
    found = Analysis.model_validate_json(path.read_text(encoding="utf-8"))
    for person, strip in zip(found.people, portraits, strict=True):
        person.portraits = [] if strip is None else _squares(strip)
    return found


def _read(store: JobStore, job: Job) -> Analysis:
    path = service.result_path(store, job, "people.json")
    if path is None:
        raise RevisageError("what was found has been deleted; choose the file again")
    return _parsed(path, [None if name is None else service.result_path(store, job, name) for name in _strips(job)])


def _strips(job: Job) -> list[str | None]:
    names: list[str | None] = job.result["portraits"]
    return names


def _squares(strip: Path) -> list[Crop]:
    pixels = cv2.cvtColor(cv2.imread(str(strip), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return [np.ascontiguousarray(part) for part in np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1)]


def _ask_each(job: Job, found: Analysis, *, is_film: bool) -> None:
    """A portrait of each person, whether to restore them, and their name."""
    columns = st.columns(min(_COLUMNS, len(found.people)))
    for at, person in enumerate(found.people):
        with columns[at % len(columns)]:
            if person.portraits:
                picture(person.portraits[0], alt=f"Portrait of {person.label}", width=112)
            st.checkbox(plain(person.label), True, key=_key("tick", job, at))
            st.caption(plain(_told(person, is_film=is_film)))
            st.text_input(
                f"Name of {person.label}",
                key=_key("name", job, at),
                placeholder="Name",
                max_chars=60,
                label_visibility="collapsed",
            )


def _told(person: Person, *, is_film: bool) -> str:
    parts = []
    if is_film:
        times = len(person.appearances)
        parts.append(f"{person.seconds:.1f} s in view" + (f", {times} times" if times > 1 else ""))
    if person.samples.size:
        parts.append(f"{float(np.mean(person.samples.size)):.0f} px")
    if person.likeness is not None:
        parts.append(f"likeness to the photos {person.likeness:.2f}")
    return ", ".join(parts)


def _key(what: str, job: Job, at: int) -> str:
    return f"{what}-{job.id}-{at}"


def _typed_names(job: Job, found: Analysis) -> dict[str, str]:
    """Names that were typed, by label."""
    names = {}
    for at, person in enumerate(found.people):
        name = " ".join(str(st.session_state.get(_key("name", job, at)) or "").split())
        if name:
            names[person.label] = name
    return names


def _show_timeline(found: Analysis) -> None:
    st.markdown("**Who is in view when**")
    st.html(people.timeline(found))


def _ask_photos(store: JobStore, file: InputFile) -> None:
    """A name and photos of its bearer, to look for."""
    photos = _photos(file)
    with st.expander(f"Names by photos ({len({name for name, _, _ in photos})})"):
        st.caption(_HINT)
        with st.form(f"whose-{file.id}", clear_on_submit=True, border=False):
            name = " ".join(st.text_input("Whose photos", max_chars=60, placeholder="Ann").split())
            sent = st.file_uploader("Photos of this person, alone or clearly the largest", accept_multiple_files=True)
            looking = st.form_submit_button("Look for this person", width="stretch")
        if photos and st.button("Forget these photos", width="stretch"):
            photos.clear()
            st.rerun()
        if not looking:
            return
        if not name or not sent:
            alert("Give a name, and at least one photo of its bearer.")
            return
        try:
            photos += [(name, _unlike(photos, one.name), take_photo(store, one, one.name)) for one in sent]
        except RevisageError as error:
            alert(str(error))
            return
        st.rerun()


def _unlike(photos: Photos, name: str) -> str:
    """A name for a photo that no other has."""
    taken = {photo for _, photo, _ in photos}
    return name if name not in taken else f"{len(photos) + 1}-{name}"


def _offer(job: Job, found: Analysis) -> None:
    """What was found, to take away."""
    stem = Path(found.source).stem
    made: dict[str, tuple[str, Callable[[], str], str]] = {
        "Page with curves": ("html", lambda: people.analysis_page(found), "text/html"),
        "JSON": ("json", found.to_json, "application/json"),
        "Table (CSV)": ("csv", found.to_csv, "text/csv"),
        "Subtitles (WebVTT)": ("vtt", found.to_vtt, "text/vtt"),
    }
    with st.popover("Take the analysis away"):
        for label, (ending, text, kind) in made.items():
            st.download_button(
                label,
                text,
                f"{stem}.people.{ending}",
                kind,
                key=f"{ending}-{job.id}",
                on_click="ignore",
                width="stretch",
            )


def chosen_scan(store: JobStore, file: InputFile) -> dict[str, Any] | None:
    """The scan of a file with the names that were given, without the people whose tick was taken away; None where
    everybody stays and nobody has a name, or nobody was looked for."""
    job_id = st.session_state.get(f"people-{file.id}")
    if job_id is None:
        return None
    job = store.job(job_id)
    found, path = _read(store, job), service.result_path(store, job, "scan")
    names = _typed_names(job, found)
    left = [at for at in range(len(found.people)) if not st.session_state.get(_key("tick", job, at), True)]
    if path is None or not (left or names or any(person.name for person in found.people)):
        return None
    named = found.renamed(names)
    unticked = {track for at in left for track in named.people[at].tracks}
    scan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    labels = named.labels
    scan["tracks"] = [
        {**track, "person": labels.get(track["id"])} for track in scan["tracks"] if track["id"] not in unticked
    ]
    return scan
