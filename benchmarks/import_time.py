"""Seconds that `import revisage` and `revisage --help` take in a fresh interpreter, beside an empty one.

python benchmarks/import_time.py [--json FILE] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "empty interpreter": ["-c", "pass"],
    "import revisage": ["-c", "import revisage"],
    "revisage --help": ["-m", "revisage", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall clock of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    for command in COMMANDS.values():
        seconds(command)  # writes the byte code and warms the disk cache
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.runs):
        for name, command in COMMANDS.items():
            samples[name].append(seconds(command))
    figures = {name: round(statistics.median(values), 3) for name, values in samples.items()}
    figures["import revisage, above an empty one"] = round(figures["import revisage"] - figures["empty interpreter"], 3)
    for name, value in figures.items():
        print(f"{name:40} {value:7.3f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
