"""Uploads and results in an S3 store: machines of one service that share nothing else but the database of jobs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_process import live_service, wait_until

import revisage
from revisage.core import ConfigError, OutputError
from revisage.service.jobs import intake as service
from revisage.service.jobs.data_folder import DataFolder
from revisage.service.jobs.job import Job
from revisage.service.jobs.job_store import JobStore
from revisage.service.jobs.rights import Leases
from revisage.service.settings import ServiceSettings
from revisage.service.work.task import InterruptedWorkError, JobToken, Loaded, Meter, Task
from revisage.service.work.worker import Worker, carry_out
from sample_media import face_frames, plain_frames, write_video


def three_shots(path: Path, frames: int) -> Path:
    """A film of three shots of so many frames."""
    face, other = face_frames(frames), plain_frames(frames, (270, 480))
    return write_video(path, [*face, *other, *face], audio=True)


@pytest.fixture
def long_film(tmp_path: Path) -> Path:
    """Sixty frames, four seconds from one to the next: four minutes, which are scanned in four parts."""
    return written_slowly(tmp_path / "long.mp4", [*face_frames(6), *plain_frames(54, (270, 480))], Fraction(4))


def written_slowly(path: Path, pictures: list[Any], spacing: Fraction) -> Path:
    """A film with so many seconds from one frame to the next, and key frames often enough for parts."""
    times = list(range(len(pictures)))
    options = {"g": "6", "preset": "ultrafast"}
    return write_video(path, pictures, pts=times, time_base=spacing, options=options)


@pytest.fixture
def machines(bucket: Any, tmp_path: Path) -> Iterator[list[JobStore]]:
    """The store as two machines see it."""
    common = {"storage": str(bucket / "service"), "database_url": f"sqlite:///{tmp_path}/jobs.db"}
    settings = [ServiceSettings(data_dir=tmp_path / name, lease_seconds=3600, **common) for name in "ab"]
    stores = [JobStore(each) for each in settings]
    yield stores
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return Loaded()


def files_in(bucket: Any) -> list[str]:
    bucket.fs.invalidate_cache()
    return sorted(name.split("/service/")[1] for name in bucket.fs.find(bucket.path))


def files_of(store: JobStore, *folders: str) -> list[Path]:
    return [path for name in folders for path in (store.folder.base / name).rglob("*") if path.is_file()]


def received(store: JobStore, path: Path) -> str:
    return service.receive(store, io.BytesIO(path.read_bytes()), path.name).id


def done_by(store: JobStore, loaded: Loaded, job_id: str) -> Job:
    """Let a worker of this machine do the next job."""
    lease = Leases(store, "restore").take()
    assert lease is not None
    assert lease.job.id == job_id
    worker = Worker(store, "restore")
    worker._loaded = loaded
    worker._work(lease)
    return store.job(job_id)


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_one_machine_takes_in_and_another_restores(
    machines: list[JobStore], loaded: Loaded, bucket: Any, face_clip: Path, tmp_path: Path, ending: str
) -> None:
    here, there = machines
    source = tmp_path / f"talk.{ending}"
    if ending == "gif":
        revisage.restore(face_clip, source, strength=0, end=0.2)
    else:
        write_video(source, face_frames(5), audio=True)
    file = received(here, source)
    assert files_in(bucket) == [f"inputs/{file}.{ending}"]
    job = done_by(there, loaded, service.restore(here, file, {"temporal": "off"}).id)
    assert (job.status, job.error) == ("done", None)
    stored = {name for name in files_in(bucket) if name.startswith("jobs/")}
    pictures = {name for name in stored if "/face-" in name}
    held = {f"jobs/{job.id}/{job.result[name]}" for name in ("output", "report", "faces")}
    assert stored == held | pictures
    assert len(pictures) == 2
    assert files_of(there, "uploads", "inputs", "jobs") == []
    revisage.restore(source, tmp_path / f"alone.{ending}", temporal="off")
    for store in machines:  # each machine can send it
        output = service.result_path(store, job, "output")
        assert output is not None
        assert output.read_bytes() == (tmp_path / f"alone.{ending}").read_bytes()
        report = service.result_path(store, job, "report")
        assert report is not None
        assert "s3://" not in report.read_text()
    here.delete(job.id)
    assert files_in(bucket) == []
    assert files_of(here, "uploads", "inputs", "jobs") == []
    assert service.result_path(here, job, "output") is None


def test_what_a_lost_machine_has_finished_serves_another(
    machines: list[JobStore],
    loaded: Loaded,
    bucket: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("revisage.service.work.work_copy._LOOK", 0.05)
    monkeypatch.setattr("revisage.pipeline.plan._SHORT", 6)  # else the shots would share a segment
    film = three_shots(tmp_path / "cut.mp4", 6)
    lost, other = machines
    job = service.restore(lost, received(lost, film), {"temporal": "off"})

    class Stopping(Meter):
        """Stops the work in the last segment, when the first is in the store."""

        def __call__(self, moment: Any) -> None:
            super().__call__(moment)
            if moment.stage == "restore" and moment.done == 15:
                wait_until(lambda: any("-00000." in name for name in files_in(bucket)), "no segment in the store")
                wait_until(lambda: any("manifest" in name for name in files_in(bucket)), "no manifest in the store")
                token.stop("lost")

    token = JobToken()
    lease = Leases(lost, "restore").take()
    assert lease is not None
    with pytest.raises(InterruptedWorkError):
        carry_out(Task(lost, lease, token, Stopping(), loaded))
    Leases(lost, "restore").give_back(lease)
    found = done_by(other, loaded, job.id)
    assert (found.status, found.error) == ("done", None)
    assert found.result["resumed_segments"] >= 1
    revisage.restore(film, tmp_path / "alone.mp4", temporal="off")
    output = service.result_path(other, found, "output")
    assert output is not None
    assert output.read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    assert not any("/work/" in name for name in files_in(bucket)), "what was at work goes with the end"


class Told(Meter):
    """Keeps what it is told; stops the work in the third part of the scan, when two are in the store."""

    def __init__(self, bucket: Any, stop: JobToken | None) -> None:
        super().__init__()
        self.scanned: list[int] = []
        self._bucket, self._stop = bucket, stop

    def __call__(self, moment: Any) -> None:
        super().__call__(moment)
        if moment.stage == "scan":
            self.scanned.append(moment.done)
        if self._stop is not None and self.scanned[-1:] == [40]:
            wait_until(lambda: len(parts_in(self._bucket)) == 2, "the store does not hold two parts of the scan")
            self._stop.stop("lost")


def parts_in(bucket: Any) -> list[str]:
    return [name for name in files_in(bucket) if "/scan-parts-" in name]


@pytest.mark.parametrize("kind", ["restore", "analyze", "scan"])
def test_a_scan_goes_on_behind_the_parts_that_a_lost_machine_has_finished(
    machines: list[JobStore],
    loaded: Loaded,
    bucket: Any,
    long_film: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("revisage.service.work.work_copy._LOOK", 0.05)
    ask = {"restore": service.restore, "analyze": service.analyze, "scan": service.scan}[kind]
    options = {} if kind == "scan" else {"config": {"temporal": "off"}}
    lost, other = machines

    def made(store: JobStore, file: str, stop: JobToken | None) -> tuple[list[int], bytes]:
        """The frames that were told as scanned, and the result; the job waits again where it is stopped."""
        lease = Leases(store, "quick" if kind == "scan" else "restore").take()
        assert lease is not None
        told, task_token = Told(bucket, stop), stop or JobToken()
        task = Task(store, lease, task_token, told, loaded)
        try:
            outcome = carry_out(task)
        except InterruptedWorkError:
            Leases(store, lease.job.lane).give_back(lease)
            return told.scanned, b""
        task.tidy()
        result = store.folder.result_path(lease.job.id, outcome.result["output" if kind == "restore" else "scan"])
        return told.scanned, result.read_bytes()

    file = received(lost, long_film)
    ask(lost, file, **options)
    assert made(lost, file, JobToken())[1] == b""
    scanned, result = made(other, file, None)
    assert scanned == [15, 30, *range(31, 61)]
    assert parts_in(bucket) == []
    ask(other, file, **options)
    scanned, undisturbed = made(other, file, None)
    assert scanned == list(range(1, 61))
    assert result == undisturbed


def test_copies_and_leftovers_go(
    machines: list[JobStore], bucket: Any, face_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machines[0]
    file = received(store, face_clip)
    orphan = bucket / "service" / "inputs" / "abc.mkv"
    orphan.write_bytes(b"of a crash")
    copy = store.local_input(store.input(file))
    assert files_of(store, "inputs") == [copy]
    store.sweep()
    assert copy.exists()
    assert orphan.exists()
    monkeypatch.setattr("revisage.service.jobs.data_folder._STALE_SECONDS", -10)
    monkeypatch.setattr("revisage.service.jobs.data_folder._LOOK_SECONDS", -1)
    store.sweep()
    assert not copy.exists()
    assert files_in(bucket) == [f"inputs/{file}.mkv"]
    assert store.local_input(store.input(file)).read_bytes() == face_clip.read_bytes()


def test_a_store_that_does_not_answer_keeps_nothing_half(s3: object, tmp_path: Path, face_clip: Path) -> None:
    store = JobStore(ServiceSettings(data_dir=tmp_path / "data", storage="s3://no-such-bucket/service"))
    with pytest.raises(OutputError, match=r"the store of the service does not take .* files now") as caught:
        received(store, face_clip)
    assert "no-such-bucket" not in str(caught.value)
    assert files_of(store, "uploads", "inputs") == []
    store.close()


@pytest.mark.parametrize(("address", "problem"), [("/data", "an address such as"), ("https://host/x", "read-only")])
def test_a_store_that_is_none_is_refused(tmp_path: Path, address: str, problem: str) -> None:
    with pytest.raises((ConfigError, OutputError), match=problem):
        DataFolder(tmp_path / "data", address)


@contextmanager
def live_worker(
    data_dir: Path, lane: str, settings: dict[str, str], *, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `revisage worker` on a machine of its own, as far as files go."""
    environment = {**os.environ, **{f"REVISAGE_SERVICE_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "revisage", "worker", "--data-dir", str(data_dir), "--lane", lane]
    with (
        (log or Path(os.devnull)).open("w") as stream,
        subprocess.Popen(command, env=environment, stderr=stream) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_workers_on_a_database_and_a_store(postgres: str, bucket: Any, tmp_path: Path) -> None:
    """Server and workers have folders of their own; a worker that is killed is followed by the other."""
    film = three_shots(tmp_path / "cut.mp4", 25)
    settings = {"DATABASE_URL": postgres, "STORAGE": str(bucket / "service"), "LEASE_SECONDS": "3", "NICENESS": "0"}
    revisage.restore(film, tmp_path / "alone.mp4", temporal="off")
    with ExitStack() as stack:
        server = stack.enter_context(live_service(tmp_path / "server", "--workers", "0", settings=settings))
        workers = [stack.enter_context(live_worker(tmp_path / name, "restore", settings)) for name in "ab"]
        made = []
        for _ in range(3):
            with film.open("rb") as stream:
                answer = httpx.post(
                    f"{server.address}/v1/jobs",
                    files={"file": ("film.mp4", stream)},
                    data={"config": '{"temporal": "off"}'},
                    timeout=600,
                )
            assert answer.status_code == 202, answer.text
            made.append(answer.json()["id"])
        wait_until(lambda: _running(server, made) == 2, "two workers do not run two jobs", 300)
        time.sleep(1)
        workers[0].kill()
        wait_until(lambda: all(_status(server, job) == "done" for job in made), "not all done", 1200)
        for job in made:
            assert server.get(f"/v1/jobs/{job}/output").content == (tmp_path / "alone.mp4").read_bytes()


def _status(server: Any, job: str) -> str:
    return str(server.get(f"/v1/jobs/{job}").json()["status"])


def _running(server: Any, jobs: list[str]) -> int:
    return [_status(server, job) for job in jobs].count("running")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_scan_survives_a_worker_that_is_killed(
    request: pytest.FixtureRequest, bucket: Any, tmp_path: Path, database: str
) -> None:
    """Two real workers with folders of their own: one is killed as it scans, the other goes on behind its parts."""
    is_sqlite = database == "sqlite"
    url = f"sqlite:///{tmp_path}/jobs.db" if is_sqlite else request.getfixturevalue("postgres")
    settings = {"DATABASE_URL": url, "STORAGE": str(bucket / "service"), "LEASE_SECONDS": "3", "NICENESS": "0"}
    pictures = [*face_frames(24), *(plain_frames(24, (270, 480)) * 99)]
    film = written_slowly(tmp_path / "long.mp4", pictures, Fraction(1, 8))  # five minutes
    revisage.restore(film, tmp_path / "alone.mp4", temporal="off")
    with ExitStack() as stack:
        server = stack.enter_context(live_service(tmp_path / "server", "--workers", "0", settings=settings))
        first = stack.enter_context(live_worker(tmp_path / "a", "restore", settings))
        with film.open("rb") as stream:
            form = {"config": '{"temporal": "off"}'}
            answer = httpx.post(f"{server.address}/v1/jobs", files={"file": stream}, data=form, timeout=600)
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        wait_until(lambda: parts_in(bucket), "no part of the scan in the store", 300)
        first.kill()
        first.wait()
        assert not any(name.endswith("scan.json") for name in files_in(bucket)), "the scan was too quick for this test"
        stack.enter_context(live_worker(tmp_path / "b", "restore", settings, log=tmp_path / "b.log"))
        wait_until(lambda: _status(server, job) == "done", "not done", 1200)
        assert server.get(f"/v1/jobs/{job}/output").content == (tmp_path / "alone.mp4").read_bytes()
    assert "parts of its scan are there already" in (tmp_path / "b.log").read_text()
    assert parts_in(bucket) == []
