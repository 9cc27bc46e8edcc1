"""Whole commands against those of an older commit, in turns on one machine: the bars of speed that the project keeps.

    python benchmarks/bars.py [--against COMMIT|none] [--rounds N] [--only ROW ...] [--cores 0,1] [--json FILE]

Each row is `revisage restore` in a fresh process, with warm caches of its own, start included. Where other work shares
the machine the ratio of processor time says more than that of wall time. `none` measures this checkout alone.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from footage import resized_clip, small_clip, talking_clip, write_clip
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
        start: so many of the first frames are run by themselves, and what they take is taken off: what is left is the
            rest of the frames, without the start of the process. All is counted where it is 0.
    """

    clip: str
    frames: int
    bar: float | None
    options: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    start: int = 0


ROWS = {
    "720p": Row("s18", 200, 2.5, common=("--end", "6.65")),
    "270p-60": Row("talking-60", 60, 2.5),
    "270p-300": Row("talking-300", 300, 2.5),
    "one-face": Row("one", 100, None),
    "four-faces": Row("four", 100, None),
    "no-face-encoded": Row("bottles", 1189, 3.0, options=("--copy-untouched", "never")),
    "no-face-copied": Row("bottles", 1189, 10.0),
    "720p-no-face-encoded": Row("bottles-720p", 1189, None, options=("--copy-untouched", "never"), start=2),
    "720p-no-face-copied": Row("bottles-720p", 1189, None, start=2),
}
LONG = "long"
"""A row by itself, run only where it is named: whether a frame of 10,000 costs what one of 100 does."""
LENGTHS = (1, 100, 10_000)


def clip_of(name: str, folder: Path, shared: Path) -> Path:
    """The file of a clip, made where it is not one of the development clips."""
    real = {"s18": "s18.mp4", "bottles": "bottle-detection.mp4"}
    if name in real:
        return shared / "clips" / real[name]
    path = folder / f"{name}.mp4"
    if path.is_file():
        return path
    if name == "bottles-720p":
        return resized_clip(clip_of("bottles", folder, shared), (1280, 720), path)
    if name.startswith("talking"):
        return talking_clip(path, int(name.rpartition("-")[2]))
    return tiled(talking_clip(folder / "to-tile.mp4", 100), path, alone=name == "one")


def first_frames(source: Path, count: int, folder: Path) -> Path:
    """A clip of the first frames of another one, its packets as they are."""
    path = folder / f"first-{count}-{source.name}"
    with av.open(source) as reading, av.open(path, "w") as writing:
        stream = reading.streams.video[0]
        copied = writing.add_stream_from_template(stream)
        for packet in itertools.islice(reading.demux(stream), count):
            packet.stream = copied
            writing.mux(packet)
    return path


def tiled(source: Path, path: Path, *, alone: bool) -> Path:
    """A clip of 960x540 with the face of another four times, or once beside grey."""

    def pictures() -> Iterator[np.ndarray]:
        with av.open(source) as reading:
            for frame in reading.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                rest = np.full_like(picture, 128) if alone else picture
                yield np.vstack([np.hstack([picture, rest]), np.hstack([rest, rest])])

    write_clip(path, pictures(), preset="veryfast", crf="18")
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


class Cost(NamedTuple):
    """What a command took: seconds by the clock and of processor time, and peak resident memory (MiB)."""

    wall: float
    processor: float
    peak: float


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
        # An installed package comes with its bytecode; that of a checkout is written by the first run.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        self._environment |= more or {}

    def __call__(self, source: Path, options: tuple[str, ...]) -> Cost:
        """Run it."""
        words = ["restore", str(source), str(self._folder / f"out{source.suffix}"), "--overwrite", "--quiet", *options]
        command = [sys.executable, "-m", "revisage", *words]
        started = time.perf_counter()
        with subprocess.Popen(command, env=self._environment, preexec_fn=self._bind) as running:
            _, status, used = os.wait4(running.pid, 0)
            running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode:
            raise subprocess.CalledProcessError(running.returncode, command)
        return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)

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


def measured(name: str, commands: dict[str, Command], source: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """A row of the table: medians over the rounds, and of the ratios within them."""
    row = ROWS[name]
    times: dict[str, list[Cost]] = {which: [] for which in commands}
    start = first_frames(source, row.start, folder) if row.start else None
    for turn in range(rounds + 1):
        for which, command in commands.items():
            options = (*row.common, *(row.options if which == "now" else ()))
            taken = command(source, options)
            if start is not None:
                begun = command(start, options)
                taken = Cost(taken.wall - begun.wall, taken.processor - begun.processor, taken.peak)
            if turn:  # the first fills caches
                times[which].append(taken)
    now = np.array(times["now"])
    found = {
        "row": name,
        "frames/s": (row.frames - row.start) / float(np.median(now[:, 0])),
        "processor s": float(np.median(now[:, 1])),
        "peak MiB": float(np.median(now[:, 2])),
    }
    if "then" in times:
        ratios = np.median(np.array(times["then"]) / now, axis=0)
        found |= {"times as fast": float(ratios[0]), "in processor time": float(ratios[1]), "bar": row.bar}
    return found


def lengths(command: Command, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """What a frame takes in clips of `LENGTHS`, that of a single frame taken off, and the peak of memory.

    The picture is small and shown twice, so that 10,000 frames take minutes; half of the short runs come before the
    long one, and half behind it.
    """
    clips = {frames: small_clip(folder / f"small-{frames}.mp4", frames) for frames in LENGTHS}
    short = LENGTHS[:-1]
    command(clips[1], ())  # fills caches
    costs: dict[int, list[Cost]] = {frames: [] for frames in LENGTHS}
    for frames in (*short * rounds, LENGTHS[-1], *short * rounds):
        costs[frames].append(command(clips[frames], ()))
    medians = {frames: np.median(np.array(taken), axis=0) for frames, taken in costs.items()}
    each = {frames: (medians[frames] - medians[1])[:2] / (frames - 1) for frames in LENGTHS[1:]}
    return [
        {
            "row": f"{frames} frames",
            "ms a frame": 1e3 * each[frames][0],
            "processor ms a frame": 1e3 * each[frames][1],
            "of 100 frames'": each[frames][0] / each[short[-1]][0],
            "in processor time": each[frames][1] / each[short[-1]][1],
            "peak MiB": float(medians[frames][2]),
        }
        for frames in LENGTHS[1:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default=OLD)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*ROWS, LONG], default=list(ROWS))
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
                if name == LONG:
                    rows.extend(lengths(commands["now"], folder, arguments.rounds))
                    continue
                source = clip_of(ROWS[name].clip, folder, arguments.shared)
                rows.append(measured(name, commands, source, folder, arguments.rounds))
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
