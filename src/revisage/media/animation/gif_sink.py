"""Writing GIFs, in two ways.

:class:`GifPatcher` writes a source GIF again at its own size: a picture that did not change is copied byte for
byte, and in the others every pixel that did not change keeps its palette index; only the changed ones are quantised.
:class:`GifPainter` writes any pictures: one global palette as long as it serves, a local one where it does not.

Both leave a pixel alone (transparent) while what it should show stays within a small tolerance of what it was last
drawn for, so that noise neither costs bytes nor flickers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.media.animation.gif_file import (
    DISPOSE_BACKGROUND,
    DISPOSE_NONE,
    DISPOSE_PREVIOUS,
    TRAILER,
    GifCanvas,
    GifFile,
    GifFrame,
    choose_colours,
    decode_indices,
    dither,
    frame_block,
    header_block,
    loop_block,
    nearest,
    pack,
    parse_gif,
    seals_in,
)
from revisage.media.animation.sink import AnimationSink, rgba_of
from revisage.media.frame import Frame
from revisage.media.image_file import written
from revisage.media.interface import MediaInfo

__all__ = ["GifPainter", "GifPatcher", "GifSink"]

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

ECONOMY = ((2, True), (4, True), (6, True), (6, False), (10, False), (16, False))
"""Steps to fewer bytes: the tolerance (1/255 of full scale, largest channel) and whether to dither."""
SIZE_LIMIT = 1.9
"""A patched GIF is kept below this many times the bytes of its source."""


_BAND = 1 << 20
"""Pixels that are quantised at once, about: what is worked out for each of them takes a hundred bytes."""


class _Screen:
    """What a viewer of the file written so far sees, and what each of its pixels was meant to be.

    Both are ``(H, W, 4) uint8 RGBA`` with alpha 0 or 255. The two differ by the quantisation.
    """

    def __init__(self, height: int, width: int) -> None:
        self.shown = np.zeros((height, width, 4), dtype=np.uint8)
        self.meant = np.zeros((height, width, 4), dtype=np.uint8)

    def stale(self, target: Pixels, tolerance: int) -> Mask:
        """Where ``target`` is opaque and differs by more than ``tolerance`` from what is there."""
        difference = cv2.absdiff(self.meant, target)
        differs = target[..., 3] > 0
        differs &= cv2.reduce(difference.reshape(-1, 4), 1, cv2.REDUCE_MAX).reshape(differs.shape) > tolerance
        return differs

    def clear(self, area: tuple[slice, slice]) -> None:
        self.shown[area] = 0
        self.meant[area] = 0


def _same(one: Pixels, other: Pixels) -> Mask:
    """Where two ``(H, W, 4) uint8`` pictures are equal, without an answer for each channel."""
    return np.ascontiguousarray(one).view(np.uint32)[..., 0] == np.ascontiguousarray(other).view(np.uint32)[..., 0]


def _bands(mask: Mask) -> Iterator[slice]:
    """Rows from top to bottom, of about as many pixels under the mask each, so that none is small among large ones:
    what a colour becomes must not hang on where the bands lie."""
    counts = np.cumsum(mask.sum(axis=1))
    total = int(counts[-1])
    count = -(-total // _BAND)
    stops = np.searchsorted(counts, [total * (number + 1) // count for number in range(count)]) + 1
    yield from (slice(start, stop) for start, stop in pairwise([0, *stops.tolist()]))


def _bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom of the true part of a mask, or None."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _index_of(colours: Pixels, table: Pixels, allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For ``(n, 3)`` colours the index of the identical allowed entry of ``(k, 3)``, -1 where there is none."""
    entries = np.flatnonzero(allowed)
    keys = pack(table[entries])
    order = np.argsort(keys, kind="stable")
    wanted = pack(colours)
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.intp)
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    return np.where(keys[order][at] == wanted, entries[order][at], -1)


