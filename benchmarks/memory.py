"""Peak resident memory of a restoration by the length of the clip; it must not grow.

    python benchmarks/memory.py [--frames 300 3000] [--source FILE] [--json FILE]

Each length runs in a fresh process, as the command line does. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from footage import talking_clip

CHILD = """
import resource, sys
import revisage
from revisage.core import give_back_freed_memory
give_back_freed_memory()
report = revisage.restore(sys.argv[1], sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak if sys.platform == "darwin" else peak * 1024, report.files[0].frames, report.files[0].faces.restored)
"""


def peak_mib(frames: int, folder: Path) -> tuple[float, int]:
    """Peak resident memory in MiB of restoring a clip of so many frames, and the faces restored in it."""
    peak, found, faces = peak_of(talking_clip(folder / f"clip_{frames}.mp4", frames), folder)
    if found != frames:
        raise SystemExit(f"{found} frames restored instead of {frames}")
    return peak, faces


def peak_of(source: Path, folder: Path) -> tuple[float, int, int]:
    """Peak resident memory in MiB of restoring a file, its frames, and the faces restored in it."""
    command = [sys.executable, "-c", CHILD, str(source), str(folder / f"out_{source.name}")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(answer[0]) / 2**20, int(answer[1]), int(answer[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--source", type=Path, help="Measure this file alone.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.source is not None:
            peak, frames, faces = peak_of(arguments.source.absolute(), Path(folder))
            print(f"{arguments.source.name}, {frames} frames, {faces} faces: {peak:.1f} MiB")
            return
        for frames in arguments.frames:
            figures[frames], faces = peak_mib(frames, Path(folder))
            print(f"{frames:6d} frames, {faces} faces: {figures[frames]:8.1f} MiB", flush=True)
    ratio = figures[arguments.frames[-1]] / figures[arguments.frames[0]]
    print(f"ratio of the longest to the shortest: {ratio:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"peak_mib": figures, "ratio": ratio}, indent=1))


if __name__ == "__main__":
    main()
