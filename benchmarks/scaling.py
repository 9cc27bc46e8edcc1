"""How well more workers are used: measured with up to four of them, simulated with a thousand.

    python benchmarks/scaling.py machinery   # Ray's workers with real media; a sleep stands for the network
    python benchmarks/scaling.py scan        # the scan of a long film by one process and by several, in turn
    python benchmarks/scaling.py simulated   # the schedule of the cluster with times put in; stragglers and losses

*Machinery* restores a film of equal segments with a network that sleeps, so that what is measured is the way of the
jobs, the files and the answers, and not how many cores this machine has. *Simulated* runs the very
:class:`revisage.cluster.Schedule` that hands out the work, on a clock that is only counted. Efficiency is useful work,
each task counted once at the usual speed, over workers times time.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from revisage.cluster import Schedule, Ticket

FRAMES, SEGMENT = 96, 6
"""Of the film that is restored, and of each of its segments."""


class Sleeper:
    """A restorer that gives crops back as they are, after a while."""

    def __init__(self, restorer: Any, seconds: float) -> None:
        self._seconds, self.size, self.info = seconds, restorer.size, restorer.info

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Sleep for each crop."""
        time.sleep(self._seconds * len(crops))
        return crops


def put_to_sleep() -> None:
    """Let every restorer of this process be a sleeper; REVISAGE_SLEEP says for how long (s)."""
    from revisage import restorers

    load = restorers.load_restorer
    seconds = float(os.environ["REVISAGE_SLEEP"])
    restorers.load_restorer = lambda *args, **kwargs: Sleeper(load(*args, **kwargs), seconds)  # type: ignore[method-assign]


