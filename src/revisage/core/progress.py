"""How far the work is: one value, handed to one callable; what stops it; and times as people write and read them.

Inside times are integer pts in a Fraction time base. No numpy here: the command line needs all of this to start.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from revisage.core.errors import CancelledError, ConfigError

__all__ = ["CancelToken", "Progress", "ProgressCallback", "format_seconds", "parse_time"]

_FRACTION = re.compile(r"\d+/[1-9]\d*")
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        stage: ``scan``, ``people``, ``restore`` or ``finish``.
        done: frames finished in this stage.
        total: frames in this stage; None while unknown.
        faces: faces met so far in this stage.
        file: name of the file at work.
    """

    stage: str
    done: int
    total: int | None
    faces: int = 0
    file: str = ""


ProgressCallback = Callable[[Progress], None]


class CancelToken:
    """A flag that any thread may set; the work looks at it between frames."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at the next frame."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise CancelledError when a stop was asked for."""
        if self._event.is_set():
            raise CancelledError("stopped; nothing partial was left behind")


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
