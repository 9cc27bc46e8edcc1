"""A training set from a store of consented faces.

What is a good target? Only what a camera saw: an **input** crop, never a restored one, for a network that learns from
its own output learns its own faults. And only a clean one: wide enough in its source that nothing was enlarged, and as
sharp as a photograph (:data:`revisage.facestore.sharpness.CLEAN`). The damage is made anew in training.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from revisage.core import InputError, OutputError, check_folder
from revisage.facestore import CLEAN, StoredFace

__all__ = ["LICENCE", "LIST", "TrainingSet", "training_set_from_store"]

LIST = "faces.csv"
LICENCE = "by consent of the person shown"
_COLUMNS = (
    *("file", "licence", "consent", "consent_date", "person", "label", "source", "source_sha256", "frame"),
    *("native_px", "sharpness", "sha256"),
)
_DULL = "not sharp"


@dataclass(frozen=True)
class TrainingSet:
    """What was written.

    Attributes:
        list: the CSV, which `revisage train restorer` takes as the path of a source.
        images: pictures in it, of ``people`` persons.
        left_out: how many faces were no clean targets, by reason.
    """

    list: Path
    images: int
    people: int
    left_out: dict[str, int]


def training_set_from_store(
    store: Path,
    output: Path,
    *,
    since: date | None = None,
    person: str | None = None,
    min_sharpness: float = CLEAN[0],
    overwrite: bool = False,
) -> TrainingSet:
    """Write a folder ``output`` with the clean faces of a store and a list of them with consents and licence.

    Args:
        store: folder of the face store.
        since: only faces kept from that day (UTC) on.
        person: only theirs, by number or label.
        min_sharpness: of a target.
        overwrite: replace an earlier training set of that name; never another folder.

    Raises:
        InputError: no such store or person, or no face of it is a clean target.
        OutputError: the folder exists or cannot be written.
        UserError: as for opening the store.
    """
    from revisage.facestore import find_place

    find_place(store)  # names a missing extra before the import does
    from revisage.facestore import FaceStore

    _check_output(output, overwrite)
    with FaceStore.open(store) as opened:
        faces = opened.faces(person=person, since=since)
    if not faces:
        raise InputError(f"{store} holds no faces{' from that day on' if since else ''}")
    chosen, left_out = _targets(faces, min_sharpness)
    if not chosen:
        raise InputError(
            f"none of the {len(faces)} faces of {store} is a clean target: {_reasons(left_out)}; {_advice(left_out)}"
        )
    _write(chosen, output)
    return TrainingSet(output / LIST, len(chosen), len({face.person for face in chosen}), left_out)


def _check_output(output: Path, overwrite: bool) -> None:
    check_folder(output)
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite to replace it")
    if output.exists() and not (output / LIST).is_file():
        raise OutputError(f"{output} is no training set of a face store and is left as it is; name another folder")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: there is no folder {output.parent}; make it first, or name another")


def _targets(faces: list[StoredFace], min_sharpness: float) -> tuple[list[StoredFace], dict[str, int]]:
    """The clean faces, each input crop once, and how many of the others there are by reason."""
    chosen: dict[Path, StoredFace] = {}
    reasons: Counter[str] = Counter()
    for face in faces:
        if face.before in chosen:
            continue
        reason = _fault(face, min_sharpness)
        if reason:
            reasons[reason] += 1
        else:
            chosen[face.before] = face
    return list(chosen.values()), dict(reasons)


def _fault(face: StoredFace, min_sharpness: float) -> str:
    if face.native_px < face.size:
        return "enlarged"
    if face.sharpness < min_sharpness:
        return _DULL
    if face.sharpness > CLEAN[1]:
        return "noisy"
    return "" if face.before.is_file() else "picture missing"


def _reasons(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())


def _advice(left_out: dict[str, int]) -> str:
    better = "collect from better footage"
    return f"{better}, or lower --min-sharpness and look at the pictures" if _DULL in left_out else better


def _write(chosen: list[StoredFace], output: Path) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            made = Path(folder) / "set"
            (made / "images").mkdir(parents=True)
            with (made / LIST).open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, _COLUMNS)
                writer.writeheader()
                for face in chosen:
                    row = _row(face)
                    shutil.copyfile(face.before, made / str(row["file"]))
                    writer.writerow(row)
            if output.exists():
                output.rename(Path(folder) / "old")
            made.rename(output)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error


def _row(face: StoredFace) -> dict[str, object]:
    return {
        "file": f"images/person{face.person:04d}_{face.before.stem[:16]}.webp",
        "licence": LICENCE,
        "consent": face.consent,
        "consent_date": face.consent_date.isoformat(),
        "person": face.person,
        "label": face.label or "",
        "source": face.source,
        "source_sha256": face.source_sha256,
        "frame": face.frame,
        "native_px": face.native_px,
        "sharpness": face.sharpness,
        "sha256": face.before.stem,
    }
