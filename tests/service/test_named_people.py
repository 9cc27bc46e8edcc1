"""People with names: photos that come with a request, an analysis in its forms, who is restored, what is deleted."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image
from service_process import wait_until

from revisage.client import Client
from revisage.core import ConfigError, InputError
from revisage.service.http.server import create_app
from revisage.service.jobs import JobStore, checked_config
from revisage.service.settings import ServiceSettings
from revisage.service.work.worker import Worker
from sample_media import face_frames, plain_frames

CONFIG = {"temporal": "off"}
PATIENCE = 600
FORMS = ("people.json", "people.csv", "people.vtt", "people.html")


@dataclass
class Service:
    """The service in this process: its app behind a socket, and a worker of each lane."""

    address: str
    data_dir: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.address + path, timeout=PATIENCE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    store = JobStore(ServiceSettings(data_dir=folder, preload=False, lease_seconds=3600))
    workers = [Worker(store, "restore"), Worker(store, "quick")]
    server = uvicorn.Server(uvicorn.Config(create_app(store), port=0, log_level="error"))
    threads = [threading.Thread(target=run) for run in (server.run, *(worker.run for worker in workers))]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.started, "the server does not start")
    yield Service(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", folder)
    for worker in workers:
        worker.ending.set()
    for thread in threads[1:]:
        thread.join()
    server.should_exit = True  # it closes the store
    threads[0].join()


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of whom the clip shows."""
    path = tmp_path_factory.mktemp("photos") / "ann.jpg"
    Image.fromarray(face_frames(1)[0]).save(path, quality=95)
    return path


def photos_of(service: Service, job: dict[str, Any]) -> list[Path]:
    return sorted((service.data_dir / "jobs" / str(job["id"])).glob("photo-*"))


