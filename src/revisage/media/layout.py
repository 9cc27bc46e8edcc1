"""How the samples of a picture lie in memory, and how the picture is turned before it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from revisage.core import Region

__all__ = ["Orientation", "PixelLayout"]

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

    @staticmethod
    def from_rotation(degrees: int) -> Orientation:
        """From FFmpeg's angle: degrees anticlockwise, rounded to quarter turns."""
        quarter = round(degrees / 90) % 4
        return (
            Orientation(),
            Orientation(True, flip_rows=True),
            Orientation(False, True, True),
            Orientation(True, flip_columns=True),
        )[quarter]

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
