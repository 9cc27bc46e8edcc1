"""The page in a real browser: upload, preview, run, play, download, and everything that goes wrong.

One server and one browser for all; each test gets a page of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from page_process import running_page
from PIL import Image

from sample_media import face_frames

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    pytest.mark.timeout(600),
]
PATIENCE = 120_000
"""Milliseconds: the first look at a file loads the networks, on a busy machine too."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with running_page(data) as (url, server):
        yield url, server
        assert len(psutil.Process(server.pid).children(recursive=True)) == 2


@pytest.fixture(scope="module")
def address(server: tuple[str, subprocess.Popen[bytes]]) -> str:
    return server[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1000, "height": 1400}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    button(page, "Try the demo clip").wait_for()
    yield page
    remote = [
        url for url in requested if not url.startswith((address, "data:", "blob:", address.replace("http", "ws")))
    ]
    context.close()
    assert remote == [], "the page must work without a network"


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def choose(page: Any, *files: Path) -> None:
    page.locator("input[type=file]").first.set_input_files([str(file) for file in files])


@pytest.fixture(scope="module")
def talking(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a talking face with sound, as a valid mp4."""
    from revisage.api import restore

    target = tmp_path_factory.mktemp("clips") / "talking.mp4"
    restore(shared / "clips" / "swiz3n.mpg", target, strength=0, end="1")
    return target


def test_valid_mp4(page: Any, talking: Path) -> None:
    choose(page, talking)
    page.get_by_text("1 face in this frame").wait_for()
    page.get_by_role("img", name=re.compile(r"talking\.mp4")).first.wait_for()
    page.get_by_text("Before and after", exact=True).click()
    page.get_by_role("img", name=re.compile(r"^After: talking\.mp4")).wait_for()
    button(page, "Restore").click()
    button(page, "Download video").wait_for()
    assert "job=" in page.url

    button(page, "Play both videos").click()
    page.wait_for_function(
        "[...document.querySelectorAll('video')].filter(video => video.currentTime > 0.2).length == 2"
    )
    first, second = page.evaluate("[...document.querySelectorAll('video')].map(video => video.currentTime)")
    assert abs(first - second) < 0.15

    with page.expect_download() as download:
        button(page, "Download video").click()
    assert download.value.suggested_filename == "talking_restored.mp4"
    from revisage.media import probe

    restored, original = probe(Path(download.value.path())), probe(talking)
    assert restored.frame_count == original.frame_count == 25
    assert [stream.codec for stream in restored.audio] == [stream.codec for stream in original.audio]
    button(page, "More").click()
    with page.expect_download() as download:
        button(page, "Download report").click()
    assert '"faces"' in Path(download.value.path()).read_text(encoding="utf-8")


def test_large_files_do_not_pass_through_the_server_s_memory(
    page: Any, server: tuple[str, subprocess.Popen[bytes]], talking: Path, tmp_path: Path
) -> None:
    process, files = psutil.Process(server[1].pid), [tmp_path / f"{name}.mp4" for name in ("one", "two")]
    for file in files:
        shutil.copy(talking, file)
        os.truncate(file, 80_000_000)
    before = process.memory_info().rss
    choose(page, *files)
    page.get_by_text("2 files chosen").wait_for()
    assert process.memory_info().rss - before < 40e6
    for _ in files:
        button(page, "Take out").first.click()
        page.wait_for_timeout(500)


def test_a_forged_upload_is_refused_unread(address: str, data: Path) -> None:
    body = b'--m\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + bytes(1000) + b"\r\n--m--\r\n"
    request = urllib.request.Request(f"{address}/_stcore/upload_file/a/b", data=body, method="PUT")
    request.add_header("Content-Type", "multipart/form-data; boundary=m")
    with pytest.raises(urllib.error.HTTPError, match=r"40[03]"):
        urllib.request.urlopen(request, timeout=10)
    assert list((data / "uploads").iterdir()) == []


def test_wrong_format(page: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("this is a letter, whatever its name says", encoding="utf-8")
    choose(page, notes)
    message = page.get_by_role("alert").filter(has_text="notes.mp4")
    message.wait_for()
    assert "mov, mp4, webm, mkv" in message.inner_text()
    assert "Traceback" not in page.content()


def test_an_empty_page_says_what_works_and_offers_a_clip(page: Any) -> None:
    page.get_by_text("animations (GIF, APNG, WebP)").wait_for()
    assert button(page, "Restore").count() == 0
    button(page, "Try the demo clip").click()
    page.get_by_text("1 face in this frame").wait_for()
    button(page, "Restore").wait_for()
    button(page, "Take out").click()
    button(page, "Try the demo clip").wait_for()


def test_a_file_says_what_was_restored_in_it(page: Any, tmp_path: Path) -> None:
    from revisage.provenance import Statement, label_picture

    photo = tmp_path / "said.png"
    Image.new("RGB", (64, 48), (90, 120, 60)).save(photo)
    label_picture(photo, Statement(software="revisage 9.9", model="m", sha256="", strength=1, frames=1, faces=2))
    page.get_by_text("Ask a file what was restored in it").click()
    page.get_by_label("A video, GIF or photo").wait_for()
    page.locator("input[type=file]").last.set_input_files(str(photo))
    page.get_by_text("2 faces were restored with revisage 9.9 by m").wait_for()


def test_a_name_is_shown_as_it_is_and_asks_no_other_host(page: Any, tmp_path: Path) -> None:
    """That no other host is asked is seen to by the page's fixture, for all tests."""
    name = "![x](https:evil.example) **b** $x^2$ :smile: <i>.png"
    cv2.imwrite(str(tmp_path / "sky.png"), np.full((120, 160, 3), (230, 200, 120), np.uint8))
    (tmp_path / "sky.png").rename(tmp_path / name)
    choose(page, tmp_path / name)
    page.get_by_text("No faces were found").wait_for()
    assert page.get_by_text(name, exact=True).count() >= 2
    button(page, "Restore").click()
    page.get_by_text(f"{name}, restored", exact=True).wait_for()
    button(page, "Download photo").wait_for()


def test_an_animation_is_shown_as_pictures(page: Any, tmp_path: Path) -> None:
    frames = [Image.fromarray(frame).resize((240, 136)) for frame in face_frames(3)]
    frames[0].save(tmp_path / "wave.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
    choose(page, tmp_path / "wave.gif")
    button(page, "Restore").click()
    button(page, "Download animation").wait_for()
    for name in ("Original: wave.gif", "Restored: wave.gif"):
        shown = page.get_by_role("img", name=name, exact=True)
        shown.wait_for()
        assert shown.evaluate("image => image.complete && image.naturalWidth > 0")
        assert shown.get_attribute("src").startswith("data:image/gif")
    assert page.locator("video").count() == 0


def test_several_files_wait_in_a_queue(
    page: Any, server: tuple[str, subprocess.Popen[bytes]], talking: Path, tmp_path: Path
) -> None:
    names = ["one.mp4", "two.mp4", "three.mp4"]
    for name in names:
        shutil.copy(talking, tmp_path / name)
    choose(page, *(tmp_path / name for name in names))
    page.get_by_text("3 files chosen").wait_for()
    with nobody_restoring(server[1].pid):
        button(page, "Restore").click()
        button(page, "Sooner").first.wait_for()
        assert button(page, "Cancel").count() >= 2
        button(page, "Sooner").last.click()
        order = page.locator(".stProgress").filter(has_text=re.compile(r"three|two"))
        page.wait_for_function("[...document.querySelectorAll('.stProgress')].at(-1)?.textContent.includes('two')")
        assert order.count() >= 1
        cancel_all(page)


@contextlib.contextmanager
def nobody_restoring(server: int) -> Iterator[None]:
    """The worker that restores takes nothing up meanwhile: what waits, waits for as long as the test takes."""
    (worker,) = (child for child in psutil.Process(server).children() if "restore" in child.cmdline())
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def cancel_all(page: Any) -> None:
    """Click each Cancel once it can be clicked; one whose job ends at that moment goes, and the next is taken."""
    while button(page, "Cancel").count():
        with contextlib.suppress(sync_api.TimeoutError):
            button(page, "Cancel").last.click(timeout=3000)
        page.wait_for_timeout(500)


def test_broken_file(page: Any, talking: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(talking.read_bytes()[:3000])
    choose(page, broken)
    page.get_by_role("alert").filter(has_text="broken.mp4").wait_for()
    assert "Traceback" not in page.content()


def test_a_job_survives_a_reload_and_can_be_cancelled(page: Any, shared: Path) -> None:
    choose(page, shared / "clips" / "s18.mp4")
    page.get_by_text("in this frame").wait_for()
    button(page, "Restore").click()
    page.get_by_text(re.compile(r"s18\.mp4: (Waiting|Looking|Restoring)")).wait_for()
    page.reload()
    page.get_by_text(re.compile(r"s18\.mp4: (Waiting|Looking|Restoring)")).wait_for()
    button(page, "Cancel").click()
    page.get_by_text("s18.mp4: stopped. Nothing was kept").wait_for()


def test_people_get_names_by_photos_and_by_typing_and_ticks_choose(
    page: Any, data: Path, face_clip: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "ann.jpg"
    cv2.imwrite(str(photo), cv2.cvtColor(face_frames(1)[0], cv2.COLOR_RGB2BGR))
    choose(page, face_clip)
    page.get_by_role("img", name="Portrait of person 1").wait_for()
    page.get_by_role("group", name="Who is in view when").wait_for()
    page.get_by_text("Names by photos (0)").click()
    page.get_by_label("Whose photos").fill("Ann")
    people_chooser(page).set_input_files(str(photo))
    button(page, "Look for this person").click()
    page.get_by_role("img", name="Portrait of Ann").wait_for()
    assert list((data / "jobs").glob("*/photo-*")) == []
    assert list((data / "uploads").iterdir()) == []
    page.get_by_label("Name of Ann").fill("Ann Lee")
    page.get_by_label("Name of Ann").press("Enter")
    page.locator(".whoiswhen .name", has_text="Ann Lee").wait_for()
    button(page, "Restore").click()
    button(page, "Download video").wait_for()
    page.get_by_text(re.compile(r"^Ann Lee, ")).wait_for()
    page.get_by_text(re.compile(r"^Still the same person|^Looks like somebody else")).first.wait_for()


def test_the_best_frames_guide_the_others_where_that_is_ticked(page: Any, face_clip: Path) -> None:
    choose(page, face_clip)
    page.get_by_text("in this frame").wait_for()
    page.get_by_text("More settings", exact=True).click()
    page.get_by_text("Let the best frames of each person guide the others").click()
    page.get_by_role("checkbox", name="Let the best frames of each person guide the others", checked=True).wait_for()
    button(page, "Restore").click()
    button(page, "Download video").wait_for()
    button(page, "More").click()
    with page.expect_download() as download:
        button(page, "Download report").click()
    report = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert report["config"]["guide_frames"] is True
    assert [re.fullmatch(r"frame \d+", track["guide"]) is not None for track in report["files"][0]["tracks"]] == [True]


def people_chooser(page: Any) -> Any:
    """The chooser of photos, which is not the one of files."""
    place = page.locator("[data-testid=stFileUploader]").filter(has_text="Photos of this person")
    return place.locator("input[type=file]")


def test_nobody_in_the_picture(page: Any, tmp_path: Path) -> None:
    empty = tmp_path / "sky.png"
    cv2.imwrite(str(empty), np.full((200, 300, 3), (230, 200, 120), np.uint8))
    choose(page, empty)
    page.get_by_text("No faces were found").wait_for()
    button(page, "Search again with a lower threshold").wait_for()


def test_narrow_and_dark(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    button(page, "Try the demo clip").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) < 200
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    context.close()
