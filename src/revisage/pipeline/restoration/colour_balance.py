"""Faded and tinted footage: from the darkest and lightest values of a shot to the levels that bring them back.

Dyes that fade and light that is not white change each channel by a gain and an offset; so do the levels that undo it.
The darkest values of a shot are taken for black, the lightest for a neutral white. That is wrong for a shot of a red
wall, so the gains are bounded, and nothing of this is done unless it is asked for. One pair of levels serves a whole
shot: they follow from its scan, nothing flickers, and every split into segments gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from revisage.core import Image, Levels

__all__ = ["ColourSpread", "colour_levels"]

_SHARE = 0.001
"""Of the pixels of a shot so many are darker than its black, and lighter than its white."""

_FRAME = 4
"""Pixels without a channel above this are a black border, or as black as can be: neither says that black has faded."""

_BLACK, _WHITE = 12.0, 250.0
"""Levels that a shot's darkest values are brought down to, and its lightest up to."""

_MOST_CONTRAST, _MOST_TINT = 1.5, 1.5
"""Gains at most, of all channels and of one against the others."""

_NOTHING = 1.0
"""Changes by less than this everywhere (levels) are none."""


class ColourSpread:
    """Counts the values of a shot's frames.

    Attributes:
        counts: ``(3, 256) int64``, of R, G and B; those of parts of a shot add up.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((3, 256), np.int64)

    def add(self, picture: Image) -> None:
        """Take a frame, reduced by area so that noise and spots do not count."""
        channels = np.moveaxis(picture, -1, 0)
        border = np.maximum(np.maximum(channels[0], channels[1]), channels[2]) <= _FRAME
        for counts, values in zip(self.counts, channels, strict=True):
            counts += np.bincount(values.ravel(), minlength=256) - np.bincount(values[border], minlength=256)

    def ends(self) -> tuple[int, ...]:
        """Darkest R, G and B, then the lightest ones (0 to 255)."""
        if not self.counts.any():
            return (0, 0, 0, 255, 255, 255)
        shares = np.cumsum(self.counts, axis=1) / self.counts.sum(axis=1, keepdims=True)
        return (*self._at(shares, _SHARE), *self._at(shares, 1 - _SHARE))

    @staticmethod
    def _at(shares: NDArray[np.float64], share: float) -> list[int]:
        return [int(np.searchsorted(channel, share)) for channel in shares]


def colour_levels(ends: Sequence[int]) -> Levels | None:
    """The levels that bring a shot's darkest and lightest values back; None where they are where they belong.

    Args:
        ends: see :meth:`ColourSpread.ends`.
    """
    darkest, lightest = np.array(ends, np.float64).reshape(2, 3)
    off = np.maximum(darkest - _BLACK, 0)
    top = np.maximum(lightest - off, 1)
    tint = np.minimum(top.max() / top, _MOST_TINT)
    gain = tint * np.clip(_WHITE / (top * tint).max(), 1, _MOST_CONTRAST)
    offset = -off * gain
    if max(np.abs(offset).max(), np.abs(255 * gain + offset - 255).max()) < _NOTHING:
        return None
    return Levels(tuple(np.round(gain, 4).tolist()), tuple(np.round(offset, 2).tolist()))
