"""Every real GIF, through reading and writing: untouched, and with a face region changed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from revisage.core.values import Region
from revisage.media import Frame, open_image_sink, open_source
from revisage.media.animation.gif_file import parse_gif

# x, y, width of the faces (px), as the folder's README describes them.
FACES = {
    "classroom": [(200, 90, 20), (300, 100, 20), (100, 120, 18)],
    "face-demographics-walking": [(150, 60, 28), (250, 80, 20)],
    "head-pose-face-detection-female": [(210, 70, 60)],
    "head-pose-face-detection-male": [(200, 80, 75)],
    "one-by-one-person-detection": [(220, 60, 40)],
}


def sharpened(frame: Frame, faces: list[tuple[int, int, int]]) -> Frame:
    """The frame with soft-edged, sharpened and denoised faces that move: what a restoration does to the samples."""
    for x, y, width in faces:
        margin = width // 3
        left, top = x + frame.index // 4 - margin, y - margin
        region = Region(left, top, left + width + 2 * margin, top + width + 2 * margin)
        own = frame.rgb(region).astype(np.float32)
        smooth = cv2.GaussianBlur(own, (0, 0), 1.2)
        sharp = smooth + 1.2 * (smooth - cv2.GaussianBlur(smooth, (0, 0), 2.5))
        rows, columns = np.mgrid[-1 : 1 : own.shape[0] * 1j, -1 : 1 : own.shape[1] * 1j]
        mask = np.clip(2 - 2.2 * np.hypot(rows, columns), 0, 1)[..., None]
        frame = frame.add_rgb(region, (mask * (sharp - own)).astype(np.float32))
    return frame


def rewrite(path: Path, output: Path, faces: list[tuple[int, int, int]], scale: int = 1) -> None:
    with open_source(path) as source:
        sink = open_image_sink(output, source)
        for frame in source.frames():
            changed = sharpened(frame, faces)
            sink.write(changed.resized((scale * frame.size_hw[0], scale * frame.size_hw[1])))
        sink.close()


@pytest.mark.parametrize("name", sorted(FACES))
def test_an_untouched_gif_comes_out_byte_for_byte(shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / "gifs" / f"{name}.gif"
    rewrite(path, tmp_path / "out.gif", [])
    assert (tmp_path / "out.gif").read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FACES))
def test_a_restored_gif_keeps_times_background_and_size(shared: Path, tmp_path: Path, name: str) -> None:
    path, output = shared / "gifs" / f"{name}.gif", tmp_path / "out.gif"
    rewrite(path, output, FACES[name])
    assert [frame.delay for frame in parse_gif(output).frames] == [frame.delay for frame in parse_gif(path).frames]
    errors = []
    with open_source(path) as source, open_source(output) as result:
        for old, new in zip(source.frames(), result.frames(), strict=True):
            wanted = sharpened(old, FACES[name]).rgb()
            same = (wanted == old.rgb()).all(axis=-1)
            np.testing.assert_array_equal(new.rgb()[same], old.rgb()[same])
            errors.append(np.mean((new.rgb()[~same].astype(float) - wanted[~same]) ** 2))
    assert 10 * np.log10(255**2 / np.mean(errors)) > 38
    assert output.stat().st_size < 1.1 * path.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_enlarged_gif_keeps_its_times(shared: Path, tmp_path: Path, suffix: str) -> None:
    path, output = shared / "gifs" / "head-pose-face-detection-female.gif", tmp_path / f"out{suffix}"
    rewrite(path, output, FACES[path.stem], scale=2)
    with open_source(path) as source, open_source(output) as result:
        for old, new in zip(source.frames(), result.frames(), strict=True):
            assert new.size_hw == (540, 960)
            assert new.pts * new.time_base == old.pts * old.time_base
            wanted = sharpened(old, FACES[path.stem]).resized((540, 960)).rgb().astype(float)
            assert 10 * np.log10(255**2 / max(np.mean((new.rgb() - wanted) ** 2), 1e-9)) > 36
