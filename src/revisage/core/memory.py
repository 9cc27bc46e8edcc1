"""Memory of this process that is free, given back to the system."""

from __future__ import annotations

import ctypes
import os

__all__ = ["give_back_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the parameters, in malloc.h."""

_LARGE = 2**20
"""Frames and crops are of this size (bytes) and beyond. Smaller blocks cost more to map than they are worth."""

_KEPT = 2**25
"""Bytes that may be free at the end of what a thread allocates from, and stay the process's. Once the other parameter
is set, glibc keeps 128 KiB: smaller crops that come and go would be taken from the system anew, page by page."""


def give_back_freed_memory() -> None:
    """Have glibc map large blocks by themselves and keep what is free of smaller ones, for as long as the process
    lives; nothing is done elsewhere.

    By itself it raises the size from which it does, up to 32 MiB, as such blocks are freed, and keeps what is freed
    below that: frames that come and go in sizes of their own then take a third more than is ever in use.
    """
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ()):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, _LARGE)
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT)
