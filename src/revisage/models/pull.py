"""Fetch a model into the model folder: licence first, then the transfer, then the hash, then its final name."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revisage.core import ModelError, file_sha256
from revisage.models import registry, store
from revisage.models.download import ByteProgress, fetch
from revisage.models.registry import ModelEntry

__all__ = ["ByteProgress", "pull"]

_log = logging.getLogger(__name__)

# Longer than any single wait of the transfer, which touches its claim at each step.
_CLAIM_EXPIRES_S = 180.0
_CLAIM_POLL_S = 0.2


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

    Raises ModelError for an unknown model, one already there but damaged, a refused or endlessly cut transfer, and
    wrong content; DiskFullError when there is no room.
    """
    entry = model if isinstance(model, ModelEntry) else registry.find(model)
    path = store.local_path(entry)
    if entry.embedded or store.is_present(entry):
        return store.verify(entry).path
    if entry.url is None:
        raise ModelError(f"the model {entry.name} has no address to fetch it from")
    (on_licence or _log_licence)(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claim(path) as touch:
            # Another process may have brought it while this one waited.
            if not store.is_present(entry):
                _bring(entry, entry.url, path, _both(touch, progress), on_warning or _log.warning)
    except OSError as error:
        raise ModelError(f"cannot write into the model folder {path.parent}: {error.strerror or error}") from error
    return store.verify(entry).path


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
    known = entry.sha256 or store.recorded_hash(path)
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
        store.record_hash(path, sha256)
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
