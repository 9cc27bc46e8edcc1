"""Samples of a picture: how they lie in memory, what they mean as colour, and planes at other sizes.

ITU-T H.273 names the code points of colour. Values stay in the coded (non-linear) domain: PQ and HLG pictures are not
tone-mapped, so that a difference of RGB can be added back exactly. Chroma is interpolated linearly up and averaged by
area down, exact about where it lies; planes are resized by a Lanczos that averages when shrinking.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from revisage.core import Region

__all__ = [
    "Colour",
    "Orientation",
    "PixelLayout",
    "area_resized",
    "chroma_region",
    "guess_colour",
    "reduce_chroma",
    "resize_plane",
    "rgb_from_samples",
    "rgb_gain",
    "samples_from_rgb",
    "samples_gain",
    "upsample_chroma",
]

_PLANAR = re.compile(
    r"(?:(?P<yuv>yuvj?a?)(?P<sub>420|422|444|440|411|410)p|(?P<rgb>gbra?)p|(?P<grey>gray|ya))"
    r"(?P<depth>8|9|10|12|14|16)?(?:le)?"
)
_CHROMA_SHIFT_HW = {
    "420": (1, 1),
    "422": (0, 1),
    "444": (0, 0),
    "440": (1, 0),
    "411": (0, 2),
    "410": (2, 2),
}


@dataclass(frozen=True)
class PixelLayout:
    """Planes of one sample each, named as FFmpeg names the pixel format.

    Attributes:
        name: FFmpeg's name, as ``yuv420p10le`` or ``gbrap``.
        family: ``yuv`` (planes Y, Cb, Cr), ``rgb`` (planes R, G, B) or ``grey`` (one plane); alpha comes last.
        depth: bits per sample; above 8 the samples are uint16.
        chroma_shift_hw: log2 of how many times smaller the chroma planes are, vertically and horizontally.
        has_alpha: whether there is a plane of opacity.
    """

    name: str
    family: Literal["yuv", "rgb", "grey"]
    depth: int
    chroma_shift_hw: tuple[int, int] = (0, 0)
    has_alpha: bool = False

    @staticmethod
    def find(name: str) -> PixelLayout | None:
        """The layout of a pixel format, or None for one that is packed, big-endian, floating point or unknown."""
        match = _PLANAR.fullmatch(name)
        if match is None:
            return None
        kind = match["yuv"] or match["rgb"] or match["grey"]
        depth = int(match["depth"] or 8)
        if depth > 8 and not name.endswith("le"):
            return None
        family: Literal["yuv", "rgb", "grey"] = "yuv" if match["yuv"] else "rgb" if match["rgb"] else "grey"
        has_alpha = "a" in kind.removeprefix("gr").removeprefix("gb") if family != "grey" else kind == "ya"
        return PixelLayout(name, family, depth, _CHROMA_SHIFT_HW.get(match["sub"] or "", (0, 0)), has_alpha)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 up to 8 bits, else uint16."""
        return np.dtype(np.uint8 if self.depth <= 8 else np.uint16)

    @property
    def maximum(self) -> int:
        """The largest value that a sample can hold."""
        return (1 << self.depth) - 1

    @property
    def plane_count(self) -> int:
        """Number of planes, opacity included."""
        return (1 if self.family == "grey" else 3) + int(self.has_alpha)

    @property
    def planes_in_file(self) -> tuple[int, ...]:
        """For each of our planes, which one of FFmpeg's it is (which keeps RGB as G, B, R)."""
        order = (2, 0, 1, 3) if self.family == "rgb" else (0, 1, 2, 3)
        return order[: self.plane_count]

    def shift_hw(self, plane: int) -> tuple[int, int]:
        """log2 of how many times smaller a plane is than the picture."""
        return self.chroma_shift_hw if self.family == "yuv" and plane in (1, 2) else (0, 0)

    def plane_hw(self, plane: int, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a plane of a picture of ``size_hw``, rounded up as FFmpeg does."""
        shift = self.shift_hw(plane)
        return -(-size_hw[0] >> shift[0]), -(-size_hw[1] >> shift[1])


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned to be upright: first transposed if so, then mirrored.

    Attributes:
        transpose: rows and columns change places.
        flip_rows: then upside down.
        flip_columns: then left to right.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @staticmethod
    def from_matrix(matrix: tuple[int, ...]) -> Orientation:
        """From the nine integers of a display matrix; free angles are rounded to quarter turns."""
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        # The matrix maps stored (x, y) to shown (a x + c y, b x + d y), y pointing down.
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Orientation(True, flip_rows=b < 0, flip_columns=c < 0)
        return Orientation(False, flip_rows=d < 0, flip_columns=a < 0)

    def size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """A stored size as shown, or a shown size as stored."""
        return (size_hw[1], size_hw[0]) if self.transpose else size_hw

    def upright(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A view of a stored ``(H, W, ...)`` array as it is shown."""
        shown = stored.swapaxes(0, 1) if self.transpose else stored
        return self._flipped(shown)

    def stored(self, shown: NDArray[Any]) -> NDArray[Any]:
        """A view of a shown ``(H, W, ...)`` array as it is stored."""
        flipped = self._flipped(shown)
        return flipped.swapaxes(0, 1) if self.transpose else flipped

    def stored_region(self, region: Region, shown_hw: tuple[int, int]) -> Region:
        """Where a region of the shown picture lies in the stored one."""
        top, bottom, left, right = region.top, region.bottom, region.left, region.right
        if self.flip_rows:
            top, bottom = shown_hw[0] - bottom, shown_hw[0] - top
        if self.flip_columns:
            left, right = shown_hw[1] - right, shown_hw[1] - left
        return Region(top, left, bottom, right) if self.transpose else Region(left, top, right, bottom)

    def _flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


_LUMA_WEIGHTS = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
_MATRIX_OF_CODE = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_RANGE_FULL = 2
"""FFmpeg's code of the full range."""

_HDR_TRANSFERS = (16, 18)
"""ITU-T H.273's codes of PQ and HLG."""


@dataclass(frozen=True)
class Colour:
    """How samples are to be read.

    Attributes:
        matrix: ``bt601``, ``bt709``, ``bt2020``, ``smpte240m`` or ``fcc``; unused by RGB and grey.
        full_range: samples use all codes, not only those from black 16 to white 235 (at 8 bits).
        chroma_offset_xy: where the first chroma sample lies, in luma samples from the first luma sample's
            centre: (0, 0.5) beside the left column (MPEG-2 and later), (0.5, 0.5) between four (MPEG-1, JPEG).
    """

    matrix: str = "bt601"
    full_range: bool = True
    chroma_offset_xy: tuple[float, float] = (0.5, 0.5)


def guess_colour(
    layout: PixelLayout, size_hw: tuple[int, int], *, matrix: int, colour_range: int, transfer: int, codec: str
) -> Colour:
    """The colour that tags (H.273 code points) state or, where they are silent, what players assume.

    Args:
        layout: of the samples.
        size_hw: stored size in px; untagged pictures are BT.709 from 720 lines or 1280 columns on.
        matrix: code point of the matrix coefficients.
        colour_range: 0 unknown, 1 limited, 2 full.
        transfer: code point of the transfer characteristics; PQ and HLG mean chroma at the top left.
        codec: name of the codec; MPEG-1 and JPEG centre their chroma.
    """
    is_large = size_hw[0] >= 720 or size_hw[1] >= 1280
    name = _MATRIX_OF_CODE.get(matrix, "bt709" if is_large else "bt601")
    is_jpeg = layout.name.startswith("yuvj")
    untagged_full = layout.family in ("rgb", "grey") or is_jpeg
    full_range = untagged_full if colour_range == 0 else colour_range == _RANGE_FULL or is_jpeg
    shift_y, shift_x = layout.chroma_shift_hw
    x, y = (0.0, (2**shift_y - 1) / 2)
    if codec in ("mpeg1video", "mjpeg"):
        x = (2**shift_x - 1) / 2
    elif transfer in _HDR_TRANSFERS and layout.chroma_shift_hw == (1, 1):
        y = 0.0
    return Colour(name, full_range, (x, y))


@lru_cache(maxsize=64)
def rgb_from_samples(layout: PixelLayout, colour: Colour) -> NDArray[np.float64]:
    """``(3, 4)``: the affine map from (first, second, third, 1) samples to RGB in 0..255."""
    gain = rgb_gain(layout, colour)
    return np.hstack([gain, -(gain @ _zero_levels(layout, colour))[:, None]])


@lru_cache(maxsize=64)
def samples_from_rgb(layout: PixelLayout, colour: Colour) -> NDArray[np.float64]:
    """``(3, 4)``: the affine map from (R, G, B, 1) in 0..255 to samples."""
    return np.hstack([samples_gain(layout, colour), _zero_levels(layout, colour)[:, None]])


@lru_cache(maxsize=64)
def rgb_gain(layout: PixelLayout, colour: Colour) -> NDArray[np.float64]:
    """``(3, 3)``: the linear part of :func:`rgb_from_samples`; of grey only the first channel counts."""
    if layout.family == "grey":
        return np.outer(np.ones(3), [255.0 / _code_spread(layout.depth, colour.full_range)[0], 0.0, 0.0])
    return np.asarray(np.linalg.inv(samples_gain(layout, colour)), dtype=np.float64)


@lru_cache(maxsize=64)
def samples_gain(layout: PixelLayout, colour: Colour) -> NDArray[np.float64]:
    """``(3, 3)``: how differences of RGB, in steps of 1/255, change the samples; of grey only row one counts."""
    spread = np.array(_code_spread(layout.depth, colour.full_range)) / 255.0
    if layout.family == "rgb":
        return np.eye(3) * spread[0]
    red, blue = _LUMA_WEIGHTS["bt601" if layout.family == "grey" else colour.matrix]
    luma = np.array([red, 1.0 - red - blue, blue])
    rows = [luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))]
    return np.stack(rows) * spread[[0, 1, 1], None]


