"""Pictures that change only in part: composing them, and writing the next one as a difference from the last.

The container decides how a rectangle is coded (:class:`PictureCodec`); what is the same for APNG and WebP stands here.
Samples are ``(H, W, 4)`` RGBA, uint8 or uint16; colours under alpha 0 count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACKGROUND", "NONE", "PREVIOUS", "Area", "Canvas", "DeltaWriter", "Part", "PictureCodec", "Written"]

NONE, BACKGROUND, PREVIOUS = 0, 1, 2
Samples = NDArray[Any]
SIZE_LIMIT = 1.9
"""Where a codec can save bytes by losing quality, the output is held below this many times its source."""


@dataclass(frozen=True)
class Area:
    """A rectangle of px on the canvas."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


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


class Canvas:
    """What the pictures drawn so far add up to; ``pixels`` is changed in place."""

    def __init__(self, height: int, width: int, dtype: Any) -> None:
        self.pixels: Samples = np.zeros((height, width, 4), dtype=dtype)
        self._below: Samples | None = None
        self._opaque = int(np.iinfo(dtype).max)

    def draw(self, area: Area, samples: Samples, *, over: bool, disposal: int) -> None:
        """Draw a picture; parts that leave the canvas are cut off."""
        target = self.pixels[area.slices]
        self._below = target.copy() if disposal == PREVIOUS else None
        samples = samples[: target.shape[0], : target.shape[1]]
        target[...] = self._blended(target, samples) if over else samples

    def dispose(self, area: Area, disposal: int) -> None:
        """End the picture drawn last."""
        if disposal == BACKGROUND:
            self.pixels[area.slices] = 0
        elif disposal == PREVIOUS and self._below is not None:
            self.pixels[area.slices] = self._below

    def _blended(self, below: Samples, above: Samples) -> Samples:
        """``above`` over ``below``, neither premultiplied (Porter and Duff, 1984)."""
        alpha = above[..., 3:]
        hard = np.where(alpha == 0, below, above)
        mixed = (alpha > 0) & (alpha < self._opaque) & (below[..., 3:] > 0)
        if not mixed.any():
            return hard
        upper = alpha / self._opaque
        lower = below[..., 3:] / self._opaque * (1 - upper)
        total = upper + lower
        colour = (above[..., :3] * upper + below[..., :3] * lower) / np.where(total > 0, total, 1)
        soft = np.concatenate([colour, total * self._opaque], axis=-1)
        return np.where(mixed, np.rint(soft), hard).astype(below.dtype)


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
