"""What there is time for, on a clock that is counted, not waited for."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.streams import Latencies, Pace

LATENCY = 0.12


class Machine:
    """Frames at a steady rate through a pace, with a restorer beside them that slows everything down while it runs.

    Args:
        cost: seconds that a frame with one face takes while nothing runs beside it.
        slowed: how many times as long it takes beside the restorer.
        restoration: seconds that the restorer takes.
    """

    def __init__(self, cost: float, slowed: float = 1.0, restoration: float = 0.08, rate: float = 30.0) -> None:
        self.pace = Pace(LATENCY)
        self.cost, self.slowed, self.restoration, self.interval = cost, slowed, restoration, 1 / rate
        self.latencies: list[float] = []
        self.shown_at: list[float] = []
        self.dropped = self.restored = 0
        self._until = -1.0

    def run(self, seconds: float, jitter: float = 0.0) -> None:
        chance = random.Random(1)
        now = taken = 0.0
        for number in itertools.count():
            captured = number * self.interval
            if captured > seconds:
                return
            if captured + self.interval <= now:
                self.dropped += 1  # a newer one takes its place before anybody looks
                continue
            now = max(now, captured)
            if not self.pace.admits(captured, now):
                self.dropped += 1
                self.pace.note_dropped()
                continue
            began = now
            busy = now < self._until
            taken = self.cost * (self.slowed if busy else 1.0) * (1 + jitter * chance.random())
            now += taken
            if self._until >= 0 and now >= self._until:
                self.pace.note_restored(self._until)
                self._until = -1.0
                self.restored += 1
            if self._until < 0 and self.pace.may_restore(now):
                self._until = now + self.restoration
            self.pace.note_frame(captured, began, now, faces=1, on_faces=taken)
            self.latencies.append(now - captured)
            self.shown_at.append(now)

    @property
    def rate(self) -> float:
        return (len(self.shown_at) - 1) / (self.shown_at[-1] - self.shown_at[0])


def test_with_time_to_spare_the_restorer_never_rests() -> None:
    machine = Machine(cost=0.012)
    machine.run(20)
    assert machine.dropped == 0
    assert machine.rate == pytest.approx(30, abs=0.2)
    assert max(machine.latencies) < 0.03
    assert machine.restored > 20 / (0.08 + 2 * machine.interval)


def test_restoring_gives_way_where_it_makes_frames_late() -> None:
    """Beside the restorer frames would come at 17 a second: it runs less, and 24 are kept."""
    machine = Machine(cost=0.025, slowed=2.4)
    machine.run(60)
    assert machine.rate >= 24
    assert max(machine.latencies) <= LATENCY
    assert 0 < machine.restored < 60 / 0.08 / 2


def test_frames_that_take_too_long_are_dropped_not_queued() -> None:
    """A machine too slow for 30 frames a second shows fewer, each in time."""
    machine = Machine(cost=0.07)
    machine.run(30)
    assert machine.dropped > 0
    assert max(machine.latencies) <= LATENCY
    assert machine.rate > 0.9 / 0.07


def test_a_frame_that_could_not_be_in_time_is_not_begun_and_one_slow_moment_ends_nothing() -> None:
    pace = Pace(LATENCY)
    pace.note_frame(0.0, 0.0, 5.0, faces=1, on_faces=5.0)  # a network was loaded
    assert not pace.admits(6.0, 6.0)
    for _ in range(40):
        pace.note_dropped()
    assert pace.admits(6.0, 6.0)
    assert not pace.admits(6.0, 6.2)


@given(cost=st.floats(0.001, 0.3), slowed=st.floats(1, 4), jitter=st.floats(0, 0.3))
def test_whatever_it_costs_no_frame_is_later_than_the_learned_cost_is_wrong(
    cost: float, slowed: float, jitter: float
) -> None:
    machine = Machine(cost=cost, slowed=slowed)
    machine.run(5, jitter)
    worst = cost * slowed * (1 + jitter)
    assert all(latency <= LATENCY + worst for latency in machine.latencies)


def test_faces_are_limited_to_what_fits_between_two_frames() -> None:
    pace = Pace(LATENCY)
    assert pace.affordable_faces() == 1
    for number in range(60):
        pace.note_frame(number / 30, number / 30, number / 30 + 0.02, faces=2, on_faces=0.02)
    assert pace.affordable_faces() == 2
    for number in range(60, 120):
        pace.note_frame(number / 30, number / 30, number / 30 + 0.08, faces=2, on_faces=0.08)
    assert pace.affordable_faces() == 1


def test_searches_are_rarer_once_faces_are_followed() -> None:
    pace = Pace(LATENCY)
    assert pace.may_search(0.0, settled=False)
    pace.note_search(0.0)
    assert not pace.may_search(0.05, settled=False)
    assert pace.may_search(0.2, settled=False)
    assert not pace.may_search(0.2, settled=True)
    assert pace.may_search(0.6, settled=True)


@given(st.lists(st.floats(0, 9), min_size=1, max_size=60), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_those_of_the_sorted_list(seconds: list[float], percent: int) -> None:
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    ordered = sorted(round(value * 1000) for value in seconds)
    rank = -(-len(ordered) * percent // 100)
    assert latencies.percentile(percent) == ordered[max(0, rank - 1)] / 1000


def test_a_day_of_latencies_takes_no_more_memory_than_a_second() -> None:
    latencies = Latencies(longest=0.5)
    size = len(latencies._counts)
    for number in range(10_000):
        latencies.add(number / 1000)
    assert (len(latencies._counts), latencies.count) == (size, 10_000)
    assert latencies.percentile(100) == 0.5
    assert Latencies().percentile(50) is None
