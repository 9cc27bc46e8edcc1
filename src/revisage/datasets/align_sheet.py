"""A contact sheet of aligned crops, so that somebody can look a set over before it is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from revisage.core import ConfigError, check_file, output_error

if TYPE_CHECKING:
    from revisage.datasets.align import AlignedCrop

__all__ = ["CROPS_ON_A_PAGE", "check_sheet", "write_sheet"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
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


def check_sheet(path: Path, *, overwrite: bool) -> None:
    """Refuse a sheet that could not be written, before any work is done.

    Raises:
        ConfigError: no ending of a picture.
        OutputError: it or what may become a further page of it is there already, or its folder is not.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path}: a contact sheet is a picture; name it .jpg, .png or .webp")
    for page in (path, *path.parent.glob(f"{escape(path.stem)}-*{escape(path.suffix)}")):
        check_file(page, overwrite=overwrite)


def write_sheet(crops: Sequence[AlignedCrop], folder: Path, path: Path) -> list[Path]:
    """Draw the crops of a folder, person by person, the most telling figures below each.

    Under a crop stand its person, its file, its sharpness and yaw, and the px of the source across it. A page holds
    :data:`CROPS_ON_A_PAGE`; the pages after the first are named ``-2``, ``-3`` … before the ending. Existing files are
    replaced.

    Args:
        crops: as :func:`revisage.datasets.align.align_files` reports them.
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
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        sheet.save(partial, quality=90)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(path, error) from error
