"""Animated images as a viewer shows them: composed pictures, exact times, damage."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from revisage import media
from revisage.core.errors import InputError
from revisage.media import Frame, open_source
from revisage.media.animation.gif_file import frame_block, header_block, loop_block, parse_gif
from revisage.media.animation.sink import NONE, Area, Canvas
from revisage.media.png_chunks import SIGNATURE, chunk, encode_pixels

WIDTH, HEIGHT = 12, 9
DISPOSE_TO_BACKGROUND = 1


def frames_of(path: Path) -> list[Frame]:
    with open_source(path) as source:
        assert source.info.kind == "animation"
        frames = list(source.frames())
        assert source.info.frame_count == len(frames)
        assert not source.warnings
    return frames


def rgba(frame: Frame) -> NDArray[np.uint8]:
    array = frame.to_array()
    return array if array.shape[2] == 4 else np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])


@st.composite
def gifs(draw: st.DrawFn) -> bytes:
    """A GIF of a few pictures with any rectangles, palettes and transparency; the first one fills it.

    Nothing is restored to the background, for there FFmpeg shows a colour where browsers show what lies behind.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    parts = [header_block(WIDTH, HEIGHT, rng.integers(0, 256, 48, dtype=np.uint8).tobytes()), loop_block(2)]
    for number in range(draw(st.integers(1, 6))):
        left, top = (0, 0) if number == 0 else (draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1)))
        width, height = (
            (WIDTH, HEIGHT)
            if number == 0
            else (
                draw(st.integers(1, WIDTH - left)),
                draw(st.integers(1, HEIGHT - top)),
            )
        )
        local = rng.integers(0, 256, 48, dtype=np.uint8).tobytes() if draw(st.booleans()) else None
        parts.append(
            frame_block(
                left,
                top,
                rng.integers(0, 16, (height, width), dtype=np.uint8),
                palette=local,
                delay=draw(st.integers(0, 300)),
                disposal=draw(st.sampled_from([0, 1, 3] if number else [0, 1])),
                transparent=draw(st.sampled_from([None, 3, 9])),
            )
        )
    return b"".join(parts) + b";"


@settings(max_examples=60, deadline=None)
@given(data=gifs())
def test_gif_is_composed_as_ffmpeg_does(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("gif") / "a.gif"
    path.write_bytes(data)
    ours = [rgba(frame) for frame in frames_of(path)]
    with av.open(str(path), options={"ignore_loop": "1"}) as container:
        theirs = [picture.to_ndarray(format="rgba") for picture in container.decode(video=0)]
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own[..., 3], other[..., 3])
        visible = own[..., 3] > 0
        np.testing.assert_array_equal(own[visible], other[visible])


def test_restoring_to_the_background_clears_the_rectangle_alone(tmp_path: Path) -> None:
    palette = np.arange(48, dtype=np.uint8).tobytes()
    parts = [header_block(4, 3, palette, background=5)]
    for left, top, colour, disposal in ((0, 0, 1, 1), (1, 1, 2, 2), (3, 2, 3, 1)):
        size = (3, 4) if disposal == 1 and colour == 1 else (1, 1)
        parts.append(
            frame_block(
                left, top, np.full(size, colour, np.uint8), palette=None, delay=5, disposal=disposal, transparent=None
            )
        )
    (tmp_path / "a.gif").write_bytes(b"".join(parts) + b";")
    last = rgba(frames_of(tmp_path / "a.gif")[2])
    assert last[1, 1, 3] == 0
    assert (last[..., 3] == 255).sum() == 11
    np.testing.assert_array_equal(last[2, 3, :3], [9, 10, 11])


def plain_gif(path: Path, delays: list[int], *, loop: int | None = 0) -> Path:
    rng = np.random.default_rng(1)
    parts = [header_block(WIDTH, HEIGHT, rng.integers(0, 256, 48, dtype=np.uint8).tobytes())]
    parts += [] if loop is None else [loop_block(loop)]
    for delay in delays:
        indices = rng.integers(0, 16, (HEIGHT, WIDTH), dtype=np.uint8)
        parts.append(frame_block(0, 0, indices, palette=None, delay=delay, disposal=1, transparent=None))
    path.write_bytes(b"".join(parts) + b";")
    return path


def test_gif_times_are_exact_and_zero_delays_advance(tmp_path: Path) -> None:
    frames = frames_of(plain_gif(tmp_path / "a.gif", [8, 0, 9, 65535, 1]))
    assert [frame.pts for frame in frames] == [0, 8, 18, 27, 65562]
    assert [frame.duration for frame in frames] == [8, 10, 9, 65535, 1]
    assert {frame.time_base for frame in frames} == {Fraction(1, 100)}
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("stored", "plays"), [(None, None), (0, 0), (4, 5)])
def test_gif_loop_count(tmp_path: Path, stored: int | None, plays: int | None) -> None:
    with open_source(plain_gif(tmp_path / "a.gif", [5, 5], loop=stored)) as source:
        assert source.info.loop == plays


