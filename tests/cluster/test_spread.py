"""A service whose jobs are spread over a cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from revisage.service.jobs import JobStore, Leases, restore
from revisage.service.settings import ServiceSettings
from revisage.service.work.task import JobToken, Loaded, Meter, Task
from revisage.service.work.worker import carry_out
from sample_media import face_frames, plain_frames, write_video


@contextmanager
def opened(folder: Path, spread: str | None) -> Iterator[JobStore]:
    store = JobStore(ServiceSettings(data_dir=folder, lease_seconds=3600, spread=spread))
    try:
        yield store
    finally:
        store.close()


def restored(store: JobStore, clip: Path) -> str:
    """The hash of what a worker of the store made of a clip."""
    restore(store, store.add_path(clip).id, {"temporal": "off"})
    lease = Leases(store, "restore").take()
    assert lease is not None
    task = Task(store, lease, JobToken(), Meter(), Loaded())
    outcome = carry_out(task)
    return hashlib.sha256((task.folder / outcome.result["output"]).read_bytes()).hexdigest()


def three_shots(path: Path, frames: int) -> Path:
    """A film of three shots of so many frames."""
    face, other = face_frames(frames), plain_frames(frames, (270, 480))
    return write_video(path, [*face, *other, *face], audio=True)


@pytest.mark.slow
def test_a_job_that_is_spread_gives_the_same_bytes(cluster: Any, tmp_path: Path) -> None:
    cut_clip = three_shots(tmp_path / "cut.mp4", 25)
    with opened(tmp_path / "alone", None) as alone, opened(tmp_path / "spread", cluster.address) as spread:
        assert restored(spread, cut_clip) == restored(alone, cut_clip)


def test_without_its_cluster_a_worker_restores_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revisage.pipeline.plan._SHORT", 6)  # else the shots would share a segment
    with opened(tmp_path / "spread", "127.0.0.1:1") as store:
        assert restored(store, three_shots(tmp_path / "cut.mp4", 6))
    assert "the cluster cannot be used" in caplog.text
