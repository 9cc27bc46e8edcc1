"""Writing animated images; APNG and animated WebP as the rectangles that changed.

Where the source is an animation of the same format and size, its own delays, loop count, metadata and untouched
pictures are written as they are stored; everything else is a difference from the picture before. Samples are
``(H, W, 4)`` RGBA, uint8 or uint16; colours under alpha 0 count.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from revisage.core import InputError, OutputError
from revisage.media import png_chunks, webp_chunks
from revisage.media.animation.gif_file import dither
from revisage.media.animation.source import BACKGROUND, NONE, PREVIOUS, Area, Canvas, animation_format
from revisage.media.frame import Frame
from revisage.media.image_file import ImageFile, written
from revisage.media.interface import MediaInfo
from revisage.media.png_chunks import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, Header, PngFile

__all__ = ["AnimationSink", "ApngSink", "WebpSink", "rgba_of"]

Samples = NDArray[Any]
DEFAULT_DURATION = Fraction(1, 10)


def rgba_of(frame: Frame, dtype: Any = np.uint8) -> Samples:
    """A frame as ``(H, W, 4)`` RGBA of a type: its own samples where it has them in that depth, else from 8-bit RGB."""
    largest = int(np.iinfo(dtype).max)
    rgba = np.full((*frame.size_hw, 4), largest, dtype=dtype)
    if frame.layout.family != "yuv" and frame.layout.maximum == largest:
        own = frame.to_array()
        own = own[..., None] if own.ndim == 2 else own
        grey = own.shape[2] < 3
        rgba[..., :3] = own[..., :1] if grey else own[..., :3]
        if frame.layout.has_alpha:
            rgba[..., 3] = own[..., -1]
        return rgba
    rgba[..., :3] = frame.rgb().astype(dtype) * (largest // 255)
    if frame.alpha is not None:
        rgba[..., 3] = np.rint(frame.alpha * (largest / frame.layout.maximum))
    return rgba


class AnimationSink(ABC):
    """Takes the frames of an animation. Each is written when the next has come, for that ends its time.

    Args:
        path: of the file, which is created at once.
        info: of the source.

    Attributes:
        notes: what the format could not keep, one line each.
    """

    format: str
    longest_side: int

    def __init__(self, path: Path, info: MediaInfo) -> None:
        self.notes: list[str] = []
        self._info = info
        self._path = path
        self._pending: Frame | None = None
        self._origin: Fraction | None = None
        self._dropped = 0
        self._shortest = 0  # 1/100 s between two frames; nearer ones are left out
        self._source: BinaryIO | None = None
        self._file = ImageFile(path)
        self._seals: list[tuple[int, int]] = []
        """Where C2PA manifests of the source's stand in what was written."""

    def write(self, frame: Frame) -> None:
        """Take one frame.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written, or is too large for the format.
        """
        if self._origin is None:
            self._origin = frame.pts * frame.time_base
            if max(frame.size_hw) > self.longest_side:
                raise OutputError(
                    f"{self._path}: {frame.size_hw[1]} x {frame.size_hw[0]} px is more than a side of "
                    f"{self.longest_side} px that this format allows; choose a smaller upscale or a video format"
                )
            self._begin(frame)
        elif self._pending is not None:
            if not self._can_follow(self._pending, frame):
                self._pending = _lasting(self._pending, frame)
                self._dropped += 1
                return
            self._emit(self._pending, frame)
        self._pending = frame

    def close(self) -> None:
        """Write the last frame and finish the file.

        Raises:
            DiskFullError, OutputError: see :meth:`write`; also where no frame came.
        """
        if self._pending is None:
            self.abort()
            raise OutputError(f"{self._path}: there is no frame to write")
        self._emit(self._pending, None)
        self._pending = None
        self._finish()
        self._drop_void_seals()
        self._release()
        self._file.close()

    def abort(self) -> None:
        """Give up and remove the file."""
        self._pending = None
        self._file.abort()
        self._release()

    def _drop_void_seals(self) -> None:
        """Take the source's C2PA manifests out: any change makes them void. A copy to the byte keeps them."""
        if self._seals and not self._file.holds_what(self._info.path):
            for start, stop in reversed(self._seals):
                self._file.cut(start, stop)

    def _matches_source(self, frame: Frame) -> bool:
        """Whether the frames are those of an animation of this format, at its own size."""
        if self._info.kind != "animation" or frame.size_hw != self._info.size_hw:
            return False
        with written(self._info.path):
            return animation_format(self._info.path) == self.format

    def _span(self, frame: Frame, following: Frame | None) -> tuple[Fraction, Fraction]:
        """Start and end of a frame in seconds from the first one's start."""
        assert self._origin is not None
        start = frame.pts * frame.time_base
        if following is not None:
            end = following.pts * following.time_base
        else:
            end = start + self._last_duration(frame, start)
        return start - self._origin, end - self._origin

    def _last_duration(self, frame: Frame, start: Fraction) -> Fraction:
        """How long the last frame is shown. MP4 states durations in the order of decoding, so that with frames of
        changing rate the last frame may carry another one's; where the track ends is exact there."""
        own = frame.duration * frame.time_base if frame.duration else DEFAULT_DURATION
        info = self._info
        if info.kind != "video" or info.duration is None or "mp4" not in info.container:
            return own
        rest = info.start_pts * info.time_base + info.duration - start
        return rest if 0 < rest <= 2 * own else own

    def _can_follow(self, pending: Frame, frame: Frame) -> bool:
        start, end = self._span(pending, frame)
        return round(100 * end) - round(100 * start) >= self._shortest

    @abstractmethod
    def _begin(self, first: Frame) -> None:
        """Write the head of the file."""

    @abstractmethod
    def _emit(self, frame: Frame, following: Frame | None) -> None:
        """Write one picture."""

    @abstractmethod
    def _finish(self) -> None:
        """Write the end of the file."""

    def _release(self) -> None:
        if self._source is not None:
            self._source.close()


