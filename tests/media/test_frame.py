"""Frames: what is looked at, what is changed, and what must not be."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.core.values import Region
from revisage.media import Frame, area_resized
from revisage.media.frame.samples import Colour, Orientation, PixelLayout

FORMATS = [
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuv444p",
    "yuv440p",
    "yuv411p",
    "yuv410p",
    "gray",
    "gbrp",
    "yuva420p",
    "yuv420p10le",
    "yuv422p9le",
    "yuv444p12le",
    "yuv420p16le",
    "gray10le",
    "gbrp10le",
    "gbrap16le",
]
ORIENTATIONS = [Orientation(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True)]


def make_frame(name: str, size_hw: tuple[int, int] = (24, 32), *, seed: int = 0, **known: object) -> Frame:
    layout = PixelLayout.find(name)
    assert layout is not None
    rng = np.random.default_rng(seed)
    low, high = layout.maximum * 7 // 16, layout.maximum * 9 // 16
    planes = tuple(
        rng.integers(low, high, layout.plane_hw(number, size_hw)).astype(layout.dtype)
        for number in range(layout.plane_count)
    )
    middle = (2 ** layout.chroma_shift_hw[0] - 1) / 2
    full = name.startswith(("gbr", "gray", "yuvj")) or "orientation" in known
    colour = Colour("bt709", full, (0.0, middle))
    return Frame(planes, layout, colour, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_zero_difference_changes_no_sample(name: str) -> None:
    frame = make_frame(name, (23, 31))
    same = frame.add_rgb(Region(3, 5, 20, 18), np.zeros((13, 17, 3), np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(frame.planes, same.planes, strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_many_regions_are_changed_as_one_after_the_other(name: str) -> None:
    frame = make_frame(name)
    rng = np.random.default_rng(2)
    # The second begins in the chroma cell that the first ends in; the last meets the limits of the format.
    regions = [Region(3, 4, 11, 13), Region(11, 12, 20, 17), Region(20, 17, 32, 24)]
    changes = [(r, rng.normal(0, 40, (*r.size_hw, 3)).astype(np.float32)) for r in regions]
    changes[-1] = (regions[-1], np.full_like(changes[-1][1], 400))
    one_by_one = frame
    for region, delta in changes:
        one_by_one = one_by_one.add_rgb(region, delta)
    together = frame.add_all_rgb(changes)
    assert all(np.array_equal(a, b) for a, b in zip(together.planes, one_by_one.planes, strict=True))
    assert max(int(plane.max()) for plane in together.planes) <= frame.layout.maximum
    assert frame.add_all_rgb([]) is frame


@pytest.mark.parametrize("name", FORMATS)
def test_samples_outside_the_region_stay(name: str) -> None:
    frame = make_frame(name)
    changed = frame.add_rgb(Region(8, 8, 16, 16), np.full((8, 8, 3), 30, np.float32))
    for number, (before, after) in enumerate(zip(frame.planes, changed.planes, strict=True)):
        y, x = frame.layout.shift_hw(number)
        touched = np.zeros(before.shape, bool)
        touched[8 >> y : 16 >> y, 8 >> x : 16 >> x] = True
        assert np.array_equal(before[~touched], after[~touched])
    assert (changed.rgb().astype(int) - frame.rgb())[10:14, 10:14].mean() == pytest.approx(30, abs=1)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(FORMATS),
    orientation=st.sampled_from(ORIENTATIONS),
    shift=st.tuples(*[st.integers(-40, 40)] * 3),
    corner=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_a_difference_added_is_the_difference_seen(
    name: str, orientation: Orientation, shift: tuple[int, int, int], corner: tuple[int, int]
) -> None:
    frame = make_frame(name, orientation=orientation)
    # Mid grey, so that nothing is clipped.
    grey = frame.with_rgb(np.full((*frame.size_hw, 3), 128, np.uint8))
    top, left = corner
    region = Region(left, top, left + 14, top + 13)
    wanted = np.array(shift if frame.layout.family != "grey" else [shift[0]] * 3, np.float32)
    changed = grey.add_rgb(region, np.broadcast_to(wanted, (13, 14, 3)).copy())
    seen = changed.rgb(region).astype(int) - grey.rgb(region)
    # Coarse chroma blends with what lies outside along the border, never in the middle; 4:1:0 spans four pixels.
    assert np.abs(seen[5:8, 5:9] - wanted).max() <= 2


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_region_is_a_part_of_the_whole(name: str, orientation: Orientation) -> None:
    frame = make_frame(name, (22, 30), orientation=orientation)
    whole = frame.rgb()
    assert whole.shape == (*frame.size_hw, 3)
    assert whole.flags.c_contiguous
    for region in (Region(0, 0, 7, 5), Region(3, 1, 12, 18), Region(11, 9, frame.size_hw[1], frame.size_hw[0])):
        part = frame.rgb(region)
        assert np.abs(part.astype(int) - whole[region.slices]).max() <= 1


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gbrp", "gray"])
def test_reduced_pictures_are_averages(name: str) -> None:
    frame = make_frame(name, (48, 64))
    small = frame.rgb(size_hw=(6, 8)).astype(float)
    means = frame.rgb().astype(float).reshape(6, 8, 8, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() < 6
    assert np.abs(small.mean() - means.mean()) < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size_hw", [(45, 80), (104, 185), (52, 93), (360, 640)], ids=str)
def test_samples_are_halved_first_and_stay_area_averages(size_hw: tuple[int, int], dtype: type) -> None:
    noise = np.random.default_rng(0).uniform(0, 256, (360, 640, 3)).astype(np.float32)
    # Smooth: halves end where those of other sizes do not, and noise would tell.
    samples = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 25), None, 0, 255, cv2.NORM_MINMAX).astype(dtype)
    wanted = cv2.resize(samples.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    reduced = area_resized(samples, size_hw)
    assert reduced.dtype == dtype
    # Each of three halvings and the last step rounds by a half at most, halves upward.
    assert np.abs(reduced - wanted).max() <= 2
    assert abs(float((reduced - wanted).mean())) < 0.5


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 2), (9, 7, 3), (9, 7, 4)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_come_back_as_they_went_in(shape: tuple[int, ...], dtype: type) -> None:
    array = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    frame = Frame.from_array(array, pts=3, time_base=Fraction(1, 100), duration=4)
    assert np.array_equal(frame.to_array(), array)
    assert (frame.pts, frame.duration, frame.size_hw) == (3, 4, (9, 7))
    eight = array if dtype is np.uint8 else np.rint(array / 257).astype(np.uint8)
    if len(shape) == 3 and shape[2] > 2:
        assert np.array_equal(frame.rgb(), eight[..., :3])
    if len(shape) == 3 and shape[2] in (2, 4):
        assert frame.alpha is not None
        assert np.array_equal(frame.alpha, array[..., -1])


def test_with_rgb_keeps_format_time_and_alpha() -> None:
    frame = make_frame("yuva420p", pts=7)
    rgb = frame.rgb()
    again = frame.with_rgb(rgb)
    assert (again.layout, again.pts, again.size_hw) == (frame.layout, 7, frame.size_hw)
    assert np.array_equal(again.planes[3], frame.planes[3])
    assert np.abs(again.planes[0].astype(int) - frame.planes[0]).max() <= 2
    assert frame.with_rgb(rgb[:10, :12]).size_hw == (10, 12)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size_hw", [(48, 64), (40, 50), (12, 16)], ids=str)
def test_resizing_keeps_places(name: str, size_hw: tuple[int, int]) -> None:
    """A ramp stays the same ramp: its value depends on the place alone, in chroma too."""
    frame = make_frame(name).with_rgb(np.rint(ramp(24, 32)).astype(np.uint8))
    resized = frame.resized(size_hw)
    assert resized.size_hw == size_hw
    expected = ramp(*size_hw)
    if frame.layout.family == "grey":
        expected = np.repeat(expected @ np.array([[0.299], [0.587], [0.114]]), 3, axis=-1)
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(resized.rgb().astype(float) - expected)[inner].mean() < 1.5


def ramp(height: int, width: int) -> np.ndarray:
    """Colours that follow from the place in a picture 32 wide and 24 high, sampled at another size."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = (x + 0.5) * 32 / width - 0.5, (y + 0.5) * 24 / height - 0.5
    return np.stack([60 + 4 * x, 200 - 4 * y, 90 + 2 * x + y], axis=-1)


