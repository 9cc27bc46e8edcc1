"""What a worker does for a job, in this process: resuming, fencing of folders, errors that show no path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from revisage.core.config import make_config
from revisage.core.errors import InputError
from revisage.core.progress import Progress
from revisage.core.values import Image
from revisage.pipeline import plan
from revisage.service.jobs import intake as service
from revisage.service.jobs.job import Lane, error_code, public_error, public_text
from revisage.service.jobs.job_store import JobStore
from revisage.service.jobs.rights import Leases
from revisage.service.settings import ServiceSettings
from revisage.service.work.scanning import scan_of
from revisage.service.work.task import InterruptedWorkError, JobToken, Loaded, Meter, Outcome, Task
from revisage.service.work.worker import carry_out
from sample_media import face_frames, plain_frames, write_video


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(ServiceSettings(data_dir=tmp_path / "data", lease_seconds=3600))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return Loaded()


@pytest.fixture(scope="module")
def cut_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots of six frames."""
    face, other = face_frames(6), plain_frames(6, (270, 480))
    return write_video(tmp_path_factory.mktemp("cut") / "cut.mp4", [*face, *other, *face], audio=True)


def taken(store: JobStore, loaded: Loaded, lane: Lane = "restore", token: JobToken | None = None) -> Task:
    lease = Leases(store, lane).take()
    assert lease is not None
    return Task(store, lease, token or JobToken(), Meter(), loaded)


def digest(task: Task, outcome: Outcome) -> str:
    return hashlib.sha256((task.folder / outcome.result["output"]).read_bytes()).hexdigest()