def test_one_picture_gif_is_an_animation_of_one(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 7, 3), 200, np.uint8)).save(tmp_path / "a.gif")
    (frame,) = frames_of(tmp_path / "a.gif")
    assert (frame.size_hw, frame.layout.name) == ((6, 7), "gbrp")


def test_a_part_of_the_frames_can_be_asked_for(tmp_path: Path) -> None:
    path = plain_gif(tmp_path / "a.gif", [5] * 6)
    whole = frames_of(path)
    with open_source(path) as source:
        part = list(source.frames(2, 4))
        late = list(source.frames(4, first_pts=20))
    assert [frame.pts for frame in part] == [10, 15]
    assert [frame.pts for frame in late] == [20, 25]
    np.testing.assert_array_equal(part[1].to_array(), whole[3].to_array())


def test_interlaced_gif(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 255, (33, 20), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.gif", interlace=1)
    (frame,) = frames_of(tmp_path / "a.gif")
    np.testing.assert_array_equal(frame.rgb()[..., 0], picture)


def test_cut_off_gif_gives_its_complete_pictures(tmp_path: Path) -> None:
    path = plain_gif(tmp_path / "a.gif", [5] * 10)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with open_source(path) as source:
        frames = list(source.frames())
        assert source.truncated
        assert len(source.warnings) == 1
    assert 3 < len(frames) < 8


def test_damaged_picture_is_kept_in_time(tmp_path: Path) -> None:
    path = plain_gif(tmp_path / "a.gif", [5] * 3)
    data = bytearray(path.read_bytes())
    second = data.index(b",", data.index(b",") + 60)
    data[second + 12 : second + 40] = bytes([255]) * 28
    path.write_bytes(bytes(data))
    with open_source(path) as source:
        frames = list(source.frames())
        assert [frame.pts for frame in frames][:1] == [0]
        assert source.truncated


def test_a_canvas_that_no_animation_has_is_refused_before_it_is_made(tmp_path: Path) -> None:
    data = bytearray(plain_gif(tmp_path / "a.gif", [100, 100]).read_bytes())
    data[6:10] = struct.pack("<HH", 4096, 4096)
    (tmp_path / "a.gif").write_bytes(data)
    assert media.probe(tmp_path / "a.gif").size_hw == (4096, 4096)
    data[6:10] = struct.pack("<HH", 32137, 6458)
    (tmp_path / "a.gif").write_bytes(data)
    for reading in (media.probe, media.read_extent, media.open_source):
        with pytest.raises(InputError, match="32137 x 6458 px, more than the limit"):
            reading(tmp_path / "a.gif")


def test_a_first_picture_far_off_makes_no_canvas(tmp_path: Path) -> None:
    """It would enlarge the screen down to where it ends."""
    data = bytearray(plain_gif(tmp_path / "a.gif", [100, 100]).read_bytes())
    place = parse_gif(tmp_path / "a.gif").frames[0].start
    data[6:10] = struct.pack("<HH", 480, 270)
    data[place + 1 : place + 5] = struct.pack("<HH", 470, 57600)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(InputError, match="more than the limit"):
        media.probe(tmp_path / "a.gif")


def test_a_picture_far_larger_than_its_canvas_ends_the_gif(tmp_path: Path) -> None:
    path = plain_gif(tmp_path / "a.gif", [100, 100, 100])
    data = path.read_bytes()
    last = parse_gif(path).frames[-1].start
    path.write_bytes(data[: last + 5] + struct.pack("<HH", 35874, 6526) + data[last + 9 :])
    with open_source(path) as source:
        assert len(list(source.frames())) == 2
        assert source.truncated


def test_gif_without_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(header_block(4, 4, bytes(6)) + b";")
    with pytest.raises(InputError, match="no complete picture"):
        open_source(tmp_path / "a.gif")


def apng(
    path: Path, parts: list[tuple[Area, NDArray[np.uint8], tuple[int, int], int, bool]], *, plays: int = 0
) -> Path:
    """An RGBA APNG from rectangles, delays, disposals and blending."""
    data = [SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 6, 0, 0, 0))]
    data.append(chunk(b"acTL", struct.pack(">II", len(parts), plays)))
    sequence = 0
    for number, (area, samples, delay, disposal, over) in enumerate(parts):
        values = (sequence, area.width, area.height, area.left, area.top, *delay, disposal, over)
        data.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", *values)))
        coded = encode_pixels(samples, 6)
        # Two chunks of data, as encoders with small buffers write them.
        for half in (coded[: len(coded) // 2], coded[len(coded) // 2 :]):
            if number == 0:
                data.append(chunk(b"IDAT", half))
            else:
                sequence += 1
                data.append(chunk(b"fdAT", struct.pack(">I", sequence) + half))
        sequence += 1
    path.write_bytes(b"".join([*data, chunk(b"IEND", b"")]))
    return path


def composed_by_ffmpeg(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path), format="apng") as container:
        return [picture.to_ndarray(format="rgba") for picture in container.decode(video=0)]


def composed_by_pillow(path: Path) -> list[NDArray[np.uint8]]:
    with Image.open(path) as image:
        return [np.asarray(picture.convert("RGBA")) for picture in ImageSequence.Iterator(image)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 5))
