"""GIF files: their blocks parsed, composed and written, and colours for their palettes.

Follows the GIF89a specification (CompuServe, 1990) and, where it is silent, what browsers do: "restore to background"
clears to transparent, and a first frame larger than the screen enlarges the screen. LZW itself is Pillow's.

The dither is a two-colour ordered one after Knoll's pattern dithering: each pixel shows its nearest palette colour or
the one on the other side of the true colour, in the share that makes the mean right, by a Bayer matrix fixed to the
screen. A colour that is in the palette is never dithered, and a still picture gives the same pixels in every frame.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from revisage.core import InputError
from revisage.media.image_file import MAX_ANIMATED_PIXELS, check_pixels

__all__ = [
    "GifCanvas",
    "GifFile",
    "GifFrame",
    "choose_colours",
    "decode_indices",
    "dither",
    "frame_block",
    "header_block",
    "loop_block",
    "nearest",
    "pack",
    "parse_gif",
    "seals_in",
    "with_comment",
]

DISPOSE_NONE, DISPOSE_BACKGROUND, DISPOSE_PREVIOUS = 1, 2, 3
TRAILER = b";"
_SEAL = b"!\xff\x0bC2PA_GIF"


@dataclass(frozen=True)
class GifFrame:
    """Where one picture of a GIF lies in its file, and how it is to be drawn.

    Attributes:
        left, top, width, height: the rectangle of the screen it covers (px).
        delay: time until the next frame as stored, in 1/100 s; 0 where the file has none.
        disposal: 0 to 3, what becomes of the rectangle afterwards.
        transparent: the index that leaves the pixel below as it is, or None.
        palette: the local colour table (RGB bytes), or None where the global one holds.
        extensions: the other extension blocks stored before this picture, byte for byte.
        control: its graphic control extension as stored; empty where there is none.
        start, data_start, stop: offsets of the image descriptor, of the LZW code size, and of the end.
    """

    left: int
    top: int
    width: int
    height: int
    delay: int
    disposal: int
    transparent: int | None
    palette: bytes | None
    interlaced: bool
    extensions: bytes
    control: bytes
    start: int
    data_start: int
    stop: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns in an array of the screen."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass
class GifFile:
    """The structure of a GIF file; pixels stay on the disk until they are asked for.

    ``resolution`` holds the bits of the screen's flags that say how the colours were made.
    ``loop`` is the stored count of repetitions (0: for ever), None where the file says nothing (shown once).
    """

    path: Path
    width: int
    height: int
    palette: bytes | None
    background: int
    aspect: int
    resolution: int
    frames: list[GifFrame] = field(default_factory=list)
    trailing: bytes = b""
    loop: int | None = None
    truncated: bool = False

    def colours(self, frame: GifFrame) -> NDArray[np.uint8]:
        """The colours that ``frame`` is drawn with, ``(256, 3) uint8 RGB``."""
        return palette_array(frame.palette if frame.palette is not None else self.palette)


def palette_array(table: bytes | None) -> NDArray[np.uint8]:
    """A colour table as ``(256, 3) uint8 RGB``, black where it is short; a grey ramp where there is none."""
    if table is None:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return np.frombuffer(table.ljust(768, b"\0"), dtype=np.uint8).reshape(256, 3).copy()


class _CutOffError(Exception):
    """The file ends inside a block."""


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _CutOffError
    return data


def _sub_blocks(file: BinaryIO) -> bytes:
    """Sub-blocks as stored, terminator included."""
    blocks = bytearray()
    while True:
        size = _take(file, 1)
        blocks += size
        if size == b"\0":
            return bytes(blocks)
        blocks += _take(file, size[0])


def _skip_sub_blocks(file: BinaryIO, end: int) -> None:
    while size := _take(file, 1)[0]:
        file.seek(size, os.SEEK_CUR)
        if file.tell() > end:
            raise _CutOffError


def parse_gif(path: Path) -> GifFile:
    """Read the structure of the GIF at ``path``. Damage after the first picture only sets ``truncated``.

    Raises:
        InputError: not a GIF, no picture in it, or a picture too large to be real.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            gif = _read_screen(path, file)
        except _CutOffError:
            raise InputError(f"{path}: the GIF ends inside its header; the file is cut off") from None
        try:
            _read_blocks(gif, file, end)
        except _CutOffError:
            gif.truncated = True
    if not gif.frames:
        raise InputError(f"{path}: the GIF holds no complete picture; the file is damaged or cut off")
    first = gif.frames[0]
    gif.width = max(gif.width, first.left + first.width)
    gif.height = max(gif.height, first.top + first.height)
    check_pixels(path, gif.width, gif.height, MAX_ANIMATED_PIXELS)
    return gif


