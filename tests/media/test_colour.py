"""Colour against FFmpeg's own conversion."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from making import picture

from revisage.media import Frame
from revisage.media.frame.samples import Colour, PixelLayout, guess_colour, rgb_from_samples, samples_from_rgb
from revisage.media.video.source import decoded_planes, native_format

MATRICES = {"bt601": "ITU601", "bt709": "ITU709", "bt2020": "BT2020"}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("name", ["yuv444p", "yuv420p", "yuv422p10le", "yuv444p12le"])
def test_rgb_is_what_swscale_makes_of_it(matrix: str, full: bool, name: str) -> None:
    wide = 2 if full else 1
    rgb = av.VideoFrame.from_ndarray(picture((48, 64), 3), "rgb24")
    frame = rgb.reformat(format=name, dst_colorspace=MATRICES[matrix], dst_color_range=wide)
    reference = frame.reformat(
        format="rgb24", src_colorspace=MATRICES[matrix], src_color_range=wide, interpolation=0x2002 | 0x40000
    ).to_ndarray()
    layout = PixelLayout.find(name)
    assert layout is not None
    ours = Frame(decoded_planes(frame, layout), layout, Colour(matrix, full, (0.5, 0.5))).rgb()
    difference = np.abs(ours.astype(int) - reference)
    # FFmpeg takes untold chroma for centred. Only rounding and, at the border, its kernel may differ.
    assert difference.mean() < (0.7 if "444" in name else 1.5)
    assert difference.max() <= (2 if "444" in name else 14)


@pytest.mark.parametrize("name", ["yuv444p", "yuv420p10le", "gbrp12le", "yuv444p16le"])
@pytest.mark.parametrize("colour", [Colour("bt601", False), Colour("bt2020", True)], ids=str)
def test_the_two_directions_are_inverse(name: str, colour: Colour) -> None:
    layout = PixelLayout.find(name)
    assert layout is not None
    there, back = samples_from_rgb(layout, colour), rgb_from_samples(layout, colour)
    rgb = np.array([12.0, 200.0, 99.0])
    assert back[:, :3] @ (there[:, :3] @ rgb + there[:, 3]) + back[:, 3] == pytest.approx(rgb)


@pytest.mark.parametrize(
    ("name", "white"), [("yuv420p", 235), ("yuv420p10le", 940), ("yuvj420p", 255), ("gray", 255), ("gbrp10le", 1023)]
)
def test_white_is_the_code_that_the_standards_give(name: str, white: int) -> None:
    layout = PixelLayout.find(name)
    assert layout is not None
    colour = guess_colour(layout, (48, 64), matrix=2, colour_range=0, transfer=2, codec="h264")
    map_ = samples_from_rgb(layout, colour)
    assert (map_[:, :3] @ [255, 255, 255] + map_[:, 3])[0] == pytest.approx(white)


@pytest.mark.parametrize(
    ("size_hw", "codec", "transfer", "expected"),
    [
        ((288, 360), "mpeg1video", 2, Colour("bt601", False, (0.5, 0.5))),
        ((480, 640), "h264", 2, Colour("bt601", False, (0.0, 0.5))),
        ((720, 1280), "h264", 2, Colour("bt709", False, (0.0, 0.5))),
        ((2160, 3840), "hevc", 16, Colour("bt709", False, (0.0, 0.0))),
    ],
)
def test_untagged_video_is_read_as_players_do(
    size_hw: tuple[int, int], codec: str, transfer: int, expected: Colour
) -> None:
    layout = PixelLayout.find("yuv420p")
    assert layout is not None
    assert guess_colour(layout, size_hw, matrix=2, colour_range=0, transfer=transfer, codec=codec) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("yuyv422", "yuv422p"),
        ("rgb24", "gbrp"),
        ("bgra", "gbrap"),
        ("yuv420p10be", "yuv420p10le"),
        ("gray16be", "gray16le"),
        ("yuv420p", "yuv420p"),
        ("pal8", "gbrap"),
    ],
)
def test_other_arrangements_become_planes_that_hold_the_same(name: str, expected: str) -> None:
    assert native_format(name) == expected


@pytest.mark.parametrize("name", ["nv12", "p010le", "yuyv422", "rgb24", "bgra"])
def test_rearranging_loses_nothing(name: str) -> None:
    frame = av.VideoFrame.from_ndarray(picture((16, 32), 1), "rgb24").reformat(format=name)
    frame.time_base = Fraction(1, 25)
    back = frame.reformat(format=native_format(name)).reformat(format=name)
    for one, other in zip(frame.planes, back.planes, strict=True):
        rows = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in (one, other)]
        width = min(row.shape[1] for row in rows)
        used = min(width, 32 * frame.format.padded_bits_per_pixel // 8 if len(frame.planes) == 1 else width)
        assert np.array_equal(rows[0][:, :used], rows[1][:, :used])
