"""Whether a file that came in keeps to the limits, found by a short-lived process: the server itself opens no medium.

    python -m revisage.service.measuring < path

Only what the file says of itself is read, nothing is decoded. Whatever this cannot tell a worker will: it looks again.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from revisage.core import RevisageError
from revisage.service.limits import MediumTooLargeError, check_medium, limit_process
from revisage.service.settings import ServiceSettings
from revisage.service.store import JobStore
from revisage.service.values import InputFile

__all__ = ["check_limits", "main"]

_TURNS = asyncio.Semaphore(2)
"""Files that are measured at the same time."""

_PATIENCE = 20.0
"""Seconds after which a file is left to the workers."""

_REFUSED = 3


async def check_limits(store: JobStore, file: InputFile) -> None:
    """Refuse a file that says it is larger or longer than allowed.

    Raises:
        MediumTooLargeError: it does; in the words that a worker would use.
    """
    async with _TURNS:
        refusal = await asyncio.to_thread(_refusal, store.settings, store.input_path(file))
    if refusal is not None:
        raise MediumTooLargeError(refusal)


def _refusal(settings: ServiceSettings, path: Path) -> str | None:
    command = [sys.executable, "-m", "revisage.service.measuring"]
    environment = {**os.environ, **settings.environment()}
    try:
        done = subprocess.run(
            command, env=environment, input=os.fsencode(path), capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8").strip() if done.returncode == _REFUSED else None


def main() -> int:
    """Measure the file whose path comes in; returns the exit code."""
    from revisage.media import read_extent

    settings = ServiceSettings.load()
    limit_process(settings, settings.niceness // 2)
    try:
        check_medium(read_extent(Path(os.fsdecode(sys.stdin.buffer.read()))), settings)
    except MediumTooLargeError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    except (RevisageError, OSError, MemoryError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
