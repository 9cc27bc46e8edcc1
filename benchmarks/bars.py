"""Whole commands against those of an older commit, in turns on one machine: the bars of speed that the project keeps.

    python benchmarks/bars.py [--against COMMIT|none] [--rounds N] [--only ROW ...] [--cores 0,1] [--json FILE]

Each row is `revisage restore` in a fresh process, with warm caches of its own, start included. Where other work shares
the machine the ratio of processor time says more than that of wall time. `none` measures this checkout alone.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from footage import talking_clip
from measuring import finish, machine, print_table

HERE = Path(__file__).resolve().parents[1]
OLD = "f293660"
"""The last commit before the rooms had doors; the figures of its time stand in docs/benchmarks.md."""

OLD_NEEDS = ("pooch",)
"""Packages that older commits need and this one does not."""


@dataclass(frozen=True)
class Row:
    """One thing to measure.

    Attributes:
        frames: of the clip.
        options: of this checkout's command; ``common`` of both commands.
        bar: least ratio of the older time to ours; None where the row is compared with another one.
    """

    clip: str
    frames: int
    bar: float | None
    options: tuple[str, ...] = ()
    common: tuple[str, ...] = ()


ROWS = {
    "720p": Row("s18", 200, 2.5, common=("--end", "6.65")),
    "270p-60": Row("talking-60", 60, 2.5),
    "270p-300": Row("talking-300", 300, 2.5),
    "one-face": Row("one", 100, None),
    "four-faces": Row("four", 100, None),
    "no-face-encoded": Row("bottles", 1189, 3.0, options=("--copy-untouched", "never")),
    "no-face-copied": Row("bottles", 1189, 10.0),
    "frames-100": Row("talking-100", 100, None),
    "frames-10000": Row("talking-10000", 10_000, None),
}
LONG = ("frames-100", "frames-10000")
"""Rows that take an hour, run only where they are named."""


def clip_of(name: str, folder: Path, shared: Path) -> Path:
    """The file of a clip, made where it is not one of the development clips."""
    real = {"s18": "s18.mp4", "bottles": "bottle-detection.mp4"}
    if name in real:
        return shared / "clips" / real[name]
    path = folder / f"{name}.mp4"
    if path.is_file():
        return path
    if name.startswith("talking"):
        return talking_clip(path, int(name.rpartition("-")[2]))
    return tiled(talking_clip(folder / "to-tile.mp4", 100), path, alone=name == "one")


def tiled(source: Path, path: Path, *, alone: bool) -> Path:
    """A clip of 960x540 with the face of another four times, or once beside grey."""
    with av.open(str(source)) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream("libx264", rate=Fraction(25), options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 960, 540, "yuv420p"
        for frame in reading.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            rest = np.full_like(picture, 128) if alone else picture
            rows = np.vstack([np.hstack([picture, rest]), np.hstack([rest, rest])])
            writing.mux(stream.encode(av.VideoFrame.from_ndarray(rows, format="rgb24")))
        writing.mux(stream.encode(None))
    return path


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A commit of this repository in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkout"
        more = [sys.executable, "-m", "pip", "install", "-q", "--target", str(Path(folder) / "more"), *OLD_NEEDS]
        subprocess.run(more, check=True)
        subprocess.run(["git", "-C", str(HERE), "worktree", "add", "-q", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "-C", str(HERE), "worktree", "remove", "--force", str(place)], check=True)


class Command:
    """`revisage restore` of one checkout.

    Args:
        tree: the checkout.
        folder: for its outputs and its caches.
        cores: that it may use; all when empty.
        more: further variables of its environment.
    """

    def __init__(self, tree: Path, folder: Path, cores: set[int], more: Mapping[str, str] | None = None) -> None:
        self._folder, self._cores = folder, cores
        folder.mkdir()
        paths = os.pathsep.join((str(tree / "src"), str(tree.parent / "more")))
        self._environment = {**os.environ, "PYTHONPATH": paths, "REVISAGE_CACHE": str(folder / "cache")}
        self._environment |= more or {}

    def __call__(self, source: Path, options: tuple[str, ...]) -> tuple[float, float]:
        """Seconds by the clock and of processor time."""
        words = ["restore", str(source), str(self._folder / f"out{source.suffix}"), "--overwrite", "--quiet", *options]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "revisage", *words], check=True, env=self._environment, preexec_fn=self._bind
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _bind(self) -> None:
        if self._cores:
            os.sched_setaffinity(0, self._cores)


def encoder_alone(source: Path, frames: int, cores: set[int]) -> float:
    """Seconds that decoding and x264 (medium, crf 18) take for so many frames of a clip: what a transcoder would."""
    code = f"""
import av, itertools, os
if {cores or None}:
    os.sched_setaffinity(0, {cores or None})
with av.open({str(source)!r}) as reading, av.open("/dev/null", "w", format="nut") as writing:
    read = reading.streams.video[0]
    read.thread_type = "AUTO"
    made = writing.add_stream("libx264", rate=read.average_rate, options={{"preset": "medium", "crf": "18"}})
    made.width, made.height, made.pix_fmt = read.width, read.height, "yuv420p"
    for frame in itertools.islice(reading.decode(read), {frames}):
        frame.pict_type = 0
        writing.mux(made.encode(frame))
    writing.mux(made.encode(None))
"""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def measured(name: str, commands: dict[str, Command], source: Path, rounds: int) -> dict[str, Any]:
    """A row of the table: medians over the rounds, and of the ratios within them."""
    row = ROWS[name]
    times: dict[str, list[tuple[float, float]]] = {which: [] for which in commands}
    for turn in range(rounds + 1):
        for which, command in commands.items():
            taken = command(source, (*row.common, *(row.options if which == "now" else ())))
            if turn:  # the first fills caches
                times[which].append(taken)
    now = np.array(times["now"])
    found = {
        "row": name,
        "frames/s": row.frames / float(np.median(now[:, 0])),
        "processor s": float(np.median(now[:, 1])),
    }
    if "then" in times:
        ratios = np.median(np.array(times["then"]) / now, axis=0)
        found |= {"times as fast": float(ratios[0]), "in processor time": float(ratios[1]), "bar": row.bar}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default=OLD)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=[name for name in ROWS if name not in LONG])
    parser.add_argument("--cores", default="")
    parser.add_argument("--shared", type=Path, default=HERE.parent / "shared")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = {int(number) for number in arguments.cores.split(",") if number}
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = {"now": Command(HERE, folder / "now", cores)}

        def run_all() -> None:
            for name in arguments.only:
                source = clip_of(ROWS[name].clip, folder, arguments.shared)
                rows.append(measured(name, commands, source, arguments.rounds))
                if name == "720p":
                    alone = encoder_alone(source, ROWS[name].frames, cores)
                    rows[-1]["times the encoder's"] = ROWS[name].frames / rows[-1]["frames/s"] / alone
                print(rows[-1], flush=True)

        if arguments.against == "none":
            run_all()
        else:
            with checkout(arguments.against) as tree:
                commands["then"] = Command(tree, folder / "then", cores)
                run_all()
    print_table("Whole commands", [{**dict.fromkeys(keys_of(rows)), **row} for row in rows])
    finish({"against": arguments.against, "rows": rows}, arguments.json)


def keys_of(rows: list[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they come."""
    return list({key: None for row in rows for key in row})


if __name__ == "__main__":
    main()
