"""How a run is doing, from its folder alone: no network is loaded, and a run in progress is not disturbed."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from revisage.core import InputError, format_seconds

__all__ = ["RunStatus", "read_status"]

_NOT_LOSSES = {"step", "rate", "seconds", "images_per_second", "s_per_step"}


@dataclass(frozen=True)
class RunStatus:
    """What a run's folder tells.

    Attributes:
        run: the folder.
        step, steps: done, and wanted.
        rate: images per second, as last logged; None before the first look.
        seconds_left: at that pace; None when it is not known or the run is done.
        idle_seconds: since the log was last written.
        losses: as last logged, with their weights in them.
        measures, measures_step: of the last check, by level; empty without one.
        best, best_step: the measure that best.pt was chosen by, and its step.
        checkpoints: names of the files to go on from or to export.
        skipped: training files that could not be used.
    """

    run: str
    step: int
    steps: int
    rate: float | None = None
    seconds_left: float | None = None
    idle_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    measures_step: int | None = None
    best: float | None = None
    best_step: int | None = None
    best_by: str = ""
    checkpoints: tuple[str, ...] = ()
    skipped: int = 0

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people, on one screen."""
        part = 100 * self.step / max(self.steps, 1)
        pace = "" if self.rate is None else f", {self.rate:g} images/s"
        left = "" if self.seconds_left is None else f", {format_seconds(self.seconds_left)} left"
        shown = [f"{self.run}: step {self.step} of {self.steps} ({part:.1f} %){pace}{left}"]
        if self.step < self.steps:
            shown.append(f"  last written to {format_seconds(self.idle_seconds)} ago")
        if self.losses:
            shown.append("  losses: " + ", ".join(f"{name} {value:g}" for name, value in self.losses.items()))
        for level, values in self.measures.items():
            if isinstance(values, dict):
                numbers = ", ".join(f"{name} {value:g}" for name, value in values.items())
                shown.append(f"  {level} at step {self.measures_step}: {numbers}")
        if self.best is not None:
            shown.append(f"  best: {self.best_by} {self.best:g} at step {self.best_step}")
        shown.append("  checkpoints: " + (", ".join(self.checkpoints) or "none yet"))
        if self.skipped:
            shown.append(f"  {self.skipped} training files could not be used; data.json names them")
        return shown


def read_status(folder: Path) -> RunStatus:
    """Read a run's settings and log. Raises InputError when the folder holds no run."""
    config = _read_json(folder / "config.json")
    if config is None:
        state = "damaged" if (folder / "config.json").is_file() else "not there"
        raise InputError(f"no run in {folder}: config.json is {state}")
    log = _log_lines(folder / "log.jsonl")
    looks = [line for line in log if "step" in line and "validation" not in line and "event" not in line]
    checks = [line for line in log if "validation" in line]
    last, checked = (looks or [{}])[-1], (checks or [{}])[-1]
    step, steps = int(last.get("step", 0)), int(config.get("steps", 0))
    best = checked.get("best")
    return RunStatus(
        run=str(folder),
        step=step,
        steps=steps,
        rate=last.get("images_per_second"),
        seconds_left=_seconds_left(looks, steps),
        idle_seconds=round(_age(folder / "log.jsonl"), 1),
        losses={name: value for name, value in last.items() if name not in _NOT_LOSSES},
        measures=checked.get("validation", {}),
        measures_step=checked.get("step"),
        best=best,
        best_step=next((line["step"] for line in checks if line.get("best") == best), None),
        best_by=" ".join(config.get("best_by", ())),
        checkpoints=tuple(name for name in ("last.pt", "best.pt") if (folder / name).is_file()),
        skipped=len((_read_json(folder / "data.json") or {}).get("skipped", ())),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    """The record in a file; None when it is absent or being written."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record


def _log_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; the last may be half written."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


def _seconds_left(looks: list[dict[str, Any]], steps: int) -> float | None:
    """At the pace of the last looks of the same start; the clock begins anew with each."""
    if len(looks) < 2 or looks[-1]["step"] >= steps:
        return None
    now = looks[-1]
    before = [look for look in looks[-6:-1] if look["seconds"] < now["seconds"] and look["step"] < now["step"]]
    if not before:
        return None
    first = before[0]
    pace = (now["seconds"] - first["seconds"]) / (now["step"] - first["step"])
    return round(pace * (steps - int(now["step"])), 1)


def _age(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0
