"""Crops of aligned faces: how good each is, which of a person to keep, and a sheet to look them over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from revisage.core import ConfigError, Face, check_file, written_beside
from revisage.faces import align, crop_scale, invert, transform
from revisage.media import Frame, format_of

__all__ = [
    "CROPS_ON_A_PAGE",
    "MEASURED_SIZE",
    "AlignedCrop",
    "Candidate",
    "Look",
    "check_sheet",
    "chosen",
    "look_at",
    "outside_part",
    "people_of",
    "score",
    "sharpness",
    "write_sheet",
    "yaw_degrees",
]

_FRONTAL, _TURNED, _LOST = 12.0, 30.0, 70.0
"""Frontal is within this many degrees, turned beyond the second, lost beyond the third."""

_HALF_SHARP = 6.0
"""Sharpness at which a face has half of the score that detail can give."""

_SAME = 0.07
"""Mean squared difference of two small pictures (deviation 1) under which they show the same moment."""

_REPEATED = 0.85
"""Each crop of a pose that is there already lowers the next one's worth to this part."""

_ONE_PERSON = 0.5
"""Cosine of two identities above which they are one person (measured: other people reach 0.47)."""


@dataclass(frozen=True, eq=False)
class Look:
    """How a face was judged.

    Attributes:
        native_px: px of the source across the crop.
        outside: part of the crop outside of the picture.
        sharpness: see :func:`sharpness`.
        yaw: degrees.
        picture: (n, n) float32, the crop in small, mean 0 and deviation 1.
    """

    native_px: float
    outside: float
    sharpness: float
    yaw: float
    picture: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face that may be kept: its track, its frame's number in the source, its look and score."""

    track: int
    index: int
    look: Look
    score: float


def score(look: Look) -> float:
    """Worth of a crop, 0 to 1: detail, times how far it looks this way."""
    detail = look.sharpness / (look.sharpness + _HALF_SHARP)
    turned = min(1.0, max(0.0, (abs(look.yaw) - _FRONTAL) / (_LOST - _FRONTAL)))
    return detail * (1 - 0.5 * turned) * (1 - look.outside)


def chosen(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most ``count`` of one person's candidates, the best first.

    Greedy: the next is the one whose score, lowered for each crop of its pose already taken, is highest; one that
    shows nearly the same picture as a taken one is passed over. Pose is frontal, half turned or turned, to either side.
    """
    rest = sorted(candidates, key=lambda one: (-one.score, one.track, one.index))
    taken: list[Candidate] = []
    poses: Counter[int] = Counter()
    while rest and len(taken) < count:
        best = max(rest, key=lambda one: one.score * _REPEATED ** poses[_pose(one.look.yaw)])
        taken.append(best)
        poses[_pose(best.look.yaw)] += 1
        rest = [one for one in rest if one is not best and not _alike(one.look, best.look)]
    return taken


def people_of(vectors: Sequence[NDArray[np.float32]]) -> list[int]:
    """A person's number for each unit vector: that of the person whose mean is nearest, or a new one."""
    sums: list[NDArray[np.float32]] = []
    people: list[int] = []
    for vector in vectors:
        cosines = [float(vector @ total) / max(float(np.linalg.norm(total)), 1e-6) for total in sums]
        best = int(np.argmax(cosines)) if cosines else -1
        if best >= 0 and cosines[best] >= _ONE_PERSON:
            sums[best] = sums[best] + vector
        else:
            best = len(sums)
            sums.append(vector.copy())
        people.append(best)
    return people


def _pose(yaw: float) -> int:
    side = 1 if yaw > 0 else -1
    return 0 if abs(yaw) < _FRONTAL else side * (1 if abs(yaw) < _TURNED else 2)


def _alike(one: Look, other: Look) -> bool:
    return float(np.square(one.picture - other.picture).mean()) < _SAME


MEASURED_SIZE = 256
"""Side of the crop that a face is judged by, px."""

_FACE = (slice(0.38, 0.85), slice(0.28, 0.72))
"""The face itself in FFHQ framing, as parts of the crop's side: brows to chin, cheek to cheek."""

_NOSE = 0.55
"""The tip of the nose stands out by this part of the distance of the eyes."""

_GRID = 32
"""Places across a crop by which the part outside of the frame is counted."""

_SMALL = 24
"""Side of the small picture that near-duplicates are told by."""


def look_at(frame: Frame, face: Face) -> Look:
    """Judge one face by its crop of 256 px."""
    aligned = align(frame, face, MEASURED_SIZE)
    luma = cv2.cvtColor(aligned.crop, cv2.COLOR_RGB2GRAY)
    return Look(
        native_px=MEASURED_SIZE / crop_scale(aligned.affine),
        outside=outside_part(aligned.affine, frame.size_hw),
        sharpness=sharpness(luma),
        yaw=yaw_degrees(face.landmarks),
        picture=_small(luma),
    )


def sharpness(luma: NDArray[np.uint8]) -> float:
    """Deviation (levels) of the Laplacian inside the face of a (256, 256) crop, after a Gaussian of 1 px.

    The Gaussian keeps sensor noise and block edges from passing for detail (Pech-Pacheco et al., ICPR 2000, take the
    variance of the plain Laplacian).
    """
    side = luma.shape[0]
    rows, columns = (slice(round(part.start * side), round(part.stop * side)) for part in _FACE)
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), 1.0)
    return float(cv2.Laplacian(smooth, cv2.CV_32F)[rows, columns].std())


