"""Faces at the frame's edge do not flash, and turned ones are restored as what they are: found in footage of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import revisage
from sample_media import face_frames, read_video


def test_a_face_that_leaves_the_frame_does_not_flash(shared: Path, tmp_path: Path) -> None:
    source = shared / "field" / "leaving_the_frame.mp4"
    revisage.restore(source, tmp_path / "out.mkv", codec="ffv1", fine="keep", start=0.8, end=1.2)
    before = [picture for time, picture in read_video(source) if 0.79 < time < 1.2]
    after = [picture for _, picture in read_video(tmp_path / "out.mkv")]
    assert len(before) == len(after) == 12
    changes = [np.abs(a.astype(int) - b).sum() / 1e5 for a, b in zip(before, after, strict=True)]
    assert changes[0] > 0.5
    for earlier, here, later in zip(changes, changes[1:], changes[2:], strict=False):
        assert here <= 1.5 * max(earlier, later, 0.05)


@pytest.mark.parametrize("degrees", [90, 135, 180])
def test_a_turned_face_is_restored_as_what_it_is(shared: Path, degrees: int) -> None:
    with Image.open(shared / "field" / f"turned_{degrees}.png") as picture:
        image = np.asarray(picture.convert("RGB"))
    (face,) = revisage.detect_faces(image)
    (x, y) = face.landmarks[1] - face.landmarks[0]
    assert abs((np.degrees(np.arctan2(y, x)) + degrees + 180) % 360 - 180) < 5

    restored, quarters = revisage.restore_image(image), -degrees // 90
    change = np.abs(restored.astype(int) - image).mean()
    assert change > 0.5
    if degrees % 90 == 0:
        upright = revisage.restore_image(np.ascontiguousarray(np.rot90(image, quarters)))
        # Landmarks of the two lie up to 2 % of the eyes' distance apart, and the change of this face is small.
        assert np.abs(np.rot90(upright, -quarters).astype(int) - restored).mean() < 0.5 * change


@pytest.mark.parametrize("degrees", [0, 20, -30])
def test_a_tilted_face_is_restored(degrees: int) -> None:
    (image,) = face_frames(1)
    tilted = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))
    assert len(revisage.detect_faces(tilted)) == 1