def _lasting(frame: Frame, last: Frame) -> Frame:
    """``frame`` shown until the end of a later one."""
    end = last.pts * last.time_base + (last.duration or 0) * last.time_base
    return replace(frame, duration=max(1, round(end / frame.time_base) - frame.pts))


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
                self._write_chunk(kind, data)
        self._apart = source is not None and source.still_apart
        if source is not None and source.still is not None and self._apart and self._source is not None:
            self._file.write(png_chunks.chunk(b"IDAT", png_chunks.read_data(self._source, source.still)))

    def _write_chunk(self, kind: bytes, data: bytes) -> None:
        start = self._file.tell()
        self._file.write(png_chunks.chunk(kind, data))
        if kind == png_chunks.SEAL:
            self._seals.append((start, self._file.tell()))

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
            self._write_chunk(kind, data)
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


SIZE_LIMIT = 1.9
"""Where a codec can save bytes by losing quality, the output is held below this many times its source."""


@dataclass(frozen=True)
class Part:
    """One picture of a source: where it is drawn, how, with which samples, and its coded data as stored."""

    area: Area
    over: bool
    disposal: int
    samples: Samples
    data: bytes


@dataclass(frozen=True)
class Written:
    """One picture to be written: where and how it is drawn, and its coded data."""

    area: Area
    over: bool
    disposal: int
    data: bytes


class PictureCodec(Protocol):
    """How a container codes one rectangle."""

    blends: bool  # whether transparent samples can leave what is below, at no loss
    grid: int  # offsets must be multiples of this
    levels: int  # number of steps from best quality to fewest bytes

    def source(self, index: int) -> Part | None:
        """The source's picture of this index; None if it, and what follows it, cannot be copied."""

    def encode(self, samples: Samples, level: int, /) -> tuple[bytes, Samples]:
        """Coded data of ``(h, w, 4)`` samples, and what they decode to."""


