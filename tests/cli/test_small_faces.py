"""A small face of a clean clip is left nearly as it is by the whole command, one of a noisy clip gains by it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from revisage.cli.app import run
from revisage.core import Image
from revisage.demo import clean_frames, face_region

FRAMES, SCALE = 8, 0.49
"""The demo's face is then 60 px wide."""


def clean_pictures() -> list[Image]:
    frames = itertools.islice(clean_frames(), FRAMES)
    return [cv2.resize(frame, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)[:132, :234] for frame in frames]


def write(path: Path, pictures: list[Image]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "x264-params": "mbtree=0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode(None))


def error(path: Path, clean: list[Image]) -> float:
    """PSNR of the faces in a clip (dB)."""
    with av.open(path) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    squares = []
    for index, (picture, source) in enumerate(zip(shown, clean, strict=True)):
        region = face_region(index, side=110)
        window = tuple(slice(int(part.start * SCALE), int(part.stop * SCALE)) for part in region.slices)
        squares.append(np.square(picture[window].astype(float) - source[window]).mean())
    return float(10 * np.log10(255**2 / np.mean(squares)))


def gain(folder: Path, damaged: list[Image], clean: list[Image], *options: str) -> float:
    """What restoring a damaged clip brings (dB)."""
    write(folder / "in.mp4", damaged)
    command = ["restore", str(folder / "in.mp4"), str(folder / "out.mkv"), "--codec", "ffv1", "--overwrite"]
    assert run([*command, *options]) == 0
    return error(folder / "out.mkv", clean) - error(folder / "in.mp4", clean)


def test_a_clean_clip_keeps_its_small_face(tmp_path: Path) -> None:
    clean = clean_pictures()
    assert gain(tmp_path, clean, clean) > -0.3
    assert gain(tmp_path, clean, clean, "--fine", "keep") < -1


def test_a_noisy_clip_gains_no_less_for_the_look(tmp_path: Path) -> None:
    clean, random = clean_pictures(), np.random.default_rng(0)
    noisy = [np.clip(p + random.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in clean]
    # Against a clean original: noise that a face gets back costs of that.
    looked, always = (gain(tmp_path, noisy, clean, "--grain", "none", "--fine", fine) for fine in ("auto", "keep"))
    assert looked > 1
    assert looked > always - 0.05


def test_a_clean_photo_of_a_small_face_is_left_to_the_bit_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, restored = tmp_path / "clean.png", tmp_path / "out.png"
    cv2.imwrite(str(photo), clean_pictures()[0][..., ::-1])
    assert run(["restore", str(photo), str(restored), "--json"]) == 0
    faces = json.loads(capsys.readouterr().out)["files"][0]["faces"]
    assert (faces["restored"], faces["clean"]) == (1, 1)
    assert np.array_equal(cv2.imread(str(restored)), cv2.imread(str(photo)))
    assert run(["restore", str(photo), str(restored), "--upscale", "2", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["faces"]["clean"] == 0
