"""A frame: its native samples, its time, and the few ways to look at it and to change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Levels, Region
from revisage.media.frame.samples import (
    Colour,
    Orientation,
    PixelLayout,
    area_resized,
    chroma_region,
    reduce_chroma,
    resize_plane,
    rgb_from_samples,
    samples_from_rgb,
    samples_gain,
    upsample_chroma,
)

if TYPE_CHECKING:
    import av

__all__ = ["Frame"]

_UPRIGHT = Orientation()
_SPARSE = 16
"""Of the rows of two pictures so many are looked at first: grain alone tells nearly all that differ there."""
_ARRAY_LAYOUTS = {
    (1, 8): "gray",
    (2, 8): "ya8",
    (3, 8): "gbrp",
    (4, 8): "gbrap",
    (1, 16): "gray16le",
    (2, 16): "ya16le",
    (3, 16): "gbrp16le",
    (4, 16): "gbrap16le",
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture with its time; never changed in place.

    Attributes:
        planes: native samples as stored, one read-only 2-D array each: Y, Cb, Cr or R, G, B or grey, then alpha.
        layout: what the planes are.
        colour: how their values are to be read.
        pts: time of presentation, in ``time_base``.
        time_base: seconds per unit of time.
        duration: in ``time_base``; None when the source does not say.
        index: place in the order of presentation within the whole source, from 0.
        orientation: how the stored picture is turned to be upright.
        fields: ``progressive``, or which field of an interlaced picture comes first.
        origin: the decoded frame whose side data an encoder should see; None for frames made otherwise.
        is_decoded: the planes still are those of ``origin``.
    """

    planes: tuple[NDArray[Any], ...]
    layout: PixelLayout
    colour: Colour
    pts: int = 0
    time_base: Fraction = Fraction(1, 1000)
    duration: int | None = None
    index: int = 0
    orientation: Orientation = _UPRIGHT
    fields: Literal["progressive", "top", "bottom"] = "progressive"
    origin: av.VideoFrame | None = None
    is_decoded: bool = False

    @staticmethod
    def from_array(
        array: NDArray[Any],
        *,
        pts: int = 0,
        time_base: Fraction = Fraction(1, 1000),
        duration: int | None = None,
        index: int = 0,
    ) -> Frame:
        """A frame of an image in full range.

        Args:
            array: ``(H, W)`` grey or ``(H, W, C)`` with C of 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; uint8
                or uint16. It must not be changed afterwards.
            pts: time of presentation, in ``time_base``.
            time_base: seconds per unit.
            duration: in ``time_base``.
            index: place in the order of presentation.

        Raises:
            ValueError: another shape or type.
        """
        samples = array[..., None] if array.ndim == 2 else array
        if samples.ndim != 3 or samples.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"need (H, W) or (H, W, C) uint8 or uint16, got {array.shape} {array.dtype}")
        name = _ARRAY_LAYOUTS.get((samples.shape[2], samples.dtype.itemsize * 8))
        layout = PixelLayout.find(name) if name else None
        if layout is None:
            raise ValueError(f"need 1 to 4 channels, got {samples.shape[2]}")
        planes = tuple(samples[..., channel] for channel in range(samples.shape[2]))
        return Frame(planes, layout, Colour(), pts, time_base, duration, index)

    @property
    def stored_hw(self) -> tuple[int, int]:
        """Height and width as stored (px)."""
        return int(self.planes[0].shape[0]), int(self.planes[0].shape[1])

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width as shown upright (px)."""
        return self.orientation.size(self.stored_hw)

    @property
    def alpha(self) -> NDArray[Any] | None:
        """The opacity as shown upright, ``(H, W)`` in the native depth; None when all is opaque."""
        return self.orientation.upright(self.planes[-1]) if self.layout.has_alpha else None

    def shows_same(self, other: Frame) -> bool:
        """Whether another frame holds the same picture, sample by sample; their times may differ."""
        alike = (self.layout, self.colour, self.orientation) == (other.layout, other.colour, other.orientation)
        if not alike or not np.array_equal(self.planes[0][::_SPARSE], other.planes[0][::_SPARSE]):
            return False
        return all(map(np.array_equal, self.planes, other.planes))

    def to_array(self) -> NDArray[Any]:
        """The native samples of a grey or RGB frame, upright: ``(H, W)`` or ``(H, W, C)``, as
        :meth:`from_array` takes them.

        Raises:
            ValueError: the frame is of YUV.
        """
        if self.layout.family == "yuv":
            raise ValueError(f"{self.layout.name} has no array of its samples; use rgb()")
        planes = [self.orientation.upright(plane) for plane in self.planes]
        return np.ascontiguousarray(planes[0]) if len(planes) == 1 else np.stack(planes, axis=-1)

    def rgb(self, region: Region | None = None, *, size_hw: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The picture as RGB.

        Args:
            region: the part wanted, in px of the upright frame; all of it when None.
            size_hw: reduced to this size by area averages (enlarged linearly where it is larger); its own if None.

        Returns:
            ``(H, W, 3)`` uint8 RGB, contiguous.
        """
        stored = self._stored_region(region)
        wanted = None if size_hw is None else self.orientation.size(size_hw)
        samples = self._samples(stored) if wanted is None else self._reduced_samples(stored, wanted)
        if self.layout.family == "rgb" and self.layout.depth == 8 and self.colour.full_range:
            pixels = samples
        else:
            pixels = _to_rgb8(samples, rgb_from_samples(self.layout, self.colour))
        return np.ascontiguousarray(self.orientation.upright(pixels))

    def add_rgb(self, region: Region, delta: NDArray[np.float32]) -> Frame:
        """A frame whose region is changed by a difference.

        Where the difference is zero the samples stay as they are, bit for bit; so do all outside the region.

        Args:
            region: where, in px of the upright frame.
            delta: ``(h, w, 3)`` float32 RGB in steps of 1/255 of the full scale, of the region's size.

        Raises:
            ValueError: the sizes differ, or the region leaves the frame.
        """
        return self.add_all_rgb([(region, delta)])

    def add_all_rgb(self, changes: Sequence[tuple[Region, NDArray[np.float32]]]) -> Frame:
        """A frame with several regions changed, as :meth:`add_rgb` changes each; itself without any.

        The planes are copied once, however many regions there are.
        """
        if not changes:
            return self
        colours = 1 if self.layout.family == "grey" else 3
        planes = [plane.copy() for plane in self.planes[:colours]]
        for region, delta in changes:
            self._add(planes, region, delta)
        return replace(self, planes=(*planes, *self.planes[colours:]), is_decoded=False)

    def resized(self, size_hw: tuple[int, int]) -> Frame:
        """The frame at another upright size by Lanczos, in its native planes; interlaced fields apart."""
        if size_hw == self.size_hw:
            return self
        stored = self.orientation.size(size_hw)
        planes = tuple(self._resized_plane(number, stored) for number in range(len(self.planes)))
        return replace(self, planes=planes, is_decoded=False)

    def with_rgb(self, rgb: NDArray[np.uint8]) -> Frame:
        """A frame of the same format and time whose pixels, and size, are those of an RGB image.

        Args:
            rgb: ``(H, W, 3)`` uint8 RGB, upright. Alpha is kept, resized when the size differs.
        """
        stored = np.ascontiguousarray(self.orientation.stored(rgb))
        layout = self.layout
        if layout.family == "rgb" and layout.depth == 8 and self.colour.full_range:
            colours = tuple(stored[..., channel] for channel in range(3))
        else:
            colours = self._from_rgb(stored)
        if layout.has_alpha:
            colours = (*colours, resize_plane(self.planes[-1], stored.shape[:2], layout.maximum))
        return replace(self, planes=colours, is_decoded=False)

    def with_levels(self, levels: Levels) -> Frame:
        """A frame whose R, G and B are each changed by a gain and an offset, at the native depth.

        What changes is added to the planes, so that smaller chroma planes lose no detail of their own.
        """
        stored = self._stored_region(None)
        affine = rgb_from_samples(self.layout, self.colour)
        gain = np.array(levels.gain)
        change = affine * (gain - 1)[:, None]
        change[:, 3] += levels.offset
        delta = cv2.transform(self._samples(stored).astype(np.float32), change)
        height, width = self.size_hw
        return self.add_rgb(Region(0, 0, width, height), self.orientation.upright(delta))

    def _add(self, planes: list[NDArray[Any]], region: Region, delta: NDArray[np.float32]) -> None:
        """Change a region of ``planes`` in place."""
        if delta.shape != (*region.size_hw, 3):
            raise ValueError(f"delta has shape {delta.shape}, the region needs {(*region.size_hw, 3)}")
        stored = self._stored_region(region)
        change = np.ascontiguousarray(self.orientation.stored(delta), dtype=np.float32)
        gain = samples_gain(self.layout, self.colour)
        for number, plane in enumerate(planes):
            shift = self.layout.shift_hw(number)
            values = reduce_chroma(
                cv2.transform(change, gain[number : number + 1]),
                (stored.top, stored.left),
                shift,
                self.colour.chroma_offset_xy,
                zero_outside=True,
            )
            place = stored if shift == (0, 0) else chroma_region(stored, shift, plane.shape)
            _add_rounded(plane[place.slices], values, self.layout.maximum)

    def _stored_region(self, region: Region | None) -> Region:
        height, width = self.size_hw
        region = region or Region(0, 0, width, height)
        if region.right > width or region.bottom > height:
            raise ValueError(f"{region} leaves the frame of {width} x {height} px")
        return self.orientation.stored_region(region, (height, width))

    def _samples(self, stored: Region) -> NDArray[Any]:
        """``(h, w, 3)`` native samples of a stored region, chroma at every luma position."""
        if self.layout.family == "grey":
            channels = [self.planes[0][stored.slices]] * 3
        else:
            shift, offset = self.layout.chroma_shift_hw, self.colour.chroma_offset_xy
            channels = [self.planes[0][stored.slices]]
            channels += [upsample_chroma(plane, stored, shift, offset) for plane in self.planes[1:3]]
        return cv2.merge([np.ascontiguousarray(channel) for channel in channels])

    def _reduced_samples(self, stored: Region, size_hw: tuple[int, int]) -> NDArray[Any]:
        channels = []
        for number in range(1 if self.layout.family == "grey" else 3):
            plane = self.planes[number]
            shift = self.layout.shift_hw(number)
            place = stored if shift == (0, 0) else chroma_region(stored, shift, plane.shape[:2])
            channels.append(area_resized(plane[place.slices], size_hw))
        return cv2.merge(channels * (1 if len(channels) == 3 else 3))

    def _resized_plane(self, number: int, stored_hw: tuple[int, int]) -> NDArray[Any]:
        plane, maximum = self.planes[number], self.layout.maximum
        target = self.layout.plane_hw(number, stored_hw)
        factors = stored_hw[1] / self.stored_hw[1], stored_hw[0] / self.stored_hw[0]
        # Chroma beside a column stays beside its column only if it is read a little to the right.
        shift = (0.0, 0.0)
        if self.layout.shift_hw(number) != (0, 0):
            shift = self._chroma_shift(factors)
        if self.fields == "progressive" or plane.shape[0] < 2 or target[0] < 2:
            return resize_plane(plane, target, maximum, shift)
        resized = np.empty(target, plane.dtype)
        for field in (0, 1):
            part = resized[field::2]
            part[...] = resize_plane(plane[field::2], part.shape, maximum, (shift[0], 0.0))
        return resized

    def _chroma_shift(self, factors_xy: tuple[float, float]) -> tuple[float, float]:
        shift_y, shift_x = self.layout.chroma_shift_hw
        x, y = self.colour.chroma_offset_xy
        centred = ((2**shift_x - 1) / 2, (2**shift_y - 1) / 2)
        return (
            (centred[0] - x) / 2**shift_x * (1 - 1 / factors_xy[0]),
            (centred[1] - y) / 2**shift_y * (1 - 1 / factors_xy[1]),
        )

    def _from_rgb(self, stored: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        native = cv2.transform(stored.astype(np.float32), samples_from_rgb(self.layout, self.colour))
        planes = []
        for number in range(1 if self.layout.family == "grey" else 3):
            values = np.ascontiguousarray(native[..., number])
            values = reduce_chroma(values, (0, 0), self.layout.shift_hw(number), self.colour.chroma_offset_xy)
            planes.append(_rounded(values, self.layout.maximum, self.layout.dtype))
        return tuple(planes)


def _to_rgb8(samples: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """RGB of 0..255 from samples by an affine map, rounded to nearest."""
    if samples.dtype == np.uint8:
        return cv2.transform(samples, affine)
    # 257 keeps sixteen bits through the matrix, so that the only rounding that counts is the last.
    return cv2.convertScaleAbs(cv2.transform(samples, affine * 257.0), alpha=1 / 257.0)


def _add_rounded(target: NDArray[Any], values: NDArray[np.float32], maximum: int) -> None:
    """Add to samples in place, rounded to nearest and clipped to the samples' range."""
    kind = cv2.CV_8U if target.dtype == np.uint8 else cv2.CV_16U
    np.minimum(cv2.add(target, values, dtype=kind), maximum, out=target, casting="unsafe")


def _rounded(values: NDArray[np.float32], maximum: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.clip(np.rint(values), 0, maximum).astype(dtype)
