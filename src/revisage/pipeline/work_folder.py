"""Where an output is made: its work folder with finished segments and the scan, so that a crashed run goes on.

And the lock that keeps other runs off: one of the operating system, which a crash lets go too. ``filelock`` was tried:
it leaves its file behind, makes folders that are not there, and fails on disks that know no locks. Outputs that go to a
store are made here too, where encoders can patch what they wrote, and sent when complete.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from revisage import media, models
from revisage.core import (
    OutputError,
    OutputExistsError,
    RestoreConfig,
    ScanMismatchError,
    file_sha256,
    hidden_path,
    output_error,
    parse_json,
)
from revisage.pipeline.report import FileReport
from revisage.pipeline.scan import Fingerprint, Scan, fingerprint, load_scan
from revisage.pipeline.scan_job import PartFolder

__all__ = ["WorkFolder", "delivered", "notes_folder", "output_lock", "tidy", "told_where"]


_MANIFEST = "manifest.jsonl"
_PARTS = "scan-parts"

_MARK = 8
"""Digits of a key's hash in the name of a folder that is set aside."""

_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}
"""What a lock that somebody else has answers. Other errors say that the disk knows no locks; then there is none."""


class WorkFolder:
    """A folder ``.NAME.revisage-work`` beside the output, or in a folder of the user's choice.

    ``manifest.jsonl`` holds the key of the run on its first line and one line for each finished segment, so that a
    crash can spoil the last line only. Everything in the folder is worthless without a key that fits. What a run with
    another key has finished is set aside, and taken up when a run with that key comes again: a wrong option or a
    source that was swapped costs nothing. All of it goes when the output is complete.

    Args:
        output: the file that is worked on.
        place: folder to work in instead of the output's own.
    """

    def __init__(self, output: Path, place: Path | None = None) -> None:
        # Absolute: FFmpeg takes what stands before a colon for a protocol, unless a slash comes first.
        output = output.absolute()
        self._beside, self._own_place = output, place is not None
        if place is not None:
            # Outputs of one name from several folders may share the place.
            digest = hashlib.sha256(os.fsencode(output)).hexdigest()[:8]
            self._beside = place.absolute() / f"{digest}-{output.name}"
        self.path = self._hidden(".revisage-work")
        self._finished: dict[int, dict[str, Any]] = {}
        self._is_open = False
        self.set_aside = 0

    def _hidden(self, ending: str) -> Path:
        return hidden_path(self._beside, self._beside.name, ending)

    def _aside(self, key: str) -> Path:
        return self._hidden(f".revisage-work-{hashlib.sha256(key.encode()).hexdigest()[:_MARK]}")

    def open(self, key: str, *, resume: bool = True) -> None:
        """Create the folder, or take up one that was left with the same key.

        Args:
            key: equal keys mean equal segments.
            resume: False begins anew, whatever was left.

        Raises:
            OutputError: it cannot be created.
        """
        try:
            self._is_open = resume and self._taken_up(key)
            if self._is_open:
                return
            if resume:
                self._put_aside()
            self.remove()
            if self._own_place:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700)  # faces of people may lie here for hours
            self._is_open = True
            (self.path / _MANIFEST).write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        except OSError as error:
            raise output_error(self.path.parent, error) from error

    def holds(self, key: str) -> bool:
        """Whether a run with this key was interrupted here."""
        return key in (_key_in(self.path), _key_in(self._aside(key)))

    def _taken_up(self, key: str) -> bool:
        aside = self._aside(key)
        if _key_in(self.path) != key and _key_in(aside) == key:
            self._put_aside()
            self.remove()
            aside.replace(self.path)
        if _key_in(self.path) != key:
            return False
        self._finished = {int(entry["segment"]): entry for entry in _entries(self.path) if "segment" in entry}
        return True

    def _put_aside(self) -> None:
        """Keep what a run with another key has finished, if that is anything."""
        key = _key_in(self.path)
        self.set_aside = sum("segment" in entry for entry in _entries(self.path))
        if key is not None and self.set_aside:
            shutil.rmtree(self._aside(key), ignore_errors=True)
            self.path.replace(self._aside(key))

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
        """Note that a segment is finished.

        Raises:
            OutputError: that cannot be written.
        """
        digest = file_sha256(self.segment_path(number, suffix))
        entry = {"segment": number, "sha256": digest, "result": result}
        self._note(entry)
        self._finished[number] = entry

    def note_publishing(self, finished: Path, report: dict[str, Any]) -> None:
        """Note that from now on names are given, the last one to ``finished``, and what there is to say of the run.

        Raises:
            OutputError: that cannot be written.
        """
        self._note({"publishing": fingerprint(finished).model_dump(mode="json"), "report": report})

    def note_published(self) -> None:
        """Note that all has its name, where the folder is kept all the same."""
        self._note({"publishing": None, "report": None})

    def was_publishing(self, output: Path) -> bool:
        """Whether a run ended while it gave names: what stands there then is its own, and no reason to refuse."""
        found = self._publishing()
        return found is not None and (not output.exists() or _is(output, found["publishing"]))

    def published(self, output: Path) -> dict[str, Any] | None:
        """The report of a run that ended after the output had its name; None where it did not come so far."""
        found = self._publishing()
        return found["report"] if found is not None and _is(output, found["publishing"]) else None

    def _publishing(self) -> dict[str, Any] | None:
        noted = [entry for entry in _entries(self.path) if "publishing" in entry]
        return noted[-1] if noted and noted[-1]["publishing"] is not None else None

    def _note(self, entry: dict[str, Any]) -> None:
        try:
            with (self.path / _MANIFEST).open("a", encoding="utf-8") as stream:
                stream.write("\n" + json.dumps(entry) + "\n")  # a torn line before it is ended first
        except OSError as error:
            raise output_error(self.path, error) from error

    def save_scan(self, scan: Scan) -> None:
        """Keep the scan, so that a run that is taken up again need not repeat it."""
        scan.save(self.path / "scan.json", overwrite=True)
        self.scan_parts.empty()

    @property
    def scan_parts(self) -> PartFolder:
        """Where the parts of a scan are kept until it is whole."""
        return PartFolder(self.path / _PARTS)

    @property
    def holds_work(self) -> bool:
        """Whether a later run could take up what took long: finished segments, or a scan in parts, whole or not."""
        return self._is_open and (bool(self._finished) or (self.path / _PARTS).exists())

    def saved_scan(self) -> Scan | None:
        """The scan that an earlier run left, whatever it was made from; None when there is none."""
        try:
            return load_scan(self.path / "scan.json")
        except ScanMismatchError:
            return None

    def remove(self) -> None:
        """Delete the folder and all that is in it; last what says whose it is, so that a kill leaves no riddle."""
        self._finished.clear()
        with suppress(OSError):
            for entry in self.path.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != _MANIFEST:
                    entry.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def give_up(self) -> None:
        """Delete the folder if this run has opened it; before that, what lies there is of another."""
        if self._is_open:
            self.remove()

    def remove_all(self) -> None:
        """Delete the folder and what was set aside: the output is complete."""
        self.remove()
        stem = self._aside("").name[:-_MARK]
        for folder in self.path.parent.glob(glob.escape(stem) + "[0-9a-f]" * _MARK):
            shutil.rmtree(folder, ignore_errors=True)


