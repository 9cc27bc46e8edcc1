"""The chunks of WebP files: parsing, decoding and encoding them.

Follows Google's WebP container specification (RFC 9649). Each picture of an animation is decoded and encoded by Pillow
as a WebP file of its own.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from revisage.core import InputError
from revisage.media.image_file import check_pixels, pillow_unlimited

__all__ = [
    "WebpFile",
    "WebpPicture",
    "chunk",
    "decode_chunks",
    "decode_picture",
    "encode_picture",
    "extended_header",
    "metadata_flags",
    "parse_webp",
    "places",
    "riff",
]

Pixels = NDArray[np.uint8]
ICC, ALPHA, EXIF, XMP, ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
_MAX_PIXELS = 1 << 27
"""A decoder of WebP holds 8 bytes for each pixel and more as soon as it is opened: half of what other pictures may have
(134 million pixels) stays within 2 GiB."""
_FLAG = {b"ICCP": ICC, b"EXIF": EXIF, b"XMP ": XMP}


@dataclass(frozen=True)
class WebpPicture:
    """One picture: its rectangle (px), duration in ms as stored, whether it clears its rectangle afterwards, whether it
    is blended over what is there, where its chunks lie in the file, and whether it is coded without loss."""

    left: int
    top: int
    width: int
    height: int
    duration: int = 0
    clears: bool = False
    over: bool = False
    start: int = 0
    stop: int = 0
    lossless: bool = False
    alpha: bool = False


@dataclass
class WebpFile:
    """The structure of a WebP file; pixels stay on the disk.

    ``metadata`` holds the chunks ICCP, EXIF and XMP. ``background`` is the stored BGRA colour, which viewers ignore.
    ``plays`` is the number of plays, 0 for ever.
    """

    path: Path
    width: int = 0
    height: int = 0
    animated: bool = False
    plays: int = 1
    background: bytes = bytes(4)
    frames: list[WebpPicture] = field(default_factory=list)
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    truncated: bool = False

    @property
    def has_alpha(self) -> bool:
        """Whether any pixel of a picture can be transparent."""
        return any(frame.alpha for frame in self.frames)

    @property
    def lossless(self) -> bool:
        """Whether every picture is coded without loss."""
        return all(frame.lossless for frame in self.frames)


def _u24(data: bytes) -> int:
    return int.from_bytes(data[:3], "little")


def _size_of(kind: bytes, head: bytes) -> tuple[int, int, bool]:
    """Width, height and alpha from the first bytes of a VP8 or VP8L chunk."""
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF, False


def parse_webp(path: Path) -> WebpFile:
    """Read the structure of the WebP at ``path``; ``truncated`` is set where it ends too early.

    Raises:
        InputError: not a WebP, no complete picture in it, or a picture too large to be real.
    """
    webp = WebpFile(path)
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WEBP":
            raise InputError(f"{path}: not a WebP file, or cut off inside its header")
        stop = struct.unpack("<I", head[4:8])[0] + 8
        webp.truncated = stop > end
        _walk(webp, file, 12, min(stop, end))
    if not webp.frames:
        raise InputError(f"{path}: the WebP holds no complete picture; the file is damaged or cut off")
    check_pixels(path, webp.width, webp.height, _MAX_PIXELS)
    return webp


def places(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, offset of the data and their length of each chunk between two offsets; the last may be cut off.

    The file stands at a chunk's data when it is told.
    """
    while start + 8 <= stop:
        file.seek(start)
        kind, length = struct.unpack("<4sI", file.read(8))
        yield kind, start + 8, length
        start += 8 + length + (length & 1)


