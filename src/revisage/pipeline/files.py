"""Writing files so that they appear complete or not at all, and saying what went wrong."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from revisage.core import DiskFullError, OutputError

__all__ = ["check_file", "check_folder", "output_error", "publish", "write_text"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def check_file(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Raises:
        OutputError: it is a folder, or exists and ``overwrite`` is off, or its folder is not there.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; use --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first, or name another")


def check_folder(path: Path) -> None:
    """Refuse what is to be a folder of results and is a file.

    Raises:
        OutputError: it is.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; name a folder")


def output_error(path: Path, error: OSError) -> OutputError:
    """The error to raise when writing ``path`` failed."""
    if error.errno in _FULL:
        return DiskFullError(f"no space left for {path}; free some, or choose another folder")
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a text file; it appears under its name when it is complete.

    Raises:
        OutputError: the file exists and ``overwrite`` is off, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; use --overwrite to replace it")
    partial = _partial(path)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(path, error) from error


def publish(finished: Path, target: Path) -> None:
    """Give a finished file its name, also on another disk, replacing what has it.

    Raises:
        OutputError: it cannot be written there.
    """
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            finished.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(finished, partial)
            partial.replace(target)
            finished.unlink()
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(target, error) from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
