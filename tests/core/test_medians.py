"""The median."""

from __future__ import annotations

import numpy as np
import pytest

from revisage.core import median


@pytest.mark.parametrize("count", [1, 2, 5, 128, 1001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_it_is_numpys_to_the_bit(count: int, dtype: type) -> None:
    values = (np.random.default_rng(count).normal(100, 20, (count, 3))).astype(dtype)
    for given in (values, values[:, 0], values[:, :2], list(values[:, 1])):
        assert median(given) == float(np.median(given))
