"""Generators that run in threads of their own, a bounded number of items ahead, and cannot hang or hide an error."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar, cast

from revisage.core import CancelToken

__all__ = ["Stages"]

T = TypeVar("T")

_POLL = 0.05
"""Seconds between looks at the stop flags while a queue is full or empty."""

_PATIENCE = 5.0
"""Seconds that threads get to close their files at the end, and a tenth of it when the user wants to stop."""

_END = object()


class Stages:
    """A chain of threads that live as long as a ``with`` block.

    Leaving the block, by success or error, stops and joins them. They are daemons: a network in the middle of a batch
    cannot be interrupted, and delays nobody who cancels.
    """

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        hurry = self._cancel.cancelled or isinstance(error, KeyboardInterrupt)
        deadline = time.monotonic() + (_PATIENCE / 10 if hurry else _PATIENCE)
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def ahead(self, items: Callable[[], Iterable[T]], *, depth: int, name: str) -> Iterator[T]:
        """Yield what ``items()`` yields, produced by a thread at most ``depth`` items ahead.

        ``items`` is called, iterated and closed in that thread. What it raises is raised here, with its traceback,
        after the items before it.

        Raises:
            CancelledError: a stop was asked for.
        """
        channel: queue.Queue[object] = queue.Queue(maxsize=depth)
        failure: list[BaseException] = []
        thread = threading.Thread(
            target=self._produce, args=(items, channel, failure), name=f"revisage-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return self._consume(channel, failure)

    def _produce(
        self, items: Callable[[], Iterable[Any]], channel: queue.Queue[object], failure: list[BaseException]
    ) -> None:
        source: Any = None
        try:
            source = iter(items())
            for item in source:
                if not self._put(channel, item):
                    break
        except BaseException as error:
            failure.append(error)
        finally:
            self._close(source, failure)
            self._put(channel, _END)

    def _put(self, channel: queue.Queue[object], item: object) -> bool:
        while not (self._stop.is_set() or self._cancel.cancelled):
            try:
                channel.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False

    def _consume(self, channel: queue.Queue[object], failure: list[BaseException]) -> Iterator[Any]:
        while (item := self._take(channel)) is not _END:
            yield cast(Any, item)
        if failure:
            raise failure[0]

    def _take(self, channel: queue.Queue[object]) -> object:
        # A get() without a timeout outlives a producer that was told to stop, and on Windows Ctrl-C too.
        while not self._stop.is_set():
            self._cancel.check()
            try:
                return channel.get(timeout=_POLL)
            except queue.Empty:
                continue
        return _END

    @staticmethod
    def _close(source: Any, failure: list[BaseException]) -> None:
        """Close a generator in the thread that ran it, so that files are closed by the thread that read them."""
        close = getattr(source, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            failure.append(error)
