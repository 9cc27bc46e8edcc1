"""The pages in a real browser: they open from a disk, ask for nothing, and do what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from revisage.cli.app import run
from revisage.evaluation.study import make_study
from sample_media import plain_frames, write_video

READY = "[data-answer=left]:not(:disabled)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium on the path")
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """A page, what its console said, and what it asked for beyond its own files."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.goto(path.as_uri())

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.asked.append(url)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    frames = plain_frames(6)
    kinds = {"clean": frames, "copy": frames, "soft": [cv2.GaussianBlur(frame, (0, 0), 3) for frame in frames]}
    return {name: write_video(folder / f"{name}.mp4", made) for name, made in kinds.items()}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_the_comparison_opens_and_its_slider_moves(
    browser: Any, clips: dict[str, Path], tmp_path: Path, width: int, scheme: str
) -> None:
    html = tmp_path / "report.html"
    words = ["evaluate", "compare", str(clips["soft"]), f"copy={clips['copy']}", "--reference", str(clips["clean"])]
    assert run([*words, "--whole", "--samples", "1", "--html", str(html), "--quiet"]) == 0
    visit = Visit(browser, html, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = visit.page
    slider = page.locator("input[name=at]")
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    assert page.evaluate("getComputedStyle(document.querySelector('.pair')).getPropertyValue('--at')") == "1%"
    page.select_option("select[name=right]", "copy")
    assert page.locator(".tag.right").text_content() == "copy"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert (visit.said, visit.asked) == ([], [])
    page.context.close()


def test_a_rater_answers_by_keyboard_and_saves(browser: Any, clips: dict[str, Path], tmp_path: Path) -> None:
    key = make_study([f"one={clips['clean']}", f"two={clips['soft']}", f"three={clips['soft']}"], tmp_path / "study")
    visit = Visit(browser, tmp_path / "study" / "index.html", accept_downloads=True)
    page = visit.page
    page.fill("#rater", "Ann")
    page.press("#rater", "Enter")
    for press in ("ArrowLeft", "Backspace", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.wait_for_selector(READY)
        page.keyboard.press(press)
    page.wait_for_selector("#end:not([hidden])")
    saved = {}
    for suffix in ("json", "csv"):
        with page.expect_download() as download:
            page.click(f"#{suffix}")
        saved[suffix] = tmp_path / f"ann.{suffix}"
        download.value.save_as(saved[suffix])
    record = json.loads(saved["json"].read_text())
    assert (record["study"], record["rater"]) == (key.study, "Ann")
    assert [(entry["trial"], entry["answer"]) for entry in record["answers"]] == [
        ("t001", "right"),
        ("t002", "equal"),
        ("t003", "left"),
    ]
    assert run(["evaluate", "study", "score", str(saved["csv"]), "--key", str(tmp_path / "study.key.json")]) == 0
    assert (visit.said, visit.asked) == ([], [])
    page.context.close()


def test_both_videos_play_in_step_and_an_unfinished_study_goes_on(
    browser: Any, clips: dict[str, Path], tmp_path: Path
) -> None:
    make_study([f"one={clips['clean']}", f"two={clips['soft']}", f"three={clips['soft']}"], tmp_path / "study")
    visit = Visit(browser, tmp_path / "study" / "index.html")
    page = visit.page
    page.fill("#rater", "Bob")
    page.click("#begin")
    page.wait_for_selector(READY)
    one, other = page.evaluate("[...document.querySelectorAll('video')].map(video => video.currentTime)")
    assert abs(one - other) < 0.2
    assert page.evaluate("[...document.querySelectorAll('video')].every(video => video.muted)")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(READY)
    page.reload()
    page.wait_for_selector(READY)
    assert page.locator("#place").text_content() == "2 of 3"
    assert (visit.said, visit.asked) == ([], [])
    page.context.close()