def _read_screen(path: Path, file: BinaryIO) -> GifFile:
    head = _take(file, 13)
    if head[:6] not in (b"GIF87a", b"GIF89a"):
        raise InputError(f"{path}: not a GIF file")
    width, height, flags, background, aspect = struct.unpack("<HHBBB", head[6:])
    check_pixels(path, width, height, MAX_ANIMATED_PIXELS)
    table = _take(file, 3 << ((flags & 7) + 1)) if flags & 0x80 else None
    return GifFile(path, width, height, table, background, aspect, flags & 0x78)


def _read_blocks(gif: GifFile, file: BinaryIO, end: int) -> None:
    extensions, control = b"", b""
    while True:
        kind = _take(file, 1)
        if kind == b"!":
            label = _take(file, 1)
            block = b"!" + label + _sub_blocks(file)
            if label == b"\xf9" and len(block) >= 8:
                control = block
                continue
            extensions += block
            if block[2:14] == b"\x0bNETSCAPE2.0" and len(block) >= 18 and block[15] & 7 == 1:
                gif.loop = block[16] | block[17] << 8
        elif kind == b",":
            gif.frames.append(_read_picture(gif, file, end, extensions, control))
            extensions, control = b"", b""
        elif kind == TRAILER:
            gif.trailing = extensions
            return
        # Anything else is padding that encoders leave between blocks; browsers skip it as well.


def _read_picture(gif: GifFile, file: BinaryIO, end: int, extensions: bytes, control: bytes) -> GifFrame:
    start = file.tell() - 1
    left, top, width, height, flags = struct.unpack("<HHHHB", _take(file, 9))
    if gif.frames and width * height > MAX_ANIMATED_PIXELS:
        raise _CutOffError  # the pictures before it are good, and none of the canvas's own can be that large
    check_pixels(gif.path, width, height, MAX_ANIMATED_PIXELS)
    table = _take(file, 3 << ((flags & 7) + 1)) if flags & 0x80 else None
    data_start = file.tell()
    _take(file, 1)
    _skip_sub_blocks(file, end)
    packed, delay, index = struct.unpack("<BHB", control[3:7]) if control else (0, 0, 0)
    return GifFrame(
        left=left,
        top=top,
        width=width,
        height=height,
        delay=delay,
        disposal=packed >> 2 & 7,
        transparent=index if packed & 1 else None,
        palette=table,
        interlaced=bool(flags & 0x40),
        extensions=extensions,
        control=control,
        start=start,
        data_start=data_start,
        stop=file.tell(),
    )


def decode_indices(file: BinaryIO, frame: GifFrame) -> tuple[NDArray[np.uint8], bool]:
    """The palette indices of ``frame``, ``(height, width) uint8``, and whether they are complete.

    Pixels that damaged data leaves open hold the transparent index, or 0 where there is none.
    """
    file.seek(frame.data_start)
    data = file.read(frame.stop - frame.data_start)
    image = Image.new("P", (frame.width, frame.height), frame.transparent or 0)
    complete = True
    if frame.width and frame.height:
        try:
            image.frombytes(data[1:], "gif", (data[0], int(frame.interlaced), -1))
        except (ValueError, OSError):
            complete = False
    return np.asarray(image), complete


