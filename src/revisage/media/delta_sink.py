"""Writing APNG and animated WebP: the containers around :class:`~revisage.media.delta.DeltaWriter`."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from revisage.core import InputError
from revisage.media import png_chunks, webp_chunks
from revisage.media.animation_sink import AnimationSink, rgba_of
from revisage.media.delta import Area, DeltaWriter, Part, Written
from revisage.media.frame import Frame
from revisage.media.gif_palette import dither
from revisage.media.info import MediaInfo
from revisage.media.png_chunks import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, Header, PngFile

__all__ = ["ApngSink", "WebpSink"]

Samples = NDArray[Any]
_LUMA = np.array([0.299, 0.587, 0.114])
_COLOUR_CHUNKS = frozenset((b"PLTE", b"tRNS", b"sBIT", b"bKGD", b"hIST"))


class _ApngCodec:
    """Codes rectangles in the header's colour type; copies those of a source with the same header."""

    grid = 1
    levels = 1

    def __init__(self, header: Header, source: PngFile | None, file: BinaryIO | None) -> None:
        self._header, self._source, self._file = header, source, file
        self._table: Samples | None = None
        if header.colour == PALETTE and source is not None:
            self._table = png_chunks.palette_table(source)
        self.blends = header.colour in (GREY_ALPHA, RGBA) or (
            self._table is not None and bool((self._table == 0).all(axis=1).any())
        )

    def source(self, index: int) -> Part | None:
        if self._source is None or self._file is None or index >= len(self._source.frames):
            return None
        frame = self._source.frames[index]
        try:
            samples = png_chunks.decode_picture(self._source, self._file, frame)
        except InputError:
            return None
        area = Area(frame.left, frame.top, frame.width, frame.height)
        return Part(area, frame.over, frame.disposal, samples, png_chunks.read_data(self._file, frame))

    def representable(self, target: Samples) -> Samples:
        """``(H, W, 4)`` samples as the colour type can hold them."""
        if self._table is not None:
            return self._table[self._indices(target)]
        if self._header.colour in (GREY, GREY_ALPHA):
            grey = np.rint(target[..., :3] @ _LUMA).astype(target.dtype)
            return np.stack([grey, grey, grey, target[..., 3]], axis=-1)
        return target

    def encode(self, samples: Samples, _level: int, /) -> tuple[bytes, Samples]:
        colour = self._header.colour
        if self._table is not None:
            own = self._indices(samples).astype(np.uint8)
        elif colour in (GREY, GREY_ALPHA):
            own = samples[..., 0] if colour == GREY else samples[..., [0, 3]]
        else:
            own = samples if colour == RGBA else samples[..., :3]
        return png_chunks.encode_pixels(own, colour), samples

    def _indices(self, rgba: Samples) -> NDArray[np.intp]:
        """Palette indices: of the very colour where the palette has it, else dithered among the opaque ones."""
        assert self._table is not None
        found, exact = png_chunks.exact_indices(self._table, rgba)
        rows, columns = np.nonzero(~exact)
        if len(rows):
            opaque = np.flatnonzero(self._table[:, 3] == 255)
            entries = opaque if len(opaque) else np.arange(len(self._table))
            near = dither(rgba[rows, columns, :3], self._table[entries, :3], rows, columns)
            found[rows, columns] = entries[near]
        return found


