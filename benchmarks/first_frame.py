"""How long a command takes to its first restored frame: a photo and a clip, with warm caches and with empty ones.

    python benchmarks/first_frame.py [--runs N] [--json FILE]

From the start of the process to the moment when the first restored frame is written: seconds by the clock, and of
processor time, which says more where other work shares the machine. It is `revisage restore` as it is; in the place of
the bars that it draws on a terminal is what notes the time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from footage import talking_clip
from measuring import finish, machine, print_table

NOTED = """
import contextlib, json, sys, time
import revisage.cli.app as app
from revisage.cli import main

began, *words = sys.argv[1:]
seen = {}

def note(moment):
    if moment.done and moment.stage not in seen:
        seen[moment.stage] = (time.time() - float(began), time.process_time())

app.progress_bar = lambda quiet: contextlib.nullcontext(note)
try:
    main(["restore", *words, "--overwrite", "--quiet"])
finally:
    print(json.dumps(seen))
"""


def noted(source: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Of one run, for each of its stages: seconds and processor seconds to the end of its first frame."""
    # An installed package comes with its bytecode; that of a checkout is written by the first run.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "REVISAGE_CACHE": str(folder / "cache")}
    target = folder / f"out{source.suffix}"
    command = [sys.executable, "-c", NOTED, str(time.time()), str(source), str(target)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip, photo = talking_clip(folder / "talking.mp4", 60), folder / "photo.png"
        with av.open(clip) as reading:
            next(reading.decode(video=0)).to_image().save(photo)
        noted(photo, folder)  # writes the bytecode
        for source, name in ((photo, "photo, 480x270"), (clip, "clip, 480x270, 60 frames")):
            for cache in ("cold", "warm"):
                taken = []
                for _ in range(arguments.runs):
                    if cache == "cold":
                        shutil.rmtree(folder / "cache")
                    taken.append(noted(source, folder)["restore"])
                wall, processor = (statistics.median(values) for values in zip(*taken, strict=True))
                rows.append({"source": name, "cache": cache, "s": wall, "processor s": processor})
                print(rows[-1], flush=True)
    print_table("To the first restored frame", rows)
    finish({"rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
