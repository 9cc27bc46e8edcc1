"""Work that frames do not wait for: one piece at a time, in a thread of its own or at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Outcome", "SideThread", "SideWork", "SideWorkAtOnce"]

_POLL = 0.2
"""Seconds between looks at whether the program still runs."""


@dataclass(frozen=True)
class Outcome:
    """What came of a piece of work.

    Attributes:
        then: takes the result.
        result: None where it failed.
        error: why.
    """

    then: Callable[[Any], None]
    result: Any
    error: Exception | None = None


class SideWork(Protocol):
    """Does one piece of work at a time."""

    @property
    def is_free(self) -> bool:
        """Whether it takes another piece."""

    def start(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Begin a piece; the caller hands its result to ``then`` when :meth:`finished` gives it."""

    def finished(self) -> Outcome | None:
        """What has come of the piece, once; None while it goes on."""

    def close(self) -> None:
        """No more work comes."""


def _outcome(work: Callable[[], Any], then: Callable[[Any], None]) -> Outcome:
    try:
        return Outcome(then, work())
    except Exception as error:
        return Outcome(then, None, error)


class SideWorkAtOnce:
    """Does each piece when it is begun: nothing then depends on how long it takes."""

    def __init__(self) -> None:
        self._done: Outcome | None = None

    @property
    def is_free(self) -> bool:
        """See :class:`SideWork`."""
        return self._done is None

    def start(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """See :class:`SideWork`."""
        self._done = _outcome(work, then)

    def finished(self) -> Outcome | None:
        """See :class:`SideWork`."""
        done, self._done = self._done, None
        return done

    def close(self) -> None:
        """See :class:`SideWork`."""


class SideThread:
    """Does each piece in one thread. It ends by itself when the program does, after the piece at work: a thread that
    is broken off in the middle of a network takes the whole process down."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy = False
        self._thread: threading.Thread | None = None

    @property
    def is_free(self) -> bool:
        """See :class:`SideWork`."""
        return not self._busy

    def start(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """See :class:`SideWork`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="revisage-side")
            self._thread.start()
        self._busy = True
        self._todo.put((work, then))

    def finished(self) -> Outcome | None:
        """See :class:`SideWork`."""
        try:
            done = self._done.get_nowait()
        except queue.Empty:
            return None
        self._busy = False
        return done

    def close(self) -> None:
        """See :class:`SideWork`."""
        self._todo.put(None)

    def _run(self) -> None:
        while threading.main_thread().is_alive():
            try:
                piece = self._todo.get(timeout=_POLL)
            except queue.Empty:
                continue
            if piece is None:
                return
            self._done.put(_outcome(*piece))