def test_an_analysis_names_people_and_forgets_their_photos(
    service: Service, face_clip: Path, ann: Path, tmp_path: Path
) -> None:
    with Client(service.address) as client:
        queued = client.analyze(face_clip, {"who": [f"Ann={ann}"]}, idempotency_key="who is it")
        job = client.wait(queued["id"], timeout=PATIENCE)
        assert job["kind"] == "analyze"
        assert job["config"] == {"who": ["Ann=ann.jpg"]}
        (person,) = job["result"]["people"]
        assert (person["label"], person["name"], person["appearances"]) == ("Ann", "Ann", 1)
        assert person["likeness"] > 0.8
        assert photos_of(service, job) == [], "nothing needs them when it is done"
        found = {form: client.download(job["id"], tmp_path / form, form).read_text("utf-8") for form in FORMS}
        again = client.analyze(face_clip, {"who": [f"Ann={ann}"]}, idempotency_key="who is it")
        assert again["id"] == job["id"]
        scan = client.people_scan(job["id"])
        left = client.submit(face_clip, {**CONFIG, "except_": ["Ann"]}, scan=scan)
        assert client.wait(left["id"], timeout=PATIENCE)["result"]["faces_restored"] == 0
    analysis = json.loads(found["people.json"])
    assert (analysis["source"], analysis["people"][0]["label"]) == (face_clip.name, "Ann")
    assert [row["person"] for row in csv.DictReader(io.StringIO(found["people.csv"]))] == ["Ann"]
    assert "<v Ann>Ann" in found["people.vtt"]
    assert f"People in {face_clip.name}" in found["people.html"]
    assert scan["source"]["name"] == face_clip.name
    assert {track["person"] for track in scan["tracks"]} == {"Ann"}
    portrait = service.get(f"/v1/jobs/{job['id']}/people/0")
    assert (portrait.headers["content-type"], portrait.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert service.get(f"/v1/jobs/{job['id']}/people/1").status_code == 404
    assert service.get(f"/v1/jobs/{job['id']}/output").status_code == 404
    assert set(FORMS) <= service.get(f"/v1/jobs/{job['id']}").json()["links"].keys()
    listed = {kind: service.get(f"/v1/jobs?limit=200&kind={kind}").json()["jobs"] for kind in ("restore", "analyze")}
    assert [each["id"] for each in listed["analyze"]] == [job["id"]]
    assert job["id"] not in {each["id"] for each in listed["restore"]}
    assert str(service.data_dir) not in json.dumps(job) + "".join(found.values())


def test_only_those_are_restored_whose_photos_say_so(service: Service, face_clip: Path, ann: Path) -> None:
    with Client(service.address) as client:
        job = client.submit(face_clip, {**CONFIG, "who": [f"Ann={ann}"], "only": ["ann"]})
        done = client.wait(job["id"], timeout=PATIENCE)
        assert done["result"]["faces_restored"] > 0
        report = service.get(f"/v1/jobs/{job['id']}/report")
        assert report.json()["files"][0]["tracks"][0]["person"] == "Ann"
        assert str(service.data_dir) not in report.text
        assert len(photos_of(service, job)) == 1
        assert service.get(f"/v1/jobs/{job['id']}/preview?time=0.1").status_code == 200
        client.delete(job["id"])
        assert not (service.data_dir / "jobs" / job["id"]).exists()
        untouched = client.restore_image(ann, {"who": [f"Ann={ann}"], "except_": ["Ann"]})
    assert untouched == ann.read_bytes(), "a photo in which nobody is restored is a copy"


@pytest.mark.parametrize(
    ("config", "photos", "fields", "status", "said"),
    [
        ({"who": ["Ann=ann.jpg"]}, [], {}, 422, "ann.jpg did not come with the request"),
        ({"who": ["Ann=/etc/passwd"]}, ["ann.jpg"], {}, 422, "passwd did not come with the request"),
        ({"who": ["Ann"]}, ["ann.jpg"], {}, 422, "write NAME=photo.jpg"),
        ({}, ["ann.jpg"], {}, 422, "nobody is given the photo ann.jpg"),
        ({"who": ["Ann=ann.jpg"]}, ["ann.jpg", "ann.jpg"], {}, 422, "two photos are called ann.jpg"),
        ({"only": ["Ann"]}, [], {}, 422, "nobody has said who is who"),
        ({}, [], {"kind": "guess"}, 422, "restore, analyze"),
        ({}, [], {"every": "1"}, 422, "a job of the kind 'restore' has none"),
        ({}, [], {"kind": "analyze", "compare": "true"}, 422, "a job of the kind 'analyze' has none"),
        ({}, [], {"kind": "analyze", "every": "nan"}, 422, "should be seconds"),
        ({"who": ["Ann=film.jpg"]}, ["film.jpg"], {}, 415, "film.jpg is MKV, no photo"),
    ],
)
def test_what_does_not_belong_together_is_refused_before_the_work(
    service: Service,
    face_clip: Path,
    ann: Path,
    config: dict[str, Any],
    photos: list[str],
    fields: dict[str, str],
    status: int,
    said: str,
) -> None:
    clip = face_clip.read_bytes()
    files = [("file", ("a.mkv", clip))]
    files += [("photo", (name, clip if name == "film.jpg" else ann.read_bytes())) for name in photos]
    answer = httpx.post(
        f"{service.address}/v1/jobs", files=files, data={"config": json.dumps(config), **fields}, timeout=60
    )
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert list((service.data_dir / "uploads").iterdir()) == []


def test_a_photo_without_a_face_fails_with_its_name_and_no_path(
    service: Service, face_clip: Path, tmp_path: Path
) -> None:
    Image.fromarray(plain_frames(1)[0]).save(tmp_path / "sky.jpg")
    with Client(service.address) as client:
        job = client.analyze(face_clip, {"who": [f"Ann={tmp_path / 'sky.jpg'}"]})
        failed = list(client.events(job["id"]))[-1]
    assert failed["status"] == "failed"
    assert failed["error"]["message"].startswith("sky.jpg shows no face that could be found")


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")  # of addresses that answer GET and HEAD
def test_photos_are_told_in_openapi(service: Service) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    for path in ("/v1/jobs", "/v1/images"):
        schema = paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert schema["photo"]["type"] == "array"
        assert {"who", "only", "except_"} <= schema["config"]["contentSchema"]["properties"].keys()
    assert "/v1/jobs/{job_id}/people/{number}" in paths


def test_the_client_says_which_photo_is_not_there(tmp_path: Path, face_clip: Path) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(InputError, match=r"none\.jpg cannot be read"):
        client.analyze(face_clip, {"who": [f"Ann={tmp_path / 'none.jpg'}"]})


def test_names_of_uploads_are_taken_as_they_are_shown() -> None:
    assert checked_config({"who": ["Ann=C:\\me\\ann.jpg"]}, ["ann.jpg"]) == {"who": ["Ann=C:\\me\\ann.jpg"]}
    with pytest.raises(ConfigError, match="did not come"):
        checked_config({"who": ["Ann=ann.jpg"]})
