"""The marker segments of JPEG files (ISO 10918-1): split, and put together anew."""

from __future__ import annotations

import struct

__all__ = ["XMP", "behind_picture", "is_seal", "segment", "split"]

XMP = b"http://ns.adobe.com/xap/1.0/\0"
"""Begins an APP1 segment that holds an XMP packet (ISO 16684-3)."""
_LONGEST = 65_533


def is_seal(marker: int, whole: bytes) -> bool:
    """Whether a segment is a part of a C2PA manifest, which is void as soon as anything else in the file changes."""
    return marker == 0xEB and whole[4:6] == b"JP" and whole[16:20] == b"jumb"


def segment(marker: int, body: bytes) -> bytes:
    """One segment with its marker and length.

    Raises:
        ValueError: the body is too long for one.
    """
    if len(body) > _LONGEST:
        raise ValueError(f"a segment of a JPEG holds {_LONGEST} bytes, not {len(body)}")
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def split(jpeg: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The marker segments before the first scan, whole, and where that begins; beyond the end where the last is cut."""
    found, at = [], 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker in (0xDA, 0xD9):
            break
        if marker == 0xFF:
            at += 1
            continue
        length = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append((marker, jpeg[at : at + length]))
        at += length
    return found, at


def behind_picture(jpeg: bytes, scan: int) -> int:
    """Where the picture ends whose first scan begins at ``scan``."""
    at = jpeg.find(b"\xff", scan)
    while 0 <= at < len(jpeg) - 1:
        marker = jpeg[at + 1]
        if marker == 0xD9:
            return at + 2
        is_data = marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7
        length = 1 if is_data else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        at = jpeg.find(b"\xff", at + length)
    return len(jpeg)
