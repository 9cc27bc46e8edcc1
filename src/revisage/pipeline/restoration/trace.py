"""What each thread did when, in the form that Chrome's tracing page and Perfetto open."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Trace"]


class Trace:
    """Notes spans of work and lengths of queues in one process. Any thread may; each shows as a row of its own."""

    def __init__(self) -> None:
        # Of all clocks only that of the day is the same in every process; that of spans must not jump.
        self._origin = time.time() - time.perf_counter()
        self._noted: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Note how long the block took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.note(name, started, time.perf_counter())

    def note(self, name: str, started: float, ended: float) -> None:
        """Note work of this thread between two readings of ``time.perf_counter()``."""
        self._event(name, "X", started, dur=round((ended - started) * 1e6))

    def count(self, name: str, length: int) -> None:
        """Note how many items wait in a queue now."""
        self._event(name, "C", time.perf_counter(), args={"waiting": length})

    def _event(self, name: str, kind: str, at: float, **facts: Any) -> None:
        thread = threading.get_native_id()
        self._names[thread] = threading.current_thread().name
        time_us = round((self._origin + at) * 1e6)
        self._noted.append({"name": name, "ph": kind, "ts": time_us, "pid": os.getpid(), "tid": thread, **facts})

    def events(self) -> list[dict[str, Any]]:
        """All that was noted, as trace events with times in microseconds, and the names of process and threads."""
        process = {"pid": os.getpid(), "ph": "M"}
        names = [
            {**process, "name": "thread_name", "tid": thread, "args": {"name": name}}
            for thread, name in self._names.items()
        ]
        place = {**process, "name": "process_name", "args": {"name": multiprocessing.current_process().name}}
        return [place, *names, *self._noted]
