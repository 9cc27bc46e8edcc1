"""Whoever carries the segments out, and in whatever order: the same bytes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import revisage
from revisage.core import CancelledError, CancelToken
from revisage.pipeline import JobNetworks, SegmentJob, SegmentResult, restore_segment

OPTIONS = {"temporal": "off", "segment_frames": 4}


class Elsewhere:
    """A runner of somebody else: takes jobs as bytes, and does the last first."""

    def __init__(self) -> None:
        self.jobs: list[SegmentJob] = []

    def run(self, jobs: Iterable[SegmentJob], *, cancel: CancelToken, on_frame: object) -> Iterator[SegmentResult]:
        sent = [pickle.dumps(job) for job in jobs]
        loaded = JobNetworks()
        for data in reversed(sent):
            job = pickle.loads(data)
            self.jobs.append(job)
            result = restore_segment(job, loaded(job), cancel, lambda _: None)
            yield SegmentResult.of(result.to_dict())


def test_a_runner_of_ones_own_gives_the_same_bytes(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    here, there, elsewhere = tmp_path / "here.mkv", tmp_path / "there.mkv", Elsewhere()
    revisage.restore(face_clip, here, model=str(tiny_model), **OPTIONS)
    report = revisage.restore(face_clip, there, model=str(tiny_model), runner=elsewhere, **OPTIONS)
    assert here.read_bytes() == there.read_bytes()
    assert [job.segment.number for job in elsewhere.jobs] == [2, 1, 0]
    assert report.faces == 12
    assert all(isinstance(job.source, str) and isinstance(job.target, str) for job in elsewhere.jobs)


def test_jobs_ask_for_networks_that_can_be_made(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Three faces are too few for int8: what is used in its place is used by every worker."""
    elsewhere = Elsewhere()
    report = revisage.restore(
        face_clip,
        tmp_path / "out.mkv",
        model=str(tiny_model),
        precision="int8",
        end=0.1,
        temporal="off",
        segment_frames=2,
        runner=elsewhere,
    )
    assert report.faces == 3
    assert [job.config.precision for job in elsewhere.jobs] == ["auto", "auto"]
    assert any("int8 needs four faces" in note for note in report.notes)


def test_one_process_loads_networks_anew_only_where_a_job_asks_for_others(
    face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    elsewhere, loaded = Elsewhere(), JobNetworks()
    revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), runner=elsewhere, **OPTIONS)
    first, second, third = elsewhere.jobs
    networks = loaded(first)
    assert loaded(second) is networks
    other = pickle.loads(pickle.dumps(third))
    object.__setattr__(other, "config", other.config.model_copy(update={"precision": "bf16"}))
    assert loaded(other) is not networks


def test_a_runner_stops_between_jobs(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    elsewhere = Elsewhere()
    with pytest.raises(CancelledError):
        revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), runner=elsewhere, cancel=token)
    assert list(tmp_path.iterdir()) == []