def machinery(workers: Sequence[int], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Efficiency of a film's restoration, from the first segment to the last, on so many workers of a Ray cluster."""
    import ray

    from revisage.cluster import RayRunner

    here = str(Path(__file__).resolve().parent)
    environment = {"REVISAGE_SLEEP": str(seconds), "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    rows = []
    ray.init(
        address="local",
        num_cpus=max(workers),
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": environment, "worker_process_setup_hook": "scaling.put_to_sleep"},
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            film, options = _sample(Path(folder))
            for count in workers:
                with RayRunner(workers=count, cpus=1) as runner:
                    _timed(film, Path(folder) / "warm.mkv", runner, options)
                    found = min(_timed(film, Path(folder) / "out.mkv", runner, options) for _ in range(rounds))
                rows.append({"workers": count, "seconds": found, "efficiency": FRAMES * seconds / (count * found)})
    finally:
        ray.shutdown()
    return rows


def _sample(folder: Path) -> tuple[Path, dict[str, Any]]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from sample_media import face_frames, write_tiny_model, write_video

    model = write_tiny_model(folder / "tiny.safetensors")
    film = write_video(folder / "film.mkv", face_frames(FRAMES), audio=True)
    return film, {"model": str(model), "temporal": "off", "fine": "keep", "segment_frames": SEGMENT, "overwrite": True}


def _timed(film: Path, out: Path, runner: Any, options: dict[str, Any]) -> float:
    """Seconds that all segments took, without scan and assembly."""
    import revisage

    report = revisage.restore(film, out, runner=runner, **options)
    timings = report.files[0].timings
    assert timings is not None
    return timings.restore_seconds


def scans(workers: Sequence[int], minutes: int) -> list[dict[str, Any]]:
    """Wall and processor time of the scan of a film with a cut every five seconds, and whether all found the same."""
    from revisage.core import RestoreConfig
    from revisage.pipeline import Networks, fingerprint, scan_source

    rows, found = [], set()
    with tempfile.TemporaryDirectory() as folder:
        film = _long_film(Path(folder) / "film.mp4", minutes)
        for count in workers:
            config = RestoreConfig(workers=count)
            wall, work = time.perf_counter(), _worked()
            scan = scan_source(film, fingerprint(film), config, Networks(config))
            row = {"workers": count, "seconds": time.perf_counter() - wall, "processor_seconds": _worked() - work}
            found.add(scan.to_json())
            rows.append({**row, "frames": scan.frames, "shots": len(scan.shots), "same": len(found) == 1})
    return rows


def _long_film(path: Path, minutes: int) -> Path:
    """A talking face, and a picture that moves, in turn; 480 x 270 px, 25 a second."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from sample_media import face_frames, plain_frames, write_video

    shots = [*face_frames(125), *plain_frames(125, (270, 480))]
    pictures = (shots[index % len(shots)] for index in range(minutes * 1500))
    return write_video(path, pictures, options={"preset": "ultrafast", "g": "50"})


def _worked() -> float:
    """Processor time of this process and of those that it began and that have ended (s)."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class Weather:
    """What befalls the workers of a simulation.

    Attributes:
        slow: part of them that are stragglers.
        slowness: how many times longer those take.
        loss: chance of each to be taken away within an hour.
        replaced: seconds until another stands in its place, with its networks loaded.
        hand_out: seconds that the driver needs for each task, one after the other.
        merged: frames whose scan it puts together in a second, of one film after the other, meanwhile.
        assembled: frames that it joins in a second, likewise.
    """

    slow: float = 0.02
    slowness: float = 3.0
    loss: float = 0.01
    replaced: float = 120.0
    hand_out: float = 0.005
    merged: float = 5000.0
    assembled: float = 10_000.0


@dataclass(frozen=True)
class Work:
    """A task.

    Attributes:
        seconds: that it takes.
        parts: where it only finds a long film: seconds of each part of its scan.
        segments: of such a film: seconds of each segment that comes behind the scan.
        film: number of the film, of a part or segment.
        wasted: seconds that it takes besides, and nobody has anything of.
    """

    seconds: float
    parts: tuple[float, ...] = ()
    segments: tuple[float, ...] = ()
    film: int = -1
    wasted: float = 0.0

    @property
    def all(self) -> float:
        """Seconds of all that it brings with it."""
        return self.seconds + sum(self.parts) + sum(self.segments)


@dataclass
class _Films:
    """Films by their parts, then by their segments, so many frames at once; and the machine that puts both together."""

    weather: Weather
    waiting: deque[tuple[int, Work]] = field(default_factory=deque)
    open: dict[int, Work] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    is_scanned: set[int] = field(default_factory=set)
    busy: float = 0.0
    count: int = 0

    def found(self, film: Work) -> None:
        self.waiting.append((self.count, film))
        self.count += 1

    def begun(self) -> Iterator[Work]:
        """The parts of the scans of films that there is room for."""
        while self.waiting and (not self.open or self._frames() < AT_ONCE):
            number, film = self.waiting.popleft()
            self.open[number], self.left[number] = film, len(film.parts)
            run_in = RUN_IN / PART_FRAMES
            yield from (Work(seconds, film=number, wasted=run_in * seconds) for seconds in film.parts)

    def _frames(self) -> int:
        return SEGMENT_FRAMES * sum(len(film.segments) for film in [*self.open.values(), self.waiting[0][1]])

    def done(self, task: Work, now: float) -> tuple[float, int] | None:
        """When the machine has put a film's scan or its segments together, where this task was the last of them."""
        if task.film not in self.open:
            return None
        self.left[task.film] -= 1
        if self.left[task.film]:
            return None
        rate = self.weather.assembled if task.film in self.is_scanned else self.weather.merged
        self.busy = max(self.busy, now) + SEGMENT_FRAMES * len(self.open[task.film].segments) / rate
        return self.busy, task.film

    def put_together(self, number: int) -> Iterator[Work]:
        """The segments of a film whose scan is whole; behind them it is out of the way."""
        if number in self.is_scanned:
            del self.open[number]
            return
        self.is_scanned.add(number)
        self.left[number] = len(self.open[number].segments)
        yield from (Work(seconds, film=number) for seconds in self.open[number].segments)


@dataclass
class _Worker:
    speed: float
    dies_at: float
    ticket: Ticket[Work] | None = None


def simulate(tasks: Sequence[Work], workers: int, weather: Weather, seed: int = 1) -> dict[str, float]:
    """Carry tasks, told by their seconds, out on a counted clock; returns seconds, efficiency, losses and copies."""
    draw = np.random.default_rng(seed)
    schedule: Schedule[Work] = Schedule(iter(tasks), lambda task: task.seconds)
    useful = sum(task.all for task in tasks)
    films = _Films(weather)
    crew: list[_Worker] = []
    serial = itertools.count()
    events: list[tuple[float, int, str, int, Ticket[Work] | None]] = []
    idle: dict[int, None] = {}
    losses = copies = 0
    driver = now = looks_at = 0.0

    def arrive(at: float) -> None:
        speed = weather.slowness if draw.random() < weather.slow else 1.0
        crew.append(_Worker(speed, at + draw.exponential(3600 / weather.loss) if weather.loss else float("inf")))
        heapq.heappush(events, (at, next(serial), "free", len(crew) - 1, None))
        heapq.heappush(events, (crew[-1].dies_at, next(serial), "dies", len(crew) - 1, None))

    for _ in range(workers):
        arrive(0.0)
    while not schedule.is_done or films.waiting or films.open:
        now, _, what, number, ticket = heapq.heappop(events)
        worker = crew[0 if what == "together" else number]
        if what == "dies":
            losses += 1
            idle.pop(number, None)
            if worker.ticket is not None:
                schedule.lose(worker.ticket)
            worker.speed = 0.0
            arrive(now + weather.replaced)
        elif what == "done" and worker.ticket is ticket and worker.speed:
            assert ticket is not None
            worker.ticket = None
            others = schedule.finish(ticket, now)
            copies += len(others or ())
            for other in others or ():
                stopped = next(n for n, one in enumerate(crew) if one.ticket is other)
                crew[stopped].ticket = None
                idle[stopped] = None
            if others is not None and ticket.task.segments:
                films.found(ticket.task)
            together = None if others is None else films.done(ticket.task, now)
            if together is not None:
                heapq.heappush(events, (together[0], next(serial), "together", together[1], None))
            idle[number] = None
        elif what == "together":
            for task in films.put_together(number):
                schedule.add(task)
        elif what == "free" and worker.speed:
            idle[number] = None
        for task in films.begun():
            schedule.add(task)
        for number in list(idle):
            taken = schedule.take(now)
            if taken is None:
                if looks_at <= now:  # somebody may become a straggler later
                    looks_at = now + 1.0
                    heapq.heappush(events, (looks_at, next(serial), "look", number, None))
                break
            del idle[number]
            driver = max(driver, now) + weather.hand_out
            crew[number].ticket = taken
            ends = driver + (taken.task.seconds + taken.task.wasted) * crew[number].speed
            heapq.heappush(events, (ends, next(serial), "done", number, taken))
    return {"seconds": now, "efficiency": useful / (workers * now), "losses": losses, "copies": copies}


FILM = 6 * 3600 * 25
"""Frames of a film of six hours."""

SEGMENT_FRAMES, PART_FRAMES, LONG_FILM, AT_ONCE = 250, 1500, 6000, 2_000_000
"""Of the package."""

FIND, RUN_IN = 1.0, 125
"""Seconds that it takes to find out how long a film is, and frames that are decoded before each part of its scan."""


def scenarios(pace: float, scan: float) -> Iterator[dict[str, Any]]:
    """Rows of the table.

    Args:
        pace: frames that a worker restores in a second.
        scan: frames that one process scans in a second.
    """
    frames = sorted(np.random.default_rng(7).lognormal(np.log(1500), 0.8, 10_000), reverse=True)
    whole = [Work(count / pace + count / scan) for count in frames]
    spread = [_film(count, pace, scan) for count in frames]
    names = {"each to one worker": whole, f"above {LONG_FILM} frames by segments": spread}
    for workers, (name, tasks) in itertools.product((10, 100, 1000), names.items()):
        for weather in (Weather(slow=0, loss=0), Weather()):
            yield _row(f"10,000 files, {name}", workers, weather, tasks)
    for workers in (10, 100, 1000):
        yield _row("100 films of 6 h", workers, Weather(), [_film(FILM, pace, scan)] * 100)
    for workers in (10, 100, 1000):
        yield _row("a film of 6 h, with its scan", workers, Weather(), [_film(FILM, pace, scan)])
        yield _row(
            "a film of 6 h, after its scan",
            workers,
            Weather(),
            [Work(seconds) for seconds in _film(FILM, pace, scan).segments],
        )


def _film(frames: float, pace: float, scan: float) -> Work:
    """A file as the cluster treats it: parts of a scan and segments of a long one, otherwise one task."""
    if frames <= LONG_FILM:
        return Work(frames / pace + frames / scan)
    count, parts = int(-(-frames // SEGMENT_FRAMES)), int(-(-frames // PART_FRAMES))
    return Work(FIND, (frames / parts / scan,) * parts, (frames / count / pace,) * count)


def _row(work: str, workers: int, weather: Weather, tasks: Sequence[Work]) -> dict[str, Any]:
    disturbed = "2 % stragglers, 1 % lost an hour" if weather.loss else "none"
    return {"work": work, "workers": workers, "disturbed": disturbed, **simulate(tasks, workers, weather)}


def main() -> None:
    """Print a table and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("machinery", "scan", "simulated"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sleep", type=float, default=0.25, help="seconds for each face")
    parser.add_argument("--minutes", type=int, default=4, help="length of the film that is scanned")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pace", type=float, default=8.0, help="frames that a worker restores in a second")
    parser.add_argument("--scan", type=float, default=100.0, help="frames that one process scans in a second")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.what == "machinery":
        rows = machinery(asked.workers, asked.sleep, asked.rounds)
    elif asked.what == "scan":
        rows = scans(asked.workers, asked.minutes)
    else:
        rows = list(scenarios(asked.pace, asked.scan))
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
