"""Look through a set of training faces: sizes, repeats, files that cannot be read, faces missing or out of place."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import InputError

if TYPE_CHECKING:
    from revisage.core import Face
    from revisage.train import ListedImage

__all__ = ["DatasetReport", "check_dataset", "perceptual_hash", "template_error"]

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]

# Bits of 64 in which the hashes of two pictures that look the same may differ.
_ALIKE_BITS = 3
# Mean distance of landmarks from the template, as a part of the distance of the eyes there, that still is aligned.
_ALIGNED = 0.15
# Faces are looked for in a picture of at most this side (px), with this part of it added around: crops end at the chin.
_DETECTED_SIDE, _BORDER = 256, 0.15
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
    from revisage.train import FaceSource, listed_images

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
    from revisage.faces import ffhq_template

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
    from revisage.train import read_image

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
    from revisage.faces import load_detector

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