def _code_spread(depth: int, full_range: bool) -> tuple[float, float]:
    """Codes from black to white, and from the least to the greatest chroma."""
    if full_range:
        return float((1 << depth) - 1), float((1 << depth) - 1)
    scale = 2.0 ** (depth - 8)
    return 219.0 * scale, 224.0 * scale


def _zero_levels(layout: PixelLayout, colour: Colour) -> NDArray[np.float64]:
    black = 0.0 if colour.full_range else 16.0 * 2.0 ** (layout.depth - 8)
    neutral = black if layout.family != "yuv" else float(1 << (layout.depth - 1))
    return np.array([black, neutral, neutral])


def area_resized(samples: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Samples at another size: reduced by area averages, enlarged linearly where a side is longer.

    As long as it can, it halves, which OpenCV does eight times as fast as any other reduction; each time values are
    rounded.

    Args:
        samples: ``(H, W)`` or ``(H, W, C)``, uint8 or uint16.
        size_hw: wanted (px).
    """
    height, width = samples.shape[:2]
    rows, columns = size_hw
    samples = np.ascontiguousarray(samples)
    while height % 2 == 0 and width % 2 == 0 and height >= 2 * rows and width >= 2 * columns:
        height, width = height // 2, width // 2
        samples = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    if (height, width) == size_hw:
        return samples
    is_smaller = rows <= height and columns <= width
    return cv2.resize(samples, (columns, rows), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)


def chroma_region(region: Region, shift_hw: tuple[int, int], plane_hw: tuple[int, int]) -> Region:
    """The chroma samples whose cells a region of luma samples overlaps."""
    return Region(
        region.left >> shift_hw[1],
        region.top >> shift_hw[0],
        min(-(-region.right >> shift_hw[1]), plane_hw[1]),
        min(-(-region.bottom >> shift_hw[0]), plane_hw[0]),
    )


def upsample_chroma(
    plane: NDArray[Any], region: Region, shift_hw: tuple[int, int], offset_xy: tuple[float, float]
) -> NDArray[Any]:
    """The chroma at each luma position of a region, interpolated linearly; edges are repeated."""
    if shift_hw == (0, 0):
        return plane[region.slices]
    step_y, step_x = 0.5 ** shift_hw[0], 0.5 ** shift_hw[1]
    x, first_x, last_x = _span(region.left, region.right, step_x, offset_xy[0], plane.shape[1])
    y, first_y, last_y = _span(region.top, region.bottom, step_y, offset_xy[1], plane.shape[0])
    slab = plane[first_y:last_y, first_x:last_x]
    height, width = region.size_hw
    if max(shift_hw) == 1 and {*offset_xy} <= {0.0, 0.5}:
        return _doubled(slab, (y - first_y, x - first_x), region.size_hw, shift_hw, offset_xy[::-1])
    affine = np.array([[step_x, 0, x - first_x], [0, step_y, y - first_y]])
    return cv2.warpAffine(
        slab,
        affine,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _doubled(
    slab: NDArray[Any],
    begin_yx: tuple[float, float],
    size_hw: tuple[int, int],
    shift_hw: tuple[int, int],
    offset_yx: tuple[float, float],
) -> NDArray[Any]:
    """What the warp of :func:`upsample_chroma` gives, twice as fast: each sample repeated, then neighbours averaged."""
    height, width = (side << shift for side, shift in zip(slab.shape, shift_hw, strict=True))
    repeated = cv2.resize(slab, (width, height), interpolation=cv2.INTER_NEAREST)
    kernels, anchor, first = [], [], []
    for begin, shift, offset in zip(begin_yx, shift_hw, offset_yx, strict=True):
        # Between samples a quarter is the neighbour's; halfway after a sample, a half of the next.
        kernels.append([1.0] if not shift else [0.25, 0.5, 0.25] if offset else [0.5, 0.5])
        anchor.append(int(bool(shift and offset)))
        first.append(round(begin * 2**shift + (0.5 if shift and offset else 0)))
    kernel = np.outer(kernels[0], kernels[1]).astype(np.float32)
    mean = cv2.filter2D(repeated, -1, kernel, anchor=tuple(anchor[::-1]), borderType=cv2.BORDER_REPLICATE)
    return mean[first[0] : first[0] + size_hw[0], first[1] : first[1] + size_hw[1]]


def _span(start: int, stop: int, step: float, offset: float, length: int) -> tuple[float, int, int]:
    """Chroma coordinate of the first luma sample, and the first and last sample that interpolation reads."""
    offset = 0.0 if step == 1 else offset
    begin = (start - offset) * step
    end = (stop - 1 - offset) * step
    return begin, min(max(math.floor(begin), 0), length - 1), min(math.floor(end) + 2, length)


def reduce_chroma(
    values: NDArray[np.float32],
    origin: tuple[int, int],
    shift_hw: tuple[int, int],
    offset_xy: tuple[float, float],
    *,
    zero_outside: bool = False,
) -> NDArray[np.float32]:
    """Values at luma positions averaged onto the chroma samples of :func:`chroma_region`.

    Args:
        values: ``(h, w)`` float32.
        origin: (top, left) of the values in the picture.
        shift_hw: log2 of the reduction.
        offset_xy: where chroma lies; of 4:2:0, beside a column it weighs that twice and its neighbours once.
        zero_outside: beyond the values lie zeros; otherwise the nearest value repeats.
    """
    rows = _reduce_rows(values, origin[0], shift_hw[0], offset_xy[1], zero_outside)
    if shift_hw[1] == 0:
        return rows
    columns = _reduce_rows(cv2.transpose(rows), origin[1], shift_hw[1], offset_xy[0], zero_outside)
    return cv2.transpose(columns)


def _reduce_rows(
    values: NDArray[np.float32], origin: int, shift: int, offset: float, zero_outside: bool
) -> NDArray[np.float32]:
    if shift == 0:
        return values
    factor = 1 << shift
    before, after = origin % factor, -(origin + len(values)) % factor
    border = cv2.BORDER_CONSTANT if zero_outside else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(values, before, after, 0, 0, border) if before or after else values
    cells = padded.reshape(len(padded) // factor, factor, -1)
    if offset:
        return cells.mean(axis=1)
    # Chroma lies on the first row of its cell: half of what it averages belongs to the cell before.
    half = factor // 2
    own = cells[:, :half].sum(axis=1) + 0.5 * cells[:, half]
    after_middle = 0.5 * cells[:, half] + cells[:, half + 1 :].sum(axis=1)
    outside = np.zeros_like(own[:1]) if zero_outside else (half - 0.5) * cells[:1, 0]
    return (own + np.concatenate([outside, after_middle[:-1]])) / factor


def resize_plane(
    plane: NDArray[Any], size_hw: tuple[int, int], maximum: int, shift_xy: tuple[float, float] = (0.0, 0.0)
) -> NDArray[Any]:
    """A plane at another size.

    Args:
        plane: ``(H, W)`` uint8 or uint16.
        size_hw: the size wanted, in samples.
        maximum: the largest value a sample may have.
        shift_xy: how far to the right and down of its place each sample is to be read, in samples of ``plane``.
    """
    height, width = plane.shape
    if (height, width) == size_hw:
        return plane
    if size_hw[0] >= height and size_hw[1] >= width and shift_xy == (0.0, 0.0):
        return _enlarged(plane, size_hw, maximum)
    left, right = _margins(shift_xy[0])
    top, bottom = _margins(shift_xy[1])
    padded = np.pad(plane, ((top, bottom), (left, right)), mode="edge") if left + right + top + bottom else plane
    x, y = left + shift_xy[0], top + shift_xy[1]
    box = (x, y, x + width, y + height)
    source = np.ascontiguousarray(padded if maximum <= 255 else padded.astype(np.float32))
    image = Image.fromarray(source).resize((size_hw[1], size_hw[0]), Image.Resampling.LANCZOS, box=box)
    values = np.asarray(image)
    if maximum <= 255:
        return np.minimum(values, maximum).astype(np.uint8) if maximum < 255 else values
    return np.clip(np.rint(values), 0, maximum).astype(np.uint16)


def _enlarged(plane: NDArray[Any], size_hw: tuple[int, int], maximum: int) -> NDArray[Any]:
    # OpenCV is about twice as fast here as Pillow, and faster in 16 bits than in 8; it has no averaging, though.
    wide = cv2.resize(plane.astype(np.uint16), size_hw[::-1], interpolation=cv2.INTER_LANCZOS4)
    return np.minimum(wide, maximum, out=wide).astype(plane.dtype)


def _margins(shift: float) -> tuple[int, int]:
    """Rows to repeat before and after a plane so that a shifted box lies inside it."""
    beyond = math.ceil(abs(shift))
    return (beyond, 0) if shift < 0 else (0, beyond)
