"""How many faces does one core damage in a second, by preset?

    python benchmarks/degradation.py [--size PX] [--images N] [--rounds N] [--json FILE]

Processor time of one thread, single images as a training's worker makes them; the median and the best of some rounds,
since other work on the machine slows a round even in processor time (shared caches). A wall time is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from measuring import finish, machine, print_table
from revisage.train.degrade.presets import PRESETS, degrade, generator

PORTRAIT = Path(__file__).parent.parent / "src/revisage/demo_data/astronaut.webp"
# Head and shoulders of the portrait, in FFHQ framing.
FACE = (slice(20, 236), slice(117, 333))
GOAL = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    image = face(options.size)
    rows = [measure(name, image, options.images, options.rounds) for name in PRESETS]
    cpu = machine()
    print(f"{cpu['cpu']}, {cpu['cores']} cores: {' '.join(cpu['features'])}")
    print_table(f"{options.size} px faces a second on one core; the goal is {GOAL}", rows)
    if options.json is not None:
        finish({"size": options.size, "rows": rows}, options.json)


def face(size: int) -> np.ndarray:
    """The portrait's face, (size, size, 3) uint8 RGB."""
    portrait = cv2.cvtColor(cv2.imread(str(PORTRAIT)), cv2.COLOR_BGR2RGB)
    return cv2.resize(np.ascontiguousarray(portrait[FACE]), (size, size), interpolation=cv2.INTER_AREA)


def measure(preset: str, image: np.ndarray, images: int, rounds: int) -> dict[str, Any]:
    """Images a second by processor time and by wall time."""
    config = PRESETS[preset]
    paces, walls = [], []
    for number in range(rounds + 1):
        busy, began = time.process_time(), time.perf_counter()
        for index in range(images):
            degrade(image, config, generator(number, index))
        if number:  # the first round warms up
            paces.append(images / (time.process_time() - busy))
            walls.append(images / (time.perf_counter() - began))
    best = max(paces)
    return {
        "preset": preset,
        "median": round(statistics.median(paces)),
        "best": round(best),
        "wall": round(statistics.median(walls)),
        "goal": "met" if best >= GOAL else "missed",
    }


if __name__ == "__main__":
    main()
