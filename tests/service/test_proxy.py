"""The service under a path of a proxy's: a real nginx in front of a real server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_process import LiveService, live_service, wait_until

from revisage.client import Client

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIG = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /tools/revisage/ {{
      proxy_pass {address}/;
      proxy_http_version 1.1;
      proxy_set_header X-Forwarded-Prefix /tools/revisage;
    }}
    location /kept/ {{
      proxy_pass {address};
    }}
  }}
}}
"""


def behind_nginx(service: LiveService, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root root;" if os.getuid() == 0 else ""  # or its workers could not enter the folder
    folder.mkdir()
    (folder / "nginx.conf").write_text(CONFIG.format(user=user, folder=folder, port=port, address=service.address))
    assert NGINX is not None
    server = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            httpx.get(address)
        except httpx.TransportError:
            return False
        return True

    try:
        wait_until(answers, "nginx does not answer")
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A server without workers: jobs stay queued."""
    with live_service(tmp_path_factory.mktemp("idle"), "--workers", "0") as running:
        yield running


@pytest.fixture(scope="module")
def proxy(idle: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from behind_nginx(idle, tmp_path_factory.mktemp("nginx") / "run")


def test_links_location_and_description_begin_with_the_proxys_path(proxy: str, face_clip: Path) -> None:
    root = "/tools/revisage"
    with face_clip.open("rb") as stream:
        made = httpx.post(f"{proxy}{root}/v1/jobs", files={"file": ("talk.mkv", stream)}, timeout=60)
    assert made.status_code == 202
    job = made.json()
    assert made.headers["location"] == job["links"]["self"] == f"{root}/v1/jobs/{job['id']}"
    assert all(link.startswith(f"{root}/v1/jobs/") for link in job["links"].values())
    assert httpx.get(proxy + job["links"]["self"]).json()["id"] == job["id"]
    listed = httpx.get(f"{proxy}{root}/v1/jobs").json()["jobs"]
    assert [entry["links"]["self"] for entry in listed] == [job["links"]["self"]]
    document = httpx.get(f"{proxy}{root}/openapi.json").json()
    assert document["servers"] == [{"url": root}]


def test_events_come_through_as_they_are_made(proxy: str, face_clip: Path) -> None:
    with Client(f"{proxy}/tools/revisage/") as client:
        job = client.submit(face_clip)
        events = client.events(job["id"])
        assert next(events)["status"] == "queued"  # and the stream stays open: nothing waits for its end
        client.cancel(job["id"])
        assert next(events)["status"] == "cancelled"


def test_a_stranger_cannot_name_the_path(idle: LiveService) -> None:
    odd = idle.get("/openapi.json", headers={"X-Forwarded-Prefix": '/a b"<'}).json()
    assert "servers" not in odd
    assert "servers" not in idle.get("/openapi.json").json()


def test_a_root_path_may_be_told_at_the_start(tmp_path: Path) -> None:
    with live_service(tmp_path / "data", "--workers", "0", "--root-path", "/kept/") as service:
        through = behind_nginx(service, tmp_path / "run")
        address = next(through)
        assert httpx.get(f"{address}/kept/healthz").json()["status"] == "ok"
        assert httpx.get(f"{address}/kept/openapi.json").json()["servers"] == [{"url": "/kept"}]
        assert list(through) == []
