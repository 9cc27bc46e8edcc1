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


@pytest.fixture(scope="module")
def cut_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots that are segments of their own."""
    face, other = face_frames(25), plain_frames(25, (270, 480))
    return write_video(tmp_path_factory.mktemp("cut") / "cut.mp4", [*face, *other, *face], audio=True)


@pytest.mark.slow
def test_a_job_that_is_spread_gives_the_same_bytes(cluster: Any, cut_clip: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "alone", None) as alone, opened(tmp_path / "spread", cluster.address) as spread:
        assert restored(spread, cut_clip) == restored(alone, cut_clip)


def test_without_its_cluster_a_worker_restores_alone(
    cut_clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "spread", "127.0.0.1:1") as store:
        assert restored(store, cut_clip)
    assert "the cluster cannot be used" in caplog.text
