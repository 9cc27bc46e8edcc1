from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline_fakes import scan

import revisage
from revisage.core import Levels, ScanMismatchError, make_config
from revisage.faces import align, composite
from revisage.media import Frame
from revisage.media.frame import Colour, PixelLayout
from revisage.pipeline.plan import planned_levels, whole
from revisage.pipeline.restoration import ColourSpread, colour_levels
from sample_media import face_frames, read_video, write_video

RESTORE = make_config(color="restore")


def faded(picture: np.ndarray) -> np.ndarray:
    """As an old print: black is grey, white has lost light, most of all its blue."""
    return np.rint((0.12 + 0.7 * picture / 255) * 255 * (1, 0.94, 0.88)).astype(np.uint8)


def ends_of(*pictures: np.ndarray) -> tuple[int, ...]:
    spread = ColourSpread()
    for picture in pictures:
        spread.add(picture)
    return spread.ends()


def ramp() -> np.ndarray:
    """Every grey from black to white."""
    return np.repeat(np.tile(np.arange(5, 251, dtype=np.uint8), (40, 1))[..., None], 3, axis=2)


def test_a_faded_ramp_comes_back() -> None:
    levels = colour_levels(ends_of(faded(ramp())))
    assert levels is not None
    restored = Frame.from_array(faded(ramp())).with_levels(levels).rgb()
    assert np.abs(faded(ramp()).astype(int) - ramp()).mean() > 20
    assert np.abs(restored.astype(int) - ramp()).mean() < 8
    assert np.ptp(restored, axis=2).mean() < 2


def test_a_picture_from_black_to_white_needs_nothing() -> None:
    assert colour_levels(ends_of(ramp())) is None


def test_a_black_border_does_not_hide_that_black_has_faded() -> None:
    bordered = np.pad(faded(ramp()), ((40, 40), (0, 0), (0, 0)))
    assert colour_levels(ends_of(bordered)) == colour_levels(ends_of(faded(ramp())))


@pytest.mark.parametrize("value", [0, 3, 128, 255])
def test_a_picture_of_one_value_gives_levels_within_bounds(value: int) -> None:
    levels = colour_levels(ends_of(np.full((20, 20, 3), value, np.uint8)))
    assert levels is None or (max(levels.gain) <= 1.5 * 1.5 and max(map(abs, levels.offset)) < 600)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "gbrp", "gray"])
def test_levels_are_those_of_rgb_at_the_native_depth(pixel_format: str) -> None:
    layout = PixelLayout.find(pixel_format)
    assert layout is not None
    scale = 1 << (layout.depth - 8)
    values = np.tile(np.arange(60, 140, dtype=layout.dtype) * scale + scale - 1, (40, 1))
    planes = [values[:, : layout.plane_hw(number, values.shape)[1]] for number in range(layout.plane_count)]
    planes = [plane[: layout.plane_hw(number, values.shape)[0]] for number, plane in enumerate(planes)]
    if layout.family == "yuv":
        planes[1:] = [np.full_like(plane, 128 * scale) for plane in planes[1:]]
    frame = Frame(tuple(planes), layout, Colour("bt709", full_range=True, chroma_offset_xy=(0, 0.5)))
    changed = frame.with_levels(Levels((1.2, 1.2, 1.2), (-5.0, -5.0, -5.0)))
    wanted = values.astype(float) * 1.2 - 5 * layout.maximum / 255
    assert np.abs(changed.planes[0] - wanted).max() <= 0.51
    assert np.abs(changed.planes[-1].astype(float) - planes[-1] if layout.family == "yuv" else 0).max() <= 0.51


def test_levels_are_those_of_the_shot() -> None:
    ends = [[40, 40, 40, 200, 200, 200], [0, 0, 0, 255, 255, 255]]
    found = scan(6, shots=[(0, 4), (4, 6)]).model_copy(update={"colours": ends})
    levels = planned_levels(found, whole(found), RESTORE)
    assert levels == (colour_levels(ends[0]),) * 4 + (None,) * 2
    assert planned_levels(found, whole(found), make_config()) == ()


def test_a_scan_that_tells_no_colours_is_made_again() -> None:
    with pytest.raises(ScanMismatchError, match="scan the source again"):
        planned_levels(scan(6), whole(scan(6)), RESTORE)


def test_whole_frames_are_restored_and_any_split_gives_the_same(tmp_path: Path, tiny_model: Path) -> None:
    frames = [faded(image) for image in face_frames(6)]
    source = write_video(tmp_path / "faded.mkv", frames, codec="ffv1", pixel_format="yuv444p")
    options = {"model": str(tiny_model), "temporal": "off", "color": "restore"}
    revisage.restore(source, tmp_path / "a.mkv", **options)
    revisage.restore(source, tmp_path / "b.mkv", **options, segment_frames=2)
    pictures = [picture for _, picture in read_video(tmp_path / "a.mkv")]
    for picture, other in zip(pictures, read_video(tmp_path / "b.mkv"), strict=True):
        np.testing.assert_array_equal(picture, other[1])
    spread = [np.ptp(image) for image in (frames[0], pictures[0])]
    assert spread[1] > spread[0] + 20


def test_a_crop_may_keep_its_own_colours() -> None:
    (image,) = face_frames(1)
    frame = Frame.from_array(image)
    face = align(frame, revisage.detect_faces(image)[0], 256)
    cooler = np.clip(face.crop - np.array([20, 0, 0]), 0, 255).astype(np.uint8)
    x, y = (int(value) for value in revisage.detect_faces(image)[0].landmarks[2])
    matched, own = (
        composite(frame, [(face, cooler, 1.0)], own_colours=own).rgb()[y, x].astype(int) - image[y, x]
        for own in (False, True)
    )
    assert abs(matched[0]) <= 3
    assert -22 <= own[0] <= -15
