"""The camera on the page: in a real browser whose camera plays a file, and what is said where it cannot be."""

from __future__ import annotations

import base64
import ipaddress
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest
from page_process import running_page

from sample_media import face_frames

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")

from streamlit.testing.v1 import AppTest

from revisage.core import ConfigError
from revisage.ui import live

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120_000
SIZE = (640, 360)
MULTICAST_DNS = "224.0.0.251"
"""Within the local network: how a browser's candidate is looked up that hides its address behind a name."""

WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto", "socket.gethostbyname"):
        address = arguments[0] if event.startswith("socket.get") else arguments[1]
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, str) and not host.startswith(("/", chr(0))):
            with open(os.environ["WATCHED_HOSTS"], "a") as log:
                log.write(host + "\\n")
sys.addaudithook(watch)
sys.modules["uvloop"] = None
"""
"""A ``sitecustomize``: each host that the page's processes send to or look up goes into a file.

Sockets of uvloop tell Python nothing, so those of asyncio are used.
"""


@pytest.fixture
def blurred() -> np.ndarray:
    """``(360, 640, 3) uint8 RGB``: a face that lost its detail."""
    small = cv2.resize(face_frames(1)[0], (160, 90), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def tape(blurred: np.ndarray, tmp_path: Path) -> Path:
    """A camera's tape as Chromium plays it: the face, without moving."""
    path = tmp_path / "camera.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=5)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(blurred, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a page, and the file with the hosts that it spoke to."""
    folder, hosts = tmp_path / "watch", tmp_path / "hosts"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    path = ":".join([str(folder), *(each for each in sys.path if each)])
    settings = {"PYTHONPATH": path, "WATCHED_HOSTS": str(hosts), "REVISAGE_SERVICE_PRELOAD": "false"}
    with running_page(tmp_path / "data", **settings) as (url, _):
        yield url, hosts


def own_addresses() -> set[str]:
    found = {entry.address.split("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    return found | {"localhost", socket.gethostname(), "0.0.0.0", "::", MULTICAST_DNS}


def is_own(host: str) -> bool:
    if host.split("%")[0] in own_addresses():
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return host.endswith(".local")


@pytest.fixture
def page(tape: Path, watched: tuple[str, Path]) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    arguments = ["--no-sandbox", *camera, f"--use-file-for-fake-video-capture={tape}"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"]).new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(
            "const Real = RTCPeerConnection; window.asked = [];"
            "window.RTCPeerConnection = new Proxy(Real, {construct(what, given) {"
            "window.asked.push(given[0]); return new what(...given); }});"
        )
        yield page
        browser.close()


def shown(page: Any) -> np.ndarray:
    """``(360, 640, 3) uint8 BGR``: what the page shows of the camera now."""
    (frame,) = [frame for frame in page.frames if frame.evaluate("!!document.querySelector('video')")]
    data = frame.evaluate(
        "() => { const video = document.querySelector('video'), canvas = document.createElement('canvas');"
        "canvas.width = video.videoWidth; canvas.height = video.videoHeight;"
        "canvas.getContext('2d').drawImage(video, 0, 0); return canvas.toDataURL('image/png'); }"
    )
    return cv2.imdecode(np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)


def sharpness(picture: np.ndarray) -> float:
    """Of the middle, where the face is."""
    grey = cv2.cvtColor(picture[40:320, 180:460], cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 0.8), cv2.CV_64F).std())


def eventually(page: Any, is_so: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The first picture for which something holds."""
    for _ in range(PATIENCE // 500):
        picture = shown(page)
        if is_so(picture):
            return picture
        page.wait_for_timeout(500)
    raise AssertionError("the picture never came to be so")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.timeout(600)
def test_the_camera_comes_back_restored_and_nobody_else_is_asked(
    page: Any, watched: tuple[str, Path], blurred: np.ndarray
) -> None:
    pytest.importorskip("streamlit_webrtc", reason="the extra `live` is not installed")
    address, hosts = watched
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{address}/live")
    page.frame_locator("iframe[title*=webrtc]").get_by_role("button", name=re.compile("start", re.I)).click()
    page.get_by_text(re.compile("The restorer ran in")).wait_for()

    filmed = sharpness(cv2.cvtColor(blurred, cv2.COLOR_RGB2BGR))
    eventually(page, lambda picture: sharpness(picture) > 1.3 * filmed)
    page.get_by_role("slider", name="Strength").press("Home")
    eventually(page, lambda picture: sharpness(picture) < 1.1 * filmed)
    page.get_by_role("slider", name="Strength").press("End")
    eventually(page, lambda picture: sharpness(picture) > 1.3 * filmed)

    page.get_by_text("Left half as it was filmed").click()
    middle = SIZE[0] // 2
    split = eventually(page, lambda picture: picture[:, middle - 1 : middle + 1].mean() > 200)
    left = slice(0, middle - 8)
    assert np.abs(split[:, left].astype(int) - cv2.cvtColor(blurred, cv2.COLOR_RGB2BGR)[:, left]).mean() < 6

    asked = [each for frame in page.frames for each in frame.evaluate("window.asked")]
    assert asked == [{"iceServers": []}]
    own = (address, address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in requested if not url.startswith(own)] == []
    spoken_to = set(hosts.read_text(encoding="utf-8").split())
    assert spoken_to, "the watch is on"
    assert {host for host in spoken_to if not is_own(host)} == set()


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.importlib.util, "find_spec", lambda _: None)
    (error,) = AppTest.from_function(_live_page).run(timeout=60).error
    assert "pip install" in error.value
    assert r"revisage\[live\]" in error.value


def _live_page() -> None:
    from revisage.ui.live import show_live

    show_live()


def test_servers_are_asked_only_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(live.ICE_SERVERS, raising=False)
    assert live.ice_servers() == []
    monkeypatch.setenv(live.ICE_SERVERS, '[{"urls": "turn:host:3478", "username": "me", "credential": "secret"}]')
    assert live.ice_servers() == [{"urls": "turn:host:3478", "username": "me", "credential": "secret"}]


@pytest.mark.parametrize("wrong", ["turn:host", "{}", '[{"url": "turn:host"}]'])
def test_servers_that_are_none_are_said(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(live.ICE_SERVERS, wrong)
    with pytest.raises(ConfigError, match=r"write for example \[\{\"urls\""):
        live.ice_servers()
