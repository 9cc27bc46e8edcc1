from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline_fakes import scan

import revisage
from revisage.core import make_config
from revisage.pipeline import plan
from sample_media import face_frames, read_video, write_video


def dusty_frames(count: int) -> list[np.ndarray]:
    """Frames with a white spot each, at another place."""
    frames = [image.copy() for image in face_frames(count)]
    for number, image in enumerate(frames):
        image[30:34, 20 + 25 * number : 24 + 25 * number] = 250
    return frames


def test_a_segment_reads_its_neighbours_within_the_shot() -> None:
    config = make_config(dust=True, temporal="off")
    made = plan.make_plan(scan(90, shots=[(0, 30), (30, 90)]), config, longest=30)
    assert [(part.read.start, part.read.stop) for part in made.segments] == [(0, 30), (30, 61), (59, 90)]
    assert [part.first_pts for part in made.segments] == [0, 1200, 40 * 59]


@pytest.mark.parametrize("temporal", ["off", "flow"])
def test_spots_go_and_any_split_gives_the_same(
    tmp_path: Path, tiny_model: Path, temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BLOCK", 2)
    monkeypatch.setattr(plan, "RUN_IN", 1)
    frames = dusty_frames(6)
    source = write_video(tmp_path / "dusty.mkv", frames, codec="ffv1", pixel_format="yuv444p")
    options = {"model": str(tiny_model), "temporal": temporal, "dust": True}
    found = revisage.scan(source)
    outputs = []
    for longest, count in ((250, 1), (2, 3)):
        path = tmp_path / f"{longest}.mkv"
        report = revisage.restore(source, path, scan=found, segment_frames=longest, **options)
        assert report.files[0].segments == count
        outputs.append([picture for _, picture in read_video(path)])
    assert len(outputs[0]) == len(frames)
    for picture, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(picture, other)
    for number, (dusty, restored) in enumerate(zip(frames, outputs[0], strict=True)):
        spot = (slice(31, 33), slice(21 + 25 * number, 23 + 25 * number))
        gone = np.abs(restored[spot].astype(int) - dusty[spot]).mean() > 40
        assert gone == (0 < number < 5)  # the first and the last frame have a neighbour on one side only
