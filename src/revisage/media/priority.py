"""Keep an encoder from taking the machine: SVT-AV1, run by root, gives itself and its caller real-time priority."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["ordinary_priority"]


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Threads of this process that come to real-time scheduling inside the block are put back to ordinary scheduling.

    Without that everything else on the machine waits for them, and whatever this process starts inherits it. Nothing
    is done where the caller had real-time scheduling before, or on systems other than Linux.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            # A thread may end meanwhile.
            with suppress(OSError):
                if os.sched_getscheduler(int(thread.name)) == os.SCHED_FIFO:
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
