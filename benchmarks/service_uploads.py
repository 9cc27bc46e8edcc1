"""Uploads to the service side by side: how long they take, and what they cost.

    python benchmarks/service_uploads.py [--at-once 1 10] [--rounds 3] [--file FILE]

Starts a service without workers on this machine and sends it a small video, alone and so many at once. What an upload
costs beyond its bytes is the look at its header, in a process of its own. Prints for each round wall time and the
processor time of the server and its processes, then the medians as JSON. Where other work shares the cores, only
processor time means something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from revisage.demo import write_demo_clip


def processor_time(process: psutil.Process) -> float:
    """Seconds that a process and all that it started have used, those that have ended included."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            used = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


async def send(client: httpx.AsyncClient, data: bytes, count: int) -> None:
    async def one() -> None:
        (await client.post("/v1/jobs", files={"file": ("clip.mp4", data)})).raise_for_status()

    await asyncio.gather(*(one() for _ in range(count)))


async def measure(address: str, process: psutil.Process, data: bytes, given: argparse.Namespace) -> dict[str, object]:
    figures: dict[str, object] = {}
    async with httpx.AsyncClient(base_url=address, timeout=300) as client:
        await send(client, data, 1)  # the first starts the process that the others are forked from
        for count in given.at_once:
            walls, costs = [], []
            for _ in range(given.rounds):
                before, began = processor_time(process), time.perf_counter()
                await send(client, data, count)
                walls.append(time.perf_counter() - began)
                costs.append(processor_time(process) - before)
            figures[str(count)] = {
                "seconds": round(statistics.median(walls), 2),
                "processor_seconds": round(statistics.median(costs), 2),
            }
            print(f"{count:3d} at once: {walls} s, processor time {costs} s")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="Send this file.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = given.file or Path(folder) / "clip.mp4"
        if given.file is None:
            write_demo_clip(clip)
        command = [sys.executable, "-m", "revisage", "serve", "--port", "0", "--workers", "0"]
        command += ["--data-dir", f"{folder}/data"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[-1]
                figures = asyncio.run(measure(address, psutil.Process(server.pid), clip.read_bytes(), given))
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(60)
    print(json.dumps({"at_once": figures, "cores": os.cpu_count(), "load_average": os.getloadavg()}))


if __name__ == "__main__":
    main()