def yaw_degrees(landmarks: ArrayLike) -> float:
    """How far a head is turned, from five landmarks (5, 2): above 0 when the nose points to the picture's right.

    The nose's tip lies before the middle of the eyes by about half of their distance; turned, it moves along the line
    of the eyes. An estimate: good to some ten degrees, which is what telling poses apart needs.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    eyes = points[1] - points[0]
    distance = float(np.hypot(*eyes))
    if distance < 1e-6:
        return 90.0
    along = float((points[2] - (points[0] + points[1] + points[3] + points[4]) / 4) @ eyes) / distance**2
    return math.degrees(math.atan(along / _NOSE))


def outside_part(affine: NDArray[np.float64], size_hw: tuple[int, int]) -> float:
    """The part of a crop of 256 px that lies outside of the frame, 0 to 1; affine: (2, 3), frame to crop."""
    steps = (np.arange(_GRID) + 0.5) * MEASURED_SIZE / _GRID - 0.5
    points = transform(invert(affine), np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
    inside = (points >= -0.5).all(axis=1) & (points <= np.array(size_hw[::-1]) - 0.5).all(axis=1)
    return float(1 - inside.mean())


def _small(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small picture of the crop's middle without its light: mean 0, deviation 1."""
    edge = luma.shape[0] // 8
    middle = cv2.resize(luma[edge:-edge, edge:-edge], (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
    middle -= middle.mean()
    return np.asarray(middle / max(float(middle.std()), 1.0), np.float32)


_COLUMNS, _ROWS = 8, 10
CROPS_ON_A_PAGE = _COLUMNS * _ROWS
"""More go on further pages."""

_SIDE, _MARGIN = 160, 6
"""Of a crop on the sheet, and around it, px."""

_TEXT_PX, _LINE_PX = 12, 15
_CELL_WIDTH, _CELL_HEIGHT = _SIDE + 2 * _MARGIN, _SIDE + 2 * _MARGIN + 3 * _LINE_PX
_GROUNDS = ((250, 250, 248), (222, 228, 234))
"""Behind one person's crops and the next one's."""

_INK = (20, 20, 20)


@dataclass(frozen=True)
class AlignedCrop:
    """One line of the index.

    Attributes:
        file: below the output folder.
        source: the file it was cut from.
        time: seconds from the source's first frame; None for a photo.
        native_px: px of the source across the crop.
        sharpness: see :func:`look_at`.
        yaw: degrees that the head is turned, estimated from five landmarks; above 0 towards the picture's right.
        score: what the choice went by.
        person: number of the person, over all files.
        sha256: of the crop's file.
    """

    file: str
    source: str
    time: float | None
    native_px: int
    sharpness: float
    yaw: float
    score: float
    person: int
    licence: str
    sha256: str


def check_sheet(path: Path, *, overwrite: bool) -> None:
    """Refuse a sheet that could not be written, before any work is done.

    Raises:
        ConfigError: no ending of a picture.
        OutputError: it or what may become a further page of it is there already, or its folder is not.
    """
    found = format_of(path.suffix)
    if found is None or "image" not in found.kinds or found.writer is None or not found.in_browsers:
        raise ConfigError(f"{path}: a contact sheet is a picture; name it .jpg, .png or .webp")
    for page in (path, *path.parent.glob(f"{escape(path.stem)}-*{escape(path.suffix)}")):
        check_file(page, overwrite=overwrite)


def write_sheet(crops: Sequence[AlignedCrop], folder: Path, path: Path) -> list[Path]:
    """Draw the crops of a folder, person by person, the most telling figures below each.

    Under a crop stand its person, its file, its sharpness and yaw, and the px of the source across it. A page holds
    :data:`CROPS_ON_A_PAGE`; the pages after the first are named ``-2``, ``-3`` … before the ending. Existing files are
    replaced.

    Args:
        crops: as :func:`revisage.datasets.aligned_faces.align_files` reports them.
        folder: that holds them.
        path: of the first page; JPEG, PNG or WebP by its ending.

    Returns:
        The pages; none when there are no crops.

    Raises:
        OutputError: they cannot be written.
    """
    cells = list(_cells(crops))
    pages = []
    for number, start in enumerate(range(0, len(cells), CROPS_ON_A_PAGE), 1):
        page = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        _save(_drawn(cells[start : start + CROPS_ON_A_PAGE], folder), page)
        pages.append(page)
    return pages


def _cells(crops: Sequence[AlignedCrop]) -> Iterator[tuple[AlignedCrop, tuple[int, int, int]]]:
    """Each crop and its ground, which changes with the person; the best crops of a person come first."""
    ordered = sorted(crops, key=lambda crop: (crop.person, -crop.score, crop.file))
    for number, (_, members) in enumerate(groupby(ordered, key=lambda crop: crop.person)):
        yield from ((crop, _GROUNDS[number % 2]) for crop in members)


def _drawn(cells: Sequence[tuple[AlignedCrop, tuple[int, int, int]]], folder: Path) -> Image.Image:
    rows = -(-len(cells) // _COLUMNS)
    columns = min(_COLUMNS, len(cells))
    sheet = Image.new("RGB", (columns * _CELL_WIDTH, rows * _CELL_HEIGHT), "white")
    for place, (crop, ground) in enumerate(cells):
        sheet.paste(_cell(crop, ground, folder), (place % _COLUMNS * _CELL_WIDTH, place // _COLUMNS * _CELL_HEIGHT))
    return sheet


def _cell(crop: AlignedCrop, ground: tuple[int, int, int], folder: Path) -> Image.Image:
    cell = Image.new("RGB", (_CELL_WIDTH, _CELL_HEIGHT), ground)
    with Image.open(folder / crop.file) as picture:
        cell.paste(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (_MARGIN, _MARGIN))
    draw = ImageDraw.Draw(cell)
    font = ImageFont.load_default(_TEXT_PX)
    sharpness = f"sharp {crop.sharpness:.1f}  yaw {round(crop.yaw):+d}°"
    for line, text in enumerate((f"person {crop.person}, {crop.native_px} px", crop.file, sharpness)):
        place = (_MARGIN, _SIDE + _MARGIN + 3 + line * _LINE_PX)
        draw.text(place, _fitted(text, draw, font), font=font, fill=_INK)
    return cell


def _fitted(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, its middle left out where it is wider than a crop: the number at the end tells the frame."""
    kept = len(text)
    fitted = text
    while draw.textlength(fitted, font=font) > _SIDE:
        kept -= 1
        fitted = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return fitted


def _save(sheet: Image.Image, path: Path) -> None:
    with written_beside(path) as partial:
        sheet.save(partial, quality=90)
