"""The texts in a picture's file beside its pixels: an XMP packet (ISO 16684), or the comment of a GIF.

They are written into finished files; pixels, times and all other metadata stay byte for byte.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from revisage.core import written_beside
from revisage.media import jpeg_segments, png_chunks, webp_chunks
from revisage.media.animation.gif_file import with_comment
from revisage.media.behind_jpeg import with_true_index
from revisage.media.image_file import pillow_unlimited

__all__ = ["PictureTexts", "add_comment", "edit_xmp", "read_texts", "xmp_of"]

EditPacket = Callable[[bytes], "bytes | None"]
What = TypeVar("What")
_XMP_TAG = 700
_LONGEST_MARK = 12


class PictureTexts(NamedTuple):
    """Empty where the file has none."""

    xmp: str
    comment: str


def read_texts(path: Path) -> PictureTexts:
    """The XMP packet and the comment of a picture or an animation, as far as Pillow can read them."""
    try:
        with pillow_unlimited(), Image.open(path) as image:
            packet, comment = xmp_of(image), image.info.get("comment") or b""
    except (OSError, ValueError, SyntaxError):
        return PictureTexts("", "")
    comment = comment if isinstance(comment, str) else comment.decode("utf-8", "replace")
    return PictureTexts(packet.decode("utf-8", "replace"), comment)


def xmp_of(image: Image.Image) -> bytes:
    """The XMP packet of an opened picture."""
    tags = getattr(image, "tag_v2", {})
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or tags.get(_XMP_TAG) or b""
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def edit_xmp(path: Path, edit: EditPacket) -> bool:
    """Write a PNG, APNG, JPEG, WebP or TIFF with another XMP packet.

    Args:
        path: of a finished file. It is replaced as a whole, or stays as it is.
        edit: makes the new packet of the old one (empty where there is none), or says None: leave it.

    Returns:
        Whether it was done: not in other formats, in files that are built in a way not known here, nor where the
        packet is too long for the format.

    Raises:
        OutputError: the file cannot be written.
    """
    return _replace(path, _XMP_EDITORS, edit)


def add_comment(path: Path, text: str) -> bool:
    """Write a further comment into a GIF, in ASCII as the format asks; other characters become question marks.

    Returns and raises as :func:`edit_xmp`.
    """
    return _replace(path, {rb"GIF8[79]a": with_comment}, text.encode("ascii", "replace"))


class _LeftError(ValueError):
    """The file shall stay as it is."""


def _replace(path: Path, editors: dict[bytes, Callable[[bytes, What], bytes]], what: What) -> bool:
    with path.open("rb") as file:
        head = file.read(_LONGEST_MARK)
    write = next((write for mark, write in editors.items() if re.match(mark, head, re.DOTALL)), None)
    if write is None:
        return False
    try:
        edited = write(path.read_bytes(), what)
    except (ValueError, LookupError, struct.error, zlib.error, EOFError, OSError):
        return False
    with written_beside(path) as waiting:
        waiting.write_bytes(edited)
    return True


def _edited(edit: EditPacket, before: bytes) -> bytes:
    packet = edit(before)
    if packet is None:
        raise _LeftError
    return packet


def _check_end(end: int, data: bytes) -> None:
    if end > len(data):
        raise _LeftError


def _in_png(data: bytes, edit: EditPacket) -> bytes:
    chunks, before, end = [], b"", len(png_chunks.SIGNATURE)
    file = io.BytesIO(data)
    file.seek(end)
    for kind, offset, length in png_chunks.places(file, len(data)):
        end = offset + length + 4
        text = png_chunks.xmp_in(kind, data[offset : offset + length])
        if text is None:
            chunks.append(data[offset - 8 : end])
        else:
            before = text
    _check_end(end, data)
    chunks.insert(1, png_chunks.chunk(*png_chunks.xmp_chunk(_edited(edit, before))))
    return b"".join([png_chunks.SIGNATURE, *chunks, data[end:]])


def _in_jpeg(data: bytes, edit: EditPacket) -> bytes:
    segments, scan = jpeg_segments.split(data)
    _check_end(scan + 1, data)
    start = 4 + len(jpeg_segments.XMP)
    is_packet = [marker == 0xE1 and segment.startswith(jpeg_segments.XMP, 4) for marker, segment in segments]
    before = next((segment[start:] for (_, segment), found in zip(segments, is_packet, strict=True) if found), b"")
    kept = [each for each, found in zip(segments, is_packet, strict=True) if not found]
    place = next((at for at, (marker, _) in enumerate(kept) if marker not in (0xE0, 0xE1)), len(kept))
    packet = jpeg_segments.segment(0xE1, jpeg_segments.XMP + _edited(edit, before))
    parts = [segment for _, segment in kept]
    return with_true_index(b"".join([data[:2], *parts[:place], packet, *parts[place:], data[scan:]]), data)


def _in_webp(data: bytes, edit: EditPacket) -> bytes:
    chunks, before, end = [], b"", 12
    for kind, offset, length in webp_chunks.places(io.BytesIO(data), end, len(data)):
        end = offset + length
        if kind == b"XMP ":
            before = data[offset:end]
        else:
            chunks.append((kind, data[offset:end]))
    _check_end(end, data)
    if chunks[0][0] != b"VP8X":
        with Image.open(io.BytesIO(data)) as image:
            flags = webp_chunks.ALPHA if image.mode == "RGBA" else 0
            chunks.insert(0, (b"VP8X", webp_chunks.extended_header(image.width, image.height, flags)[8:]))
    head = bytearray(chunks[0][1])
    head[0] |= webp_chunks.XMP
    listed = [(b"VP8X", bytes(head)), *chunks[1:], (b"XMP ", _edited(edit, before))]
    return webp_chunks.riff(b"".join(webp_chunks.chunk(kind, body) for kind, body in listed))


def _in_tiff(data: bytes, edit: EditPacket) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    entries = [struct.unpack_from(f"{order}HHI4s", data, first + 2 + 12 * index) for index in range(count)]
    behind = data[first + 2 + 12 * count : first + 6 + 12 * count]
    before = b""
    for tag, _, length, place in entries:
        if tag == _XMP_TAG and length > 4:
            (offset,) = struct.unpack(f"{order}I", place)
            before = data[offset : offset + length]
    packet, body = _edited(edit, before), data + bytes(len(data) % 2)
    added = (_XMP_TAG, 1, len(packet), struct.pack(f"{order}I", len(body)))
    listed = sorted([added, *(entry for entry in entries if entry[0] != _XMP_TAG)])
    body += packet + bytes(len(packet) % 2)
    directory = b"".join(struct.pack(f"{order}HHI4s", *entry) for entry in listed)
    head = data[:4] + struct.pack(f"{order}I", len(body))
    return head + body[8:] + struct.pack(f"{order}H", len(listed)) + directory + behind


_XMP_EDITORS: dict[bytes, Callable[[bytes, EditPacket], bytes]] = {
    re.escape(png_chunks.SIGNATURE): _in_png,
    rb"\xff\xd8\xff": _in_jpeg,
    rb"RIFF....WEBP": _in_webp,
    rb"II\x2a\0|MM\0\x2a": _in_tiff,
}
