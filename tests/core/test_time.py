"""Times as people write and read them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.core import ConfigError, format_seconds
from revisage.core.progress import parse_time


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59999))
def test_clock_times_are_read_exactly(hours: int, minutes: int, milliseconds: int) -> None:
    text = f"{hours}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    assert parse_time(text) == hours * 3600 + minutes * 60 + Fraction(milliseconds, 1000)


def test_subtitles_write_a_comma_before_the_milliseconds() -> None:
    assert parse_time("1:02:03,250") == 3723 + Fraction(1, 4)
    assert parse_time("00:00:01,5") == Fraction(3, 2)


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "5s", "1.", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a time"):
        parse_time(text)


def test_times_for_people() -> None:
    assert [format_seconds(v) for v in (5.2, 59.94, 65, 3725)] == ["0:05.2", "0:59.9", "1:05", "1:02:05"]