class DeltaWriter:
    """Turns whole pictures into the rectangles that changed, and copies the source's own where nothing did."""

    def __init__(self, height: int, width: int, dtype: Any, codec: PictureCodec) -> None:
        self._codec = codec
        self._source = Canvas(height, width, dtype)
        self._drawn: Part | None = None
        self._next = 0
        self._has_source = True
        self._shown: Samples = np.zeros((height, width, 4), dtype=dtype)
        self._meant = self._shown.copy()
        self._started = False
        self._spent = self._allowed = 0
        self._level = 0

    def picture(self, index: int, target: Samples) -> Written:
        """What to write so that ``target`` shows. ``index`` is its place in the source and grows from call to call."""
        part, before = self._read(index)
        if part is not None:
            self._allowed += len(part.data)
            if self._can_copy(part, before, target):
                return self._copy(part)
        return self._encode(target)

    def _read(self, index: int) -> tuple[Part | None, Samples]:
        """Draw the source up to ``index``: its picture, and the canvas before it."""
        part, before = None, self._source.pixels
        while self._has_source and self._next <= index:
            if self._drawn is not None:
                self._source.dispose(self._drawn.area, self._drawn.disposal)
            part = self._codec.source(self._next)
            self._drawn = part
            self._next += 1
            if part is None:
                self._has_source = False
                break
            before = self._source.pixels.copy()
            self._source.draw(part.area, part.samples, over=part.over, disposal=part.disposal)
        return part, before

    def _can_copy(self, part: Part, before: Samples, target: Samples) -> bool:
        whole = part.area == Area(0, 0, target.shape[1], target.shape[0])
        if not self._started and not whole:
            return False
        if not np.array_equal(target, self._source.pixels):
            return False
        same = (self._shown == before).all(axis=-1)
        same[part.area.slices] |= (part.samples[..., 3] == np.iinfo(target.dtype).max) | (not part.over)
        return bool(same.all())

    def _copy(self, part: Part) -> Written:
        self._started = True
        self._spent += len(part.data)
        area = part.area.slices
        below = self._shown[area].copy()
        self._shown[...] = self._source.pixels
        if part.disposal == BACKGROUND:
            self._shown[area] = 0
        elif part.disposal == PREVIOUS:
            self._shown[area] = below
        self._meant = self._shown.copy()
        return Written(part.area, part.over, part.disposal, part.data)

    def _encode(self, target: Samples) -> Written:
        stale = (self._meant != target).any(axis=-1)
        area = self._area(stale)
        for level in range(max(0, self._level - 1), self._codec.levels):
            written, decoded = self._smallest(target, stale, area, level)
            self._level = level
            if not self._allowed or self._spent + len(written.data) <= SIZE_LIMIT * self._allowed:
                break
        self._spent += len(written.data)
        self._started = True
        replaced = stale[area.slices] if written.over else np.ones((area.height, area.width), dtype=bool)
        self._shown[area.slices][replaced] = decoded[replaced]
        self._meant[area.slices] = target[area.slices]
        return written

    def _area(self, stale: NDArray[np.bool_]) -> Area:
        height, width = stale.shape
        if not self._started:
            return Area(0, 0, width, height)
        rows, columns = np.flatnonzero(stale.any(axis=1)), np.flatnonzero(stale.any(axis=0))
        if not len(rows):
            return Area(0, 0, 1, 1)
        grid = self._codec.grid
        top, left = int(rows[0]) // grid * grid, int(columns[0]) // grid * grid
        return Area(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)

    def _smallest(self, target: Samples, stale: NDArray[np.bool_], area: Area, level: int) -> tuple[Written, Samples]:
        whole = target[area.slices]
        data, decoded = self._codec.encode(whole, level)
        plain = Written(area, False, NONE, data), decoded
        changed = stale[area.slices]
        opaque = bool((whole[..., 3][changed] == np.iinfo(target.dtype).max).all())
        if not (self._codec.blends and opaque and self._started) or changed.all():
            return plain
        sparse, decoded = self._codec.encode(np.where(changed[..., None], whole, 0).astype(target.dtype), level)
        return (Written(area, True, NONE, sparse), decoded) if len(sparse) < len(data) else plain
