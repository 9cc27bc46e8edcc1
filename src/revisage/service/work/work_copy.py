"""What an attempt has finished, kept in the service's store too: a worker of another machine goes on from there."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from revisage import media
from revisage.core import OutputError

__all__ = ["bring_work", "drop_unfinished", "work_kept_in_store"]

_LOG = logging.getLogger("revisage.service")
_LOOK = 2.0
"""Seconds between two looks for what was finished."""

_SEGMENT = re.compile(r"-(\d{5})\.")
_MANIFEST, _SCAN = "manifest.jsonl", "scan.json"
_PARTS = "scan-parts-*/part-*.npz"
_OURS = re.compile(
    r"(scan\.json|scan-parts-[0-9a-f]+/part-\d{5}\.npz|\.[^/]+\.revisage-work/(scan\.json|manifest\.jsonl|[^/]+-\d{5}\.[^/]+))"
)
"""What a work folder holds that serves another attempt."""


@contextmanager
def work_kept_in_store(work: Path, place: Path | None) -> Iterator[None]:
    """Send what is finished in a work folder to a store for as long as the block lasts.

    A store that does not answer costs nothing but that: the work goes on here.

    Args:
        work: the folder.
        place: its address; None: there is no store.
    """
    if place is None:
        yield
        return
    over, copy = threading.Event(), _Copy(work, place)

    def watch() -> None:
        while not over.wait(_LOOK):
            copy.send()

    thread = threading.Thread(target=watch, name="revisage-copy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Copy:
    """The copy of a work folder: scan, or its parts, and segments first, then the manifest that names them."""

    def __init__(self, work: Path, place: Path) -> None:
        self._work, self._place = work, place
        self._sent: set[Path] = set()

    def send(self) -> None:
        """Send what was finished since."""
        try:
            if not (self._work / _SCAN).exists():
                self._send_parts()
            self._send_once(self._work / _SCAN)
            for manifest in self._work.glob(f".*.revisage-work/{_MANIFEST}"):
                self._send_finished(manifest)
        except (OutputError, OSError) as error:
            _LOG.warning("what is finished could not be kept in the store (%s)", type(error).__name__)

    def _send_parts(self) -> None:
        """Send the parts of a scan that are looked at; they go when it is whole, which may be at any time."""
        try:
            for part in sorted(self._work.glob(_PARTS)):
                self._send_once(part)
        except OutputError:
            if not (self._work / _SCAN).exists():
                raise

    def _send_once(self, path: Path) -> bool:
        if path in self._sent or not path.exists():
            return False
        media.upload(path, self._place / path.relative_to(self._work))
        self._sent.add(path)
        return True

    def _send_finished(self, manifest: Path) -> None:
        lines = manifest.read_text(encoding="utf-8").splitlines()
        finished = finished_segments(manifest)
        self._send_once(manifest.with_name(_SCAN))
        new = [self._send_once(path) for path in sorted(manifest.parent.iterdir()) if _number(path) in finished]
        if any(new):
            kept = [line for line in lines[1:] if _segment_of(line) in finished]
            note = self._work / f".{_MANIFEST}"
            note.write_text("\n".join([lines[0], *kept, ""]), encoding="utf-8")
            media.upload(note, self._place / manifest.relative_to(self._work))
            note.unlink()


def bring_work(work: Path, place: Path | None) -> None:
    """Fetch what an attempt on another machine has finished, where nothing of this machine's is there.

    Args:
        work: the work folder, empty.
        place: its address; None: there is no store.
    """
    if place is None or any(work.iterdir()):
        return
    store, root = cast(Any, place).fs, cast(Any, place).path
    try:
        store.invalidate_cache()
        names = [name.removeprefix(root).lstrip("/") for name in store.find(root)]
        # The manifest comes last: what it names is there, or nothing counts as finished.
        for name in sorted(filter(_OURS.fullmatch, names), key=lambda name: (name.endswith(_MANIFEST), name)):
            if not (name.startswith("scan-parts-") and _SCAN in names):  # the whole scan serves better
                (work / name).parent.mkdir(mode=0o700, exist_ok=True)
                media.fetch(place / name, work / name)
    except Exception as error:
        # Stores have errors of their own. Whatever is missing or torn is made again.
        _LOG.warning("what an earlier attempt has finished could not be fetched (%s)", type(error).__name__)


def drop_unfinished(work: Path) -> None:
    """Delete all segments that are not noted as finished: who was writing them may do so still."""
    for manifest in work.glob(f".*.revisage-work/{_MANIFEST}"):
        finished = finished_segments(manifest)
        for path in manifest.parent.iterdir():
            keep = path.name in (_MANIFEST, _SCAN) or _number(path) in finished
            if not keep and not path.is_dir():
                path.unlink(missing_ok=True)


def finished_segments(manifest: Path) -> set[int]:
    """Numbers of the segments that a manifest notes."""
    lines = manifest.read_text(encoding="utf-8").splitlines()
    return {number for line in lines if (number := _segment_of(line)) is not None}


def _number(path: Path) -> int | None:
    match = _SEGMENT.search(path.name)
    return int(match[1]) if match else None


def _segment_of(line: str) -> int | None:
    with suppress(ValueError):  # the torn last line of a crash
        entry = json.loads(line)
        if isinstance(entry, dict) and "segment" in entry:
            return int(entry["segment"])
    return None
