"""Memory of the page's server while a browser sends it large files.

    python benchmarks/page_uploads.py [--files 4] [--megabytes 100] [--seconds 15]

Starts the page on this machine with its own data folder, sends so many files of the given size at once through a real
browser (Playwright and Chromium) and prints the server's resident memory, without its workers: before, at its peak
while the files come in, and at rest so many seconds after all of them are listed. Then the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from revisage.demo import write_demo_clip


class Watch(threading.Thread):
    """Resident memory of a process, twenty times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.peak = 0.0

    def now(self) -> float:
        return self.process.memory_info().rss / 1e6

    def run(self) -> None:
        while self.process.is_running():
            self.peak = max(self.peak, self.now())
            time.sleep(0.05)


def make_files(folder: Path, count: int, megabytes: int) -> list[Path]:
    """The demo clip, filled up with zeros behind its end."""
    clip = folder / "clip.mp4"
    write_demo_clip(clip)
    files = [folder / f"film{number}.mp4" for number in range(count)]
    for file in files:
        shutil.copy(clip, file)
        os.truncate(file, max(clip.stat().st_size, megabytes * 10**6))
    return files


def wait_for(address: str) -> None:
    end = time.monotonic() + 120
    while not answers(address):
        if time.monotonic() > end:
            raise SystemExit("the page did not come up")
        time.sleep(0.3)


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read()
    except OSError:
        return False
    return True


def send(address: str, pid: int, files: list[Path], rest: float) -> dict[str, float]:
    """Send all files through the page's chooser."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.get_by_role("button", name="Try the demo clip").wait_for()
        time.sleep(2)
        watch = Watch(pid)
        before = watch.peak = watch.now()
        watch.start()
        began = time.perf_counter()
        page.locator("input[type=file]").set_input_files([str(file) for file in files])
        page.get_by_text(f"{len(files)} files chosen").wait_for()
        took = time.perf_counter() - began
        time.sleep(rest)
        result = {"before_mb": before, "peak_mb": watch.peak, "rest_mb": watch.now(), "seconds": took}
        browser.close()
    return {name: round(value, 1) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    given = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), given.files, given.megabytes)
        command = [sys.executable, "-m", "revisage", "ui", "--no-browser", "--port", str(port)]
        server = subprocess.Popen([*command, "--data-dir", f"{folder}/data"], stdout=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}")
            result = send(f"http://127.0.0.1:{port}", server.pid, files, given.seconds)
        finally:
            server.terminate()
            server.wait(30)
    for name, value in result.items():
        print(f"{name:12} {value}")
    print(json.dumps({"asked": vars(given), **result, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
