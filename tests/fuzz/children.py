"""Hand hostile files to long-lived child processes, with limits of time and memory, and see what comes of them."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mutators import Mutated

SECONDS = 40.0
"""Of processor time that a file may take in each way: a busy machine is no fault of the code."""

PATIENCE = 600.0
"""Seconds that may pass meanwhile; who waits for ever takes no processor time."""

MOST = 2 * 2**30
"""Bytes of memory that the child may ever have held."""

VERBS = ("probe", "scan", "restore", "upload", "faces")

FACES_OF = 8
"""Of so many mutated files one is restored with its faces too: the networks run for seconds, and see pixels only."""


class Child:
    """A child process that answers, or is killed and started again."""

    def __init__(self, folder: Path, model: Path) -> None:
        self._command = [sys.executable, str(Path(__file__).with_name("child.py")), str(folder), str(model)]
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str | None] = queue.Queue()

    def ask(self, verb: str, path: Path) -> dict[str, Any]:
        """What came of a file."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, str(path)]) + "\n")
        self._process.stdin.flush()
        line = self._answer()
        if line == "":
            self.stop()
            return {"state": "wrong", "told": f"no end after {SECONDS:g} s of work or {PATIENCE:g} s"}
        if line is None:
            code = self._process.wait()
            self.stop()
            return {"state": "wrong", "told": f"the process died with code {code}"}
        said: dict[str, Any] = json.loads(line)
        if said["peak"] > MOST:
            self.stop()
            return {"state": "wrong", "told": f"{said['peak'] / 2**20:.0f} MiB of memory"}
        return said

    def _answer(self) -> str | None:
        """The next line; an empty one when it does not come in time, None when the process is gone."""
        assert self._process is not None
        began, worked = time.monotonic(), self._worked()
        while time.monotonic() - began < PATIENCE and self._worked() - worked < SECONDS:
            with suppress(queue.Empty):
                return self._said.get(timeout=1)
        return ""

    def _worked(self) -> float:
        """Seconds of processor time of the process."""
        assert self._process is not None
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._said = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._said), daemon=True).start()
        if self._said.get(timeout=PATIENCE) != "ready\n":
            raise AssertionError("the child process does not start")

    @staticmethod
    def _read(process: subprocess.Popen[str], said: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line)
        said.put(None)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass
class Outcome:
    """What came of many files.

    Attributes:
        counts: files of each kind of damage and state.
        formats: files of each ending and state.
        asked: how often each thing was done, and what came of it.
        wrong: what went wrong, with the file's name.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    formats: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Files by kind of damage and by ending, and what was done with them: all, fine, refused, wrong."""
        parts = {"damage": self.counts, "ending": self.formats, "done": self.asked}
        return "\n\n".join(_table(title, counts) for title, counts in parts.items())


def _table(title: str, counts: Counter[tuple[str, str]]) -> str:
    lines = [f"{title:14}{'all':>7}{'fine':>7}{'refused':>9}{'wrong':>7}"]
    for kind in sorted({kind for kind, _ in counts}):
        fine, refused, wrong = (counts[kind, state] for state in ("fine", "refused", "wrong"))
        lines.append(f"{kind:14}{fine + refused + wrong:>7}{fine:>7}{refused:>9}{wrong:>7}")
    return "\n".join(lines)


def try_files(files: Iterable[Mutated], folder: Path, model: Path, kept: Path | None = None) -> Outcome:
    """Probe, scan, restore and take in each file; restore one of :data:`FACES_OF` with its faces.

    Args:
        files: with something wrong in them.
        folder: to work in.
        model: restorer.
        kept: folder for files that something went wrong with.
    """
    outcome, child = Outcome(), Child(folder, model)
    try:
        for number, file in enumerate(files):
            path = folder / file.name
            path.write_bytes(file.data)
            states = []
            for verb in VERBS if number % FACES_OF == 0 else VERBS[:-1]:
                said = child.ask(verb, path)
                states.append(said["state"])
                outcome.asked[verb, said["state"]] += 1
                if said["state"] == "wrong":
                    outcome.wrong.append(f"{file.name} ({verb}): {said['told']}")
            worst = next((state for state in ("wrong", "fine") if state in states), "refused")
            outcome.counts[file.kind, worst] += 1
            outcome.formats[path.suffix, worst] += 1
            if worst == "wrong" and kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                (kept / file.name).write_bytes(file.data)
                (kept / f"{file.name}.txt").write_text("\n".join(outcome.wrong[-states.count("wrong") :]))
            path.unlink()
    finally:
        child.stop()
    return outcome
