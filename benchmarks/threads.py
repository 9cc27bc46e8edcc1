"""How many threads serve a whole command best? OpenVINO's, OpenCV's, and workers side by side, in turns.

    python benchmarks/threads.py [--rounds N] [--only ROW ...] [--shared FOLDER] [--json FILE]

Each stage of a run has a thread of its own, and so have decoder and encoder; OpenVINO and OpenCV bring theirs. Each way
of sharing the cores runs `revisage restore` on the clips of `bars.py`, with caches of its own, once before it counts.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bars import HERE, ROWS, Command, Cost, clip_of
from measuring import finish, machine, print_table

#: Ways of sharing the cores: variables of the environment, options of the command.
WAYS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "as it comes": ({}, ()),
    "OpenVINO 1": ({"OMP_NUM_THREADS": "1"}, ()),
    "OpenCV 1": ({"OPENCV_FOR_THREADS_NUM": "1"}, ()),
    "both 1": ({"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}, ()),
    "2 workers": ({}, ("--workers", "2")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=["720p", "270p-60"])
    parser.add_argument("--shared", type=Path, default=HERE.parent / "shared")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(machine())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = {
            way: Command(HERE, folder / way.replace(" ", "-"), set(), variables) for way, (variables, _) in WAYS.items()
        }
        for name in arguments.only:
            rows += _measured(name, commands, clip_of(ROWS[name].clip, folder, arguments.shared), arguments.rounds)
    print_table("Whole commands", rows)
    finish({"rows": rows}, arguments.json)


def _measured(name: str, commands: dict[str, Command], source: Path, rounds: int) -> list[dict[str, Any]]:
    row = ROWS[name]
    times: dict[str, list[Cost]] = {way: [] for way in commands}
    for turn in range(rounds + 1):
        for way, command in commands.items():
            taken = command(source, (*row.common, *WAYS[way][1]))
            if turn:  # the first fills caches
                times[way].append(taken)
    first = np.array(times["as it comes"])
    found = {way: np.median(np.array(taken) / first, axis=0) for way, taken in times.items()}
    return [
        {
            "row": name,
            "way": way,
            "frames/s": row.frames / float(np.median([cost.wall for cost in times[way]])),
            "time, of the first": float(ratios[0]),
            "processor time, of the first": float(ratios[1]),
        }
        for way, ratios in found.items()
    ]


if __name__ == "__main__":
    main()
