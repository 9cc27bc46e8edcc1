"""The pixels' aspect ratio in the headers of finished Matroska, WebM and AVI files.

FFmpeg's muxers of these take it from a field of the stream that PyAV cannot set, so it is put in afterwards, in place:
no byte moves. Matroska (RFC 9559) states it as a DisplayWidth, AVI (OpenDML 1.02) as a frame aspect in ``vprp``.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

from revisage.media.video.ebml import SEGMENT, Element, elements, find

__all__ = ["agrees", "put_aspect"]

_TRACKS, _ENTRY, _VIDEO, _CRC = 0x1654AE6B, 0xAE, 0xE0, 0xBF
_WIDTH, _DISPLAY_WIDTH, _DISPLAY_UNIT = 0xB0, 0x54B0, 0x54B2
_HEAD = 1 << 20
"""Bytes at the beginning within which the tracks are described, but for huge attached files."""

_LONG = 8
"""Bytes in which FFmpeg states the size of a track's description, of which it needs two or three."""


def agrees(written: Fraction, wanted: Fraction, width: int) -> bool:
    """Whether an aspect ratio is the wanted one, as near as whole px of a displayed width can say."""
    return abs(written - wanted) * width <= 1


def put_aspect(path: Path, aspect: Fraction) -> bool:
    """State the aspect ratio of a finished file's first video in its header.

    Args:
        path: of a Matroska, WebM or AVI file by FFmpeg's muxer; changed in place.
        aspect: width of a pixel by its height.

    Returns:
        Whether there was a place for it.
    """
    with path.open("r+b") as file:
        head = file.read(_HEAD)
        finder = _FINDERS.get(head[:4])
        edit = finder and finder(head, aspect)
        if edit:
            file.seek(edit[0])
            file.write(edit[1])
    return bool(edit)


def _in_avi(head: bytes, aspect: Fraction) -> tuple[int, bytes] | None:
    """Where something else is to stand, and what: the video's properties, in the room kept for an index of large files.

    That room is used up in files above a gigabyte.
    """
    header = head.find(b"vids", head.find(b"strh"))
    room = head.find(b"JUNK", header)
    if header < 0 or room < 0:
        return None
    (size,) = struct.unpack_from("<I", head, room + 4)
    width, height = struct.unpack_from("<2i", head, head.find(b"strf", header) + 12)
    height = abs(height)  # below zero where rows go downwards
    frame = (aspect * width / height).limit_denominator(0xFFFF)
    shape = struct.pack("<2H2I", frame.denominator, frame.numerator, width, height)
    field = struct.pack("<8I", height, width, height, width, 0, 0, 0, 0)
    properties = struct.pack("<5I", 0, 0, 0, width, height) + shape + struct.pack("<I", 1) + field
    chunk = b"vprp" + struct.pack("<I", len(properties)) + properties
    rest = size - len(chunk)
    if rest < 0 or room + 8 + size > len(head):
        return None
    return room, b"JUNK" + struct.pack("<I", rest) + head[room + 8 : room + 8 + rest] + chunk


def _in_matroska(head: bytes, aspect: Fraction) -> tuple[int, bytes] | None:
    """Where something else is to stand, and what: the tracks, of the same length as before.

    The bytes that the track's overlong size gives up become those of the new element.
    """
    segment = find(head, 0, len(head), SEGMENT)
    tracks = segment and find(head, segment.content, min(segment.stop, len(head)), _TRACKS)
    if tracks is None or tracks.stop > len(head):
        return None
    for entry in elements(head, tracks.content, tracks.stop):
        video = find(head, entry.content, entry.stop, _VIDEO) if entry.identity == _ENTRY else None
        if video is not None:
            made = _entry(head, entry, video, aspect)
            if made is None:
                return None
            content = head[tracks.content : entry.start] + made + head[entry.stop : tracks.stop]
            return tracks.content, _checked(content)
    return None


def _entry(head: bytes, entry: Element, video: Element, aspect: Fraction) -> bytes | None:
    """The track's description with a display width, as long as before; None where that does not fit."""
    parts = list(elements(head, video.content, video.stop))
    kept = b"".join(head[one.start : one.stop] for one in parts if one.identity not in (_DISPLAY_WIDTH, _DISPLAY_UNIT))
    width = next((int.from_bytes(head[one.content : one.stop], "big") for one in parts if one.identity == _WIDTH), 0)
    before, after = head[entry.content : video.start], head[video.stop : entry.stop]
    for digits in range(8, 1, -1):
        display = struct.pack(">HB", _DISPLAY_WIDTH, 0x80 | digits) + round(width * aspect).to_bytes(digits, "big")
        content = before + bytes((_VIDEO,)) + _size(len(kept) + len(display)) + kept + display + after
        long = entry.stop - entry.start - 1 - len(content)
        if 1 <= long <= _LONG and len(content) < (1 << 7 * long) - 1:
            return bytes((_ENTRY,)) + _size(len(content), long) + content
    return None


def _checked(content: bytes) -> bytes:
    """The content of an element that begins with a checksum of the rest, with the right one."""
    if content[0] != _CRC:
        return content
    return content[:2] + struct.pack("<I", zlib.crc32(content[6:])) + content[6:]


def _size(value: int, long: int | None = None) -> bytes:
    """A size in as many bytes as told, or as few as hold it."""
    long = long or next(count for count in range(1, 9) if value < (1 << 7 * count) - 1)
    return (value | 1 << 7 * long).to_bytes(long, "big")


_FINDERS = {b"RIFF": _in_avi, b"\x1aE\xdf\xa3": _in_matroska}
