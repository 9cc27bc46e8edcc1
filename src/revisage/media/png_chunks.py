"""The chunks of PNG and APNG files: parsing, decoding and encoding them.

Follows the PNG specification, third edition (W3C, 2025), which contains APNG. The pixels of each picture are handed to
Pillow, or to OpenCV at 16 bits a channel, as a PNG file of their own.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from revisage.core import InputError
from revisage.media.image_file import check_pixels, pillow_unlimited

__all__ = [
    "GREY",
    "GREY_ALPHA",
    "PALETTE",
    "RGB",
    "RGBA",
    "SEAL",
    "SIGNATURE",
    "Header",
    "PngFile",
    "PngPicture",
    "chunk",
    "decode_16_bit",
    "decode_picture",
    "encode_pixels",
    "exact_indices",
    "palette_indices",
    "palette_table",
    "parse_png",
    "places",
    "read_data",
    "xmp_chunk",
    "xmp_in",
]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SEAL = b"caBX"
"""A C2PA manifest, which is void as soon as anything else in the file changes."""
_XMP = b"XML:com.adobe.xmp\0"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}

Samples = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Header:
    """IHDR: size in px, bits a sample, colour type, and whether the pixels are interlaced (Adam7)."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool = False

    def pack(self) -> bytes:
        """The data of the IHDR chunk."""
        return struct.pack(">IIBBBBB", self.width, self.height, self.depth, self.colour, 0, 0, self.interlaced)


@dataclass(frozen=True)
class PngPicture:
    """One picture: its rectangle (px), delay in seconds as stored, disposal (0 none, 1 background, 2 previous), whether
    it is blended over what is there, and the (offset, length) ranges of its compressed data in the file."""

    left: int
    top: int
    width: int
    height: int
    delay: tuple[int, int] = (0, 0)
    disposal: int = 0
    over: bool = False
    data: tuple[tuple[int, int], ...] = ()

    @property
    def duration(self) -> Fraction:
        """The delay in seconds; a denominator of 0 stands for 100."""
        return Fraction(self.delay[0], self.delay[1] or 100)


@dataclass
class PngFile:
    """The structure of a PNG file; pixels stay on the disk.

    ``head`` and ``tail`` are the (type, data) of the other chunks before and after the pixels, IHDR and those of the
    animation left out. ``still`` is the picture that viewers without animation show, ``frames`` the animation's, in
    which ``still`` is the first unless ``still_apart``. ``plays`` is the number of plays, 0 for ever.
    """

    path: Path
    header: Header
    head: list[tuple[bytes, bytes]] = field(default_factory=list)
    tail: list[tuple[bytes, bytes]] = field(default_factory=list)
    still: PngPicture | None = None
    frames: list[PngPicture] = field(default_factory=list)
    animated: bool = False
    plays: int = 0
    truncated: bool = False

    def chunk(self, kind: bytes) -> bytes | None:
        """The data of the first chunk of this type among ``head`` and ``tail``."""
        return next((data for name, data in self.head + self.tail if name == kind), None)

    @property
    def still_apart(self) -> bool:
        """Whether the still picture is no frame of the animation."""
        return self.animated and (not self.frames or self.still != self.frames[0])

    @property
    def has_alpha(self) -> bool:
        """Whether any pixel of a picture can be transparent."""
        return self.header.colour in (GREY_ALPHA, RGBA) or self.chunk(b"tRNS") is not None


