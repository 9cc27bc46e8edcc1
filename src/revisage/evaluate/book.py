"""The values of all measures of one evaluation, side by side, as they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from revisage.core import MissingExtraError
from revisage.evaluate.record import Score
from revisage.evaluate.series import Series
from revisage.measures import MEASURES, Measure

__all__ = ["Book"]


class Book:
    """One :class:`Series` for each side, area and measure."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], Series] = {}

    def series(self, side: str, area: str, measure: str) -> Series:
        """The series of a measure, begun when first asked for."""
        return self._series.setdefault((side, area, measure), Series(MEASURES[measure]))

    def attempt(self, side: str, area: str, measure: str, place: int, calls: Iterable[Callable[[], float]]) -> None:
        """Take a frame's values from calls; one that is not defined for its pictures explains why there is none."""
        series = self.series(side, area, measure)
        answers = [_answer(call) for call in calls]
        for answer in answers:
            if isinstance(answer, str):
                series.explain(answer)
        series.add(place, [answer for answer in answers if not isinstance(answer, str)])

    def scores(self, side: str, area: str, count: int, why_not: Callable[[Measure], str]) -> dict[str, Score]:
        """The scores of a side that make sense for it, over ``count`` frames; ``why_not`` explains absent values."""
        return {
            name: self.series(side, area, name).score(count, why_not(info))
            for name, info in MEASURES.items()
            if not (side == "reference" and info.against_reference)
            and not (area == "whole" and info.subject in ("face", "track"))
        }


def _answer(call: Callable[[], float]) -> float | str:
    """A call's value, or why it has none."""
    try:
        return call()
    except (ValueError, MissingExtraError) as error:
        return str(error)
