"""A process that does with hostile files what revisage does with any, under limits of memory; see children.py."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from revisage import media, pipeline
from revisage.core import RevisageError, make_config
from revisage.service.jobs import JobStore
from revisage.service.settings import ServiceSettings, check_medium

MEMORY = 6 * 2**30
"""Bytes of addresses: of Python, FFmpeg and OpenVINO about 2 GiB."""


class Work:
    """What is done with each file; the networks are loaded once."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder
        # A frame or two go through all stages; faces are a matter of the pixels, which most damage leaves as they are.
        self._config = make_config(model=model, end=0.05, temporal="off", fine="keep", overwrite=True, strength=0)
        self._clear()  # what a child that was killed has left
        self._networks = pipeline.Networks(self._config)
        self._networks.load()
        _ = self._networks.detector
        self._settings = ServiceSettings(data_dir=folder / "data", max_pixels=4_000_000, max_seconds=600.0)
        self._store = JobStore(self._settings)

    def probe(self, path: Path) -> None:
        """What the file says of itself, in JSON."""
        json.dumps(media.probe(path).to_json())

    def scan(self, path: Path) -> None:
        """Find the faces, and read the scan again."""
        found = pipeline.scan_source(path, pipeline.fingerprint(path), self._config, self._networks)
        found.save(self._folder / "scan.json", overwrite=True)
        if pipeline.load_scan(self._folder / "scan.json") != found:
            raise AssertionError("the scan does not read as it was written")

    def restore(self, path: Path) -> None:
        """Restore; what comes out can be read."""
        output = media.default_output(path, suffix="_out", ext=None)
        output = self._folder / output.name
        try:
            report = pipeline.restore_file(path, output, self._config, self._networks)
            if not report.frames or media.probe(output).size_hw is None:
                raise AssertionError("nothing came out")
            left = [entry.name for entry in self._folder.iterdir() if entry.name.startswith(".")]
            if left:
                raise AssertionError(f"{left} was left behind")
        finally:
            output.unlink(missing_ok=True)
            self._clear()

    def _clear(self) -> None:
        for entry in self._folder.glob(".*"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def faces(self, path: Path) -> None:
        """Restore with the faces."""
        whole, self._config = self._config, self._config.model_copy(update={"strength": 1.0, "end": Fraction(1, 10)})
        try:
            self.restore(path)
        finally:
            self._config = whole

    def upload(self, path: Path) -> None:
        """Take it in as the service does."""
        copy = self._folder / "upload"
        shutil.copyfile(path, copy)
        try:
            file = self._store.add_upload(copy, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
            check_medium(media.read_extent(self._store.input_path(file)), self._settings)
            self._store.delete_input(file.id)
        finally:
            copy.unlink(missing_ok=True)


def answer(work: Callable[[Path], None], path: Path) -> dict[str, Any]:
    """What came of it: ``fine``, ``refused`` in one line, or ``wrong``."""
    try:
        work(path)
    except RevisageError as error:
        told = str(error)
        state = "refused" if told and "\n" not in told and len(told) < 1000 else "wrong"
        return {"state": state, "told": told[:300]}
    except BaseException:
        return {"state": "wrong", "told": traceback.format_exc()[-1500:]}
    return {"state": "fine", "told": ""}


def forget_peak() -> None:
    """Count anew what is held at most, where the system can: each file answers for itself."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes held at most. The count of `getrusage` begins with what the parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Do what each line on stdin says, and answer in a line on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 * 2**20, 200 * 2**20))
    out, sys.stdout = sys.stdout, sys.stderr
    work = Work(Path(sys.argv[1]), sys.argv[2])
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        verb, path = json.loads(line)
        forget_peak()
        said = answer(getattr(work, verb), Path(path))
        said["peak"] = peak_memory()
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