class _Parser:
    """Walks the chunks of one file and sorts them into a :class:`PngFile`."""

    def __init__(self, png: PngFile) -> None:
        self.png = png
        self._control: PngPicture | None = None
        self._ranges: list[tuple[int, int]] = []
        self._in_still = False
        self._seen_still = False

    def take(self, kind: bytes, offset: int, length: int, data: bytes) -> None:
        if kind in (b"IDAT", b"fdAT"):
            skip = 4 if kind == b"fdAT" else 0
            self._in_still = self._in_still or kind == b"IDAT"
            self._seen_still = self._seen_still or kind == b"IDAT"
            self._ranges.append((offset + skip, length - skip))
        elif kind == b"acTL" and length >= 8:
            self.png.animated = True
            self.png.plays = struct.unpack(">I", data[4:8])[0]
        elif kind == b"fcTL" and length >= 26:
            self.finish()
            self._control = self._read_control(data)
        else:
            (self.png.tail if self._seen_still else self.png.head).append((kind, data))

    def _read_control(self, data: bytes) -> PngPicture:
        width, height, left, top, number, base, disposal, blend = struct.unpack(">IIIIHHBB", data[4:26])
        check_pixels(self.png.path, left + width, top + height)
        return PngPicture(left, top, width, height, (number, base), disposal, blend == 1)

    def finish(self) -> None:
        """Close the picture whose data were read last."""
        if not self._ranges:
            return
        whole = PngPicture(0, 0, self.png.header.width, self.png.header.height)
        picture = replace(self._control or whole, data=tuple(self._ranges))
        if self._in_still:
            self.png.still = picture
        if self._control is not None:
            self.png.frames.append(picture)
        self._control, self._ranges, self._in_still = None, [], False


def parse_png(path: Path) -> PngFile:
    """Read the structure of the PNG or APNG at ``path``; ``truncated`` is set where it ends too early.

    Raises:
        InputError: not a PNG, no pixels in it, or a picture too large to be real.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(33)
        if head[:8] != SIGNATURE or len(head) < 33 or head[12:16] != b"IHDR":
            raise InputError(f"{path}: not a PNG file, or cut off inside its header")
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", head[16:29])
        check_pixels(path, width, height)
        if not width or not height or colour not in CHANNELS:
            raise InputError(f"{path}: the PNG's header is damaged")
        png = PngFile(path, Header(width, height, depth, colour, bool(interlace)))
        _walk(file, end, _Parser(png))
    if png.still is None:
        raise InputError(f"{path}: the PNG holds no picture; the file is damaged or cut off")
    png.animated = png.animated and bool(png.frames)
    return png


def places(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, offset of the data and their length of each chunk from where ``file`` stands.

    The file stands at a chunk's data when it is told. The last may be cut off: its data and sum reach beyond ``end``.
    """
    at = file.tell()
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, at + 8, length
        at += length + 12


def _walk(file: BinaryIO, end: int, parser: _Parser) -> None:
    parser.png.truncated = True
    for kind, offset, length in places(file, end):
        pixels = kind in (b"IDAT", b"fdAT")
        if offset + length + 4 > end:
            if pixels:
                parser.take(kind, offset, max(end - offset, 4), b"")
            break
        if kind == b"IEND":
            parser.png.truncated = False
            break
        parser.take(kind, offset, length, b"" if pixels else file.read(length))
    parser.finish()


def xmp_chunk(packet: bytes) -> tuple[bytes, bytes]:
    """Type and data of the chunk that holds an XMP packet, not compressed."""
    return b"iTXt", _XMP + bytes(4) + packet


def xmp_in(kind: bytes, data: bytes) -> bytes | None:
    """The XMP packet that a chunk holds; None where it is another chunk.

    Raises:
        ValueError, zlib.error: it is damaged.
    """
    if kind != b"iTXt" or not data.startswith(_XMP):
        return None
    # Flag, method, language, translated keyword, text.
    compressed, (_, _, text) = data[len(_XMP)], data[len(_XMP) + 2 :].split(b"\0", 2)
    return zlib.decompress(text) if compressed else text


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def read_data(file: BinaryIO, picture: PngPicture) -> bytes:
    """The compressed data of ``picture``, joined."""
    parts = []
    for offset, length in picture.data:
        file.seek(offset)
        parts.append(file.read(length))
    return b"".join(parts)


