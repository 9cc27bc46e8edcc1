"""Where files lie: a path of this machine, or an address of a store that others reach too (``s3://``, ``https://``).

An address becomes an object with the methods of :class:`pathlib.Path`, by ``universal_pathlib`` over ``fsspec``. It
stands here, below all that opens files, and not with the cluster: a segment reads its source wherever that lies, and
only the part that it needs.
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from revisage.core import InputError, MissingExtraError, OutputError

__all__ = ["RangeReader", "as_path", "check_writable", "fetch", "is_address", "local_copy", "upload"]

_BLOCK, _BLOCKS = 2**20, 32
"""Bytes that are asked for at once, and how many such blocks of a file are kept: FFmpeg reads 32 KiB at a time, and
goes back and forth between the streams of badly interleaved files."""

_COMPLETE_OR_ABSENT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Stores in which a file is there when all of it has been sent, and not before."""


def is_address(location: str | Path) -> bool:
    """Whether this names a file of a store, and no path of this machine."""
    scheme, separator, _ = str(location).partition("://")
    return bool(separator) and scheme.isidentifier() and scheme != "file"


def as_path(location: str | Path) -> Path:
    """A path; of an address an object that can be read, listed and asked in the same way.

    Raises:
        MissingExtraError: it is an address, and what speaks to its store is not installed.
        InputError: nobody knows its kind of address.
    """
    if not isinstance(location, str):
        return location
    if not is_address(location):
        return Path(location.removeprefix("file://"))
    try:
        from upath import UPath

        path = UPath(location)
        path.fs  # noqa: B018 - makes the connection's object, which needs a package of its own for some stores
    except ImportError:
        raise MissingExtraError(f"An address such as {_store(location)}", "remote") from None
    except ValueError as error:
        raise InputError(f"{location}: no kind of store that is known ({' '.join(str(error).split())})") from None
    return cast(Path, path)


def _store(location: str | Path) -> str:
    return f"{str(location).partition('://')[0]}://"


class _Stream(Protocol):
    size: int | None

    def read(self, size: int) -> bytes: ...
    def seek(self, offset: int, whence: int) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...


class RangeReader:
    """A file of a store, open for FFmpeg: what is read is asked for block by block, and nothing else of the file.

    Attributes:
        name: of the file, whose ending tells FFmpeg about formats that do not say themselves what they are.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        remote = cast(Any, path)
        self.name = urlsplit(str(path)).path
        self._stream: _Stream = remote.fs.open(
            remote.path, "rb", block_size=_BLOCK, cache_type="blockcache", cache_options={"maxblocks": _BLOCKS}
        )

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to another place."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The place that is read next."""
        return self._stream.tell()


def local_copy(path: Path) -> Path:
    """A file here with the content of a store's: of pictures and animations, which are read as a whole. It stays for as
    long as this process does.

    Raises:
        InputError: it cannot be read.
    """
    try:
        status = path.stat()
        return _copy(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


@lru_cache(maxsize=64)
def _copy(path: Path, _size: int, _changed: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="revisage-copy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / Path(urlsplit(str(path)).path).name
    with cast(Any, path).fs.open(cast(Any, path).path, "rb") as stream, copy.open("wb") as made:
        shutil.copyfileobj(stream, made, _BLOCK)
    return copy


def fetch(source: Path, file: Path) -> None:
    """Bring a file of a store here; it has its name when it is complete.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, or written here.
    """
    waiting = file.with_name(f".{file.stem}.{secrets.token_hex(4)}{file.suffix}")
    remote = cast(Any, source)
    try:
        with remote.fs.open(remote.path, "rb", cache_type="none") as stream, waiting.open("xb") as made:
            shutil.copyfileobj(stream, made, _BLOCK)
        waiting.replace(file)
    except OSError:
        raise
    except Exception as error:  # see upload
        raise OSError(f"{file.name}: the store does not answer ({type(error).__name__})") from error
    finally:
        waiting.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Refuse an address that is only good for reading, before the work whose result it is to hold.

    Raises:
        OutputError: it is.
    """
    if _store(target) in ("http://", "https://"):
        raise OutputError(f"{target}: {_store(target)} is read-only; name an output elsewhere")


def upload(file: Path, target: Path) -> None:
    """Send a finished file to a store; it appears there when all of it has arrived.

    Raises:
        OutputError: the store does not take it.
    """
    store, place = cast(Any, target).fs, cast(Any, target).path
    waiting = place
    try:
        if _store(target).removesuffix("://") not in _COMPLETE_OR_ABSENT:
            store.makedirs(store._parent(place), exist_ok=True)
            waiting = f"{store._parent(place)}/.{Path(place).stem}.part{Path(place).suffix}"
        store.put_file(str(file), waiting)
        if waiting != place:
            store.mv(waiting, place)
    except Exception as error:
        # Stores have errors of their own, which are of no common kind.
        raise OutputError(
            f"{target} cannot be written: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
