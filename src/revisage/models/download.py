"""Fetch one file over HTTP, going on where an earlier try was cut off.

pooch, which chooses the folder, starts over after every cut, and its largest file here is 350 MB; hence this one.
"""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from revisage._version import __version__
from revisage.core import DiskFullError, ModelError

__all__ = ["ByteProgress", "fetch"]

ByteProgress = Callable[[int, "int | None"], None]

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_FRUITLESS_TRIES = 3
_PAUSE_S = 1.0
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class _Answer:
    """What the server is about to send: the file from byte `start` on, out of `total` (None: it does not say)."""

    start: int
    total: int | None


class _TryAgainError(Exception):
    """This try came to nothing for a reason that may pass."""


def fetch(url: str, part: Path, *, size: int | None = None, progress: ByteProgress | None = None) -> None:
    """Bring the whole file at `url` to the path `part`; what is there already is taken as its beginning.

    Goes on after a cut as long as each try brings more bytes, and gives up after three that do not. `part` is kept
    then, so that the next call goes on. A server without ranges makes it start over.

    Args:
        size: bytes that the file must have; a server that announces another size is refused before the transfer.
        progress: called with the bytes so far and the total, None while unknown; also at the start of each try.

    Raises ModelError when the server refuses, lies or keeps cutting off, DiskFullError when there is no room, and
    OSError when `part` cannot be written for another reason.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ModelError(f"cannot fetch {url}: only http and https addresses are allowed")
    if size is not None and _length(part) > size:
        part.unlink()
    best, fruitless = _length(part), 0
    while reason := _attempt(url, part, size, progress or _ignore):
        now = _length(part)
        fruitless = 0 if now > best else fruitless + 1
        best = max(best, now)
        if fruitless >= _FRUITLESS_TRIES:
            raise ModelError(f"could not fetch {url}: {reason}; check the connection and run the command again")
        time.sleep(_PAUSE_S * fruitless)


def _attempt(url: str, part: Path, size: int | None, progress: ByteProgress) -> str | None:
    """None when the file is complete, else why it is worth another try."""
    try:
        _try_once(url, part, size, progress)
    except _TryAgainError as reason:
        return str(reason)
    return None


def _ignore(done: int, total: int | None) -> None:
    """No one wants to know."""


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _try_once(url: str, part: Path, size: int | None, progress: ByteProgress) -> None:
    offset = _length(part)
    if size is not None and offset == size:
        return
    headers = {"User-Agent": f"revisage/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    progress(offset, size)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:
            answer = _read_answer(response, offset)
            if answer.start not in (0, offset):
                part.unlink(missing_ok=True)
                raise _TryAgainError(f"the server sent bytes from {answer.start} on when asked for {offset}")
            total = _agreed_total(url, answer, size)
            _check_room(part, total, answer.start)
            done = _copy(response, part, answer.start, total, progress)
    except urllib.error.HTTPError as error:
        _explain_refusal(url, part, offset, error)
        return
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _TryAgainError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    if done == 0:
        raise _TryAgainError("the server sent nothing")
    if total is not None and done < total:
        raise _TryAgainError(f"the transfer stopped at {done} of {total} bytes")
    if total is not None and done > total:
        part.unlink()
        raise ModelError(f"{url} sent more than the {total} bytes it should; nothing was kept")


def _read_answer(response: http.client.HTTPResponse, offset: int) -> _Answer:
    if response.headers.get_content_type() == "text/html":
        # A login page of the network, or an error that pretends to be none.
        raise ModelError(f"{response.url} is a web page, not a weights file; not fetched")
    length = response.headers.get("Content-Length", "")
    count = int(length) if length.isdigit() else None
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return _Answer(0, count)
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if span is None:
        return _Answer(offset, None if count is None else offset + count)
    return _Answer(int(span[1]), None if span[2] == "*" else int(span[2]))


def _agreed_total(url: str, answer: _Answer, size: int | None) -> int | None:
    if size is not None and answer.total is not None and answer.total != size:
        raise ModelError(f"{url} offers a file of {answer.total} bytes, but it should have {size}; not fetched")
    return size if answer.total is None else answer.total


def _check_room(part: Path, total: int | None, start: int) -> None:
    needed = (total or 0) - start
    free = shutil.disk_usage(part.parent).free + (_length(part) if start == 0 else 0)
    if needed > free:
        raise DiskFullError(f"{part.parent} has {free >> 20} MB free but {needed >> 20} MB are needed: make room there")


def _copy(response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: ByteProgress) -> int:
    """Append to, or begin, the partial file; the bytes it then has."""
    done = start
    with _opened(part, start) as stream:
        # One byte more than announced is enough to see that there is more.
        while (total is None or done <= total) and (chunk := response.read(_CHUNK)):
            _write(stream, chunk, part)
            done += len(chunk)
            progress(done, total)
    return done


def _opened(part: Path, start: int) -> BinaryIO:
    # Unbuffered: a full disk must show in the write, not when the file is closed.
    return part.open("ab" if start else "wb", buffering=0)


def _write(stream: BinaryIO, chunk: bytes, part: Path) -> None:
    view = memoryview(chunk)
    try:
        while view:
            view = view[stream.write(view) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise
        stream.close()
        part.unlink(missing_ok=True)
        raise DiskFullError(f"no space left in {part.parent}: make room there and try again") from error


def _explain_refusal(url: str, part: Path, offset: int, error: urllib.error.HTTPError) -> None:
    """Return when the refusal only says that nothing is left to send; else raise what it means."""
    status = f"the server answered {error.code} {error.reason}"
    with error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            if error.headers.get("Content-Range", "").strip() == f"bytes */{offset}":
                return
            part.unlink(missing_ok=True)
            raise _TryAgainError(status) from error
        if error.code in _WORTH_RETRYING:
            raise _TryAgainError(status) from error
    raise ModelError(f"could not fetch {url}: {status}") from error