def decode_picture(png: PngFile, file: BinaryIO, picture: PngPicture) -> Samples:
    """The pixels of ``picture``, ``(h, w, 4)`` RGBA, ``uint16`` at 16 bits a sample and else ``uint8``.

    Raises:
        InputError: the data are damaged.
    """
    header = replace(png.header, width=picture.width, height=picture.height)
    colour_chunks = [(kind, data) for kind, data in png.head if kind in (b"PLTE", b"tRNS")]
    parts = [SIGNATURE, chunk(b"IHDR", header.pack())]
    parts += [chunk(kind, data) for kind, data in colour_chunks]
    parts += [chunk(b"IDAT", read_data(file, picture)), chunk(b"IEND", b"")]
    try:
        return _decode(b"".join(parts), header.depth)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{png.path}: a picture of the PNG is damaged ({error})") from None


def _decode(data: bytes, depth: int) -> Samples:
    if depth == 16:
        return decode_16_bit(data)
    with pillow_unlimited(), Image.open(io.BytesIO(data)) as image:
        if image.mode == "I":
            image = image.convert("L")
        return np.asarray(image.convert("RGBA"))


def decode_16_bit(data: bytes) -> Samples:
    """The pixels of a 16-bit PNG or TIFF file, ``(h, w, 4) uint16 RGBA``.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("the 16-bit pixels cannot be decoded")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    rgba = np.full((*pixels.shape[:2], 4), 0xFFFF, dtype=np.uint16)
    rgba[..., :3] = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        rgba[..., 3] = pixels[..., 3]
    return rgba


def encode_pixels(pixels: Samples, colour: int) -> bytes:
    """Compressed data (the content of IDAT) of ``(h, w)`` or ``(h, w, channels)`` samples of a colour type,
    8 or 16 bits a sample as their dtype says, not interlaced."""
    if pixels.dtype == np.uint16:
        return _encode_16_bit(pixels)
    modes = {GREY: "L", RGB: "RGB", PALETTE: "P", GREY_ALPHA: "LA", RGBA: "RGBA"}
    height, width = pixels.shape[:2]
    image = Image.frombytes(modes[colour], (width, height), np.ascontiguousarray(pixels).tobytes())
    if colour == PALETTE:
        image.putpalette(bytes(768))
    file = io.BytesIO()
    image.save(file, "PNG")
    return _data_of(file.getvalue())


def _encode_16_bit(pixels: Samples) -> bytes:
    import cv2

    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's is BGR
    native = pixels if pixels.ndim == 2 else pixels[..., order[pixels.shape[2]]]
    done, data = cv2.imencode(".png", np.ascontiguousarray(native), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise ValueError("OpenCV cannot write this picture as a 16-bit PNG")
    return _data_of(data.tobytes())


def _data_of(png: bytes) -> bytes:
    """The joined IDAT data of a PNG file in memory."""
    file = io.BytesIO(png)
    file.seek(len(SIGNATURE))
    return b"".join(file.read(length) for kind, _, length in places(file, len(png)) if kind == b"IDAT")


def palette_table(png: PngFile) -> NDArray[np.uint8]:
    """PLTE and tRNS as ``(k, 4) uint8 RGBA``."""
    colours = np.frombuffer(png.chunk(b"PLTE") or bytes(3), np.uint8).reshape(-1, 3)
    table = np.full((len(colours), 4), 255, dtype=np.uint8)
    table[:, :3] = colours
    opacity = np.frombuffer(png.chunk(b"tRNS") or b"", np.uint8)[: len(table)]
    table[: len(opacity), 3] = opacity
    return table


def exact_indices(table: NDArray[np.uint8], rgba: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For ``(h, w, 4)`` pixels the entries of ``(k, 4)`` that equal them, and where there is one."""
    keys = np.ascontiguousarray(table).view(np.uint32)[:, 0]
    order = np.argsort(keys, kind="stable")
    wanted = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return found, keys[found] == wanted


def palette_indices(png: PngFile, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """``(h, w, 3 or 4) uint8`` pixels in the file's palette; None where it lacks one of the colours."""
    rgba = np.full((*pixels.shape[:2], 4), 255, dtype=np.uint8)
    rgba[..., : pixels.shape[2]] = pixels
    found, exact = exact_indices(palette_table(png), rgba)
    return found.astype(np.uint8) if exact.all() else None
