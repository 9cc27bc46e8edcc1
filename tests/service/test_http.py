"""The service as its users meet it: a live server process, real workers, real clips."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from service_process import LiveService, live_service, wait_until

from revisage.cli.app import run
from revisage.client import Client, JobFailedError, ServiceError
from revisage.media import probe
from revisage.service.settings import MediumTooLargeError, ServiceSettings, check_medium
from sample_media import face_frames, plain_frames, read_video, write_video

CONFIG = {"temporal": "off", "fine": "keep"}


@pytest.fixture(scope="session")
def done(service: LiveService, face_clip: Path) -> dict[str, object]:
    """A job that is done."""
    with Client(service.address) as client:
        job = client.submit(face_clip, CONFIG, idempotency_key="the done one")
        events = list(client.events(job["id"]))
    assert events[-1]["status"] == "done", events[-1]["error"]
    assert events[0]["id"] == job["id"]
    fractions = [event["progress"]["fraction"] for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    return events[-1]


def test_a_clip_goes_in_and_its_restoration_comes_out(
    service: LiveService, done: dict[str, object], face_clip: Path, tmp_path: Path
) -> None:
    with Client(service.address) as client:
        output = client.download(str(done["id"]), tmp_path / "out.mkv")
        report = client.download(str(done["id"]), tmp_path / "report.json", "report")
    before, after = read_video(face_clip), read_video(output)
    assert [time for time, _ in before] == [time for time, _ in after]
    assert any((first != second).any() for (_, first), (_, second) in zip(before, after, strict=True))
    assert done["result"]["frames"] == len(before)  # type: ignore[index]
    assert str(service.data_dir) not in report.read_text()
    assert json.loads(report.read_text())["files"][0]["input"]["path"] == face_clip.name


def test_ranges_of_an_output(service: LiveService, done: dict[str, object]) -> None:
    path = f"/v1/jobs/{done['id']}/output"
    whole = service.get(path)
    assert whole.headers["accept-ranges"] == "bytes"
    assert 'filename="talk_restored.mkv"' in whole.headers["content-disposition"]
    part = service.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    size = len(whole.content)
    outside = service.get(path, headers={"Range": f"bytes={10**9}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{size}")
    assert outside.json()["detail"] == f"the range lies outside the file, which has {size} bytes"
    assert (outside.json()["status"], outside.json()["code"]) == (416, "range_outside")
    assert outside.headers["content-type"] == "application/problem+json"
    assert outside.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("malformed", ["lines=1-2", "bytes", "bytes=", "bytes=9-3", "bytes=a-b"])
def test_a_malformed_range_is_ignored(service: LiveService, done: dict[str, object], malformed: str) -> None:
    path = f"/v1/jobs/{done['id']}/output"
    answer = service.get(path, headers={"Range": malformed})
    assert (answer.status_code, answer.content) == (200, service.get(path).content)


def test_faces_and_previews_of_a_job(service: LiveService, done: dict[str, object]) -> None:
    (face,) = service.get(f"/v1/jobs/{done['id']}/faces").json()["faces"]
    assert face["frames"] == 12
    assert set(face["pictures"]) == {"before", "after"}
    for address in face["pictures"].values():
        picture = service.get(address)
        assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
    poster = service.get(f"/v1/jobs/{done['id']}/preview")
    assert poster.content[:2] == b"\xff\xd8"
    moment = service.get(f"/v1/jobs/{done['id']}/preview?time=0.2")
    assert moment.content[:4] == b"\x89PNG"
    original = service.get(f"/v1/jobs/{done['id']}/preview?time=0.2&view=before")
    assert original.content != moment.content


def test_a_photo_goes_in_and_comes_out_at_once(service: LiveService, tmp_path: Path) -> None:
    photo, clip = tmp_path / "me.png", tmp_path / "me.mp4"
    Image.fromarray(face_frames(1)[0]).save(photo)
    with Client(service.address) as client:
        restored = client.restore_image(photo, {"upscale": 2})
        found = client.scan(photo)
        clip.write_bytes(b"\0\0\0\x18ftypisom" + bytes(600))
        with pytest.raises(ServiceError, match="is a video") as caught:
            client.restore_image(clip)
    assert caught.value.status == 415
    (tmp_path / "out.png").write_bytes(restored)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (960, 540)
    assert (found["frames"], len(found["tracks"]), len(found["scan"]["tracks"])) == (1, 1, 1)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif"])
def test_a_picture_without_a_face_comes_back_as_it_was_and_says_so(
    service: LiveService, tmp_path: Path, ending: str
) -> None:
    sky = tmp_path / f"sky.{ending}"
    pictures = [Image.fromarray(picture) for picture in plain_frames(2)]
    pictures[0].save(sky, **({"save_all": True, "append_images": pictures[1:]} if ending == "gif" else {}))
    answer = httpx.post(f"{service.address}/v1/images", files={"file": (sky.name, sky.read_bytes())}, timeout=120)
    assert (answer.status_code, answer.headers["x-revisage-faces"]) == (200, "0")
    with Image.open(sky) as before, Image.open(io.BytesIO(answer.content)) as after:
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()
    with Client(service.address) as client:
        result = client.wait(client.submit(sky)["id"], timeout=120)["result"]
    assert (result["face_tracks"], result["faces_restored"], result["frames_changed"]) == (0, 0, 0)


def test_a_file_says_what_was_restored_in_it(service: LiveService, done: dict[str, object], tmp_path: Path) -> None:
    with Client(service.address) as client:
        said = client.verify(client.download(str(done["id"]), tmp_path / "out.mkv"))
    assert said["manifest"] is None
    assert said["statements"][0]["faces"] > 0
    (tmp_path / "a.png").write_bytes(b"no picture")
    with Client(service.address) as client, pytest.raises(ServiceError) as caught:
        client.verify(tmp_path / "a.png")
    assert (caught.value.status, caught.value.code) == (415, "bad_input")


def test_an_edited_scan_chooses_the_faces(service: LiveService, face_clip: Path, tmp_path: Path) -> None:
    with Client(service.address) as client:
        found = client.scan(face_clip)["scan"]
        found["tracks"] = []
        job = client.wait(client.submit(face_clip, CONFIG, scan=found)["id"], timeout=120)
        assert job["result"]["frames_changed"] == 0
        client.delete(job["id"])
        with pytest.raises(ServiceError, match="no such job"):
            client.job(job["id"])


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"config": '{"strenght": 1}'}, 422, "bad_config", "strenght"),
        ({"config": '{"strength": 7}'}, 422, "bad_config", "strength"),
        ({"config": '{"save_faces": "/tmp"}'}, 422, "bad_config", "save_faces"),
        ({"config": '{"model": "/etc/passwd"}'}, 422, "no_model", None),
        ({"config": "{"}, 422, "bad_request", None),
        ({"scan": '{"version": 1}'}, 422, "bad_scan", None),
        ({"colour": "red"}, 422, "bad_request", None),
    ],
)
def test_bad_requests_are_told_as_problems(
    service: LiveService, face_clip: Path, fields: dict[str, str], status: int, code: str, named: str | None
) -> None:
    files = {"file": ("a.mkv", face_clip.read_bytes())}
    answer = httpx.post(f"{service.address}/v1/jobs", files=files, data=fields, timeout=60)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem.get("parameter") == named
    assert "/etc" not in problem["detail"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", 415),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
        (b"", 422),
        (b"GIF89a" + bytes(3_000_000), 413),
    ],
)
def test_what_may_not_be_uploaded(service: LiveService, content: bytes, status: int) -> None:
    answer = httpx.post(f"{service.address}/v1/jobs", files={"file": ("holiday.mp4", content)}, timeout=60)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert list((service.data_dir / "uploads").iterdir()) == []


def long_video(folder: Path) -> Path:
    return write_video(folder / "long.mp4", plain_frames(25, (64, 64)), pts=range(0, 625, 25))


def wide_video(folder: Path) -> Path:
    return write_video(folder / "wide.mkv", plain_frames(1, (900, 1200)))


def video_of_many_frames(folder: Path) -> Path:
    return write_video(folder / "many.avi", plain_frames(201, (64, 64)))


def animation_of_many_frames(folder: Path) -> Path:
    first, *others = [Image.new("L", (8, 8), index % 250) for index in range(201)]
    first.save(folder / "many.gif", save_all=True, append_images=others, duration=20)
    return folder / "many.gif"


def large_photo(folder: Path) -> Path:
    Image.new("1", (8001, 8000)).save(folder / "large.png")
    return folder / "large.png"


@pytest.mark.parametrize(
    ("where", "made", "detail"),
    [
        ("jobs", long_video, "the video is 24 s long; up to 20 s are taken"),
        ("scan", wide_video, "the picture is 1200 x 900 px; up to 1 million pixels are taken"),
        ("jobs", video_of_many_frames, "the video has 201 frames; up to 200 are taken"),
        ("images", animation_of_many_frames, "the video has 201 frames; up to 200 are taken"),
        ("images", large_photo, "the picture is 8001 x 8000 px; up to 64 million pixels are taken"),
    ],
)
def test_what_breaks_a_limit_is_refused_when_it_comes_in_and_not_kept(
    service: LiveService, tmp_path: Path, where: str, made: Callable[[Path], Path], detail: str
) -> None:
    jobs, kept = service.get("/v1/jobs").json()["jobs"], sorted((service.data_dir / "inputs").iterdir())
    path = made(tmp_path)
    answer = httpx.post(f"{service.address}/v1/{where}", files={"file": (path.name, path.read_bytes())}, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert (answer.json()["detail"], answer.json()["code"]) == (detail, "too_large")
    assert service.get("/v1/jobs").json()["jobs"] == jobs
    assert sorted((service.data_dir / "inputs").iterdir()) == kept
    with pytest.raises(MediumTooLargeError) as caught:
        check_medium(probe(path), ServiceSettings(max_seconds=20, max_frames=200, max_pixels=1_000_000))
    assert str(caught.value) == detail  # a worker's words


def test_what_is_named_on_the_server_keeps_to_the_limits_too(service: LiveService, face_clip: Path) -> None:
    path = wide_video(face_clip.parent)
    answer = httpx.post(f"{service.address}/v1/jobs", files={"path": (None, path.name)}, timeout=60)
    assert (answer.status_code, path.exists()) == (413, True)


def test_a_broken_file_fails_with_its_name_and_no_path(service: LiveService) -> None:
    with Client(service.address) as client:
        files = {"file": ("broken.mp4", b"\0\0\0\x18ftypisom" + bytes(5000))}
        job = httpx.post(f"{service.address}/v1/jobs", files=files, timeout=60).json()
        with pytest.raises(JobFailedError, match=r"^broken\.mp4 cannot be read: its index") as caught:
            client.wait(job["id"], timeout=120)
    assert caught.value.code == "bad_input"
    assert str(service.data_dir) not in service.log.read_text()


def test_only_files_in_allowed_folders_can_be_named(service: LiveService, face_clip: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mkv"
    outside.write_bytes(face_clip.read_bytes())
    link = face_clip.parent / "link.mkv"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    with httpx.Client(base_url=service.address, timeout=60) as client:

        def named(path: str) -> int:
            return client.post("/v1/jobs", files={"path": (None, path)}).status_code

        for path in ("/etc/passwd", str(outside), str(link), "../x.mkv", "missing.mkv", f"{face_clip.parent}"):
            assert named(path) == 403, path
        assert named(face_clip.name) == named(str(face_clip)) == 202
        for job in client.get("/v1/jobs", params={"status": "queued"}).json()["jobs"]:
            client.delete(f"/v1/jobs/{job['id']}")


def test_idempotency_and_pages(service: LiveService, done: dict[str, object], face_clip: Path) -> None:
    with Client(service.address) as client:
        assert client.submit(face_clip, CONFIG, idempotency_key="the done one")["id"] == done["id"]
        with pytest.raises(ServiceError, match="another request"):
            client.submit(face_clip, {"strength": 0.1}, idempotency_key="the done one")
        assert done["id"] in [job["id"] for job in client.jobs("done")]
    page = service.get("/v1/jobs?limit=1").json()
    assert len(page["jobs"]) == 1
    assert service.get("/v1/jobs?limit=0").status_code == 422
    assert service.get("/v1/jobs/nothing").status_code == 404


def test_a_running_job_is_cancelled(service: LiveService, face_clip: Path) -> None:
    with Client(service.address) as client:
        first = client.submit(face_clip, CONFIG | {"upscale": 3})
        second = client.submit(face_clip, CONFIG)
        assert client.cancel(second["id"])["status"] in ("cancelled", "running", "done")
        client.cancel(first["id"])
        wait_until(lambda: client.job(first["id"])["status"] in ("cancelled", "done"), "the job goes on")
        assert service.get(f"/v1/jobs/{first['id']}/output").status_code in (200, 409)


def test_health_metrics_and_headers(service: LiveService, done: dict[str, object]) -> None:
    health = service.get("/readyz")
    assert health.json()["workers"] == {"restore": 1, "quick": 1}
    assert health.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in health.headers["content-security-policy"]
    assert "server" not in health.headers
    assert "access-control-allow-origin" not in health.headers
    metrics = service.get("/metrics").text
    assert 'revisage_jobs{kind="restore",status="done"}' in metrics
    assert str(done["id"]) not in metrics
    assert {entry["name"] for entry in service.get("/v1/models").json()["models"]} >= {"compact", "gfpgan-1.4"}
    assert {entry["name"] for entry in service.get("/v1/presets").json()["presets"]} >= {"none", "webcam"}


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_other_pages_cannot_reach_a_service_without_tokens(service: LiveService, headers: dict[str, str]) -> None:
    assert service.get("/v1/jobs", headers=headers).status_code == 403


def test_openapi_is_complete(service: LiveService) -> None:
    document = service.get("/openapi.json").json()
    operations = [(path, method, op) for path, item in document["paths"].items() for method, op in item.items()]
    assert {path for path, _, _ in operations} >= {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/images", "/v1/scan"}
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(set(names)) == len(names)  # generated clients call their functions so
    for path, method, operation in operations:
        assert operation.get("description") or operation.get("summary"), (path, method)
        if method == "post" and "retry" not in path:
            assert "multipart/form-data" in operation["requestBody"]["content"], path
    for name in ("JobBody", "JobList", "Problem", "ScanBody", "FaceList", "ModelBody", "PresetBody", "Health"):
        assert document["components"]["schemas"][name]["examples"], name


def test_a_service_for_others_needs_a_token(
    tmp_path: Path, face_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data-dir", str(tmp_path)]
    assert run(["serve", "--host", "0.0.0.0", "--port", "0", *place]) == 2
    assert "without a token; make one with: revisage token add" in capsys.readouterr().err
    assert run(["token", "add", "me", *place]) == run(["token", "add", "eve", *place]) == 0
    secret, stranger = capsys.readouterr().out.split()
    with live_service(tmp_path, "--require-token", "--workers", "0") as service:
        assert service.get("/v1/jobs").status_code == 401
        assert service.get("/metrics", headers={"Authorization": f"Bearer {secret}x"}).status_code == 401
        with Client(service.address, token=secret) as client, Client(service.address, token=stranger) as eve:
            job = client.submit(face_clip)
            assert [entry["id"] for entry in client.jobs()] == [job["id"]]
            assert list(eve.jobs()) == []
            with pytest.raises(ServiceError, match="no such job"):
                eve.job(job["id"])
        log = service.log.read_text()
    assert secret not in log


@pytest.mark.slow
def test_a_killed_workers_job_is_taken_up_again(tmp_path: Path, face_clip: Path) -> None:
    with live_service(tmp_path) as service, Client(service.address) as client:
        job = client.submit(face_clip, CONFIG)

        def at_work() -> bool:
            return client.job(job["id"])["status"] == "running"

        wait_until(at_work, "no worker takes the job")
        for child in psutil.Process(service.process.pid).children():
            child.kill()
        ended = client.wait(job["id"], timeout=200)
        assert ended["attempts"] == 2
        assert [entry["id"] for entry in client.jobs()] == [job["id"]]


def test_what_looks_at_headers_is_loaded_before_the_fork(shared: Path) -> None:
    """Each upload is looked at in a fork; what it would load itself costs far more than the look."""
    files = [shared / "clips" / "s18.mp4", shared / "gifs" / "classroom.gif", shared / "field" / "gain_map.jpg"]
    code = (
        "import sys, pathlib, revisage.service.http.requests as r, revisage.service.http.measuring\n"
        "known = set(sys.modules)\n"
        f"for path in {[str(file) for file in files]}: r.media.read_extent(pathlib.Path(path))\n"
        "print(len(set(sys.modules) - known))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(answer.stdout) < 8
