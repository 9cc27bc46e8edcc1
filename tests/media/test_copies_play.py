"""A stream of copied and encoded groups in Chromium: it plays to its end, and seeking shows the frame that is there."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_copying import joined_clip

from sample_media import read_video

LOOK = """async ([source, times]) => {
  const video = document.createElement('video');
  const next = (event) => new Promise((done, fail) => {
    video['on' + event] = done;
    video.onerror = () => fail(new Error(event + ': ' + video.error.message));
  });
  video.muted = true;
  video.src = source;
  await next('loadeddata');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const read = () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(video, 0, 0);
    return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
  };
  // `seeked` may come before the frame can be drawn, and the canvas stays black: the callback of a frame names it.
  const seekTo = (time) => new Promise((done, fail) => {
    let last = 'none';
    const late = setTimeout(() => fail(new Error(`no frame of ${time} s within a minute, the last: ${last}`)), 60000);
    const shown = (now, frame) => {
      last = frame.mediaTime;
      if (Math.abs(last - time) > 0.02) return video.requestVideoFrameCallback(shown);
      clearTimeout(late);
      done(read());
    };
    video.requestVideoFrameCallback(shown);
    video.currentTime = time;
  });
  const seen = [];
  for (const time of times) seen.push(await seekTo(time));
  video.currentTime = 0;
  await next('seeked');
  video.play();
  await next('ended');
  return [seen, video.duration];
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium on the path")
    with sync_api.sync_playwright() as started:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = started.chromium.launch(executable_path=program, args=flags)
        yield browser.new_page()
        browser.close()


def test_seeking_across_the_joints_shows_the_right_frames(page: Any, tmp_path: Path) -> None:
    path = joined_clip(tmp_path, "a.mp4")
    frames = read_video(path)
    order = [12, 35, 3, 29, 30, 9, 10, 39, 0]
    address = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    start = frames[0][0]
    seen, length = page.evaluate(LOOK, [address, [float(frames[n][0]) + 0.01 for n in order]])
    assert length == pytest.approx(float(frames[-1][0] - start) + 1 / 30, abs=0.1)
    for number, pixels in zip(order, seen, strict=True):
        shown = np.array(pixels).reshape(*frames[number][1].shape[:2], 4)[..., :3]
        errors = [float(np.abs(shown - picture).mean()) for _, picture in frames]
        assert int(np.argmin(errors)) == number
        assert errors[number] < 4