def _quantise(out: Pixels, target: Pixels, mask: Mask, table: Pixels, allowed: Mask, dithered: bool) -> None:
    """Put into ``out``, ``(H, W) uint8``, indices of allowed entries for the pixels of ``target`` under ``mask``."""
    entries = np.flatnonzero(allowed)
    for band in _bands(mask):
        rows, columns = np.nonzero(mask[band])
        rows += band.start
        rgb = target[rows, columns, :3]
        if dithered:
            found = dither(rgb, table[entries], rows, columns)
        else:
            found = nearest(rgb.astype(np.float32), table[entries])
        out[rows, columns] = entries[found]


def _keep_exact(out: Pixels, target: Pixels, mask: Mask, table: Pixels, allowed: Mask) -> None:
    """Put into ``out`` the index of each colour of ``target`` under ``mask`` that an allowed entry is identical to."""
    for band in _bands(mask):
        rows, columns = np.nonzero(mask[band])
        rows += band.start
        same = _index_of(target[rows, columns, :3], table, allowed)
        there = same >= 0
        out[rows[there], columns[there]] = same[there]


def _distance(rgb: Pixels, table: Pixels) -> float:
    """Root mean square distance of ``(n, 3)`` colours, or of a sample of many, from their nearest entries."""
    if not len(rgb):
        return 0.0
    true = rgb[:: -(-len(rgb) // 8192)].astype(np.float32)
    return float(np.sqrt(((true - table[nearest(true, table)]) ** 2).sum(axis=1).mean()))


class GifPatcher:
    """Writes the pictures of ``gif`` with changed pixels. Size, palettes, disposal and extensions stay.

    Args:
        gif: structure of the source.
        file: the source, open for reading; it is read as the pictures are asked for.
    """

    def __init__(self, gif: GifFile, file: BinaryIO) -> None:
        self._gif = gif
        self._file = file
        self._canvas = GifCanvas(gif.width, gif.height)
        self._drawn: GifFrame | None = None
        self._next = 0
        self._screen = _Screen(gif.height, gif.width)
        self._spent = self._allowed = 0
        self._level = 0

    def header(self) -> bytes:
        """Signature, screen and global colour table as in the source."""
        gif = self._gif
        return header_block(
            gif.width, gif.height, gif.palette, background=gif.background, aspect=gif.aspect, resolution=gif.resolution
        )

    def picture(self, index: int, target: Pixels) -> bytes:
        """The blocks of picture ``index`` showing ``target``, ``(H, W, 4) uint8 RGBA``, alpha 0 or 255, without its
        further extensions.

        ``index`` must grow from call to call; pictures in between may be left out.
        """
        frame, indices, before = self._read(index)
        after = self._canvas.pixels
        covered = np.zeros(after.shape[:2], dtype=bool)
        covered[frame.slices] = True if frame.transparent is None else indices != frame.transparent
        unchanged = _same(target, after)
        kept = _same(self._screen.shown, after)
        kept[frame.slices] = _same(self._screen.shown[frame.slices], before)
        kept |= covered
        kept &= unchanged
        self._allowed += frame.stop - frame.start + len(frame.control) + len(frame.extensions)
        below = self._screen.shown.copy() if frame.disposal == DISPOSE_PREVIOUS else None
        if kept.all():
            block = self._copied(frame, after, covered)
            area = frame.slices
        else:
            block, area = self._patched(frame, indices, target, covered, kept, unchanged)
        self._spent += len(block) + len(frame.extensions)
        self._dispose(frame.disposal, area, below)
        return block

    def _read(self, index: int) -> tuple[GifFrame, Pixels, Pixels]:
        """Draw the source up to ``index``: its picture, the indices, and what was below it."""
        if not self._next <= index < len(self._gif.frames):
            raise ValueError(f"picture {index} of {len(self._gif.frames)} after picture {self._next - 1}")
        while True:
            if self._drawn is not None:
                self._canvas.dispose(self._drawn)
            frame = self._gif.frames[self._next]
            before = self._canvas.pixels[frame.slices].copy()
            indices, _ = decode_indices(self._file, frame)
            self._canvas.draw(frame, indices, self._gif.colours(frame))
            self._drawn = frame
            self._next += 1
            if self._next > index:
                height, width = before.shape[:2]
                return frame, indices[:height, :width], before

    def _copied(self, frame: GifFrame, after: Pixels, covered: Mask) -> bytes:
        self._file.seek(frame.start)
        for held in (self._screen.shown, self._screen.meant):
            np.copyto(held, after, where=covered[..., None])
        return frame.control + self._file.read(frame.stop - frame.start)

    def _patched(
        self, frame: GifFrame, indices: Pixels, target: Pixels, covered: Mask, kept: Mask, unchanged: Mask
    ) -> tuple[bytes, tuple[slice, slice]]:
        fixed = np.zeros(covered.shape, dtype=np.uint8)
        fixed[frame.slices] = indices
        for level in range(max(0, self._level - 1), len(ECONOMY)):
            tolerance, dithered = ECONOMY[level]
            write = np.where(unchanged, ~_same(self._screen.shown, target), self._screen.stale(target, tolerance))
            write &= ~kept
            patch = _Patch(self._gif, frame, fixed, covered & kept, write & unchanged, write & ~unchanged)
            block, area, drawn, out = patch.encode(target, dithered)
            self._level = level
            if self._spent + len(block) <= SIZE_LIMIT * self._allowed:
                break
        np.copyto(self._screen.shown, patch.colours[out], where=drawn[..., None])
        np.copyto(self._screen.meant, target, where=drawn[..., None])
        return block, area

    def _dispose(self, disposal: int, area: tuple[slice, slice], below: Pixels | None) -> None:
        if disposal == DISPOSE_BACKGROUND:
            self._screen.clear(area)
        elif below is not None:
            self._screen.shown[...] = below
            self._screen.meant[...] = below


class _Patch:
    """One picture of a source GIF with some pixels replaced.

    Args:
        fixed: source indices on the screen, meant where ``own`` is true.
        own: pixels that keep the source's index.
        exact: pixels to draw in precisely their colour, if the palette has room for it.
        free: pixels to draw as near as the palette allows.
    """

    def __init__(self, gif: GifFile, frame: GifFrame, fixed: Pixels, own: Mask, exact: Mask, free: Mask) -> None:
        self._frame = frame
        self._fixed, self._own, self._exact, self._free = fixed, own, exact, free
        self._local = frame.palette is not None
        source = frame.palette if self._local else gif.palette
        self._size = 256 if source is None else len(source) // 3
        self._table = gif.colours(frame)
        self._taken = np.zeros(256, dtype=bool)
        self._taken[np.unique(fixed[own])] = True
        self._transparent = frame.transparent
        if self._transparent is not None:
            self._taken[self._transparent] = True

    @property
    def colours(self) -> Pixels:
        """The entries of the palette, ``(256, 4) uint8 RGBA``."""
        return np.concatenate([self._table, np.full((256, 1), 255, np.uint8)], axis=1)

    def encode(self, target: Pixels, dithered: bool) -> tuple[bytes, tuple[slice, slice], Mask, Pixels]:
        """The blocks, the rectangle they cover, the pixels that were drawn, and the indices of all."""
        area = self._area()
        self._reserve_transparent(area)
        self._add_exact(target)
        self._add_free(target)
        usable = self._usable()
        drawn = self._exact | self._free
        out = np.where(self._own, self._fixed, np.uint8(self._transparent or 0))
        _quantise(out, target, drawn, self._table, usable, dithered)
        _keep_exact(out, target, drawn, self._table, usable)
        block = frame_block(
            area[1].start,
            area[0].start,
            out[area],
            palette=self._table[: int(out[area].max()) + 1].tobytes() if self._local else None,
            delay=self._frame.delay,
            disposal=self._frame.disposal,
            transparent=self._transparent,
        )
        drawn |= self._own
        return block, area, drawn, out

    def _area(self) -> tuple[slice, slice]:
        frame = self._frame
        height, width = self._fixed.shape
        mask = self._exact | self._free
        mask[frame.slices] = True
        left, top, right, bottom = _bounds(mask) or (0, 0, 1, 1)
        return slice(top, min(bottom, height)), slice(left, min(right, width))

    def _reserve_transparent(self, area: tuple[slice, slice]) -> None:
        """Find an index for pixels to leave alone, if there are any; without one, they are drawn as well."""
        left_alone = np.zeros_like(self._own)
        left_alone[area] = ~(self._own | self._exact | self._free)[area]
        if self._transparent is not None or not left_alone.any():
            return
        spare = np.flatnonzero(~self._taken)
        if len(spare):
            self._transparent = int(spare[-1])
            self._taken[self._transparent] = True
            if self._transparent >= self._size:
                self._size, self._local = 256, True
        else:
            self._exact = self._exact | left_alone

    def _usable(self) -> Mask:
        usable = np.arange(256) < self._size
        if self._transparent is not None:
            usable[self._transparent] = False
        return usable

    def _add_exact(self, target: Pixels) -> None:
        """Protect or add the colours of the exact pixels, the most frequent first."""
        rgb = target[self._exact][:, :3]
        if not len(rgb):
            return
        _, first, counts = np.unique(pack(rgb), return_index=True, return_counts=True)
        wanted = rgb[first[np.argsort(-counts, kind="stable")]]
        there = _index_of(wanted, self._table, self._usable())
        self._taken[there[there >= 0]] = True
        self._replace_spare(wanted[there < 0])

    def _add_free(self, target: Pixels) -> None:
        """Give the entries that nothing needs to the restored pixels, where that is worth a table of its own."""
        rgb = target[self._free][:, :3]
        room = int((~self._taken).sum())
        if not len(rgb) or not room:
            return
        usable = self._usable()
        now = _distance(rgb, self._table[usable])
        held = self._table[self._taken & usable]
        far = rgb
        if len(held):
            true = rgb.astype(np.float32)
            gap = np.abs(true - held[nearest(true, held)]).max(axis=1)
            far = rgb[gap > 2]
        colours = choose_colours(far, room)
        then = _distance(rgb, np.concatenate([held, colours]))
        if self._local or then < 0.8 * now - 0.5:
            self._replace_spare(colours)

    def _replace_spare(self, colours: Pixels) -> None:
        spare = np.flatnonzero(~self._taken)[: len(colours)]
        if not len(spare):
            return
        self._table[spare] = colours[: len(spare)]
        self._taken[spare] = True
        self._size, self._local = 256, True


class GifPainter:
    """Writes pictures of one size that need not come from a GIF.

    The first picture's palette is the global one. A later picture takes it, or the last local one, while its changed
    pixels find their colours there about as well as the first picture did; else it gets one of its own.
    """

    def __init__(self, height: int, width: int, *, tolerance: int = 2) -> None:
        self._screen = _Screen(height, width)
        self._tolerance = tolerance
        self._tables: list[Pixels] = []
        self._served = 0.0

    def header(self, first: Pixels) -> bytes:
        """The start of the file, with the palette of its first picture, ``(H, W, 4) uint8 RGBA``."""
        height, width = first.shape[:2]
        rgb = first[first[..., 3] > 0][:, :3]
        table = choose_colours(rgb, 255)
        self._tables = [table]
        self._served = _distance(rgb, table) if len(table) else 0.0
        return header_block(width, height, _with_transparent(table))

    def picture(self, target: Pixels, following: Pixels | None, delay: int) -> bytes:
        """The blocks of ``target``, ``(H, W, 4) uint8 RGBA`` with alpha 0 or 255, shown for ``delay`` 1/100 s.

        ``following`` is the picture after it: what turns transparent there is cleared when this one ends.
        """
        write = self._screen.stale(target, self._tolerance)
        disposal, mask = DISPOSE_NONE, write
        if following is not None:
            opaque = (self._screen.shown[..., 3] > 0) | write
            cleared = opaque & (following[..., 3] == 0)
            if cleared.any():
                disposal, mask = DISPOSE_BACKGROUND, write | cleared
        left, top, right, bottom = _bounds(mask) or (0, 0, 1, 1)
        area = slice(top, bottom), slice(left, right)
        table, local = self._table(target[write][:, :3])
        out = np.full(write.shape, len(table), dtype=np.uint8)
        _quantise(out, target, write, table, np.ones(len(table), bool), True)
        colours = np.full((256, 4), 255, np.uint8)
        colours[: len(table), :3] = table
        np.copyto(self._screen.shown, colours[out], where=write[..., None])
        np.copyto(self._screen.meant, target, where=write[..., None])
        if disposal == DISPOSE_BACKGROUND:
            self._screen.clear(area)
        return frame_block(
            left,
            top,
            out[area],
            palette=_with_transparent(table) if local else None,
            delay=delay,
            disposal=disposal,
            transparent=len(table),
        )

    def _table(self, rgb: Pixels) -> tuple[Pixels, bool]:
        """The palette for these colours, and whether it is not the global one."""
        for table in self._tables:
            if not len(rgb) or (len(table) and _distance(rgb, table) <= max(1.25 * self._served, 3.0)):
                return table, table is not self._tables[0]
        fresh = choose_colours(rgb, 255)
        self._tables[1:] = [fresh]
        return fresh, True


def _with_transparent(table: Pixels) -> bytes:
    """A colour table with one more entry, which stands for transparent."""
    return table.tobytes() + b"\0\0\0"


class GifSink(AnimationSink):
    """Writes a GIF: its own pictures patched where the source is that GIF, else with palettes of our own."""

    format = "gif"
    longest_side = 0xFFFF

    def __init__(self, path: Path, info: MediaInfo) -> None:
        super().__init__(path, info)
        self._gif: GifFile | None = None
        self._patcher: GifPatcher | None = None
        self._painter: GifPainter | None = None

    def _begin(self, first: Frame) -> None:
        if self._info.kind == "animation" and self._info.codec == "gif":
            self._gif = parse_gif(self._info.path)
        if self._gif is not None and first.size_hw == (self._gif.height, self._gif.width):
            with written(self._info.path):
                self._source = self._info.path.open("rb")
            self._patcher = GifPatcher(self._gif, self._source)
            header = self._patcher.header()
        else:
            self._painter = GifPainter(*first.size_hw)
            header = self._painter.header(_binary(first))
        self._file.write(header)
        self._write_extensions(self._first_extensions(first))

    def _first_extensions(self, first: Frame) -> bytes:
        """Repetitions and comments, unless they will come with the source's first picture."""
        if self._gif is not None:
            return self._gif.frames[0].extensions if first.index > 0 else b""
        # Browsers show delays below 2 as a tenth of a second; an animation keeps them, as its own viewers do the same.
        self._shortest = 2 if self._info.kind == "video" else 1
        plays = 0 if self._info.kind == "video" else self._info.loop
        # The count of repetitions leaves out the first play; a GIF that plays once has no count.
        return b"" if plays is None or plays == 1 else loop_block(plays and plays - 1)

    def _emit(self, frame: Frame, following: Frame | None) -> None:
        target = _binary(frame)
        extensions = b""
        if self._patcher is not None:
            assert self._gif is not None
            self._write_extensions(self._gif.frames[frame.index].extensions)
            self._file.write(self._patcher.picture(frame.index, target))
            return
        assert self._painter is not None
        if self._gif is not None:
            delay = self._gif.frames[frame.index].delay
            extensions = self._gif.frames[frame.index].extensions
        else:
            start, end = (round(100 * time) for time in self._span(frame, following))
            delay = max(end - start, self._shortest)
        next_target = None if following is None else _binary(following)
        self._write_extensions(extensions)
        self._file.write(self._painter.picture(target, next_target, delay))

    def _write_extensions(self, extensions: bytes) -> None:
        at = self._file.tell()
        self._seals += [(at + start, at + stop) for start, stop in seals_in(extensions)]
        self._file.write(extensions)

    def _finish(self) -> None:
        if self._dropped:
            self.notes.append(
                f"{self._dropped} frames were left out, as a GIF shows at most 50 a second; the others kept their times"
            )
        self._write_extensions(self._gif.trailing if self._gif is not None else b"")
        self._file.write(TRAILER)


def _binary(frame: Frame) -> NDArray[np.uint8]:
    """A frame as RGBA with alpha 0 or 255, black where it is transparent."""
    rgba = rgba_of(frame)
    if frame.layout.has_alpha:
        hidden = rgba[..., 3] < 128
        rgba[..., 3] = 255
        rgba[hidden] = 0
    return rgba
