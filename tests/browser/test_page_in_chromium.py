"""The page: what is in its folder, and in a real browser whose camera plays a file what it finds, restores and asks."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from revisage import faces, media
from revisage.browser.runtime import _FILES
from revisage.core import Face
from revisage.restorers import load_restorer
from sample_media import face_frames

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 200_000
SIZE = (640, 360)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

FOUND = """
async ([pixels, width, height]) => {
  const { CloserLook, search } = await import("/detection.js");
  const { aboutModels, loadNetworks } = await import("/onnx.js");
  const [first, second] = ["compact-detector.onnx", "compact-detector.refine.onnx"];
  const networks = await loadNetworks("wasm", [first, second]);
  const look = new CloserLook(networks[second], (await aboutModels()).threshold);
  const data = Uint8ClampedArray.from(atob(pixels), (letter) => letter.charCodeAt(0));
  return search({ data, width, height }, networks[first], look);
}
"""
SHOWN = """
() => {
  const [copy, shown] = [document.createElement("canvas"), document.getElementById("picture")];
  [copy.width, copy.height] = [shown.width, shown.height];
  copy.getContext("2d").drawImage(shown, 0, 0);
  return copy.toDataURL("image/png");
}
"""


@pytest.fixture(scope="module")
def blurred() -> np.ndarray:
    """``(360, 640, 3) uint8 RGB``: a face that lost its detail."""
    small = cv2.resize(face_frames(1)[0], (160, 90), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def tape(blurred: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera's tape as Chromium plays it: the face, without moving."""
    path = tmp_path_factory.mktemp("tape") / "camera.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=5)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(blurred, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def opened(playwright: Any, *arguments: str) -> Any:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
    context = browser.new_context(viewport={"width": 360, "height": 740}, permissions=["camera"])
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def playwright() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright


def shown(page: Any) -> np.ndarray:
    """``(360, 640, 3) uint8 RGB``: what the page shows now."""
    data = base64.b64decode(page.evaluate(SHOWN).split(",")[1])
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def eventually(page: Any, is_so: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The first picture for which something holds."""
    for _ in range(PATIENCE // 250):
        picture = shown(page)
        if is_so(picture):
            return picture
        page.wait_for_timeout(250)
    raise AssertionError("the picture never came to be so")


def restored_by_python(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, Face]:
    """The picture with its face restored by the same network, where that changes it, and the face."""
    (face,) = faces.load_detector("compact", precision="fp32")(picture)
    restorer = load_restorer("compact", precision="fp32")
    frame = media.Frame.from_array(picture)
    aligned = faces.align(frame, face, restorer.size)
    restored = faces.composite(frame, [(aligned, restorer(aligned.crop[None])[0], 1.0)]).rgb()
    return restored, faces.landmark_mask(aligned.landmarks, restorer.size), face


@pytest.mark.timeout(600)
def test_a_page_holds_all_that_it_needs_and_names_no_other_host(page_folder: Path) -> None:
    files = {str(path.relative_to(page_folder)) for path in page_folder.rglob("*") if path.is_file()}
    assert {f"onnxruntime/{name}" for name in _FILES.values()} <= files
    assert {"models/compact.onnx", "models/compact-detector.onnx", "models/compact-detector.refine.onnx"} <= files
    about = json.loads((page_folder / "models" / "models.json").read_text(encoding="utf-8"))
    assert (about["size"], len(about["probe"]["values"])) == (256, 64)
    licences = (page_folder / "LICENCES.txt").read_text(encoding="utf-8")
    assert "Copyright (c) Microsoft Corporation" in licences
    assert "Apache-2.0" in licences
    for path in [*page_folder.glob("*.js"), *page_folder.glob("*.css"), page_folder / "index.html"]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://127.0.0.1"}, path
        for name in re.findall(r'(?:from|import\()\s*"\./([\w.]+)"', text):
            assert name in files, f"{path.name} imports {name}"


@needs_chromium
@pytest.mark.timeout(600)
def test_the_camera_s_face_is_restored_and_nobody_else_is_asked(playwright: Any, address: str, tape: Path) -> None:
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    context = opened(playwright, *fake, f"--use-file-for-fake-video-capture={tape}")
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_text("The camera is on.").wait_for()
    page.get_by_role("slider", name="Strength").press("Home")
    page.locator("body[data-restored]:not([data-restored='0'])").wait_for()
    before = eventually(page, lambda picture: picture.shape == (SIZE[1], SIZE[0], 3))

    wanted, mask, face = restored_by_python(before)
    to_frame = faces.invert(faces.crop_affine(face.landmarks, len(mask)))
    inside = cv2.warpAffine(mask, to_frame, SIZE)
    lacking = np.abs(wanted.astype(int) - before)[inside > 0.5].mean()
    page.get_by_role("slider", name="Strength").press("End")

    def is_restored(now: np.ndarray, first: int = 0) -> bool:
        face_in = inside[:, first:] > 0.5
        return bool(np.abs(wanted.astype(int) - now)[:, first:][face_in].mean() < 0.6 * lacking)

    after = eventually(page, is_restored)
    outside = cv2.dilate(inside, np.ones((25, 25), np.uint8)) == 0
    assert outside.mean() > 0.5
    assert np.array_equal(after[outside], before[outside])

    page.get_by_text("Left half as it came").click()
    middle = SIZE[0] // 2
    # The change comes in over some frames: how much of it the first picture with a middle shows is a matter of time.
    split = eventually(page, lambda now: now[:, middle - 1 : middle + 1].min() > 250 and is_restored(now, middle + 2))
    assert np.array_equal(split[:, : middle - 1], before[:, : middle - 1])

    assert "WebAssembly" in page.locator("#figures").inner_text()
    assert any("compact.onnx" in url for url in requested), "what workers ask for is heard too"
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []

    agree_with_python(page, before, face)
    # A border cuts through the face: on the left, and above the eyes.
    middle, eyes = round(face.centre[0]), round(float(face.landmarks[:2, 1].min()))
    for cut in (before[:, middle - 10 :], before[:, : middle + 15], before[eyes - 12 :]):
        agree_with_python(page, np.ascontiguousarray(cut))
    context.browser.close()


def agree_with_python(page: Any, picture: np.ndarray, face: Face | None = None) -> None:
    """Python and the page find the same one face in a picture, cut or not: each reduces it its own way.

    Landmarks lie within 1 % of the eyes' distance, those of a cut face, of which some are a guess, within 2 %.
    """
    most = 0.75 if face is not None else 1.5
    if face is None:
        (face,) = faces.load_detector("compact", precision="fp32")(picture)
    pixels = np.dstack((picture, np.full(picture.shape[:2], 255, np.uint8)))
    size = picture.shape[1::-1]
    (found,) = page.evaluate(FOUND, [base64.b64encode(pixels.tobytes()).decode(), *size])
    assert np.hypot(*(np.array(found["landmarks"]) - face.landmarks).T).max() < most
    assert found["score"] == pytest.approx(face.score, abs=0.01)


@needs_chromium
@pytest.mark.timeout(600)
def test_no_camera_and_no_server_are_said_plainly(playwright: Any, address: str, page_folder: Path) -> None:
    context = opened(playwright)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_text("There is no camera. Connect one and try again, or choose a clip.").wait_for()
    page.goto((page_folder / "index.html").as_uri())
    page.get_by_text("This page does not start from a file").wait_for()
    assert not page.get_by_role("button").count()
    context.browser.close()
