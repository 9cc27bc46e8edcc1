"""The data folder: uploads and results under names that the store made, never under names that came from outside.

uploads/ID.part      on its way in
inputs/ID.EXT        complete
jobs/ID/             results of a job
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from revisage.core import OutputError
from revisage.service.values import InputFile

__all__ = ["DataFolder"]

_STALE_SECONDS = 3600
"""Leftovers of crashes are deleted when they have not been touched for so long."""


class DataFolder:
    """Raises OutputError when the folder cannot be made."""

    def __init__(self, base: Path) -> None:
        self.base = base
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
        """Where an upload lies."""
        return self.base / "inputs" / f"{file.id}.{file.format}"

    def job_folder(self, job_id: str) -> Path:
        """Where results of a job lie."""
        return self.base / "jobs" / job_id

    def result_path(self, job_id: str, name: str) -> Path:
        """A result of a job.

        Raises:
            OutputError: the name is none that a worker gives.
        """
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
            raise OutputError("no such result")
        return self.job_folder(job_id) / name

    def take_in(self, part: Path, file: InputFile) -> None:
        """Give a complete upload its place."""
        part.replace(self.input_path(file))

    def remove_input(self, file: InputFile) -> None:
        """Delete an upload; a file that was named by path is not touched."""
        if file.path is None:
            self.input_path(file).unlink(missing_ok=True)

    def remove_job(self, job_id: str) -> None:
        """Delete the results of a job."""
        shutil.rmtree(self.job_folder(job_id), ignore_errors=True)

    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self.base).free

    def sweep(self, is_job: Callable[[str], bool], is_input: Callable[[str], bool]) -> None:
        """Delete leftovers that no row of the store knows."""
        for entry in _stale(self.base / "uploads"):
            entry.unlink(missing_ok=True)
        for entry in _stale(self.base / "inputs"):
            if not is_input(entry.name.split(".")[0]):
                entry.unlink(missing_ok=True)
        for entry in _stale(self.base / "jobs"):
            if not is_job(entry.name):
                shutil.rmtree(entry, ignore_errors=True)


def _stale(folder: Path) -> list[Path]:
    limit = time.time() - _STALE_SECONDS
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.stat(follow_symlinks=False).st_mtime < limit]