class ApngSink(AnimationSink):
    """Writes an APNG: in the source's colour type where it is one, else RGB or RGBA, at 16 bits if the frames are."""

    format = "apng"
    longest_side = 2**31 - 1

    def __init__(self, path: Path, info: MediaInfo) -> None:
        super().__init__(path, info)
        self._png: PngFile | None = None
        self._same_size = False
        self._count = self._sequence = 0

    def _begin(self, first: Frame) -> None:
        self._same_size = self._matches_source(first)
        if self._info.kind == "animation" and self._info.codec == "apng":
            self._png = png_chunks.parse_png(self._info.path)
        height, width = first.size_hw
        if self._png is not None and self._same_size and _can_keep(self._png, self._info.has_alpha):
            self._source = self._png.path.open("rb")
            header, source = self._png.header, self._png
        else:
            header, source = Header(width, height, _depth(first), RGBA if self._info.has_alpha else RGB), None
        self._codec = _ApngCodec(header, source, self._source)
        dtype = np.uint16 if header.depth == 16 else np.uint8
        self._writer = DeltaWriter(height, width, dtype, self._codec)
        self._dtype = dtype
        self._write_head(header, source)

    def _write_head(self, header: Header, source: PngFile | None) -> None:
        self._file.write(png_chunks.SIGNATURE + png_chunks.chunk(b"IHDR", header.pack()))
        self._count_at = self._file.tell()
        self._file.write(self._control())
        for kind, data in self._png.head if self._png is not None else []:
            if source is not None or kind not in _COLOUR_CHUNKS:
                self._file.write(png_chunks.chunk(kind, data))
        self._apart = source is not None and source.still_apart
        if source is not None and source.still is not None and self._apart and self._source is not None:
            self._file.write(png_chunks.chunk(b"IDAT", png_chunks.read_data(self._source, source.still)))

    def _control(self) -> bytes:
        plays = 0 if self._info.kind == "video" else 1 if self._info.loop is None else self._info.loop
        return png_chunks.chunk(b"acTL", struct.pack(">II", self._count, plays))

    def _emit(self, frame: Frame, following: Frame | None) -> None:
        target = self._codec.representable(rgba_of(frame, self._dtype))
        if not self._info.has_alpha:
            target[..., 3] = np.iinfo(self._dtype).max
        written = self._writer.picture(frame.index, target)
        self._file.write(self._frame_control(written, self._delay(frame, following)))
        if self._count == 0 and not self._apart:
            self._file.write(png_chunks.chunk(b"IDAT", written.data))
        else:
            self._file.write(png_chunks.chunk(b"fdAT", self._number() + written.data))
        self._count += 1

    def _number(self) -> bytes:
        self._sequence += 1
        return struct.pack(">I", self._sequence - 1)

    def _frame_control(self, written: Written, delay: tuple[int, int]) -> bytes:
        area = written.area
        values = (area.width, area.height, area.left, area.top, *delay, written.disposal, written.over)
        return png_chunks.chunk(b"fcTL", self._number() + struct.pack(">IIIIHHBB", *values))

    def _delay(self, frame: Frame, following: Frame | None) -> tuple[int, int]:
        """Numerator and denominator in seconds: as stored in the source, else exact where 16 bits hold it."""
        if self._png is not None:
            return self._png.frames[frame.index].delay
        start, end = self._span(frame, following)
        exact = end - start
        if max(exact.numerator, exact.denominator) <= 0xFFFF:
            return exact.numerator, exact.denominator
        for base in (1000, 100, 10):
            ticks = round(base * end) - round(base * start)
            if ticks <= 0xFFFF:
                return ticks, base
        return min(round(exact), 0xFFFF), 1

    def _finish(self) -> None:
        for kind, data in self._png.tail if self._png is not None else []:
            self._file.write(png_chunks.chunk(kind, data))
        self._file.write(png_chunks.chunk(b"IEND", b""))
        self._file.patch(self._count_at, self._control())


def _depth(frame: Frame) -> int:
    return 16 if frame.layout.depth > 8 and frame.layout.family != "yuv" else 8


def _can_keep(png: PngFile, has_alpha: bool) -> bool:
    """Whether pictures of ours, transparent or not, may stand beside the source's own under its header."""
    header = png.header
    if header.interlaced or header.depth not in (8, 16) or (header.depth == 16 and header.colour == GREY_ALPHA):
        return False
    if header.colour == PALETTE:
        return not has_alpha or png.chunk(b"tRNS") is not None
    return png.chunk(b"tRNS") is None and (not has_alpha or header.colour in (GREY_ALPHA, RGBA))


