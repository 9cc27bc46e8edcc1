"""Where uploads and results lie: a folder of this machine, or a store that the workers of other machines reach too."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, cast

from revisage import media
from revisage.core import ConfigError, OutputError
from revisage.service.jobs.job import InputFile

__all__ = ["DataFolder"]

_STALE_SECONDS = 3600
"""Leftovers of crashes, and copies of what lies in a store, are deleted when they were not touched for so long."""

_LOOK_SECONDS = 60.0
"""Between two looks for copies that may go."""


class DataFolder:
    """Uploads and results, under names that the service made, never under names that came from outside.

    uploads/ID.part      on its way in
    inputs/ID.EXT        complete
    jobs/ID/             photos of people that came with a job, its results, and its work folder

    With a store, inputs and results lie there under the same names, and what is here is on its way there or a copy of
    it. A result's name holds the number of the attempt that made it, and is never written again: copies stay true.

    Args:
        base: the folder.
        storage: address of a store.

    Raises:
        OutputError: the folder cannot be made, or the store is read-only.
        ConfigError, MissingExtraError, InputError: the address is none, or nothing here speaks to such a store.
    """

    def __init__(self, base: Path, storage: str | None = None) -> None:
        self.base = base
        self.storage = None if storage is None else _store(storage)
        self._looked = self._listed = -1e9
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("uploads", "inputs", "jobs"):
                (base / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"the data folder {base} cannot be made: {error.strerror or error}") from None

    def new_part(self) -> Path:
        """A name for a file on its way in; give it to :meth:`JobStore.add_upload` when it is complete."""
        return self.base / "uploads" / f"{secrets.token_hex(16)}.part"

    def input_path(self, file: InputFile) -> Path:
        """Where an upload lies: an address, where there is a store."""
        return (self.storage or self.base) / "inputs" / _input_name(file)

    def local_input(self, file: InputFile) -> Path:
        """A path of this machine with the content of an upload.

        Raises:
            OSError: it cannot be read.
        """
        return self._copy(self.base / "inputs" / _input_name(file))

    def job_folder(self, job_id: str) -> Path:
        """Where a job is worked on, on this machine."""
        return self.base / "jobs" / job_id

    def stored_job(self, job_id: str) -> Path | None:
        """The address that the results of a job have in the store, if there is one."""
        return None if self.storage is None else self.storage / "jobs" / job_id

    def result_path(self, job_id: str, name: str) -> Path:
        """A path of this machine with a result of a job, whether it is there or not.

        Raises:
            OutputError: the name is none that a worker gives.
            OSError: the store does not answer.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
            raise OutputError("no such result")
        path = self.job_folder(job_id) / name
        with suppress(FileNotFoundError):
            return self._copy(path)
        return path

    def take_in(self, part: Path, file: InputFile) -> None:
        """Give a complete upload its place.

        Raises:
            OutputError: the store does not take it.
        """
        place = self.base / "inputs" / _input_name(file)
        if self.storage is not None:
            _send(part, self.input_path(file))
        part.replace(place)

    def add_photo(self, job_id: str, part: Path, name: str) -> None:
        """Give a complete photo its place in the folder of a job, with which it is deleted.

        Raises:
            OutputError: the store does not take it.
        """
        folder, place = self.job_folder(job_id), self.stored_job(job_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        if place is not None:
            _send(part, place / name)
        part.replace(folder / name)

    def keep(self, job_id: str, files: Sequence[Path]) -> None:
        """Send the results of a job, which lie complete in its folder, to where they belong.

        Raises:
            OutputError: the store does not take them.
        """
        place = self.stored_job(job_id)
        for file in files if place is not None else ():
            _send(file, cast(Path, place) / file.name)

    def discard(self, job_id: str, files: Sequence[Path]) -> None:
        """Delete results of a job that nobody will ask for."""
        place = self.stored_job(job_id)
        for file in files:
            file.unlink(missing_ok=True)
            if place is not None:
                _remove(place / file.name)

    def discard_work(self, job_id: str) -> None:
        """Delete what is kept in the store of the work on a job."""
        place = self.stored_job(job_id)
        if place is not None:
            _remove(place / "work")

    def remove_input(self, file: InputFile) -> None:
        """Delete an upload; a file that was named by path is not touched."""
        if file.path is None:
            (self.base / "inputs" / _input_name(file)).unlink(missing_ok=True)
            if self.storage is not None:
                _remove(self.input_path(file))

    def remove_job(self, job_id: str) -> None:
        """Delete the results of a job."""
        shutil.rmtree(self.job_folder(job_id), ignore_errors=True)
        place = self.stored_job(job_id)
        if place is not None:
            _remove(place)

    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self.base).free

    def sweep(self, is_job: Callable[[str], bool], is_input: Callable[[str], bool]) -> None:
        """Delete leftovers that no row of the job store knows."""
        for entry in _stale(self.base / "uploads"):
            entry.unlink(missing_ok=True)
        for entry in _stale(self.base / "inputs"):
            if not is_input(entry.name.split(".")[0]):
                entry.unlink(missing_ok=True)
        for entry in _stale(self.base / "jobs"):
            if not is_job(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
        self._drop_copies()
        if self.storage is not None and time.monotonic() - self._listed > _STALE_SECONDS:
            self._listed = time.monotonic()
            self._sweep_store(is_job, is_input)

    def _sweep_store(self, is_job: Callable[[str], bool], is_input: Callable[[str], bool]) -> None:
        """The same in the store, which is looked through rarely: it may hold many thousands of files."""
        for folder, is_known in (("inputs", is_input), ("jobs", is_job)):
            place = cast(Path, self.storage) / folder
            with suppress(OSError):
                cast(Any, place).fs.invalidate_cache()
                for entry in list(place.iterdir()):
                    if not is_known(entry.name.split(".")[0]) and _all_stale(entry):
                        _remove(entry)

    def _copy(self, path: Path) -> Path:
        """A file of this folder, fetched from the store when it is not here.

        Raises:
            FileNotFoundError: it is not there either.
        """
        if path.is_file():
            with suppress(OSError):
                os.utime(path)
        elif self.storage is None:
            raise FileNotFoundError(path)
        else:
            self._drop_copies()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                media.fetch(self.storage / path.relative_to(self.base), path)
            except FileNotFoundError:
                with suppress(OSError):
                    path.parent.rmdir()  # the folder of a job that is not there
                raise
        return path

    def _drop_copies(self) -> None:
        """Delete what also lies in the store and was not asked for lately. Who is sent a copy has it open."""
        if self.storage is None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for entry in _stale(self.base / "inputs"):
            entry.unlink(missing_ok=True)
        for folder in (self.base / "jobs").iterdir():
            with suppress(OSError):
                if not any(folder.glob("work-*")):  # nobody of this machine is at it
                    for entry in _stale(folder):
                        entry.unlink(missing_ok=True)
                    folder.rmdir()


def _store(storage: str) -> Path:
    if not media.is_address(storage):
        raise ConfigError(f"storage cannot be '{storage}'; it should be an address such as s3://BUCKET/FOLDER")
    place = media.as_path(storage)
    media.check_writable(place)
    return place


def _input_name(file: InputFile) -> str:
    return f"{file.id}.{file.format}"


def _stale(folder: Path) -> list[Path]:
    limit = time.time() - _STALE_SECONDS
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.stat(follow_symlinks=False).st_mtime < limit]


def _all_stale(entry: Path) -> bool:
    """Whether a file of a store, or all files of a folder of it, have been left alone."""
    files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
    return all(path.stat().st_mtime < time.time() - _STALE_SECONDS for path in files)


def _send(file: Path, target: Path) -> None:
    """Send a file to the store; an error names no address, as clients see it."""
    try:
        media.upload(file, target)
    except OutputError as error:
        raise OutputError(f"the store of the service does not take {PurePath(file).suffix} files now") from error


def _remove(place: Path) -> None:
    """Delete a file or a folder of a store; what is left by a store that does not answer goes with a later sweep."""
    with suppress(Exception):
        store: Any = cast(Any, place).fs
        store.invalidate_cache()
        store.rm(cast(Any, place).path, recursive=True)
