"""Many clients at once: status calls and uploads while a job runs.

    python benchmarks/service_load.py [--seconds 30] [--pollers 200] [--uploaders 20] [--megabytes 20]
        [--uploads 3]

Starts a service on this machine with its own data folder. Each poller asks for a status once a second, each uploader
sends so many files of the given size one after another, and a clip is being restored all the while. The uploaders have
a process of their own, so that the pollers measure the service and not one another. Prints the answers by
status, the percentiles of a status call, and the server's memory over time, then the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import psutil

PERIOD = 1.0


class Load:
    """What was measured."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.upload_seconds: list[float] = []
        self.answers: Counter[str] = Counter()
        self.memory: list[float] = []
        self.within = 0.0

    def summary(self) -> dict[str, object]:
        ranked = sorted(self.seconds)
        at = {f"p{part}": round(1000 * ranked[int(part / 100 * (len(ranked) - 1))], 1) for part in (50, 95, 99)}
        middle = len(self.memory) // 4
        early, late = self.memory[middle : 2 * middle], self.memory[-middle:]
        return {
            "status_calls": len(ranked),
            "status_ms": {**at, "max": round(1000 * ranked[-1], 1)},
            "answered_within_100_ms_by_the_server": round(self.within, 4),
            "uploads": len(self.upload_seconds),
            "upload_seconds_mean": round(sum(self.upload_seconds) / max(1, len(self.upload_seconds)), 2),
            "answers": dict(self.answers),
            "server_mb": {
                "second_quarter": round(sum(early) / max(1, len(early)), 1),
                "last_quarter": round(sum(late) / max(1, len(late)), 1),
                "max": round(max(self.memory), 1),
            },
        }


async def poll(address: str, jobs: list[str], load: Load, end: float, seed: int) -> None:
    """Ask once a second over one kept connection: 200 full clients would take the server's core."""
    host, port = address.removeprefix("http://").split(":")
    choice = random.Random(seed)
    await asyncio.sleep(choice.random() * PERIOD)
    reader, writer = await asyncio.open_connection(host, int(port))
    while time.monotonic() < end:
        began = time.perf_counter()
        writer.write(f"GET /v1/jobs/{choice.choice(jobs)} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        load.answers[f"status {await answered(reader)}"] += 1
        took = time.perf_counter() - began
        load.seconds.append(took)
        await asyncio.sleep(max(0.0, PERIOD - took))
    writer.close()


async def answered(reader: asyncio.StreamReader) -> str:
    """Read one answer to its end; returns its status code."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
    await reader.readexactly(int(length.split(":")[1]))
    return head.split(" ", 2)[1]


async def upload(client: httpx.AsyncClient, data: bytes, count: int, load: Load) -> None:
    for _ in range(count):
        began = time.perf_counter()
        try:
            answer = await client.post("/v1/jobs", files={"file": ("clip.mkv", data)}, timeout=600)
            load.answers[f"upload {answer.status_code}"] += 1
            for _ in range(2 if answer.is_success else 0):  # cancel, then delete
                await client.delete(f"/v1/jobs/{answer.json()['id']}")
        except httpx.TransportError as error:
            load.answers[f"upload {type(error).__name__}"] += 1
        load.upload_seconds.append(time.perf_counter() - began)


def upload_all(address: str, clip: Path, given: argparse.Namespace) -> Load:
    """All uploads: the clip, filled up with zeros behind its end to the size."""
    load, data = Load(), clip.read_bytes()
    data += bytes(max(0, given.megabytes * 10**6 - len(data)))

    async def together() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            await asyncio.gather(*(upload(client, data, given.uploads, load) for _ in range(given.uploaders)))

    asyncio.run(together())
    return load


async def watch(process: psutil.Process, load: Load, end: float) -> None:
    while time.monotonic() < end:
        load.memory.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(0.5)


async def run(address: str, pid: int, clip: Path, given: argparse.Namespace) -> Load:
    load = Load()
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        jobs = []
        for _ in range(3):  # enough work for the whole time
            with clip.open("rb") as stream:
                jobs.append((await client.post("/v1/jobs", files={"file": ("clip.mkv", stream)})).json()["id"])
        while (await client.get(f"/v1/jobs/{jobs[0]}")).json()["status"] != "running":
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)  # networks are loaded
        end = time.monotonic() + given.seconds
        polls = [poll(address, jobs, load, end, seed) for seed in range(given.pollers)]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            loop = asyncio.get_running_loop()
            uploads = loop.run_in_executor(other, upload_all, address, clip, given)
            await asyncio.gather(*polls, watch(psutil.Process(pid), load, end))
            sent = await uploads
        load.answers += sent.answers
        load.upload_seconds = sent.upload_seconds
        load.within = within(await client.get("/metrics"), 0.1)
        load.answers[f"job {(await client.get(f'/v1/jobs/{jobs[0]}')).json()['status']}"] += 1
    return load


def within(metrics: httpx.Response, seconds: float) -> float:
    """The part of status calls that the server answered within ``seconds`` of their arrival, by its own clock."""
    counts: dict[str, float] = {}
    for line in metrics.text.splitlines():
        if line.startswith("revisage_http_request_seconds_bucket") and 'method="GET"' in line and "/events" not in line:
            labels, _, count = line.rpartition(" ")
            if "/v1/jobs/{" in labels:
                bucket = labels.split('le="')[1].split('"')[0]
                counts[bucket] = counts.get(bucket, 0.0) + float(count)
    return counts[str(seconds)] / counts["+Inf"]


def make_clip(folder: Path, frames: int) -> Path:
    """A talking face, long enough to be at work all the while."""
    import itertools

    import numpy as np

    from revisage.demo import clean_frames
    from revisage.media import open_plain_video

    clip = folder / "clip.mp4"
    with open_plain_video(clip, size_hw=(270, 480), rate=25) as video:
        for picture in itertools.islice(itertools.cycle(clean_frames()), frames):
            video.write(np.ascontiguousarray(picture))
    return clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pollers", type=int, default=200)
    parser.add_argument("--uploaders", type=int, default=20)
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder), 1500)
        environment = {**os.environ, "REVISAGE_SERVICE_MAX_ACTIVE_JOBS": "1000"}
        command = [sys.executable, "-m", "revisage", "serve", "--port", "0", "--data-dir", f"{folder}/data"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[-1]
                load = asyncio.run(run(address, server.pid, clip, given))
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(60)
    summary = load.summary()
    for name, value in summary.items():
        print(f"{name:20} {value}")
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load_average": os.getloadavg()}
    print(json.dumps({"asked": vars(given), **summary, **machine}))


if __name__ == "__main__":
    main()
