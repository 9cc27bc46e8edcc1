"""What the benchmarks share: the machine's name, interleaved timing, a table, a JSON file."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revisage.engines import cpu_info, load_openvino


def machine() -> dict[str, Any]:
    """The CPU's name and features, and the versions that matter to the figures."""
    cpu = cpu_info()
    return {
        "cpu": cpu.name,
        "features": list(cpu.features),
        "cores": cpu.cores,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": torch.__version__,
        "openvino": load_openvino().__version__,
    }


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int, *, cpu_time: bool = False, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each run in each round, one after the other within a round, after a warm-up that is not counted.

    Other work on the machine then slows all of them alike, so that ratios hold where single figures do not. Where it
    is much, threads that wait for each other spoil even those: take cpu_time, with OMP_NUM_THREADS=1.
    """
    clock = time.process_time if cpu_time else time.perf_counter
    if warm_up:
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return seconds


def clock_name(cpu_time: bool) -> str:
    """What the seconds of :func:`interleaved` are, and how many threads ran."""
    return f"{'processor time' if cpu_time else 'wall time'}, {torch.get_num_threads()} threads"


def ratio(seconds: Mapping[str, Sequence[float]], name: str, base: str) -> float:
    """Median over the rounds of one run's time as a part of another's in the same round."""
    return float(np.median(np.array(seconds[name]) / np.array(seconds[base])))


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows with the same keys, under a title."""
    if not rows:
        return
    columns = list(rows[0])
    texts = [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in texts)) for i, column in enumerate(columns)]
    print(f"\n{title}")
    print("  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)))
    for line in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def finish(record: dict[str, Any], path: Path | None) -> None:
    """Print the record as JSON, or write it to a file."""
    text = json.dumps({"machine": machine(), **record}, indent=1)
    if path is None:
        print(f"\n{text}")
    else:
        path.write_text(text + "\n", encoding="utf-8")
