"""Files that appear complete or not at all, and what to say where one cannot be written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revisage.core.errors import DiskFullError, OutputError, OutputExistsError

__all__ = [
    "check_absent",
    "check_file",
    "check_folder",
    "file_sha256",
    "folder_beside",
    "hidden_path",
    "is_disk_full",
    "output_error",
    "parse_json",
    "partial_path",
    "publish",
    "write_text",
    "written_beside",
]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

_LONGEST_NAME = 255
"""Bytes that file systems allow a name: ext4, XFS, Btrfs, APFS and NTFS alike."""

_BLOCK = 2**20


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a result that is there already.

    Raises:
        OutputExistsError: it is, and ``overwrite`` is off.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists")


def check_file(
    path: Path, *, overwrite: bool, source: Path | None = None, make_folder: bool = False, writes: bool = True
) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Args:
        path: of the file.
        overwrite: whether one that is there may be replaced.
        source: what the work reads, which is never replaced.
        make_folder: whether a folder that is not there is going to be made.
        writes: whether it will be written at all; otherwise a read-only folder will do.

    Raises:
        OutputExistsError: it exists and ``overwrite`` is off.
        OutputError: it is a folder or the source, its name is too long, or its folder is not there or read-only.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise OutputError(f"{path}: the name has more than {_LONGEST_NAME} bytes; name another")
    if not path.name or path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir() and not make_folder:
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first, or name another")
    if source is not None and _is_same_file(path, source):
        raise OutputError(f"{path} is the input; a source is never overwritten, name another file")
    check_absent(path, overwrite=overwrite)
    if writes and path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is read-only; name another")


def _is_same_file(path: Path, source: Path) -> bool:
    if path.resolve() == source.resolve():
        return True
    return path.exists() and source.exists() and path.samefile(source)


def check_folder(path: Path) -> None:
    """Refuse what is to be a folder of results and is a file.

    Raises:
        OutputError: it is.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; name a folder")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or the one that led to it, says that a disk or a quota is used up."""
    return any(getattr(problem, "errno", None) in _FULL for problem in (error, error.__cause__, error.__context__))


def output_error(path: Path, error: BaseException) -> OutputError:
    """The error to raise when writing ``path`` failed: a DiskFullError where no space was left."""
    if is_disk_full(error):
        return DiskFullError(f"no space left for {path}; free some, or choose another folder")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return OutputError(f"cannot write {path}: {reason}")


def partial_path(path: Path) -> Path:
    """The hidden name beside ``path`` it is written under; it keeps the ending, which tells encoders the format."""
    return hidden_path(path, path.stem, f".part{path.suffix}")


def hidden_path(path: Path, stem: str, ending: str) -> Path:
    """A hidden file beside ``path``, with a hash of the name where stem and ending are too long for the file system."""
    name = f".{stem}{ending}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{ending}"
    return path.with_name(name)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the name ``path`` when the block is left without an error.

    What had that name is replaced then; after an error it stands as it was, and nothing is left of the new file.

    Raises:
        DiskFullError: no space is left.
        OutputError: it cannot be written for another reason.
    """
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_beside(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the name ``folder`` when the block is left without an error.

    What had that name is deleted then; after an error it stands as it was, and nothing is left of the new one.

    Raises:
        DiskFullError: no space is left.
        OutputError: it cannot be written for another reason.
    """
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a text file; it appears under its name when it is complete.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is off.
        OutputError: it cannot be written.
    """
    check_absent(path, overwrite=overwrite)
    with written_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def publish(finished: Path, target: Path) -> None:
    """Give a finished file its name, also on another disk, replacing what has it.

    Raises:
        OutputError: it cannot be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        finished.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise output_error(target, error) from error
        with written_beside(target) as partial:
            shutil.copyfile(finished, partial)
        finished.unlink()


def parse_json(text: str | bytes) -> Any:
    """What a JSON text of unknown origin says.

    Raises:
        ValueError: it is no JSON, not UTF-8, or nested deeper than any of ours.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