def _walk(webp: WebpFile, file: BinaryIO, start: int, stop: int) -> None:
    alpha_start: int | None = None
    for kind, offset, length in places(file, start, stop):
        if offset + length > stop:
            webp.truncated = True
            return
        if kind == b"VP8X":
            data = file.read(10)
            webp.animated = bool(data[0] & ANIMATION)
            webp.width, webp.height = _u24(data[4:]) + 1, _u24(data[7:]) + 1
            check_pixels(webp.path, webp.width, webp.height, _MAX_PIXELS)
        elif kind == b"ANIM":
            webp.background, webp.plays = struct.unpack("<4sH", file.read(6))
        elif kind == b"ANMF":
            _add_frame(webp, file, offset, offset + length)
        elif kind == b"ALPH":
            alpha_start = offset - 8
        elif kind in (b"VP8 ", b"VP8L"):
            width, height, alpha = _size_of(kind, file.read(10))
            webp.width, webp.height = webp.width or width, webp.height or height
            webp.frames.append(
                WebpPicture(
                    0,
                    0,
                    width,
                    height,
                    start=offset - 8 if alpha_start is None else alpha_start,
                    stop=offset + length + (length & 1),
                    lossless=kind == b"VP8L",
                    alpha=alpha or alpha_start is not None,
                )
            )
        elif kind in _FLAG:
            webp.metadata[kind] = file.read(length)


def _add_frame(webp: WebpFile, file: BinaryIO, start: int, stop: int) -> None:
    head = file.read(16)
    if len(head) < 16:
        return
    left, top, width, height, duration = (_u24(head[at:]) for at in (0, 3, 6, 9, 12))
    check_pixels(webp.path, 2 * left + width + 1, 2 * top + height + 1, _MAX_PIXELS)
    lossless = alpha = False
    for kind, _, _ in places(file, start + 16, stop):
        if kind == b"ALPH":
            alpha = True
        elif kind in (b"VP8 ", b"VP8L"):
            lossless = kind == b"VP8L"
            alpha = alpha or _size_of(kind, file.read(10))[2]
    clears, over = bool(head[15] & 1), not head[15] & 2
    webp.frames.append(
        WebpPicture(2 * left, 2 * top, width + 1, height + 1, duration, clears, over, start + 16, stop, lossless, alpha)
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    """One RIFF chunk, padded to an even length."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def extended_header(width: int, height: int, flags: int) -> bytes:
    """The VP8X chunk."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes((flags, 0, 0, 0)) + size)


def metadata_flags(metadata: dict[bytes, bytes]) -> int:
    """The flags of VP8X that announce these chunks."""
    return sum(_FLAG[kind] for kind in metadata)


def decode_picture(webp: WebpFile, file: BinaryIO, picture: WebpPicture) -> Pixels:
    """The pixels of ``picture``, ``(h, w, 4) uint8 RGBA``.

    Raises:
        InputError: the data are damaged.
    """
    file.seek(picture.start)
    data = file.read(picture.stop - picture.start)
    try:
        return decode_chunks(data, picture.width, picture.height)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{webp.path}: a picture of the WebP is damaged ({error})") from None


def decode_chunks(data: bytes, width: int, height: int) -> Pixels:
    """The pixels of a picture's own chunks (ALPH, VP8 or VP8L), ``(h, w, 4) uint8 RGBA``."""
    head = extended_header(width, height, ALPHA) if data.startswith(b"ALPH") else b""
    with pillow_unlimited(), Image.open(io.BytesIO(riff(head + data))) as image:
        return np.asarray(image.convert("RGBA"))


def riff(body: bytes) -> bytes:
    """A WebP file of these chunks."""
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def encode_picture(pixels: Pixels, *, lossless: bool, quality: int, alpha: bool) -> bytes:
    """The chunks (ALPH, VP8 or VP8L) of ``(h, w, 4) uint8 RGBA`` pixels, without a container.

    ``quality`` is 0 to 100; without loss it is the effort.
    """
    height, width = pixels.shape[:2]
    image = Image.frombytes("RGBA", (width, height), np.ascontiguousarray(pixels).tobytes())
    file = io.BytesIO()
    image = image if alpha else image.convert("RGB")
    image.save(file, "WEBP", lossless=lossless, quality=quality, exact=True, method=4)
    listed = list(places(file, 12, len(file.getbuffer())))
    data = file.getvalue()
    pictures = (b"ALPH", b"VP8 ", b"VP8L")
    return b"".join(chunk(kind, data[at : at + length]) for kind, at, length in listed if kind in pictures)
