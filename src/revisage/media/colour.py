"""What sample values mean as colour: matrices, ranges and chroma positions.

ITU-T H.273 names the code points. Values stay in the coded (non-linear) domain: PQ and HLG pictures are not
tone-mapped, so that a difference of RGB can be added back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from revisage.media.layout import PixelLayout

__all__ = ["Colour", "guess_colour", "rgb_from_samples", "rgb_gain", "samples_from_rgb", "samples_gain"]

_LUMA_WEIGHTS = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
_MATRIX_OF_CODE = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_RANGE_FULL = 2
_HDR_TRANSFERS = (16, 18)


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