@example(seed=8320, count=3)
def test_apng_is_composed_as_ffmpeg_does(seed: int, count: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        left, top = (0, 0) if number == 0 else (int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT)))
        area = Area(left, top, WIDTH - left, HEIGHT - top)
        samples = rng.integers(0, 256, (area.height, area.width, 4), dtype=np.uint8)
        samples[..., 3] = rng.choice([0, 255], samples.shape[:2])
        disposal = int(rng.integers(0, 3 if number else 2))
        parts.append((area, samples, (1, 10), disposal, bool(rng.integers(0, 2)) and number > 0))
    path = apng(tmp_path_factory.mktemp("apng") / "a.png", parts)
    ours = [rgba(frame) for frame in frames_of(path)]
    # FFmpeg takes a picture of the whole size that leaves the background for a key frame, and forgets what it lies
    # over. There Pillow tells.
    whole = Area(0, 0, WIDTH, HEIGHT)
    forgets = any(over and disposal == DISPOSE_TO_BACKGROUND and area == whole for area, _, _, disposal, over in parts)
    theirs = composed_by_pillow(path) if forgets else composed_by_ffmpeg(path)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own[..., 3], other[..., 3])
        visible = own[..., 3] > 0
        np.testing.assert_array_equal(own[visible], other[visible])


def test_half_transparent_samples_blend_as_light_does() -> None:
    canvas = Canvas(1, 1, np.uint8)
    area = Area(0, 0, 1, 1)
    canvas.draw(area, np.array([[[200, 100, 0, 128]]], np.uint8), over=True, disposal=NONE)
    canvas.draw(area, np.array([[[0, 100, 200, 128]]], np.uint8), over=True, disposal=NONE)
    # Opacity 128/255 over 128/255 leaves 1 - (127/255)^2; the upper has two thirds of the light.
    np.testing.assert_array_equal(canvas.pixels[0, 0], [66, 100, 134, 192])


def test_apng_delays_are_exact_fractions(tmp_path: Path) -> None:
    whole = Area(0, 0, WIDTH, HEIGHT)
    picture = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    delays = [(1001, 30000), (1, 3), (0, 7), (25, 0)]
    frames = frames_of(apng(tmp_path / "a.png", [(whole, picture, delay, 0, False) for delay in delays], plays=3))
    times = [frame.pts * frame.time_base for frame in frames]
    expected = [Fraction(1001, 30000), Fraction(1, 3), Fraction(1, 10), Fraction(1, 4)]
    assert times == [sum(expected[:n], Fraction(0)) for n in range(4)]
    assert [frame.duration * frame.time_base for frame in frames] == expected


def test_plain_png_is_no_animation(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.webp")
    for name in ("a.png", "a.webp"):
        with open_source(tmp_path / name) as source:
            assert source.info.kind == "image"


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_composed_as_libwebp_does(tmp_path: Path, lossless: bool) -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    picture[..., 3] = np.where(picture[..., 3] < 80, 0, 255)
    pictures = []
    for number in range(5):
        picture = picture.copy()
        picture[5 * number : 5 * number + 9, 10:30] = rng.integers(0, 256, 4)
        picture[..., 3] = np.where(picture[..., 3] > 0, picture[..., 3] | 128, 0)
        pictures.append(Image.fromarray(picture))
    delays = [40, 70, 1, 1000, 33]
    path = tmp_path / "a.webp"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=delays, loop=2, lossless=lossless, exact=True
    )
    frames = frames_of(path)
    assert [frame.duration for frame in frames] == delays
    with open_source(path) as source:
        assert source.info.loop == 2
    with Image.open(path) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            other = np.asarray(image.convert("RGBA")).astype(int)
            own = rgba(frame).astype(int)
            visible = own[..., 3] > 0
            assert np.abs(own[..., 3] - other[..., 3]).max() <= 1
            assert np.abs(own[visible] - other[visible]).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_cut_off_animations_give_what_is_there(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(6)
    pictures = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for _ in range(8)]
    path = tmp_path / f"a{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=50, lossless=True)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with open_source(path) as source:
        frames = list(source.frames())
        assert source.truncated
        assert source.warnings
    assert len(frames) >= 4
    np.testing.assert_array_equal(frames[0].rgb(), np.asarray(pictures[0]))


def test_frames_do_not_pile_up(tmp_path: Path) -> None:
    import tracemalloc

    side, count = 256, 60
    rng = np.random.default_rng(7)
    file = io.BytesIO()
    file.write(header_block(side, side, rng.integers(0, 256, 768, dtype=np.uint8).tobytes()))
    indices = np.tile(np.arange(side, dtype=np.uint8), (side, 1))
    for number in range(count):
        block = frame_block(0, 0, np.roll(indices, number, 1), palette=None, delay=4, disposal=1, transparent=None)
        file.write(block)
    (tmp_path / "a.gif").write_bytes(file.getvalue() + b";")
    with open_source(tmp_path / "a.gif") as source:
        tracemalloc.start()
        assert sum(1 for _ in source.frames()) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * side * side * 4
