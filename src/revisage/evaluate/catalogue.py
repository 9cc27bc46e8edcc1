"""The measures by name: what they are called, their unit, and which way is better.

Definitions and papers stand with the functions, and in docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["MEASURES", "MeasureInfo"]

Better = Literal["higher", "lower", "reference"]


@dataclass(frozen=True)
class MeasureInfo:
    """What there is to say about a measure besides its value.

    Attributes:
        name: key in the records.
        title: for people.
        unit: of the value; empty for a bare number.
        better: ``higher``, ``lower``, or ``reference`` where the reference's own value is the one to come near.
        digits: decimals worth showing.
        compares: whether each value is against the reference; else the reference has a value of its own.
        temporal: whether it looks at two frames in a row; a value then belongs to the later one.
        faces_only: whether it is measured inside faces alone.
        heavy: whether it is taken on a sample of the frames, because it costs much more than the others.
    """

    name: str
    title: str
    unit: str
    better: Better
    digits: int
    compares: bool = True
    temporal: bool = False
    faces_only: bool = False
    heavy: bool = False


_ALL = (
    MeasureInfo("psnr", "PSNR", "dB", "higher", 2),
    MeasureInfo("ssim", "SSIM", "", "higher", 4),
    MeasureInfo("ms_ssim", "MS-SSIM", "", "higher", 4, heavy=True),
    MeasureInfo("lpips", "LPIPS", "", "lower", 4, heavy=True),
    MeasureInfo("vggd", "VGGD", "", "lower", 4, heavy=True),
    MeasureInfo("gmsd", "GMSD", "", "lower", 4),
    MeasureInfo("niqe", "NIQE", "", "lower", 2, compares=False, heavy=True),
    MeasureInfo("brisque", "BRISQUE", "", "lower", 1, compares=False, heavy=True),
    MeasureInfo("sharpness", "sharpness", "", "reference", 1, compares=False),
    MeasureInfo("colour_shift", "colour shift", "ΔE", "lower", 2),
    MeasureInfo("ids", "identity (IDS)", "", "higher", 3, faces_only=True),
    MeasureInfo("ids_spread", "identity spread", "", "lower", 4, faces_only=True),
    MeasureInfo("vidd", "identity jitter (VIDD)", "", "reference", 4, compares=False, temporal=True, faces_only=True),
    MeasureInfo("lmd", "landmarks (LMD)", "px", "lower", 2, faces_only=True),
    MeasureInfo("tmse", "T-MSE", "", "lower", 2, temporal=True),
    MeasureInfo("warping_error", "warping error", "×10⁻³", "reference", 3, compares=False, temporal=True),
    MeasureInfo("flicker", "flicker", "1/255", "reference", 3, compares=False, temporal=True),
)

MEASURES: Mapping[str, MeasureInfo] = MappingProxyType({info.name: info for info in _ALL})
"""All measures, in the order in which they are shown."""