class _WebpCodec:
    """Codes rectangles with or without loss as the source was."""

    grid = 2
    qualities = (95, 90, 85, 80, 75, 65)

    def __init__(self, lossless: bool, alpha: bool, source: webp_chunks.WebpFile | None, file: BinaryIO | None) -> None:
        self._lossless, self._alpha, self._source, self._file = lossless, alpha, source, file
        self.levels = 1 if lossless else len(self.qualities)
        self.blends = lossless and alpha

    def source(self, index: int) -> Part | None:
        if self._source is None or self._file is None or index >= len(self._source.frames):
            return None
        frame = self._source.frames[index]
        try:
            samples = webp_chunks.decode_picture(self._source, self._file, frame)
        except InputError:
            return None
        self._file.seek(frame.start)
        area = Area(frame.left, frame.top, frame.width, frame.height)
        return Part(area, frame.over, int(frame.clears), samples, self._file.read(frame.stop - frame.start))

    def encode(self, samples: Samples, level: int, /) -> tuple[bytes, Samples]:
        height, width = samples.shape[:2]
        quality = 75 if self._lossless else self.qualities[level]
        data = webp_chunks.encode_picture(samples, lossless=self._lossless, quality=quality, alpha=self._alpha)
        return data, samples if self._lossless else webp_chunks.decode_chunks(data, width, height)


class WebpSink(AnimationSink):
    """Writes an animated WebP: without loss where the source has none (GIF, APNG, such a WebP), else with."""

    format = "webp"
    longest_side = 16383

    def __init__(self, path: Path, info: MediaInfo) -> None:
        super().__init__(path, info)
        self._webp: webp_chunks.WebpFile | None = None

    def _begin(self, first: Frame) -> None:
        same_size = self._matches_source(first)
        if self._info.kind == "animation" and self._info.codec == "webp":
            self._webp = webp_chunks.parse_webp(self._info.path)
            self._source = self._info.path.open("rb") if same_size else None
        height, width = first.size_hw
        lossless = self._webp.lossless if self._webp is not None else self._info.kind == "animation"
        codec = _WebpCodec(lossless, self._info.has_alpha, self._webp if same_size else None, self._source)
        self._writer = DeltaWriter(height, width, np.uint8, codec)
        self._write_head(height, width)

    def _write_head(self, height: int, width: int) -> None:
        metadata = self._webp.metadata if self._webp is not None else {}
        flags = webp_chunks.ANIMATION | webp_chunks.metadata_flags(metadata)
        flags |= webp_chunks.ALPHA if self._info.has_alpha else 0
        plays = 0 if self._info.kind == "video" else 1 if self._info.loop is None else self._info.loop
        background = self._webp.background if self._webp is not None else bytes(4)
        self._file.write(b"RIFF" + bytes(4) + b"WEBP" + webp_chunks.extended_header(width, height, flags))
        if b"ICCP" in metadata:
            self._file.write(webp_chunks.chunk(b"ICCP", metadata[b"ICCP"]))
        self._file.write(webp_chunks.chunk(b"ANIM", background + struct.pack("<H", min(plays, 0xFFFF))))

    def _emit(self, frame: Frame, following: Frame | None) -> None:
        target = rgba_of(frame)
        if not self._info.has_alpha:
            target[..., 3] = 255
        written = self._writer.picture(frame.index, target)
        area = written.area
        numbers = (area.left // 2, area.top // 2, area.width - 1, area.height - 1, self._delay(frame, following))
        head = b"".join(number.to_bytes(3, "little") for number in numbers)
        flags = written.disposal & 1 | (0 if written.over else 2)
        self._file.write(webp_chunks.chunk(b"ANMF", head + bytes((flags,)) + written.data))

    def _delay(self, frame: Frame, following: Frame | None) -> int:
        if self._webp is not None:
            return self._webp.frames[frame.index].duration
        start, end = self._span(frame, following)
        return min(round(1000 * end) - round(1000 * start), 0xFFFFFF)

    def _finish(self) -> None:
        for kind in (b"EXIF", b"XMP "):
            if self._webp is not None and kind in self._webp.metadata:
                self._file.write(webp_chunks.chunk(kind, self._webp.metadata[kind]))
        self._file.patch(4, struct.pack("<I", self._file.tell() - 8))
