"""What the page and the server do with a job store: take files in, ask for work, wait for it.

    store = open_store()                                  # the user's own; or open_store(data_dir="…")
    Supervisor(store, 1).start()                          # of revisage.service: workers that end with this process
    with open("tape.mpg", "rb") as stream:
        file = receive(store, stream, "tape.mpg")         # or store.add_path(Path("tape.mpg"))
    seen = wait(store, look(store, file.id).id)           # seen.result["faces"], result_path(store, seen, "poster.jpg")
    job = restore(store, file.id, {"strength": 0.8})

What jobs of each kind leave in ``job.result`` (names are of files in the job's folder, see :func:`result_path`):

``look``     ``info`` (kind, width, height, duration, frame_count, audio …), ``poster`` (JPEG with the faces outlined
             and numbered), ``time`` of the poster, ``faces`` (number, box, size, score, quality, description), and
             ``seconds_per_frame`` and ``estimate_seconds`` for the whole file on this machine.
``scan``     ``scan`` (a Scan as JSON), ``frames``, ``shots``, ``tracks`` (id, first_seconds, last_seconds, frames,
             seen, mean_size, mean_score, quality, description, picture: JPEG of the face).
``analyze``  ``people.json``, ``people.csv``, ``people.vtt``, ``people.html`` (an Analysis), ``scan`` (a Scan with the
             person of each track), ``people`` (label, name, likeness, seconds, tracks, appearances), ``portraits`` (of
             each a JPEG with up to six squares beside each other, or ``null``), ``frames``, ``shots``, ``notes``.
``preview``  ``before`` and ``after`` (PNG of the whole frame at ``time``), ``faces`` restored, ``seconds`` it took.
``image``    ``output``, ``report``.
``restore``  ``output``, ``report`` (JSON), ``faces`` (JSON: as ``tracks`` above, with ``before`` and ``after`` JPEGs),
             ``poster``, ``compare`` when asked for, ``playable`` and ``playable_input`` (H.264/AAC MP4, when asked for;
             ``playable`` is the output itself where browsers play that), and frames, seconds and the measures.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from revisage import models
from revisage.core import ConfigError, OutputError, RestoreConfig, make_config, option_of, output_error
from revisage.service.jobs.job import (
    InputFile,
    Job,
    Photo,
    TooLargeError,
)
from revisage.service.jobs.job_store import JobStore, clean_name
from revisage.service.settings import ServiceSettings

__all__ = [
    "analyze",
    "check_people",
    "check_size",
    "checked_config",
    "look",
    "no_room",
    "open_store",
    "photo_of",
    "preview",
    "receive",
    "restore",
    "result_path",
    "scan",
    "wait",
]

_CHUNK = 2**20


def open_store(**options: Any) -> JobStore:
    """The job store of these settings (fields of ServiceSettings; the environment's where none are given).

    Raises:
        ConfigError: a setting is not allowed, or the database cannot be reached.
        MissingExtraError: the extra ``service`` is not installed.
        OutputError: the data folder cannot be made.
    """
    return JobStore(ServiceSettings.load(**options))


def checked_config(values: Mapping[str, Any], photos: Sequence[str] = ()) -> dict[str, Any]:
    """RestoreConfig fields as JSON values, checked: those that a service takes, models by name only.

    Args:
        values: the fields.
        photos: names of the photos that came with the request, which ``who`` gives names to.

    Raises:
        ConfigError: an unknown key, a value that is not allowed, or a field that is not for requests; or ``who`` and
            the photos do not belong together.
        ModelError: no model of this name.
    """
    for key in values:
        if key in RestoreConfig.model_fields and not option_of(key).served:
            raise ConfigError(f"the option '{key}' cannot be given to the service")
    config = make_config(values)
    if "model" in values:
        models.find(config.model)
    _check_photos(config, [clean_name(name) for name in photos])
    return config.model_dump(mode="json", exclude_unset=True)


def photo_of(text: str) -> tuple[str, str]:
    """Name and photo of an entry of ``who``; the photo as its upload is called.

    Raises:
        ConfigError: it has another form.
    """
    name, _, photo = text.partition("=")
    if not name.strip() or not photo.strip():
        raise ConfigError(f"who cannot be {text!r}: write NAME=photo.jpg")
    return name.strip(), clean_name(photo)


def _check_photos(config: RestoreConfig, photos: Sequence[str]) -> None:
    twice = next((name for name in photos if photos.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"who cannot be told: two photos are called {twice}; give each a name of its own")
    named = {photo_of(text)[1] for text in config.who}
    lacking, idle = sorted(named - set(photos)), sorted(set(photos) - named)
    if lacking:
        raise ConfigError(f"who cannot be told: {lacking[0]} did not come with the request; send it in a field 'photo'")
    if idle:
        raise ConfigError(f"who cannot be told: nobody is given the photo {idle[0]}; add 'NAME={idle[0]}' to who")


def check_people(config: Mapping[str, Any], scan: Mapping[str, Any] | None) -> None:
    """Refuse a restoration of certain people where nothing can tell who they are.

    Raises:
        ConfigError: it is one.
    """
    known = any(track.get("person") for track in (scan or {}).get("tracks", ()))
    for option in ("only", "except_"):
        if config.get(option) and not config.get("who") and not known:
            raise ConfigError(
                f"{option} cannot be told: nobody has said who is who; send photos with 'who', or the scan of a job "
                "of the kind 'analyze'"
            )


def receive(store: JobStore, stream: BinaryIO, name: str) -> InputFile:
    """Take in a file from a stream, a piece at a time.

    Raises:
        TooLargeError: it is larger than the service allows.
        InputError: its content is none that can be restored.
        QuotaError, DiskFullError: there is no room for it.
    """
    part, digest, size = store.folder.new_part(), hashlib.sha256(), 0
    try:
        with part.open("xb") as target:
            while piece := stream.read(_CHUNK):
                size += len(piece)
                check_size(store.settings, size)
                digest.update(piece)
                target.write(piece)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise no_room(error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return store.add_upload(part, name, digest.hexdigest())


def check_size(settings: ServiceSettings, size: int) -> None:
    """Refuse an upload of more bytes than allowed.

    Raises:
        TooLargeError: it is.
    """
    if size > settings.max_upload_bytes:
        raise TooLargeError(f"the file is larger than {settings.max_upload_bytes / 1e6:g} MB, the most that is taken")


def no_room(error: OSError) -> OutputError:
    """The error of an upload that could not be written, without its path."""

    return output_error(Path("the upload"), error)


def look(store: JobStore, input_id: str, config: Mapping[str, Any] | None = None, **options: Any) -> Job:
    """Ask what a file holds, and for a picture of it with its faces outlined. Options are of JobStore.create_job."""
    return store.create_job(input_id, kind="look", config=checked_config(config or {}), **options)


def scan(store: JobStore, input_id: str, config: Mapping[str, Any] | None = None, **options: Any) -> Job:
    """Ask for all faces of a file, tracked from frame to frame."""
    return store.create_job(input_id, kind="scan", config=checked_config(config or {}), **options)


def analyze(
    store: JobStore,
    input_id: str,
    config: Mapping[str, Any] | None = None,
    *,
    photos: Sequence[Photo] = (),
    scan: Mapping[str, Any] | None = None,
    every: float = 0.2,
    **options: Any,
) -> Job:
    """Ask who is in a file when, how heads are held, and what faces show.

    Args:
        store: the job store.
        input_id: of a file in it.
        config: fields of RestoreConfig; ``who`` gives the photos names.
        photos: of people; they are deleted when the job is done, or with it.
        scan: as a scan job left it, to save looking for faces again.
        every: seconds between two looks at a face.
        **options: of JobStore.create_job.

    Raises:
        ConfigError: see :func:`checked_config`.
        NotFoundError, BusyError: see :meth:`JobStore.create_job`.
    """
    params: dict[str, Any] = {"every": every} | ({} if scan is None else {"scan": dict(scan)})
    checked = checked_config(config or {}, [photo.name for photo in photos])
    return store.create_job(input_id, kind="analyze", config=checked, params=params, photos=photos, **options)


def verify(store: JobStore, input_id: str, **options: Any) -> Job:
    """Ask what a file says of faces that were restored in it."""
    return store.create_job(input_id, kind="verify", config={}, **options)


def preview(
    store: JobStore, input_id: str, time: float, config: Mapping[str, Any] | None = None, **options: Any
) -> Job:
    """Ask for one restored moment, ``time`` seconds after the file's start.

    Raises:
        ConfigError: no such time.
    """
    if not 0 <= time < float("inf"):
        raise ConfigError(f"time cannot be {time}: it should be seconds from the start")
    return store.create_job(
        input_id, kind="preview", config=checked_config(config or {}), params={"time": float(time)}, **options
    )


def restore(
    store: JobStore,
    input_id: str,
    config: Mapping[str, Any] | None = None,
    *,
    scan: Mapping[str, Any] | None = None,
    compare: bool = False,
    playable: bool = False,
    **options: Any,
) -> Job:
    """Queue the restoration of a file.

    Args:
        store: the job store.
        input_id: of a file in it.
        config: fields of RestoreConfig.
        scan: as a scan job left it, perhaps with fewer tracks or with strengths set: restore these faces only.
        compare: also make a labelled side-by-side.
        playable: also make copies of input and output that browsers play.
        **options: of JobStore.create_job.

    Raises:
        ConfigError, ModelError: see :func:`checked_config`.
        NotFoundError, BusyError: see :meth:`JobStore.create_job`.
    """
    params: dict[str, Any] = {"compare": compare, "playable": playable}
    if scan is not None:
        params["scan"] = dict(scan)
    return store.create_job(input_id, config=checked_config(config or {}), params=params, **options)


def wait(store: JobStore, job_id: str, *, timeout: float = 300.0, poll: float = 0.1) -> Job:
    """A job when it is finished, or as it is after ``timeout`` seconds.

    Raises:
        NotFoundError: there is none of this id (any more).
    """
    deadline = time.monotonic() + timeout
    while True:
        job = store.job(job_id)
        if job.is_finished or time.monotonic() >= deadline:
            return job
        time.sleep(poll)


def result_path(store: JobStore, job: Job, name: str) -> Path | None:
    """The file of a job that its result calls ``name`` (``output``, ``report``, ``poster`` …) or that has this very
    name; None when there is none."""
    held = job.result.get(name, name)
    if not isinstance(held, str):
        return None
    try:
        path = store.folder.result_path(job.id, held)
    except OutputError:
        return None
    return path if path.is_file() else None
