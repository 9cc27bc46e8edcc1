"""Times as people write and read them. Inside they are integer pts in a Fraction time base."""

from __future__ import annotations

import re
from fractions import Fraction

from revisage.core.errors import ConfigError

__all__ = ["format_seconds", "parse_time"]

_FRACTION = re.compile(r"\d+/[1-9]\d*")
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")


def parse_time(text: str) -> Fraction:
    """Seconds from ``12``, ``12.5``, ``1:02.5``, ``1:00:02.5``, subtitles' ``1:00:02,500`` or the exact ``125/2``.

    Raises:
        ConfigError: the text is none of these.
    """
    if _FRACTION.fullmatch(text.strip()):
        return Fraction(text)
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"not a time: '{text}'; write seconds (12.5) or a clock time (1:02.5)")
    hours, minutes, secs = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(secs.replace(",", "."))


def format_seconds(value: float | Fraction) -> str:
    """A time for people: ``1:02:05``, ``2:05`` or ``0:05.2`` (tenths below a minute)."""
    total = float(value)
    if total < 60:
        return f"0:{total:04.1f}"
    whole = round(total)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
