"""A file played as a camera: latency from flash to flash, frames dropped, the share restored, frames a second, memory.

    python benchmarks/live.py --source clip.mp4                   # 60 s, on the machine's clock
    python benchmarks/live.py --source clip.mp4 --minutes 10
    python benchmarks/live.py --source clip.mp4 --processor-time  # on a busy machine

The clip is played over and over, forth and back, at 30 frames a second and 640x360 px. Every second one frame carries a
flash (a white corner, away from the face): its latency is the time from when it was due until a frame with a flash came
out. Latencies of all frames are told beside it.

With ``--processor-time`` the clock is the processor time of this process, and the restorer's work is done when it is
begun and its result held back by what it took: two cores with nothing else to do, counted and not waited for. What that
leaves out: that two threads of one core share it, and that memory is shared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from revisage import media, pipeline, streams
from revisage.core import Region, make_config
from revisage.streams.side_work import Outcome

RATE = 30
SIZE_HW = (360, 640)
FLASH = 24
"""Side of the white corner (px)."""


class ProcessorClock:
    """Processor time of this process, and what was slept or done beside it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds."""
        return time.process_time() + self.offset

    def sleep(self, seconds: float) -> None:
        """Passes at once."""
        self.offset += max(0.0, seconds)


@dataclass
class BesideOnPaper:
    """Side work that is done at once, costs the frames nothing, and is finished when its own time has passed."""

    clock: ProcessorClock
    pending: tuple[float, Outcome] | None = None
    costs: list[float] = field(default_factory=list)

    @property
    def is_free(self) -> bool:
        """Whether nothing is pending."""
        return self.pending is None

    def start(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do it, and take its time out of the clock."""
        began = time.process_time()
        outcome = Outcome(then, work())
        spent = time.process_time() - began
        self.clock.offset -= spent
        self.costs.append(spent)
        self.pending = (self.clock.now() + spent, outcome)

    def finished(self) -> Outcome | None:
        """What is due."""
        if self.pending is None or self.clock.now() < self.pending[0]:
            return None
        (_, outcome), self.pending = self.pending, None
        return outcome

    def close(self) -> None:
        """Nothing to end."""


def read_clip(path: Path, count: int) -> list[Any]:
    """The first frames of a file at the benchmark's size, forth and back."""
    with media.open_source(path) as source:
        frames = [frame.resized(SIZE_HW) for frame in islice(source.frames(), count)]
    return frames + frames[-2:0:-1]


def flashed(frame: Any) -> Any:
    """The frame with a white lower right corner."""
    picture = frame.rgb()
    picture[-FLASH:, -FLASH:] = 255
    return frame.with_rgb(picture)


def has_flash(frame: Any) -> bool:
    """Whether the corner is white."""
    height, width = frame.size_hw
    return bool(frame.rgb(Region(width - FLASH + 4, height - FLASH + 4, width, height)).min() > 230)


def play(frames: list[Any], seconds: float, *, on_processor: bool) -> dict[str, Any]:
    """Play the frames as a camera for so long."""
    config = make_config()
    networks = pipeline.kept_networks(config)
    clock: Any = ProcessorClock() if on_processor else streams.SystemClock()
    side = BesideOnPaper(clock) if on_processor else None
    restorer = streams.LiveRestorer(config, networks=networks, clock=clock, side_work=side)
    flashing = [flashed(frame) for frame in frames[:RATE]]
    flashes = streams.Latencies()
    missed_flashes = skipped = number = 0
    memory: list[int] = []
    process = psutil.Process()
    start = clock.now() + 0.2
    total = int(seconds * RATE)
    while number < total:
        due = start + number / RATE
        clock.sleep(due - clock.now())
        newest = min(total - 1, int((clock.now() - start) * RATE))  # a camera keeps the newest frame only
        skipped += max(0, newest - number)
        number = max(number, newest)
        due = start + number / RATE
        is_flash = number % RATE == RATE - 1
        frame = flashing[number % RATE] if is_flash else frames[number % len(frames)]
        frame = media_frame(frame, number)
        shown = restorer.push(frame, due)
        if is_flash and shown is not None and has_flash(shown):
            flashes.add(clock.now() - due)
        elif is_flash:
            missed_flashes += 1
        if number % (10 * RATE) < 1:
            memory.append(process.memory_info().rss)
        number += 1
    spent = clock.now() - start
    restorer.close()
    tally = restorer.tally
    return {
        "clock": "processor time" if on_processor else "wall",
        "seconds": round(spent, 1),
        "latency_ms": percentiles(tally.latencies),
        "flash_ms": percentiles(flashes),
        "flashes": flashes.count,
        "flashes_dropped": missed_flashes,
        "captured": total,
        "dropped": tally.dropped + skipped,
        "frames_per_second": round(tally.shown / spent, 1),
        "share_with_faces": round(tally.with_faces / max(1, tally.shown), 3),
        "share_restored": round(tally.share_restored, 3),
        "restoration_ms": round(1000 * float(np.mean(side.costs)), 1) if side and side.costs else None,
        "memory_mib": [round(value / 2**20) for value in memory],
    }


def media_frame(frame: Any, number: int) -> Any:
    """The frame at its time."""
    return replace(frame, pts=number, time_base=Fraction(1, RATE), index=number)


def percentiles(latencies: Any) -> dict[str, int | None]:
    """p50, p95, p99 and the longest, in ms."""
    told = {f"p{percent}": latencies.percentile(percent) for percent in (50, 95, 99, 100)}
    return {name: None if value is None else round(1000 * value) for name, value in told.items()}


def main() -> int:
    """Run it and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a clip with one face")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--frames", type=int, default=150, help="of the clip, played forth and back")
    parser.add_argument("--processor-time", action="store_true", help="for a machine that is busy with other things")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    result = play(read_clip(options.source, options.frames), 60 * options.minutes, on_processor=options.processor_time)
    result |= {"source": options.source.name, "load": [round(value, 1) for value in psutil.getloadavg()]}
    for name, value in result.items():
        print(f"{name:20} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
