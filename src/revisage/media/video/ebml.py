"""The elements of Matroska and WebM files (EBML, RFC 8794), as far as they are looked at apart from FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["SEGMENT", "Element", "elements", "end_of_head", "find"]

SEGMENT = 0x18538067

_IN_HEAD = {
    0x114D9B74,  # SeekHead
    0x1549A966,  # Info
    0x1654AE6B,  # Tracks
    0x1043A770,  # Chapters
    0x1941A469,  # Attachments
    0x1254C367,  # Tags
    0x1C53BB6B,  # Cues
    0xEC,  # Void
    0xBF,  # CRC-32
}
"""What may lie before the first cluster."""


@dataclass(frozen=True)
class Element:
    """An EBML element: where it begins, where its content begins and ends."""

    identity: int
    start: int
    content: int
    stop: int


def find(head: bytes, start: int, stop: int, identity: int) -> Element | None:
    """The first element of a kind between two places."""
    return next((one for one in elements(head, start, stop) if one.identity == identity), None)


def elements(head: bytes, start: int, stop: int) -> Iterator[Element]:
    """The elements between two places, as far as they are there."""
    while start < stop:
        long = 9 - head[start].bit_length()
        size_at = start + long
        if size_at >= len(head) or not head[size_at]:
            return
        size_long = 9 - head[size_at].bit_length()
        content = size_at + size_long
        size = int.from_bytes(head[size_at:content], "big") & ((1 << 7 * size_long) - 1)
        one = Element(int.from_bytes(head[start:size_at], "big"), start, content, content + size)
        yield one
        start = one.stop


def end_of_head(head: bytes) -> int | None:
    """Where the first cluster lies, or what should be one; None where that is not within these bytes.

    Args:
        head: the file's beginning.
    """
    segment = find(head, 0, len(head), SEGMENT)
    if segment is None:
        return None
    end = segment.content
    for one in elements(head, segment.content, len(head)):
        if one.identity not in _IN_HEAD:
            break
        end = one.stop
    return end if end < len(head) else None
