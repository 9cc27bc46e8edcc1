"""The median, without what numpy's brings along."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["median"]


def median(values: ArrayLike) -> float:
    """The median of at least one number, none of them NaN; in the middle of two it is their mean, in their precision.

    The same number as numpy's own, which at its first call loads masked arrays, 0.02 s of the start of a command.
    """
    flat = np.asarray(values).ravel()
    high = flat.size // 2
    if flat.size % 2:
        return float(np.partition(flat, high)[high])
    return float(np.partition(flat, (high - 1, high))[high - 1 : high + 1].mean())
