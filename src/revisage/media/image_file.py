"""The file that an image sink writes to: opened at once, removed on abort, errors told in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revisage.core import DiskFullError, OutputError

__all__ = ["ImageFile", "reported"]


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about writing ``path`` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"{path}: no space left on the device; free some or choose another folder") from None
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


class ImageFile:
    """A file open for writing that can be patched at places and taken back.

    Raises:
        DiskFullError, OutputError: from each method, when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reported(path):
            self._file = path.open("wb")
        self._closed = False

    def write(self, data: bytes) -> None:
        """Append."""
        with reported(self.path):
            self._file.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def patch(self, offset: int, data: bytes) -> None:
        """Replace bytes written before."""
        with reported(self.path):
            end = self._file.tell()
            self._file.seek(offset)
            self._file.write(data)
            self._file.seek(end)

    def close(self) -> None:
        """Finish the file."""
        self._closed = True
        with reported(self.path):
            self._file.close()

    def abort(self) -> None:
        """Close and remove the file, unless it was finished."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):  # a full disk fails again on close; the file goes anyway
            self._file.close()
        self.path.unlink(missing_ok=True)
