"""Faces at the frame's edge do not flash, and turned ones are left alone: found in footage of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import revisage
from sample_media import face_frames, read_video


def test_a_face_that_leaves_the_frame_does_not_flash(shared: Path, tmp_path: Path) -> None:
    source = shared / "field" / "leaving_the_frame.mp4"
    revisage.restore(source, tmp_path / "out.mkv", codec="ffv1", start=0.8, end=1.2)
    before = [picture for time, picture in read_video(source) if 0.79 < time < 1.2]
    after = [picture for _, picture in read_video(tmp_path / "out.mkv")]
    assert len(before) == len(after) == 12
    changes = [np.abs(a.astype(int) - b).sum() / 1e5 for a, b in zip(before, after, strict=True)]
    assert changes[0] > 0.5
    for earlier, here, later in zip(changes, changes[1:], changes[2:], strict=False):
        assert here <= 1.5 * max(earlier, later, 0.05)


@pytest.mark.parametrize("name", ["turned_90.png", "turned_135.png", "turned_180.png"])
def test_a_turned_face_is_left_alone(shared: Path, tmp_path: Path, name: str) -> None:
    source = shared / "field" / name
    with Image.open(source) as picture:
        image = np.asarray(picture.convert("RGB"))
    assert revisage.detect_faces(image) == []
    revisage.restore(source, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), image)


@pytest.mark.parametrize("degrees", [0, 20, -30])
def test_a_tilted_face_is_restored(degrees: int) -> None:
    (image,) = face_frames(1)
    tilted = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))
    assert len(revisage.detect_faces(tilted)) == 1
