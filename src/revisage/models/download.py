"""Fetch a model into the model folder: licence first, then the transfer, then the hash, then its final name.

A transfer goes on where an earlier try was cut off, by HTTP's ranges. pooch, tried for this, throws away what it has at
every cut and takes a login page for a file; the largest file here is 370 MB.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from revisage._version import __version__
from revisage.core import DiskFullError, ModelError, file_sha256, is_disk_full
from revisage.models import registry, weight_files
from revisage.models.registry import ModelEntry

__all__ = ["ByteProgress", "fetch", "pull"]

ByteProgress = Callable[[int, "int | None"], None]

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_FRUITLESS_TRIES = 3
_PAUSE_S = 1.0
"""Tries in a row that bring no byte before it is given up, and the pause before the next, longer each time."""

_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CLAIM_EXPIRES_S = 180.0
"""Longer than any single wait of the transfer, which touches its claim at each step."""
_CLAIM_POLL_S = 0.2

_log = logging.getLogger(__name__)


def pull(
    model: str | ModelEntry,
    *,
    progress: ByteProgress | None = None,
    on_licence: Callable[[ModelEntry], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Path:
    """Make sure that a model is in the model folder, and return its path; fetches it when it is not.

    The file gets its name only when it is complete and its SHA-256 is right. A cut transfer goes on where it stopped,
    in a later call as well. Where the registry knows no hash, that of the first download is recorded beside the file,
    later ones must agree with it, and a warning says so.

    Args:
        progress: called with bytes so far and the total (None while unknown).
        on_licence: called with the entry before its first transfer; logged when not given.
        on_warning: called with one line; logged when not given.

    Raises:
        ModelError: an unknown model, one already there but damaged, a refused or endlessly cut transfer, wrong content.
        DiskFullError: there is no room.
    """
    entry = model if isinstance(model, ModelEntry) else registry.find(model)
    path = weight_files.local_path(entry)
    if entry.embedded or weight_files.is_present(entry):
        return weight_files.verify(entry).path
    if entry.url is None:
        raise ModelError(f"the model {entry.name} has no address to fetch it from")
    (on_licence or _log_licence)(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claim(path) as touch:
            # Another process may have brought it while this one waited.
            if not weight_files.is_present(entry):
                _bring(entry, entry.url, path, _both(touch, progress), on_warning or _log.warning)
    except OSError as error:
        raise ModelError(f"cannot write into the model folder {path.parent}: {error.strerror or error}") from error
    return weight_files.verify(entry).path


def _log_licence(entry: ModelEntry) -> None:
    _log.warning("fetching %s from %s; its licence: %s", entry.name, entry.url, entry.licence)


def _both(touch: Callable[[], None], progress: ByteProgress | None) -> ByteProgress:
    def report(done: int, total: int | None) -> None:
        touch()
        if progress is not None:
            progress(done, total)

    return report


def _bring(entry: ModelEntry, url: str, path: Path, progress: ByteProgress, warn: Callable[[str], None]) -> None:
    part = path.with_name(path.name + ".part")
    known = entry.sha256 or weight_files.recorded_hash(path)
    if known is None:
        # Nothing would show that its two halves are of different files.
        part.unlink(missing_ok=True)
    continued = part.exists()
    fetch(url, part, size=entry.bytes, progress=progress)
    sha256 = file_sha256(part)
    if continued and sha256 != known:
        part.unlink()
        fetch(url, part, size=entry.bytes, progress=progress)
        sha256 = file_sha256(part)
    if known is not None and sha256 != known:
        part.unlink()
        raise ModelError(_wrong_content(entry, url, path, sha256, known))
    if entry.sha256 is None:
        weight_files.record_hash(path, sha256)
        warn(
            f"no published hash of {entry.name} is known here: its SHA-256 {sha256} was recorded beside {path}; "
            "compare it with a source you trust"
        )
    part.replace(path)


def _wrong_content(entry: ModelEntry, url: str, path: Path, sha256: str, known: str) -> str:
    fact = f"{url} served something other than {entry.name}: its SHA-256 is {sha256}, expected {known}"
    if entry.sha256 is None:
        return f"{fact} as recorded at an earlier download; to accept it delete {path.name}.sha256 in {path.parent}"
    return f"{fact}; nothing was kept, try again later"


@contextmanager
def _claim(path: Path) -> Iterator[Callable[[], None]]:
    """Let one process at a time fetch a file; others wait. Gives the function that shows the claim is alive."""
    claim = path.with_name(path.name + ".lock")
    while True:
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if _age_s(claim) > _CLAIM_EXPIRES_S:
                claim.unlink(missing_ok=True)
            else:
                time.sleep(_CLAIM_POLL_S)
    try:
        yield lambda: _touch(claim)
    finally:
        claim.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    # A process that slept through the expiry may find its claim taken away; the hash will judge what comes of it.
    with suppress(FileNotFoundError):
        os.utime(path)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


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
        url: of http or https.
        part: the file.
        size: bytes that the file must have; a server that announces another size is refused before the transfer.
        progress: called with the bytes so far and the total, None while unknown; also at the start of each try.

    Raises:
        ModelError: the server refuses, lies or keeps cutting off.
        DiskFullError: there is no room.
        OSError: `part` cannot be written for another reason.
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
        if not is_disk_full(error):
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
