"""What a file is by its first bytes: only what can be restored is let in, whatever its name says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from revisage.core import InputError

__all__ = ["Sniffed", "sniff", "sniff_file"]

_WORKS = "mp4, mov, mkv, webm, avi, mpg, ts, flv, wmv, gif, apng, webp, jpg, png, tif and bmp work"
_MATROSKA = b"\x1aE\xdf\xa3"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_MOV_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STARTS = (
    (b"GIF87a", "gif", "animation"),
    (b"GIF89a", "gif", "animation"),
    (b"\xff\xd8\xff", "jpg", "image"),
    (b"II*\x00", "tif", "image"),
    (b"MM\x00*", "tif", "image"),
    (b"BM", "bmp", "image"),
    (b"\x00\x00\x01\xba", "mpg", "video"),
    (b"\x00\x00\x01\xb3", "mpg", "video"),
    (b"FLV\x01", "flv", "video"),
    (b"OggS", "ogv", "video"),
    (_ASF, "wmv", "video"),
)


@dataclass(frozen=True)
class Sniffed:
    """``format`` is also a fitting file name ending; ``kind`` is ``video``, ``animation`` or ``image``."""

    format: str
    kind: str


def sniff_file(path: Path) -> Sniffed:
    """What a file on this machine is.

    Raises:
        InputError: it cannot be opened, or is none of the kinds that can be restored.
    """
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(4096), path.name)
    except FileNotFoundError:
        raise InputError(f"{path.name}: no such file") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be opened: {error.strerror or 'it is no file'}") from None


def sniff(head: bytes, name: str) -> Sniffed:
    """What begins with ``head`` (at least 400 bytes of it, or the whole file).

    Raises:
        InputError: nothing that can be restored; ``name`` stands in the message.
    """
    if not head:
        raise InputError(f"{name} is empty")
    found = _picture(head) or _container(head)
    if found is None:
        what = "a playlist or text" if _is_text(head) else "of a kind that is not known here"
        raise InputError(f"{name} is {what}, not a video or picture; {_WORKS}")
    return found


def _picture(head: bytes) -> Sniffed | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        moving = b"acTL" in head[:4096].split(b"IDAT", 1)[0]
        return Sniffed("png", "animation" if moving else "image")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        moving = head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
        return Sniffed("webp", "animation" if moving else "image")
    return next((Sniffed(kind, what) for start, kind, what in _STARTS if head.startswith(start)), None)


def _container(head: bytes) -> Sniffed | None:
    if head[4:8] == b"ftyp":
        return Sniffed("mov" if head[8:12] == b"qt  " else "3gp" if head[8:11] == b"3gp" else "mp4", "video")
    if head[4:8] in _MOV_ATOMS:
        return Sniffed("mov", "video")
    if head.startswith(_MATROSKA):
        return Sniffed("webm" if b"webm" in head[:64] else "mkv", "video")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Sniffed("avi", "video")
    if _is_transport(head, 188, 0) or _is_transport(head, 192, 4):
        return Sniffed("ts", "video")
    return None


def _is_transport(head: bytes, step: int, offset: int) -> bool:
    """MPEG transport packets begin with 0x47, one after another."""
    return len(head) >= offset + 2 * step and head[offset] == head[offset + step] == 0x47


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 9 for byte in head)
