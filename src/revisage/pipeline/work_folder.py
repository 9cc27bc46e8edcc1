"""The work folder beside an output: finished segments and the scan, so that a crashed run can be taken up again.

And the lock that keeps other runs off: one of the operating system, which a crash lets go too. ``filelock`` was tried:
it leaves its file behind, makes folders that are not there, and fails on disks that know no locks.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from revisage.core import OutputError, ScanMismatchError, file_sha256, hidden_path, output_error
from revisage.pipeline.scan import Scan, load_scan

__all__ = ["WorkFolder", "output_lock"]

_MANIFEST = "manifest.jsonl"

_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}
"""What a lock that somebody else has answers. Other errors say that the disk knows no locks; then there is none."""


class WorkFolder:
    """A folder ``.NAME.revisage-work`` on the output's own disk.

    ``manifest.jsonl`` holds the key of the run on its first line and one line for each finished segment, so that a
    crash can spoil the last line only. Everything in the folder is worthless without a key that fits.
    """

    def __init__(self, output: Path) -> None:
        # Absolute: FFmpeg takes what stands before a colon for a protocol, unless a slash comes first.
        self.path = hidden_path(output.absolute(), output.name, ".revisage-work")
        self._finished: dict[int, dict[str, Any]] = {}

    def open(self, key: str) -> None:
        """Create the folder, or take up one that was left with the same key.

        Raises:
            OutputError: it cannot be created.
        """
        if self._load(key):
            return
        self.remove()
        try:
            self.path.mkdir()
            (self.path / _MANIFEST).write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        except OSError as error:
            raise output_error(self.path.parent, error) from error

    def _load(self, key: str) -> bool:
        try:
            lines = (self.path / _MANIFEST).read_text(encoding="utf-8").splitlines()
            if json.loads(lines[0]) != {"key": key}:
                return False
        except (OSError, ValueError, IndexError):
            return False
        entries = [entry for line in lines[1:] if (entry := _entry(line)) is not None]
        self._finished = {int(entry["segment"]): entry for entry in entries}
        return True

    def segment_path(self, number: int, suffix: str) -> Path:
        """Where a segment's video belongs."""
        return self.path / f"segment-{number:05d}{suffix}"

    def finished(self, number: int, suffix: str) -> dict[str, Any] | None:
        """What :meth:`record` was given for a segment, if its file still is what it was."""
        entry = self._finished.get(number)
        path = self.segment_path(number, suffix)
        if entry is None or not path.is_file() or file_sha256(path) != entry["sha256"]:
            return None
        result: dict[str, Any] = entry["result"]
        return result

    @property
    def segments(self) -> int:
        """How many finished segments a later run could take up."""
        return len(self._finished)

    def record(self, number: int, suffix: str, result: dict[str, Any]) -> None:
        """Note that a segment is finished."""
        digest = file_sha256(self.segment_path(number, suffix))
        entry = {"segment": number, "sha256": digest, "result": result}
        self._finished[number] = entry
        with (self.path / _MANIFEST).open("a", encoding="utf-8") as stream:
            stream.write("\n" + json.dumps(entry) + "\n")  # a torn line before it is ended first

    def save_scan(self, scan: Scan) -> None:
        """Keep the scan, so that a run that is taken up again need not repeat it."""
        scan.save(self.path / "scan.json", overwrite=True)

    def saved_scan(self) -> Scan | None:
        """The scan that an earlier run left, whatever it was made from; None when there is none."""
        try:
            return load_scan(self.path / "scan.json")
        except ScanMismatchError:
            return None

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        self._finished.clear()
        shutil.rmtree(self.path, ignore_errors=True)


def _entry(line: str) -> dict[str, Any] | None:
    """A line of the manifest; None for the torn last line of a crash."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"segment", "sha256", "result"} <= entry.keys() else None


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Keep other runs off an output, by a hidden file beside it, for as long as the block lasts.

    Raises:
        OutputError: another run is writing it, or nothing can be written there.
    """
    path = hidden_path(output, output.name, ".revisage-lock")
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
