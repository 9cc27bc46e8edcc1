"""One run at a time writes an output: a lock of the operating system, which a crash lets go too."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revisage.core import OutputError, output_error

__all__ = ["output_lock"]

_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}
"""What a lock that somebody else has answers. Other errors say that the disk knows no locks; then there is none."""


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Keep other runs off an output, by a hidden file beside it, for as long as the block lasts.

    Raises:
        OutputError: another run is writing it, or nothing can be written there.
    """
    path = output.with_name(f".{output.name}.revisage-lock")
    try:
        handle = _locked(path)
    except OSError as error:
        raise output_error(output, error) from error
    if handle is None:
        raise OutputError(f"{output} is being written by another run; wait until that has ended, or name another file")
    try:
        yield
    finally:
        _let_go(handle, path)


def _locked(path: Path) -> int | None:
    """The open and locked file; None when somebody else has locked it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle):
            os.close(handle)
            return None
        # A run that ended in between has removed the file: a lock on what has no name keeps nobody off.
        if _has_name(handle, path):
            return handle
        os.close(handle)


def _has_name(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _let_go(handle: int, path: Path) -> None:
    """Remove and unlock the file; in this order, so that nobody locks it in between. Windows removes no open file."""
    with suppress(PermissionError):
        path.unlink(missing_ok=True)
    os.close(handle)
    if sys.platform == "win32":
        with suppress(OSError):
            path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return error.errno not in _HELD
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _HELD
        return True
