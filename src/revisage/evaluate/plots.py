"""Curves over time as inline SVG that follows the page's light or dark colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["MARKS", "curves"]

Series = Sequence[float | None]

MARKS = ("solid", "7 3", "10 3 2 3", "4 2", "14 4", "2 2 6 2")
"""Dashes, so that curves can be told apart without their colours."""

_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 34


def curves(title: str, seconds: Sequence[float], series: Mapping[str, Series], styles: Mapping[str, int]) -> str:
    """An SVG figure of values over time, with axes; gaps where there is no value.

    Args:
        title: what is shown, for those who cannot see it.
        seconds: time of each value, rising.
        series: values by name, each as long as ``seconds``.
        styles: number of each name's colour (the page's ``--curve-N``) and dash.

    Raises:
        ValueError: a series has another length, or none has a value.
    """
    if any(len(values) != len(seconds) for values in series.values()):
        raise ValueError("each series needs one value per time")
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        raise ValueError("there is no value to draw")
    frame = _Frame.around(seconds, known)
    parts = [frame.grid()]
    parts += [frame.curve(name, seconds, values, styles[name]) for name, values in series.items()]
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


class _Frame:
    """The rectangle of a plot, and the ranges that it shows."""

    def __init__(self, times: tuple[float, float], ticks: list[float], digits: int) -> None:
        self._times, self._ticks, self._digits = times, ticks, digits

    @classmethod
    def around(cls, seconds: Sequence[float], values: Sequence[float]) -> _Frame:
        """The frame that holds all values between round numbers."""
        low, high = min(values), max(values)
        step = _round_step((high - low) / 4 or abs(high) / 4 or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        last = max(last, first + 1)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        end = seconds[-1] if seconds[-1] > seconds[0] else seconds[0] + 1
        return cls((seconds[0], end), [number * step for number in range(first, last + 1)], digits)

    def _x(self, time: float) -> float:
        start, end = self._times
        return _LEFT + (time - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._ticks[0], self._ticks[-1]
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> str:
        """Lines and numbers of both axes."""
        parts = []
        for tick in self._ticks:
            y = self._y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{self._digits}f}</text>')
        start, end = self._times
        step = _round_step((end - start) / 5)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9) + 1):
            x = self._x(number * step)
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{number * step:.{digits}f}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 2}" text-anchor="middle">seconds</text>')
        return "".join(parts)

    def curve(self, name: str, seconds: Sequence[float], values: Series, style: int) -> str:
        """One series as a line broken at gaps; values that stand alone are dots."""
        points = [(self._x(time), None if v is None else self._y(v)) for time, v in zip(seconds, values, strict=True)]
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append((x, y))
        sparse = sum(len(run) == 1 for run in runs) > len(runs) / 4
        if sparse:
            runs = [[point for run in runs for point in run]]
        parts = [_stroke(run, sparse) for run in runs if run]
        dash = MARKS[style % len(MARKS)]
        dashes = "" if dash == "solid" else f' stroke-dasharray="{dash}"'
        colour = f"--own: var(--curve-{style % 6})"
        return f'<g class="curve" style="{colour}"{dashes}><title>{escape(name)}</title>{"".join(parts)}</g>'


def _stroke(run: Sequence[tuple[float, float]], dotted: bool) -> str:
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in run) if dotted or len(run) == 1 else ""
    if len(run) == 1:
        return dots
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in run)}"/>{dots}'


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
