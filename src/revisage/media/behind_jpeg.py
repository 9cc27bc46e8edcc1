"""What lies behind the picture of a JPEG: gain maps, further pictures (CIPA DC-007), films, trailers of phones.

An index of further pictures (a segment `MPF`) counts bytes from itself on; XMP and trailers of phones count from the
end of the file. So bytes that lie behind the picture can be carried behind a changed one, if the index is put right.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from revisage.media.jpeg_segments import behind_picture, is_seal, segment, split

__all__ = ["Behind", "with_segments", "with_true_index", "without_promises"]

_INDEX = b"MPF\0"
_ENTRIES = 0xB002
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496"

_PROMISES = re.compile(
    rb'\s+(?:hdrgm:|G?Camera:(?:MotionPhoto|MicroVideo))\w*="[^"]*"'
    rb"|<((?:hdrgm:|G?Camera:(?:MotionPhoto|MicroVideo))\w*)>.*?</\1>"
    rb"|<Container:Directory.*?</Container:Directory>",
    re.DOTALL,
)
"""What an XMP packet says of a gain map (ISO 21496-1, Ultra HDR) or a film (motion photos) behind the picture."""
_GAIN_MAP = re.compile(rb"hdrgm:Version|Item:Semantic\s*(?:=\s*\"|>)GainMap|HDRGainMap")
_FILM = re.compile(rb"G?Camera:(?:MotionPhoto|MicroVideo)\s*(?:=\s*\"|>)1|Item:Mime\s*(?:=\s*\"|>)video/")
_FILM_BEGINS = re.compile(rb"\0\0\0.ftyp", re.DOTALL)


def _end(jpeg: bytes) -> int:
    """Where the first picture ends; the end of the file if that comes first."""
    return behind_picture(jpeg, split(jpeg)[1])


@dataclass(frozen=True)
class Behind:
    """What a JPEG holds besides its first picture.

    Attributes:
        data: all bytes behind that picture.
        promised: its metadata say that there is more, whether there is or not.
        gain_map, film, pictures: which kinds there are.
        is_whole: an index of pictures, if there is one, is true: all of them begin where it says, behind the first.
    """

    data: bytes
    promised: bool
    gain_map: bool
    film: bool
    pictures: bool
    is_whole: bool

    def __bool__(self) -> bool:
        return self.promised or bool(self.data.strip(b"\0\n\r "))

    @classmethod
    def of(cls, jpeg: bytes) -> Behind:
        """What lies behind the first picture of a JPEG."""
        segments, end = split(jpeg)[0], _end(jpeg)
        data = jpeg[end:]
        indexed = any(each[4:8] == _INDEX for _, each in segments)
        heads = b"".join(each for marker, each in segments if marker in (0xE1, 0xE2))
        entries = list(_entries(jpeg))
        gain_map = bool(_GAIN_MAP.search(heads) or _GAIN_MAP.search(data)) or _ISO_GAIN_MAP in heads + data
        return cls(
            data,
            promised=indexed or any(_PROMISES.search(each) for _, each in segments),
            gain_map=gain_map,
            film=bool(_FILM.search(heads) or _FILM_BEGINS.search(data)),
            pictures=len(entries) > 1 + gain_map,
            is_whole=bool(entries) == indexed and all(entry.is_true(jpeg, end) for entry in entries),
        )


@dataclass(frozen=True)
class _Entry:
    """A picture as the index has it: where its numbers stand in the file, its place in the file, its size."""

    at: int
    order: str
    base: int
    offset: int
    size: int

    def is_true(self, jpeg: bytes, end: int) -> bool:
        """Whether a picture begins there; its size is often wrong."""
        place = self.base + self.offset
        return self.offset == 0 or (place >= end and jpeg[place : place + 2] == b"\xff\xd8")


def _entries(jpeg: bytes) -> Iterator[_Entry]:
    """The pictures of the index, the first with offset 0; none if there is no index or it is damaged."""
    at = 2
    for _, each in split(jpeg)[0]:
        place = jpeg.index(each, at)
        at = place + len(each)
        if each[4:8] != _INDEX:
            continue
        base, body = place + 8, each[8:]
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(body[:4], "")
        try:
            yield from _read_index(body, base, order) if order else ()
        except struct.error:
            return
        return


def _read_index(body: bytes, base: int, order: str) -> list[_Entry]:
    (directory,) = struct.unpack_from(f"{order}I", body, 4)
    (count,) = struct.unpack_from(f"{order}H", body, directory)
    found = []
    for field in range(count):
        tag, _, length, place = struct.unpack_from(f"{order}HHII", body, directory + 2 + 12 * field)
        if tag != _ENTRIES:
            continue
        for start in range(place, place + length - length % 16, 16):
            _, size, offset = struct.unpack_from(f"{order}III", body, start)
            found.append(_Entry(base + start + 4, order, base, offset, size))
    return found


def with_true_index(jpeg: bytes, before: bytes) -> bytes:
    """A JPEG with its index of pictures put right.

    Args:
        jpeg: its first picture or its metadata were changed; what lies behind them was not.
        before: the JPEG that it was made from, with an index that is true.
    """
    moved = _end(jpeg) - _end(before)
    fixed = bytearray(jpeg)
    for new, old in zip(_entries(jpeg), _entries(before), strict=False):
        is_first = old.offset == 0
        size = old.size + moved if is_first else old.size
        offset = 0 if is_first else old.base + old.offset + moved - new.base
        struct.pack_into(f"{new.order}II", fixed, new.at, size, offset)
    return bytes(fixed)


def without_promises(metadata: bytes) -> bytes:
    """An XMP packet, or a segment's body, without what it says of more than one picture."""
    return _PROMISES.sub(b"", metadata)


def with_segments(encoded: bytes, source: bytes, *, keep_more: bool) -> bytes:
    """An encoded JPEG with the application and comment segments of another, those of the coding left out.

    Args:
        encoded: one picture.
        source: whose segments it gets.
        keep_more: also what lies behind the picture of ``source``, and what its metadata say of that.
    """
    kept = b"".join(
        each if keep_more else segment(marker, without_promises(each[4:]))
        for marker, each in split(source)[0]
        if (0xE0 <= marker <= 0xEF and marker != 0xEE and (keep_more or each[4:8] != _INDEX)) or marker == 0xFE
        if not is_seal(marker, each)
    )
    own, rest = split(encoded)
    needed = b"".join(each for marker, each in own if marker != 0xE0)
    jpeg = b"\xff\xd8" + kept + needed + encoded[rest:]
    return with_true_index(jpeg + source[_end(source) :], source) if keep_more else jpeg
