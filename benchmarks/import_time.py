"""Processor time that commands which restore nothing take in a fresh interpreter, beside an empty one.

python benchmarks/import_time.py [--json FILE] [--runs N]

In turns: other work on the machine then slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = {
    "empty interpreter": ["-c", "pass"],
    "import revisage": ["-c", "import revisage"],
    "revisage --help": ["-m", "revisage", "--help"],
    "revisage --version": ["-m", "revisage", "--version"],
    "revisage restore --help": ["-m", "revisage", "restore", "--help"],
    "revisage restore, an unknown option": ["-m", "revisage", "restore", "--sharpen"],
    "revisage restore, an unknown model": ["-m", "revisage", "restore", __file__, "--model", "nobody"],
}


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Processor time of one fresh interpreter."""
    with subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        # An installed package comes with its bytecode; that of a checkout is written by the first run.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = folder
        for turn in range(arguments.runs + 1):
            for name, command in COMMANDS.items():
                taken = seconds(command, environment)
                if turn:
                    samples[name].append(taken)
    figures = {name: round(statistics.median(values), 3) for name, values in samples.items()}
    figures["import revisage, above an empty one"] = round(figures["import revisage"] - figures["empty interpreter"], 3)
    for name, value in figures.items():
        print(f"{name:40} {value:7.3f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
