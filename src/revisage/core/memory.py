"""Memory of this process: what is free goes back to the system, and when what nobody holds any more is looked for."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os

__all__ = ["give_back_freed_memory", "put_off_collecting", "trim_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the parameters, in malloc.h."""

_LARGE = 2**20
"""Frames and crops are of this size (bytes) and beyond. Smaller blocks cost more to map than they are worth."""

_KEPT = 2**22
"""Bytes that may be free at the end of what a thread allocates from, and stay the process's. Once the other parameter
is set, glibc keeps 128 KiB: smaller crops that come and go would be taken from the system anew, page by page. Each of
a dozen threads keeps as much: 32 MiB would be 80 MiB more at the peak, for 3 % less processor time."""

_LOADED = 100_000
"""Objects that may come into being before the first look for such that nobody holds: loading makes 80,000 that stay."""


def give_back_freed_memory() -> None:
    """Have glibc map large blocks by themselves and keep what is free of smaller ones, for as long as the process
    lives; nothing is done elsewhere.

    By itself it raises the size from which it does, up to 32 MiB, as such blocks are freed, and keeps what is freed
    below that: frames that come and go in sizes of their own then take a third more than is ever in use.
    """
    if _has_glibc():
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, _LARGE)
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT)


def trim_memory() -> None:
    """Give the system what is free now between blocks in use, as glibc does by itself only at the end of what a thread
    allocates from; nothing is done elsewhere. It takes 2 to 4 ms: for the end of work whose threads end with it."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ())


def put_off_collecting() -> None:
    """Have Python's garbage collector begin once a process is loaded, leave what is loaded by then alone, and go on as
    usual; to be asked for once.

    It would go through all that is imported again and again, and find nothing. Nor does it look at anything as the
    process ends: the system takes all of it back at once.
    """
    usual = gc.get_threshold()

    def go_on(_phase: str, _found: dict[str, int]) -> None:
        gc.callbacks.remove(go_on)
        gc.set_threshold(*usual)
        gc.freeze()

    gc.callbacks.append(go_on)
    gc.set_threshold(_LOADED, *usual[1:])
    atexit.register(gc.freeze)