def test_chroma_beside_columns_stays_beside_its_column() -> None:
    """Reading 4:2:0 enlarged twice: the chroma of a colour edge must not move against the luma."""
    layout = PixelLayout.find("yuv420p")
    assert layout is not None
    x = np.tile(np.arange(32, dtype=np.float32), (24, 1))
    chroma = (100 + 2 * x[::2, ::2]).astype(np.uint8)
    planes = ((60 + 4 * x).astype(np.uint8), chroma, np.full((12, 16), 128, np.uint8))
    for offset in ((0.0, 0.5), (0.5, 0.5)):
        frame = Frame(planes, layout, Colour("bt709", True, offset))
        before, after = frame.rgb().astype(float), frame.resized((48, 64)).rgb().astype(float)
        pairs = after.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.abs(pairs - before)[4:-4, 4:-4].max() < 2.1


def test_interlaced_fields_are_resized_apart() -> None:
    frame = make_frame("yuv444p", (16, 16), fields="top")
    planes = [plane.copy() for plane in frame.planes]
    planes[0][0::2], planes[0][1::2] = 40, 200
    woven = Frame(tuple(planes), frame.layout, frame.colour, fields="top").resized((32, 32))
    assert set(np.unique(woven.planes[0][0::2])) == {40}
    assert set(np.unique(woven.planes[0][1::2])) == {200}


def test_a_wrong_size_is_refused() -> None:
    frame = make_frame("yuv420p")
    with pytest.raises(ValueError, match="delta has shape"):
        frame.add_rgb(Region(0, 0, 4, 4), np.zeros((3, 4, 3), np.float32))
    with pytest.raises(ValueError, match="leaves the frame"):
        frame.rgb(Region(0, 0, 33, 4))
    with pytest.raises(ValueError, match="1 to 4 channels"):
        Frame.from_array(np.zeros((4, 4, 5), np.uint8))


@pytest.mark.parametrize("name", ["nv12", "rgb24", "yuv420p10be", "gbrpf32le", "pal8", "nonsense"])
def test_only_planes_of_whole_numbers_have_a_layout(name: str) -> None:
    assert PixelLayout.find(name) is None