class GifCanvas:
    """The screen that the pictures of a GIF are drawn on, one after the other.

    ``pixels`` is ``(H, W, 4) uint8 RGBA``, alpha 0 or 255; colours under alpha 0 are black. It is changed in place.
    """

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.zeros((height, width, 4), dtype=np.uint8)
        self._below: NDArray[np.uint8] | None = None

    def draw(self, frame: GifFrame, indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> None:
        """Draw a picture: ``indices`` ``(height, width) uint8`` into ``colours`` ``(256, 3) uint8 RGB``."""
        area = self.pixels[frame.slices]
        self._below = area.copy() if frame.disposal == DISPOSE_PREVIOUS else None
        indices = indices[: area.shape[0], : area.shape[1]]
        table = np.concatenate([colours, np.full((256, 1), 255, np.uint8)], axis=1)
        drawn = table[indices]
        if frame.transparent is None:
            area[...] = drawn
        else:
            np.copyto(area, drawn, where=(indices != frame.transparent)[..., None])

    def dispose(self, frame: GifFrame) -> None:
        """Do with the rectangle of the picture drawn last what its disposal says."""
        if frame.disposal == DISPOSE_BACKGROUND:
            self.pixels[frame.slices] = 0
        elif frame.disposal == DISPOSE_PREVIOUS and self._below is not None:
            self.pixels[frame.slices] = self._below


def _table_bits(table: bytes) -> int:
    """The size field of a colour table: it holds 2 << bits colours."""
    return max(0, (len(table) // 3 - 1).bit_length() - 1)


def _padded(table: bytes) -> bytes:
    return table.ljust(3 * (2 << _table_bits(table)), b"\0")


def header_block(
    width: int, height: int, palette: bytes | None, *, background: int = 0, aspect: int = 0, resolution: int = 0x70
) -> bytes:
    """Signature, screen and global colour table (RGB bytes, at most 256 colours)."""
    flags = resolution | (0x80 | _table_bits(palette) if palette else 0)
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, flags, background, aspect)
    return head + (_padded(palette) if palette else b"")


def loop_block(repetitions: int) -> bytes:
    """The application extension that makes a GIF repeat; 0 is for ever."""
    return b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", min(repetitions, 0xFFFF)) + b"\0"


def seals_in(extensions: bytes) -> list[tuple[int, int]]:
    """Where C2PA manifests begin and end among extension blocks."""
    file, found = io.BytesIO(extensions), []
    while (start := file.tell()) < len(extensions):
        file.read(2)
        _skip_sub_blocks(file, len(extensions))
        if extensions.startswith(_SEAL, start):
            found.append((start, file.tell()))
    return found


def with_comment(gif: bytes, text: bytes) -> bytes:
    """A GIF with a further comment, behind the extensions that it begins with.

    Some readers look for the loop count at the very beginning only.

    Raises:
        ValueError: it ends before its first picture.
    """
    file = io.BytesIO(gif)
    try:
        _read_screen(Path("in memory"), file)
        at = file.tell()
        while _take(file, 2) in (b"!\xff", b"!\xfe"):
            _skip_sub_blocks(file, len(gif))
            at = file.tell()
    except (_CutOffError, InputError):
        raise ValueError("the GIF is cut off") from None
    blocks = [text[begin : begin + 255] for begin in range(0, len(text), 255)]
    comment = b"!\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    # Comments came with the release of 1989; the older has no animations either.
    return b"GIF89a" + gif[6:at] + comment + gif[at:]


def control_block(delay: int, disposal: int, transparent: int | None) -> bytes:
    """The graphic control extension: delay in 1/100 s."""
    flags = disposal << 2 | (transparent is not None)
    return b"!\xf9\x04" + struct.pack("<BHB", flags, min(delay, 0xFFFF), transparent or 0) + b"\0"


def frame_block(
    left: int,
    top: int,
    indices: NDArray[np.uint8],
    *,
    palette: bytes | None,
    delay: int,
    disposal: int,
    transparent: int | None,
) -> bytes:
    """One picture: control, descriptor, local colour table (unless None) and LZW data of ``(h, w) uint8`` indices."""
    height, width = indices.shape
    flags = 0x80 | _table_bits(palette) if palette else 0
    bits = max(2, int(indices.max()).bit_length())
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(indices).tobytes())
    return b"".join(
        (
            control_block(delay, disposal, transparent),
            b"," + struct.pack("<HHHHB", left, top, width, height, flags),
            _padded(palette) if palette else b"",
            bytes((bits,)),
            image.tobytes("gif", ("P", bits, 0)),
            b"\0",
        )
    )


Colours = NDArray[np.uint8]
_CHUNK = 1 << 14
"""Rows of a distance table held at once: 16 MB with 256 colours."""
_MANY = 1 << 15
"""Colours from which they are searched by cells."""
_SAMPLE = 1 << 16
"""Pixels that a palette is chosen from."""


def _bayer(order: int) -> NDArray[np.float32]:
    """The Bayer threshold matrix of side 2**order, values strictly between 0 and 1."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size).astype(np.float32)


_THRESHOLDS = _bayer(3)


def pack(rgb: Colours) -> NDArray[np.uint32]:
    """Each colour of ``(..., 3) uint8 RGB`` as one number."""
    wide = rgb.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32, copy=False)


def nearest(colours: NDArray[np.float32], table: Colours) -> NDArray[np.intp]:
    """For each of ``(n, 3)`` colours (RGB, 0 to 255) the index of the nearest of ``(k, 3) uint8 RGB`` by distance.

    Of very many colours, those that fall into one cell of 2 x 2 x 2 share the entry nearest to its middle.
    """
    if len(colours) <= _MANY:
        return _searched(colours, table)
    cells = np.clip(colours, 0, 255).astype(np.int32) >> 1
    codes = cells[:, 0] << 14 | cells[:, 1] << 7 | cells[:, 2]
    entry = np.zeros(1 << 21, dtype=np.int16)
    entry[codes] = 1
    used = np.flatnonzero(entry)
    middles = np.stack([used >> 14, used >> 7 & 127, used & 127], axis=-1) * 2 + 0.5
    entry[used] = _searched(middles.astype(np.float32), table)
    return entry[codes].astype(np.intp)


def _searched(colours: NDArray[np.float32], table: Colours) -> NDArray[np.intp]:
    entries = table.astype(np.float32)
    bias = (entries**2).sum(axis=1)
    found = np.empty(len(colours), dtype=np.intp)
    for start in range(0, len(colours), _CHUNK):
        part = slice(start, start + _CHUNK)
        score = colours[part] @ (-2 * entries.T)
        score += bias
        found[part] = score.argmin(axis=1)
    return found


def dither(rgb: Colours, table: Colours, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Palette indices of ``(n, 3) uint8 RGB`` pixels in ``(k, 3) uint8 RGB``, dithered by their screen position."""
    true = rgb.astype(np.float32)
    entries = table.astype(np.float32)
    first = nearest(true, table)
    error = true - entries[first]
    second = nearest(true + error, table)
    step = entries[second] - entries[first]
    length = (step**2).sum(axis=1)
    share = (error * step).sum(axis=1) / np.maximum(length, 1)
    return np.where(share > _THRESHOLDS[rows % 8, columns % 8], second, first)


def choose_colours(rgb: Colours, count: int) -> Colours:
    """At most ``count`` colours, ``(k, 3) uint8 RGB``, that serve ``(n, 3) uint8 RGB`` pixels best.

    All of them where there are no more than ``count``; else median cut refined by k-means.
    """
    if count <= 0 or not len(rgb):
        return np.zeros((0, 3), dtype=np.uint8)
    sample = rgb[:: -(-len(rgb) // _SAMPLE)]
    unique = np.unique(pack(sample))
    if len(unique) <= count and len(sample) < len(rgb):
        unique = np.unique(pack(rgb))
    if len(unique) <= count:
        return np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=-1).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(sample).reshape(1, -1, 3))
    cut = image.quantize(count, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    table = np.array(cut.getpalette(), dtype=np.uint8).reshape(-1, 3)
    return table[:count]
