"""Outputs that go to a store: made here, where encoders can patch what they wrote, and sent when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revisage import media, models
from revisage.core import OutputError, OutputExistsError, RestoreConfig
from revisage.pipeline.report import FileReport

__all__ = ["delivered", "notes_folder", "told_where"]


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
