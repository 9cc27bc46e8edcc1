"""Exact time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.core.errors import ConfigError
from revisage.core.time import format_seconds, parse_time, rescale, seconds

bases = st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1001, 30000), Fraction(1, 12800)])


@given(st.integers(-(10**12), 10**12), bases, bases)
def test_rescale_is_the_nearest(pts: int, source: Fraction, target: Fraction) -> None:
    there = rescale(pts, source, target)
    assert abs(seconds(there, target) - seconds(pts, source)) <= target / 2


@given(st.integers(-(10**9), 10**9), bases)
def test_rescale_to_the_same_base_is_exact(pts: int, base: Fraction) -> None:
    assert rescale(pts, base, base) == pts


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59999))
def test_clock_times_are_read_exactly(hours: int, minutes: int, milliseconds: int) -> None:
    text = f"{hours}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    assert parse_time(text) == hours * 3600 + minutes * 60 + Fraction(milliseconds, 1000)


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "5s", "1.", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a time"):
        parse_time(text)


def test_times_for_people() -> None:
    assert [format_seconds(v) for v in (5.2, 59.94, 65, 3725)] == ["0:05.2", "0:59.9", "1:05", "1:02:05"]
