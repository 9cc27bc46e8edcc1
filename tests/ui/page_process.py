"""A running page, as ``revisage ui`` serves it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def running_page(data: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The page's address and process; its workers end with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "revisage", "ui", "--no-browser", "--port", str(port), "--data-dir", str(data)]
    whole = {**os.environ, "REVISAGE_SERVICE_LEASE_SECONDS": "5", **environment}
    server = subprocess.Popen(command, env=whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(url)
        yield url, server
    finally:
        workers = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        server.wait(20)
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive, "workers end with the page"


def wait_for_server(url: str) -> None:
    deadline = time.monotonic() + 120
    while not answers(f"{url}/_stcore/health"):
        assert time.monotonic() < deadline, "the page did not come up"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).read()
    except OSError:
        return False
    return True
