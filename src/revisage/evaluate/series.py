"""Collects the values of one measure over the frames of one side into a score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from revisage.evaluate.record import Score
from revisage.measures import Measure

__all__ = ["Series"]


class Series:
    """Values of one measure, frame by frame.

    Args:
        info: which measure.
    """

    def __init__(self, info: Measure) -> None:
        self._info = info
        self._values: dict[int, float] = {}
        self._identical = 0
        self._note: str | None = None

    def add(self, place: int, values: list[float]) -> None:
        """Take a frame's values (of several faces, say); their mean counts. Infinite ones mean identical.

        NaN is no value: it is left out, and told of where nothing else is there.
        """
        finite = [value for value in values if math.isfinite(value)]
        if any(math.isnan(value) for value in values):
            self._note = f"{self._info.title} gave no number"
        if finite:
            self._values[place] = _mean(finite)
        elif any(value == math.inf for value in values):
            self._identical += 1

    def explain(self, note: str) -> None:
        """Say why a frame has no value; shown where none has one."""
        self._note = note

    def score(self, count: int, default: str) -> Score:
        """The score over ``count`` frames; ``default`` explains it where nothing was tried."""
        if not self._values:
            note = "identical" if self._identical else self._note or default
            return Score(note=note, identical=self._identical, series=[])
        values = list(self._values.values())
        place, worst = self._worst()
        return Score(
            value=_mean(values),
            frames=len(values),
            identical=self._identical,
            worst=worst,
            worst_frame=place,
            series=[self._values.get(index) for index in range(count)],
        )

    def _worst(self) -> tuple[int, float]:
        """The worst frame and its value; where near the reference is best, the one farthest from the mean."""
        mean = _mean(list(self._values.values()))
        badness = {
            "higher": lambda value: -value,
            "lower": lambda value: value,
            "reference": lambda value: abs(value - mean),
        }[self._info.better]
        return max(self._values.items(), key=lambda item: badness(item[1]))


def _mean(values: Sequence[float]) -> float:
    """The mean, divided before it is summed: the sum of values that are large numbers might be none."""
    return sum(value / len(values) for value in values)
