"""Kill -9 of server and workers at random while jobs are at work.

    python benchmarks/service_chaos.py [--jobs 40] [--kills 30] [--workers 2] [--seed 1] [--minutes 20]

First the clips are restored by an undisturbed service; then as many jobs are submitted to another, whose processes are
killed at random. Clients submit with an Idempotency-Key and try again until they are answered. At the end every job
must be done, each once, with the same bytes as without the kills. Exit code 1 when not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

LEASE = "3"
CONFIG = json.dumps({"strength": 0.9})


class Server:
    """A service that is started again when it was killed."""

    def __init__(self, folder: Path, workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "revisage", "serve", "--port", str(port), "--data-dir", str(folder)]
        self._command += ["--workers", str(workers)]
        settings = {"LEASE_SECONDS": LEASE, "MAX_ATTEMPTS": "50", "MAX_ACTIVE_JOBS": "1000"}
        settings |= {"PRELOAD": "false", "NICENESS": "0"}
        self._environment = {**os.environ, **{f"REVISAGE_SERVICE_{name}": value for name, value in settings.items()}}
        self._log = (folder.parent / f"{folder.name}.log").open("a")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stdout=self._log, stderr=self._log)

    def workers(self) -> list[int]:
        """Ids of the worker processes."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child.pid for child in children]

    def kill(self, pid: int) -> None:
        """Kill -9; a killed server is started again."""
        os.kill(pid, signal.SIGKILL)
        if pid == self.process.pid:
            self.process.wait()
            self.process = self._start()

    def stop(self) -> None:
        """End it in peace."""
        self.process.terminate()
        self.process.wait(90)
        self._log.close()


def asked(server: Server, method: str, path: str, deadline: float, **options: object) -> httpx.Response:
    """An answer, however often the server dies on the way."""
    while True:
        try:
            answer = httpx.request(method, server.address + path, timeout=30, **options)  # type: ignore[arg-type]
            if answer.status_code < 500:
                answer.raise_for_status()
                return answer
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"no answer to {method} {path} in time")
        time.sleep(0.2)


def submit(server: Server, clip: Path, key: str, deadline: float) -> str:
    """The id of a job."""
    files = {"file": (clip.name, clip.read_bytes())}
    headers = {"Idempotency-Key": key}
    answer = asked(server, "POST", "/v1/jobs", deadline, files=files, data={"config": CONFIG}, headers=headers)
    return str(answer.json()["id"])


def digest(server: Server, job: str, deadline: float) -> str:
    return hashlib.sha256(asked(server, "GET", f"/v1/jobs/{job}/output", deadline).content).hexdigest()


def wait(server: Server, jobs: list[str], deadline: float) -> list[dict[str, object]]:
    """The jobs when all are finished."""
    while True:
        states = [asked(server, "GET", f"/v1/jobs/{job}", deadline).json() for job in jobs]
        if all(state["status"] in ("done", "failed", "cancelled") for state in states):
            return states
        if time.monotonic() > deadline:
            raise SystemExit(f"not finished in time: {Counter(state['status'] for state in states)}")
        time.sleep(0.5)


def undisturbed(folder: Path, clips: list[Path], deadline: float) -> tuple[dict[str, str], float]:
    """Digest of each clip's output, and the seconds that a job takes."""
    server = Server(folder, 1)
    try:
        jobs = [submit(server, clip, clip.name, deadline) for clip in clips]
        wait(server, jobs[:1], deadline)
        began = time.monotonic()
        wait(server, jobs, deadline)
        each = (time.monotonic() - began) / max(1, len(clips) - 1)
        return {clip.name: digest(server, job, deadline) for clip, job in zip(clips, jobs, strict=True)}, each
    finally:
        server.stop()


def disturb(server: Server, count: int, pause: float, choice: random.Random, deadline: float) -> Counter[str]:
    """Kill so many processes, about ``pause`` seconds apart."""
    killed: Counter[str] = Counter()
    while sum(killed.values()) < count and time.monotonic() < deadline:
        time.sleep(pause * (0.5 + choice.random()))
        workers = server.workers()
        if choice.random() < 0.25:
            server.kill(server.process.pid)
            killed["server"] += 1
        elif workers:
            server.kill(choice.choice(workers))
            killed["worker"] += 1
    return killed


def make_clips(folder: Path, count: int) -> list[Path]:
    """Short clips of two shots, each a little different."""
    import itertools

    import numpy as np

    from revisage.demo import clean_frames
    from revisage.media import open_plain_video

    faces = list(itertools.islice(clean_frames(), 8 + count))
    clips = []
    for number in range(count):
        path = folder / f"clip{number}.mp4"
        with open_plain_video(path, size_hw=faces[0].shape[:2], rate=25) as video:
            for picture in faces[number : number + 8]:
                video.write(picture)
            for picture in faces[number : number + 8]:
                video.write(np.ascontiguousarray(255 - picture[:, ::-1]))
        clips.append(path)
    return clips


def run(jobs: int, kills: int, workers: int, seed: int, minutes: float) -> dict[str, object]:
    """The whole trial; ``ok`` says whether all went well."""
    deadline, choice = time.monotonic() + 60 * minutes, random.Random(seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        clips = make_clips(folder, min(4, jobs))
        expected, each = undisturbed(folder / "calm", clips, deadline)
        server = Server(folder / "chaos", workers)
        began = time.monotonic()
        try:
            chosen = [clips[number % len(clips)] for number in range(jobs)]
            made = [submit(server, clip, f"job {number}", deadline) for number, clip in enumerate(chosen)]
            pause = max(1.0, jobs * (each + 1.0) / max(1, kills))
            killed = disturb(server, kills, pause, choice, deadline)
            states = wait(server, made, deadline)
            listed = asked(server, "GET", "/v1/jobs?limit=200", deadline).json()["jobs"]
            digests = [
                digest(server, job, deadline) if state["status"] == "done" else None
                for job, state in zip(made, states, strict=True)
            ]
        finally:
            server.stop()
        equal = sum(found == expected[clip.name] for found, clip in zip(digests, chosen, strict=True))
        attempts = Counter(int(str(state["attempts"])) for state in states)
    return {
        "ok": equal == jobs and len(listed) == len(set(made)) == jobs and sum(killed.values()) == kills,
        "jobs": jobs,
        "by_status": dict(Counter(str(state["status"]) for state in states)),
        "in_the_list": len(listed),
        "byte_identical": equal,
        "killed": dict(killed),
        "attempts": dict(sorted(attempts.items())),
        "seconds": round(time.monotonic() - began, 1),
        "seconds_per_undisturbed_job": round(each, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    given = parser.parse_args()
    result = run(given.jobs, given.kills, given.workers, given.seed, given.minutes)
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
