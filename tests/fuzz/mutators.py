"""Media with something wrong in them: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATORS", "Mutated", "base_files", "mutated_files"]

_LONGEST = 150_000
"""Bytes that are kept of a file whose beginning will do."""

_INDEX_AT_END = (".mp4", ".mov", ".heic", ".avif", ".avi", ".mkv")
"""Formats that may keep at their end what nothing can be read without."""

_ODD = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x01")
"""Numbers that sizes, counts and times are wrong in."""

_MARKS = (b"moov", b"mvhd", b"tkhd", b"stsd", b"stts", b"stsz", b"stco", b"elst", b"avcC", b"IHDR", b"acTL", b"fcTL")
_MARKS += (b"\x2c\x00", b"\x21\xf9\x04", b"\xff\xc0", b"\xff\xc4", b"VP8", b"ANMF", b"\x1aE\xdf\xa3", b"\x15I\xa9f")
"""What stands before numbers that matter, in MP4, PNG, GIF, JPEG, WebP and Matroska."""

Mutator = Callable[[bytearray, random.Random, bytes], bytearray]


def _place(data: bytearray, draw: random.Random) -> int:
    """A place in a file, every other time in its beginning, where headers are."""
    return draw.randrange(min(len(data), 4096) if draw.random() < 0.5 else len(data))


def flipped(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """Up to 64 bytes are others."""
    for _time in range(draw.randint(1, 64)):
        data[_place(data, draw)] = draw.randrange(256)
    return data


def cut(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """The end is missing."""
    return data[: draw.randrange(1, len(data))]


def zeroed(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """A stretch is empty, as a disk with a bad sector gives it."""
    first, length = _place(data, draw), draw.choice((16, 512, 4096))
    data[first : first + length] = bytes(len(data[first : first + length]))
    return data


def taken_out(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """A stretch is missing."""
    first = _place(data, draw)
    del data[first : first + draw.choice((1, 7, 188, 4096))]
    return data or bytearray(b"\0")


def doubled(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """A stretch is there twice."""
    first = _place(data, draw)
    data[first:first] = data[first : first + draw.choice((4, 188, 4096))]
    return data


def odd_numbers(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """Sizes, counts or times behind known marks are absurd."""
    for _time in range(draw.randint(1, 4)):
        marks = [mark for mark in _MARKS if mark in data]
        first = _place(data, draw)
        if marks and draw.random() < 0.8:
            mark = draw.choice(marks)
            first = (
                data.index(mark) + len(mark) + draw.randrange(0, 40) if draw.random() < 0.9 else data.index(mark) - 4
            )
        first = max(0, min(first, len(data) - 4))
        data[first : first + 4] = draw.choice(_ODD)
    return data


def spliced(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """It goes on as another file, of whatever format."""
    return data[: _place(data, draw) + 1] + other[draw.randrange(len(other)) :]


def header_only(data: bytearray, draw: random.Random, _: bytes) -> bytearray:
    """Nothing but the first bytes, which promise the rest."""
    return data[: draw.choice((4, 8, 12, 16, 32, 64, 256, 1024))]


MUTATORS: dict[str, Mutator] = {
    each.__name__: each for each in (flipped, cut, zeroed, taken_out, doubled, odd_numbers, spliced, header_only)
}


@dataclass(frozen=True)
class Mutated:
    """A file with something wrong in it.

    Attributes:
        name: what it was made from, how, and its number; its ending is now and then another format's.
        kind: name of the mutator.
        data: its bytes.
    """

    name: str
    kind: str
    data: bytes


def base_files(shared: Path) -> list[Path]:
    """Real media: clips, GIFs, files of the field, and a few pictures of each kind."""
    folders = (shared / "clips", shared / "gifs", shared / "field")
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix != ".md"]
    pictures = sorted(path for path in (shared / "scenes").rglob("*") if path.suffix in (".jpg", ".png", ".webp"))
    return [*files, *pictures[:6]]


def mutated_files(shared: Path, count: int, seed: int, first: int = 0) -> Iterator[Mutated]:
    """So many files from number ``first`` on; each follows from the seed and its number alone."""
    files = base_files(shared)
    contents = {path: path.read_bytes() for path in files}
    kinds = list(MUTATORS)
    for number in range(first, first + count):
        draw = random.Random(f"{seed} {number}")
        path = files[number % len(files)]
        kind = kinds[(number // len(files) + number) % len(kinds)]
        whole = contents[path]
        data = bytearray(whole if path.suffix in _INDEX_AT_END else whole[:_LONGEST])
        changed = MUTATORS[kind](data, draw, contents[draw.choice(files)][:_LONGEST])
        suffix = draw.choice(files).suffix if draw.random() < 0.05 else path.suffix
        yield Mutated(f"{number:05d}-{path.stem}-{kind}{suffix}", kind, bytes(changed))