def test_an_interrupted_job_goes_on_at_its_last_segment_and_gives_the_same_bytes(
    store: JobStore, loaded: Loaded, cut_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_SHORT", 6)  # else the clip's shots would share a segment
    config = {"temporal": "off"}
    file = store.add_path(cut_clip)
    service.restore(store, file.id, config)
    whole = taken(store, loaded)
    expected = digest(whole, carry_out(whole))

    job = service.restore(store, file.id, config)
    token = JobToken()
    first = taken(store, loaded, token=token)

    class StopsInThirdSegment(Meter):
        def __call__(self, moment: Progress) -> None:
            super().__call__(moment)
            if moment.stage == "restore" and moment.done > 12:
                token.stop("lost")

    first.meter = StopsInThirdSegment()
    with pytest.raises(InterruptedWorkError):
        carry_out(first)
    assert (first.folder / "work-1").is_dir()
    stray = next((first.folder / "work-1").glob(".*.revisage-work")) / "segment-00002.mp4"
    stray.write_bytes(b"somebody may still be writing this")

    leases = Leases(store, "restore")
    assert leases.give_back(first.lease)
    lease = leases.take()
    assert lease is not None
    second = Task(store, type(lease)(lease.job, lease.token, 2, lease.until), JobToken(), Meter(), loaded)
    outcome = carry_out(second)
    assert not (first.folder / "work-1").exists()
    assert outcome.result["resumed_segments"] == 2
    assert digest(second, outcome) == expected
    assert job.id == second.job.id


def test_networks_are_those_of_the_jobs_config(loaded: Loaded) -> None:
    averaged = loaded.networks(make_config(temporal="raft", deinterlace=True))
    assert averaged.config.temporal == "raft"
    assert loaded.networks(make_config(temporal="raft", strength=0.5)) is averaged
    assert loaded.networks(make_config()) is not averaged


def test_look_scan_and_preview(store: JobStore, loaded: Loaded, cut_clip: Path) -> None:
    file = store.add_path(cut_clip)
    service.look(store, file.id)
    seen = carry_out(taken(store, loaded, "quick")).result
    assert seen["info"]["path"] == "cut.mp4"
    assert len(seen["faces"]) == 1
    assert "px" in seen["faces"][0]["description"]
    service.scan(store, file.id)
    found = carry_out(taken(store, loaded, "quick"))
    assert (found.result["shots"], len(found.result["tracks"])) == (3, 2)
    assert len(found.files) == 3
    service.preview(store, file.id, 0.1, {"fine": "keep"})
    moment = carry_out(taken(store, loaded, "quick"))
    assert moment.result["faces"] == 1
    before, after = (path.read_bytes() for path in moment.files)
    assert before[:8] == after[:8] == b"\x89PNG\r\n\x1a\n"
    assert before != after


def test_a_report_shows_no_path(store: JobStore, loaded: Loaded, cut_clip: Path) -> None:
    service.restore(store, store.add_path(cut_clip).id, {"temporal": "off"}, playable=True, compare=True)
    task = taken(store, loaded)
    outcome = carry_out(task)
    report = (task.folder / outcome.result["report"]).read_text()
    assert str(cut_clip.parent) not in report
    assert str(store.folder.base) not in report
    (entry,) = json.loads(report)["files"]
    assert (entry["input"]["path"], entry["output"]["path"]) == ("cut.mp4", "cut_restored.mp4")
    assert outcome.result["playable"] == outcome.result["output"]
    assert outcome.result["compare"] == "compare-1.mp4"
    assert (task.folder / "compare-1.mp4").stat().st_size > 1000


def test_limits_are_kept(tmp_path: Path, loaded: Loaded, cut_clip: Path) -> None:
    for limit in ({"max_seconds": 0.5}, {"max_pixels": 10_000}, {"max_frames": 17}):
        store = JobStore(ServiceSettings(data_dir=tmp_path / str(*limit), **limit))
        service.restore(store, store.add_path(cut_clip).id)
        with pytest.raises(InputError, match="taken") as caught:
            carry_out(taken(store, loaded))
        assert error_code(caught.value) == "too_large"
        store.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/inputs/ab.mp4 is empty", "tape.mp4 is empty"),
        ("cannot write /data/jobs/1/work-1/x y/o.mp4: no", "cannot write …/jobs/1/work-1/x y/o.mp4: no"),
        ("no such model file: /home/me/secret/w.pth", "no such model file: w.pth"),
        ("rates 25/2 and 3/2", "rates 25/2 and 3/2"),
        ("two\nlines", "two lines"),
    ],
)
def test_messages_show_no_path(text: str, shown: str) -> None:
    names = {Path("/data/inputs/ab.mp4"): "tape.mp4", Path("/data"): "…"}
    assert public_text(text, names) == shown


def test_unexpected_errors_show_their_kind_only() -> None:
    assert public_error(ValueError("/root/secret"), {}) == "an unexpected error stopped the work (ValueError)"
    assert "memory" in public_error(MemoryError(), {})


def test_parts_of_another_scan_are_not_taken_up(store: JobStore, loaded: Loaded, tmp_path: Path) -> None:
    """A file that was named by its path may be exchanged between two attempts."""
    film = tmp_path / "long.mp4"

    def attempt(told: list[int], stop_at: int | None) -> Task:
        lease = Leases(store, "quick").take()
        assert lease is not None
        token = JobToken()

        class Stopping(Meter):
            def __call__(self, moment: Progress) -> None:
                super().__call__(moment)
                told.append(moment.done)
                if moment.done == stop_at:
                    token.stop("ending")

        task = Task(store, lease, token, Stopping("scan"), loaded)
        task.open()
        try:
            scan_of(task, None)
        except InterruptedWorkError:
            Leases(store, "quick").give_back(lease)
        return task

    def write(pictures: list[Image]) -> None:
        write_video(film, pictures, pts=range(40), time_base=Fraction(4), options={"g": "6", "preset": "ultrafast"})

    write(plain_frames(40, (270, 480)))
    service.scan(store, store.add_path(film).id)
    told: list[int] = []
    task = attempt(told, 20)
    assert len(list(task.work.glob("scan-parts-*/part-*"))) == 1
    write(face_frames(40))
    told.clear()
    attempt(told, None)
    assert told == list(range(1, 41))
