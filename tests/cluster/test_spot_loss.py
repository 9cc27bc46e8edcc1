"""Machines that are taken away: the film is finished by the others, with the same bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import revisage
from revisage.cluster import RayRunner
from revisage.cluster.crew import Crew
from revisage.cluster.worker import FileTask
from revisage.core import CancelToken, ProcessingError, Progress, make_config
from sample_media import face_frames, write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OPTIONS: dict[str, Any] = {"temporal": "off", "segment_frames": 4}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 48 frames, which are 12 segments."""
    return write_video(tmp_path_factory.mktemp("film") / "talk.mkv", face_frames(48), audio=True)


@pytest.fixture(scope="module")
def undisturbed(film: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out.mkv"
    revisage.restore(film, out, model=str(tiny_model), **OPTIONS)
    return out.read_bytes()


def worker_processes() -> list[psutil.Process]:
    """Those of the cluster that this process began."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended in between
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Worker"):
                found.append(process)
    return found


class AtFrame:
    """Progress that does something once when so many frames are restored."""

    def __init__(self, deeds: dict[int, Callable[[], object]]) -> None:
        self.deeds = deeds
        self.done: list[int] = []

    def __call__(self, moment: Progress) -> None:
        for frame, deed in self.deeds.items():
            if moment.stage == "restore" and moment.done >= frame and frame not in self.done:
                self.done.append(frame)
                deed()


def test_killed_workers_and_a_lost_machine(
    cluster: Any, film: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    killed: list[int] = []

    def kill_one() -> None:
        process = worker_processes()[0]
        killed.append(process.pid)
        process.kill()

    disturb = AtFrame(
        {4: kill_one, 16: kill_one, 28: lambda: cluster.remove_node(node, allow_graceful=False)},
    )
    with RayRunner(cluster.address) as runner:
        report = revisage.restore(
            film, tmp_path / "out.mkv", model=str(tiny_model), runner=runner, progress=disturb, **OPTIONS
        )
    assert disturb.done == [4, 16, 28]
    assert len(set(killed)) == 2
    assert (tmp_path / "out.mkv").read_bytes() == undisturbed
    assert report.faces == 48
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


DRIVER = """
import sys, revisage
revisage.restore(sys.argv[1], sys.argv[2], model=sys.argv[3], cluster=sys.argv[4], temporal="off", segment_frames=4)
"""


def test_a_killed_driver_is_taken_up(
    cluster: Any, film: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(film), str(out), str(tiny_model), cluster.address])
    try:
        while sum(1 for _ in tmp_path.glob(".out.mkv.revisage-work/segment-*.mkv")) < 3:
            assert driver.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not out.exists()
    report = revisage.restore(film, out, model=str(tiny_model), cluster=cluster.address, **OPTIONS)
    assert report.files[0].timings is not None
    assert 2 <= report.files[0].timings.reused_segments < 12
    assert out.read_bytes() == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


class Poison:
    """A source over which every process dies that takes it in."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)

    def __str__(self) -> str:
        return "poison.mkv"


def test_a_task_that_kills_every_worker_is_given_up(cluster: Any, tmp_path: Path) -> None:
    crew = Crew(cluster.address)
    poison: Any = Poison()
    task = FileTask(poison, tmp_path / "out.mkv", make_config(), {}, 1.0, 1000)
    try:
        found = [done for done in crew.work(iter([task]), CancelToken(), lambda *_: None) if done is not None]
    finally:
        crew.close()
    assert [str(done.value).split(";")[0] for done in found] == ["poison.mkv: 3 workers died over it"]
    assert isinstance(found[0].value, ProcessingError)
