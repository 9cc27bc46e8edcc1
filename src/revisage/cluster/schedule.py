"""Which worker does what next: lost work again, then what is new, at the end a second copy of what hangs.

Nothing here knows of machines or clocks, so that what a cluster does can be simulated with the same code.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["ATTEMPTS", "Schedule", "Ticket"]

ATTEMPTS = 3
"""Workers that a task may lose before it is given up: one that is too large for any machine kills each of them."""

_SLOW = 1.5
"""Times the usual after which a task that still runs is given to an idle worker too."""

_ENOUGH, _KNOWN = 3, 256
"""Finished tasks that tell what is usual: so many at least, the last so many."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Ticket(Generic[T]):
    """One attempt at a task.

    Attributes:
        key: of the task, counted from 0 as they were taken.
        task: what to do.
        started: when (s).
    """

    key: int
    task: T
    started: float


class Schedule(Generic[T]):
    """Hands tasks out to workers that ask, and hears what became of them.

    Args:
        tasks: taken one by one, when a worker is free: a long plan is never held as a whole.
        size: how much work a task is, in any unit; the time for it is expected to be in proportion.
    """

    def __init__(self, tasks: Iterator[T], size: Callable[[T], float] = lambda _: 1.0) -> None:
        self._tasks = tasks
        self._size = size
        self._again: deque[tuple[int, T]] = deque()
        self._running: dict[int, list[Ticket[T]]] = {}
        self._lost: dict[int, int] = {}
        self._paces: dict[type, deque[float]] = {}
        self._taken = 0
        self._exhausted = False

    @property
    def is_done(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._exhausted and not self._running and not self._again

    def add(self, task: T) -> None:
        """A further task, to be begun before those that were not begun yet."""
        self._again.append((self._taken, task))
        self._taken += 1

    def take(self, now: float) -> Ticket[T] | None:
        """What a free worker is to do next; None when there is nothing for it at the moment."""
        if self._again:
            return self._begin(*self._again.popleft(), now)
        if not self._exhausted:
            for task in self._tasks:
                self._taken += 1
                return self._begin(self._taken - 1, task, now)
            self._exhausted = True
        slow = self._slowest(now)
        return None if slow is None else self._begin(slow.key, slow.task, now)

    def _begin(self, key: int, task: T, now: float) -> Ticket[T]:
        ticket = Ticket(key, task, now)
        self._running.setdefault(key, []).append(ticket)
        return ticket

    def _slowest(self, now: float) -> Ticket[T] | None:
        """The task that takes much longer than the others did, and that only one worker is at."""
        usual = {kind: statistics.median(paces) for kind, paces in self._paces.items() if len(paces) >= _ENOUGH}
        late = {
            tickets[0]: (now - tickets[0].started) / (usual[type(tickets[0].task)] * self._size(tickets[0].task))
            for tickets in self._running.values()
            if len(tickets) == 1 and type(tickets[0].task) in usual
        }
        return max((ticket for ticket, times in late.items() if times > _SLOW), key=late.__getitem__, default=None)

    def finish(self, ticket: Ticket[T], now: float, *, as_usual: bool = True) -> list[Ticket[T]] | None:
        """Hear that an attempt came to its end.

        Args:
            ticket: the attempt.
            now: the time (s).
            as_usual: whether its time tells how long tasks of its type take.

        Returns:
            The other attempts at the task, which are of no use any more; None when the task had ended before.
        """
        tickets = self._running.pop(ticket.key, None)
        if tickets is None:
            return None
        if as_usual:
            paces = self._paces.setdefault(type(ticket.task), deque(maxlen=_KNOWN))
            paces.append(max(1e-9, (now - ticket.started) / self._size(ticket.task)))
        return [other for other in tickets if other is not ticket]

    def redo(self, ticket: Ticket[T]) -> None:
        """Hear that what a finished attempt had made was lost before it was fetched."""
        self._again.append((ticket.key, ticket.task))

    def lose(self, ticket: Ticket[T]) -> bool:
        """Hear that the worker of an attempt is gone.

        Returns:
            False when the task has lost so many workers that it is given up.
        """
        tickets = self._running.get(ticket.key, [])
        if ticket not in tickets:
            return True
        tickets.remove(ticket)
        self._lost[ticket.key] = self._lost.get(ticket.key, 0) + 1
        if tickets:
            return True
        del self._running[ticket.key]
        if self._lost[ticket.key] >= ATTEMPTS:
            return False
        self._again.append((ticket.key, ticket.task))
        return True
