"""Networks kept in the user's cache folder, each in a folder of its own, whole or not at all.

A folder's name says everything that the network depends on; its files' hashes lie beside them. Everything there can be
deleted at any time. What was not used for 90 days is; so is what was not used for the longest time, where all together
take more than 2 GiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from revisage import models
from revisage.core import file_sha256

__all__ = ["is_whole", "keep", "kept", "kept_file"]

_SUMS = "sha256"

_KEPT_SECONDS = 90 * 24 * 3600
_KEPT_BYTES = 2 * 2**30
"""Of converted networks: since they were last used, and all together."""

_PART = ".part-"
_PART_SECONDS = 3600
"""Nobody takes longer to write a network: what is older was left by a crash."""


def kept(name: str) -> Path | None:
    """The folder of that name, from now on the one used last; None when it is not there or not whole."""
    path = _cache_folder() / name
    if not is_whole(path):
        return None
    _note_use(path)
    return path


def kept_file(name: str, file: str) -> bytes | None:
    """What the only file of a folder holds, as :func:`kept` gives that, and read once."""
    path = _cache_folder() / name
    try:
        data = (path / file).read_bytes()
        known = (path / _SUMS).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    if known != _line(hashlib.sha256(data).hexdigest(), file):
        return None
    _note_use(path)
    return data


def _note_use(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def keep(name: str, save: Callable[[Path], object]) -> None:
    """Keep what ``save`` writes, whole or not at all; a folder that cannot be written costs time, not the result."""
    target = _cache_folder() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=_PART))
    except OSError:
        return
    try:
        save(part)
        (part / _SUMS).write_text(_sums(part), encoding="ascii")
        # Another process may have been faster, and may be reading its own.
        if not is_whole(target):
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
    except (OSError, RuntimeError):
        pass
    finally:
        shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process may be deleting the same
        _prune(target)


def is_whole(path: Path) -> bool:
    """Whether the files are what was written. Damaged weights would not raise but give wrong pixels."""
    try:
        return (path / _SUMS).read_text(encoding="ascii") == _sums(path)
    except (OSError, ValueError):
        return False


def _cache_folder() -> Path:
    """Where converted networks are kept."""
    return models.cache_folder() / "engines"


def _prune(newest: Path) -> None:
    """Delete what was not used for long, and what was not used for the longest time where all is too much."""
    used = {path: path.stat().st_mtime for path in newest.parent.iterdir()}
    now, total = time.time(), 0
    for path in sorted(used, key=used.__getitem__, reverse=True):
        if path.name.startswith(_PART):
            unused = now - used[path] > _PART_SECONDS
        else:
            total += sum(file.stat().st_size for file in path.iterdir())
            unused = now - used[path] > _KEPT_SECONDS or total > _KEPT_BYTES
        if unused and path != newest:
            shutil.rmtree(path, ignore_errors=True)


def _sums(path: Path) -> str:
    names = sorted((file.name for file in path.iterdir() if file.name != _SUMS), reverse=True)
    return "".join(_line(file_sha256(path / name), name) for name in names)


def _line(digest: str, name: str) -> str:
    return f"{digest}  {name}\n"