def tidy(output: Path, place: Path | None = None, *, done: bool) -> None:
    """Clear away what a run that was killed at its very end has left of the work on a finished output.

    Args:
        output: the file.
        place: as for :class:`WorkFolder`.
        done: whether nothing that was in work is wanted any more; otherwise only what is worth nothing goes.
    """
    if media.is_address(output):
        return
    folder = WorkFolder(output, place)
    if not folder.path.exists() and not _lock_path(output).exists():
        return
    # Another run that is at it clears away its own.
    with suppress(OutputError), output_lock(output):
        if done:
            folder.remove_all()
        elif _key_in(folder.path) is None:
            folder.remove()


def _is(file: Path, noted: dict[str, Any]) -> bool:
    """Whether a file is there and has the content that was noted."""
    try:
        return fingerprint(file).same_content(Fingerprint(**noted))
    except (ValueError, TypeError, OSError):
        return False


def _key_in(folder: Path) -> str | None:
    """The key of the run that a folder was left by; None where there is none, or not even that was written."""
    try:
        with (folder / _MANIFEST).open(encoding="utf-8") as stream:
            key = parse_json(stream.readline())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None


def _entries(folder: Path) -> list[dict[str, Any]]:
    """What a manifest says after the key, but torn lines."""
    try:
        lines = (folder / _MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [entry for line in lines[1:] if (entry := _entry(line)) is not None]


def _entry(line: str) -> dict[str, Any] | None:
    """A line of the manifest; None for the torn last line of a crash."""
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    complete = ({"segment", "sha256", "result"}, {"publishing", "report"})
    return entry if isinstance(entry, dict) and any(keys <= entry.keys() for keys in complete) else None


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Keep other runs off an output, by a hidden file beside it, for as long as the block lasts.

    Raises:
        OutputError: another run is writing it, or nothing can be written there.
    """
    path = _lock_path(output)
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


def _lock_path(output: Path) -> Path:
    return hidden_path(output, output.name, ".revisage-lock")


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


@contextmanager
def delivered(target: Path, config: RestoreConfig) -> Iterator[Path]:
    """A path here to write an output to; the file is sent to ``target`` when the block is left without an error.

    The path follows from the address, so that a run that was interrupted finds its work again.

    Args:
        target: an address.
        config: whether what is there may be replaced, and a folder for what is in work.

    Raises:
        OutputExistsError: there is something, and it may not be replaced.
        OutputError: the store is read-only, or does not take the file; what was made is kept here.
    """
    media.check_writable(target)
    if not config.overwrite and target.exists():
        raise OutputExistsError(f"{target} exists")
    folder = _of_address(target, config.work_dir or models.cache_folder() / "outputs")
    local = folder / target.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    local.unlink(missing_ok=True)
    try:
        yield local
        if local.exists():  # nothing is written in a dry run
            _send(local, target)
    finally:
        with suppress(OSError):  # where work is kept for the next run it is not empty
            folder.rmdir()


def _send(local: Path, target: Path) -> None:
    try:
        media.upload(local, target)
    except OutputError as error:
        raise OutputError(f"{error}; the finished file is kept as {local}") from error
    local.unlink()


def _of_address(address: Path, place: Path) -> Path:
    return place / hashlib.sha256(str(address).encode()).hexdigest()[:24]


def notes_folder(folder: Path) -> Path:
    """Where a batch keeps its journal, line by line: in the folder of its outputs; here where that is an address, as
    stores have no way to add to a file."""
    return _of_address(folder, models.cache_folder() / "batches") if media.is_address(folder) else folder


def told_where(report: FileReport, target: Path) -> FileReport:
    """The report of an output that was made somewhere else than it belongs."""
    report.output = None if report.output is None else {**report.output, "path": str(target)}
    return report
