"""Sets of training faces: looked through for faults, and made from a store of consented faces.

What is a good target? Only what a camera saw: an **input** crop, never a restored one, for a network that learns from
its own output learns its own faults. And only a clean one: wide enough in its source that nothing was enlarged, and as
sharp as a photograph (:data:`revisage.measures.CLEAN_SHARPNESS`). The damage is made anew in training.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import facestore
from revisage.core import Face, Image, InputError, OutputError, check_absent, check_folder
from revisage.faces import ffhq_template, load_detector
from revisage.facestore import StoredFace
from revisage.measures import CLEAN_SHARPNESS
from revisage.train import FaceSource, ListedImage, listed_images, read_image

__all__ = [
    "LICENCE",
    "LIST",
    "DatasetReport",
    "TrainingSet",
    "check_dataset",
    "perceptual_hash",
    "template_error",
    "training_set_from_store",
]

Progress = Callable[[int, int], None]

_ALIKE_BITS = 3
"""Bits of 64 in which the hashes of two pictures that look the same may differ."""

_ALIGNED = 0.15
"""Mean distance of landmarks from the template, as a part of the distance of the eyes there, that still is aligned."""

_DETECTED_SIDE, _BORDER = 256, 0.15
"""Faces are looked for in a picture of at most this side (px), with this part of it added around: crops end at the
chin."""

_BLOCK = 1024


@dataclass
class DatasetReport:
    """What a set holds.

    Attributes:
        path: of the set.
        images: listed.
        usable: read, square and of the size asked for, whatever their faces.
        sizes: images by size, "512x512".
        licences: images by licence, as the lists state it.
        lists: images by the file or folder that lists them.
        unreadable: file and reason.
        small: files below the size asked for.
        not_square: files whose sides differ: no aligned faces.
        duplicates: groups of files with the same pixels.
        near_duplicates: groups of files that look the same.
        no_face: files in which no face was found.
        misaligned: file, and how far its face is from the template (a part of the distance of the eyes).
        faces_checked: whether faces were looked for.
    """

    path: str
    images: int = 0
    usable: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    small: list[str] = field(default_factory=list)
    not_square: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    near_duplicates: list[list[str]] = field(default_factory=list)
    no_face: list[str] = field(default_factory=list)
    misaligned: dict[str, float] = field(default_factory=dict)
    faces_checked: bool = False

    def to_json(self) -> dict[str, Any]:
        """This report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image that could be read."""

    name: str
    digest: str
    bits: int


def check_dataset(
    path: Path, *, size: int = 256, detector: str | None = "compact", progress: Progress | None = None
) -> DatasetReport:
    """Read every image of a set once.

    Args:
        path: a folder, a CSV list or a WebDataset shard, as training takes them.
        size: images below this side cannot be trained on at it.
        detector: that looks for faces; None leaves that out.
        progress: told (done, all).

    Raises:
        InputError: no such set, or nothing in it.
    """
    listed = listed_images(FaceSource(path=path))
    if not listed:
        raise InputError(f"{path} lists no image; known are PNG, JPEG, WebP, BMP, TIFF and .tar shards of them")
    report = DatasetReport(str(path), images=len(listed), faces_checked=detector is not None)
    find = _finder(detector)
    seen = list(_looked_through(listed, size, find, report, progress))
    report.licences = _counted(image.licence or "not stated" for image in listed)
    report.lists = _counted(str(image.file if image.member else image.file.parent) for image in listed)
    report.duplicates, report.near_duplicates = _repeats(seen)
    return report


def perceptual_hash(image: Image) -> int:
    """64 bits that pictures keep when they are resized or coded again: brighter to the right or not (dHash), on the
    luma of a 9 x 8 reduction."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def template_error(face: Face, side: int) -> float:
    """Mean distance of a face's landmarks from the FFHQ template of a picture of that side, as a part of the
    distance of the eyes in the template."""
    template = ffhq_template(side)
    eyes = float(np.hypot(*(template[1] - template[0])))
    return float(np.hypot(*(face.landmarks - template).T).mean()) / eyes


def _looked_through(
    listed: Sequence[ListedImage],
    size: int,
    find: Callable[[Image], list[Face]] | None,
    report: DatasetReport,
    progress: Progress | None,
) -> Iterator[_Seen]:
    for number, entry in enumerate(listed, 1):
        image = read_image(entry)
        if isinstance(image, str):
            report.unreadable[entry.name] = image
        else:
            _measured(entry.name, image, size, find, report)
            digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
            yield _Seen(entry.name, digest, perceptual_hash(image))
        if progress is not None:
            progress(number, len(listed))
    report.sizes = dict(sorted(report.sizes.items(), key=lambda item: -item[1]))


def _measured(
    name: str, image: Image, size: int, find: Callable[[Image], list[Face]] | None, report: DatasetReport
) -> None:
    height, width = image.shape[:2]
    label = f"{width}x{height}"
    report.sizes[label] = report.sizes.get(label, 0) + 1
    if min(height, width) < size:
        report.small.append(name)
        return
    if height != width:
        report.not_square.append(name)
        return
    report.usable += 1
    if find is not None:
        _check_face(name, image, find, report)


def _check_face(name: str, image: Image, find: Callable[[Image], list[Face]], report: DatasetReport) -> None:
    side = min(image.shape[0], _DETECTED_SIDE)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    edge = round(side * _BORDER)
    bordered = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    faces = find(np.ascontiguousarray(bordered))
    if not faces:
        report.no_face.append(name)
        return
    error = min(template_error(face.moved(face.landmarks - edge), side) for face in faces)
    if error > _ALIGNED:
        report.misaligned[name] = round(error, 3)


def _finder(detector: str | None) -> Callable[[Image], list[Face]] | None:
    if detector is None:
        return None
    return load_detector(detector)


def _counted(names: Iterator[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _repeats(seen: Sequence[_Seen]) -> tuple[list[list[str]], list[list[str]]]:
    """Groups with the same pixels, and groups that look the same; of the former only the first is in the latter."""
    groups: dict[str, list[_Seen]] = {}
    for one in seen:
        groups.setdefault(one.digest, []).append(one)
    exact = [[one.name for one in group] for group in groups.values() if len(group) > 1]
    firsts = [group[0] for group in groups.values()]
    near = [[firsts[place].name for place in places] for places in _near(np.array([one.bits for one in firsts], "u8"))]
    return exact, near


def _near(hashes: NDArray[np.uint64]) -> list[list[int]]:
    """Groups of places whose hashes are linked by few differing bits, by union of all pairs, block by block."""
    parent = np.arange(len(hashes))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK, None] ^ hashes[None]
        bits = np.unpackbits(block.view(np.uint8).reshape(*block.shape, 8), axis=2).sum(axis=2, dtype=np.uint8)
        for row, column in np.argwhere(bits <= _ALIKE_BITS):
            if start + row < column:
                parent[root(int(column))] = root(int(start + row))
    groups: dict[int, list[int]] = {}
    for place in range(len(hashes)):
        groups.setdefault(root(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


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
        list: the CSV, which ``revisage train restorer`` takes as the path of a source.
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
    min_sharpness: float = CLEAN_SHARPNESS[0],
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
    facestore.find_place(store)  # names a missing extra before the store's own module does
    _check_output(output, overwrite)
    with facestore.FaceStore.open(store) as opened:
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
    check_absent(output, overwrite=overwrite)
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
    if face.sharpness > CLEAN_SHARPNESS[1]:
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
