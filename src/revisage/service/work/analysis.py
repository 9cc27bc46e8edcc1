"""Who is in a file when: the analysis in each of its forms, a portrait of everybody, and the scan that knows them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import media, people, pipeline
from revisage.service.work.scanning import crew_of, has_parts, scan_of
from revisage.service.work.task import Outcome, Task

if TYPE_CHECKING:
    from revisage.people import Analysis, Person

__all__ = ["analyze", "drop_photos"]

_JPEG_QUALITY = 90


def analyze(task: Task) -> Outcome:
    """Tell apart who is in the file, and read their faces.

    Raises:
        InputError: nothing that has faces, or it is not clear who is who.
        ModelError: there is nothing to tell people apart by.
        CancelledError: stopped.
    """
    networks = task.networks
    _ = networks.recogniser, networks.known_people  # what is wrong with them is known before the work begins
    with ExitStack() as stack:
        made_scan = scan_of(task, crew_of(task, stack, several=has_parts(task)))
    scan, found = pipeline.told_apart(
        made_scan,
        task.source,
        networks,
        progress=task.meter,
        cancel=task.token,
        every=task.job.params.get("every", 0.2),
    )
    name = task.job.input.name
    found = found.model_copy(update={"source": name})
    made = _written(task, found)
    made["scan"] = task.named("scan", ".json")
    shown = scan.model_copy(update={"source": scan.source.model_copy(update={"name": name})})
    shown.save(made["scan"], overwrite=True)
    portraits = [_portraits(task, number, person) for number, person in enumerate(found.people)]
    result: dict[str, Any] = {key: path.name for key, path in made.items()}
    result["portraits"] = [None if path is None else path.name for path in portraits]
    result["people"] = [_numbers(person) for person in found.people]
    result |= {"frames": found.frames, "shots": len(found.shots), "notes": found.notes}
    return Outcome(result, [*made.values(), *filter(None, portraits)])


def _written(task: Task, found: Analysis) -> dict[str, Path]:
    texts = {
        "people.json": found.to_json(),
        "people.csv": found.to_csv(),
        "people.vtt": found.to_vtt(),
        "people.html": people.analysis_page(found),
    }
    made = {}
    for name, text in texts.items():
        made[name] = task.named("people", Path(name).suffix)
        made[name].write_text(text, encoding="utf-8")
    return made


def _portraits(task: Task, number: int, person: Person) -> Path | None:
    """The person's portraits beside each other, the best first."""
    if not person.portraits:
        return None
    path = task.named(f"person-{number}", ".jpg")
    strip = np.ascontiguousarray(np.concatenate(person.portraits, axis=1))
    media.write_jpeg(path, strip, longest=strip.shape[1], quality=_JPEG_QUALITY)
    return path


def _numbers(person: Person) -> dict[str, Any]:
    values = person.model_dump(mode="json", include={"label", "name", "likeness", "seconds", "tracks"})
    return {**values, "appearances": len(person.appearances)}


def drop_photos(task: Task) -> None:
    """Delete the photos that came with an analysis that is done: nothing needs them any more."""
    if task.job.kind == "analyze":
        folder = task.store.folder
        names = task.job.params.get("photos", {}).values()
        folder.discard(task.job.id, [folder.job_folder(task.job.id) / name for name in names])
