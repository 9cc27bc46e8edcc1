"""Writing animated images: what was untouched stays as stored, what changed is right, times are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from revisage.core.errors import OutputError
from revisage.core.values import Region
from revisage.media import Frame, MediaInfo, open_image_sink, open_source
from revisage.media.animation.gif_file import frame_block, header_block, loop_block, parse_gif

SIZE_HW = (60, 80)


def read(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source.frames())


def rewrite(path: Path, output: Path, change: Callable[[Frame], Frame] = lambda frame: frame) -> list[str]:
    with open_source(path) as source:
        sink = open_image_sink(output, source)
        for frame in source.frames():
            sink.write(change(frame))
        sink.close()
    return sink.notes  # type: ignore[attr-defined]


def seconds(frames: Iterable[Frame]) -> list[tuple[Fraction, Fraction]]:
    return [(frame.pts * frame.time_base, frame.duration * frame.time_base) for frame in frames if frame.duration]


def scene(number: int) -> NDArray[np.uint8]:
    """A smooth background with a disc that moves over it, RGB."""
    rows, columns = np.mgrid[0 : SIZE_HW[0], 0 : SIZE_HW[1]]
    picture = np.stack([rows * 3, columns * 2, 255 - rows - columns], axis=-1).astype(np.float64)
    inside = np.hypot(rows - 30, columns - 20 - 4 * number) < 12
    shade = np.stack([200 - rows, 90 + columns, 60 + rows + columns], axis=-1)
    return np.where(inside[..., None], shade, picture).clip(0, 255).astype(np.uint8)


def animation(path: Path, count: int = 6, *, alpha: bool = False, **options: object) -> Path:
    """Made by Pillow: pictures 2 and 3 are equal but for one sample, as Pillow would merge them otherwise."""
    pictures = []
    for number in range(count):
        rgb = scene(number if number != 3 else 2)
        rgb[0, 0] = number
        opacity = np.where(np.hypot(*np.mgrid[-30:30, -40:40]) < 38 - number, 255, 0).astype(np.uint8)
        pictures.append(Image.fromarray(np.dstack([rgb, opacity]) if alpha else rgb))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


def brighter(frame: Frame) -> Frame:
    """Every picture but each third is changed in a spot."""
    if frame.index % 3 == 2:
        return frame
    region = Region(20, 15, 44, 40)
    delta = np.zeros((*region.size_hw, 3), np.float32)
    delta[3:-3, 3:-3] = 9
    return frame.add_rgb(region, delta)


FORMATS = [
    ("a.gif", {"duration": [80, 90, 20, 500, 70, 130], "loop": 3}),
    ("a.png", {"duration": [80, 90, 20, 500, 70, 133], "loop": 3}),
    ("a.webp", {"duration": [80, 90, 21, 500, 70, 133], "loop": 3, "lossless": True, "exact": True}),
]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_an_untouched_animation_is_copied(tmp_path: Path, name: str, options: dict[str, object], alpha: bool) -> None:
    path = animation(tmp_path / name, alpha=alpha, **options)
    rewrite(path, tmp_path / f"out_{name}")
    assert (tmp_path / f"out_{name}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_changes_arrive_and_the_rest_stays(tmp_path: Path, name: str, options: dict[str, object], alpha: bool) -> None:
    path, output = animation(tmp_path / name, alpha=alpha, **options), tmp_path / f"out_{name}"
    rewrite(path, output, brighter)
    before, after = read(path), read(output)
    assert seconds(after) == seconds(before)
    with open_source(path) as old, open_source(output) as new:
        assert new.info.loop == old.info.loop
    for source, result in zip(before, after, strict=True):
        wanted = brighter(source)
        same = (wanted.rgb() == source.rgb()).all(axis=-1)
        np.testing.assert_array_equal(result.rgb()[same], source.rgb()[same])
        if alpha:
            np.testing.assert_array_equal(result.alpha, source.alpha)
        error = np.abs(result.rgb().astype(int) - wanted.rgb())
        visible = np.ones(same.shape, bool) if source.alpha is None else source.alpha > 0
        assert error[visible].max() <= (32 if name == "a.gif" else 0)
        assert error[visible].mean() < 1
    assert output.stat().st_size < 2 * path.stat().st_size


@st.composite
def indexed_gifs(draw: st.DrawFn) -> bytes:
    """A GIF of any rectangles, disposals, palettes and transparency, with zero delays and comments."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = 24, 30
    parts = [header_block(width, height, rng.integers(0, 256, 192, dtype=np.uint8).tobytes(), background=2)]
    parts += [loop_block(draw(st.integers(0, 5)))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 5))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        size = (draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))
        parts += [b"!\xfe\x02hi\0"] if draw(st.booleans()) else []
        parts.append(
            frame_block(
                left,
                top,
                cv2.resize(rng.integers(0, 64, (4, 4), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST),
                palette=rng.integers(0, 256, 192, dtype=np.uint8).tobytes() if draw(st.booleans()) else None,
                delay=draw(st.sampled_from([0, 1, 7, 300])),
                disposal=draw(st.integers(0, 3)),
                transparent=draw(st.sampled_from([None, 1, 40])),
            )
        )
    return b"".join(parts) + b";"


@settings(max_examples=60, deadline=None)
@given(data=indexed_gifs(), seed=st.integers(0, 2**32))
def test_any_gif_keeps_its_untouched_pixels(data: bytes, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("gif")
    path, output = folder / "a.gif", folder / "b.gif"
    path.write_bytes(data)
    rng = np.random.default_rng(seed)
    deltas = [rng.normal(0, 20, (8, 9, 3)).astype(np.float32) * rng.integers(0, 2) for _ in range(5)]
    region = Region(5, 6, 14, 14)

    def change(frame: Frame) -> Frame:
        return frame.add_rgb(region, deltas[frame.index])

    rewrite(path, output, change)
    old, new = parse_gif(path), parse_gif(output)
    assert [frame.delay for frame in new.frames] == [frame.delay for frame in old.frames]
    assert [frame.extensions for frame in new.frames] == [frame.extensions for frame in old.frames]
    assert new.loop == old.loop
    for source, result in zip(read(path), read(output), strict=True):
        shown = np.ones(source.size_hw, bool) if source.alpha is None else source.alpha > 0
        if result.alpha is None:
            assert shown.all()
        else:
            np.testing.assert_array_equal(result.alpha > 0, shown)
        same = (change(source).rgb() == source.rgb()).all(axis=-1) & shown
        np.testing.assert_array_equal(result.rgb()[same], source.rgb()[same])


def test_gif_pictures_in_a_row_that_are_equal_are_all_written(tmp_path: Path) -> None:
    info = MediaInfo(tmp_path / "none", "video", "mp4", "h264", *SIZE_HW[::-1])
    for name in ("a.gif", "a.png", "a.webp"):
        sink = open_image_sink(tmp_path / name, info)
        for number in range(5):
            sink.write(Frame.from_array(scene(0), pts=number, time_base=Fraction(1, 10), duration=1, index=number))
        sink.close()
        frames = read(tmp_path / name)
        assert [float(start) for start, _ in seconds(frames)] == [0, 0.1, 0.2, 0.3, 0.4]
        assert (tmp_path / name).stat().st_size < 8_000


def video(rate: Fraction, count: int) -> list[Frame]:
    return [Frame.from_array(scene(n % 6), pts=7 + n, time_base=1 / rate, duration=1, index=n) for n in range(count)]


def write(path: Path, frames: Iterable[Frame], kind: str = "video") -> list[str]:
    info = MediaInfo(path.with_name("absent"), kind, "mp4", "h264", *SIZE_HW[::-1])  # type: ignore[arg-type]
    sink = open_image_sink(path, info)
    try:
        for frame in frames:
            sink.write(frame)
        sink.close()
    finally:
        sink.abort()
    return sink.notes  # type: ignore[attr-defined]


def test_rounded_times_do_not_drift(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    assert write(tmp_path / "a.gif", video(rate, 90)) == []
    frames = read(tmp_path / "a.gif")
    assert len(frames) == 90
    assert all(abs(frame.pts * frame.time_base - n / rate) <= Fraction(1, 200) for n, frame in enumerate(frames))
    assert abs(sum(length for _, length in seconds(frames)) - 90 / rate) <= Fraction(1, 200)


def test_frames_too_fast_for_a_gif_are_left_out_and_said(tmp_path: Path) -> None:
    notes = write(tmp_path / "a.gif", video(Fraction(120), 48))
    frames = read(tmp_path / "a.gif")
    assert f"{48 - len(frames)} frames" in notes[0]
    assert all(frame.duration >= 2 for frame in frames)  # type: ignore[operator]
    assert sum(length for _, length in seconds(frames)) == Fraction(2, 5)


def test_apng_keeps_exact_times_of_a_video(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    write(tmp_path / "a.png", video(rate, 5))
    assert seconds(read(tmp_path / "a.png")) == [(n / rate, 1 / rate) for n in range(5)]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_a_resized_animation_keeps_times_and_look(tmp_path: Path, name: str) -> None:
    path = animation(tmp_path / "in.gif", duration=[80, 90, 20, 500, 70, 130], loop=2)
    rewrite(path, tmp_path / name, lambda frame: frame.resized((120, 160)))
    before, after = read(path), read(tmp_path / name)
    assert seconds(after) == seconds(before)
    with open_source(tmp_path / name) as source:
        assert source.info.loop == 3
    for source_frame, result in zip(before, after, strict=True):
        wanted = source_frame.resized((120, 160)).rgb().astype(float)
        error = wanted - result.rgb()
        assert 10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)) > 36


def test_transparency_that_grows_is_written(tmp_path: Path) -> None:
    frames = []
    for number in range(6):
        opacity = np.where(np.hypot(*np.mgrid[-30:30, -40:40]) < 10 + 12 * (number % 3), 255, 0).astype(np.uint8)
        picture = np.dstack([scene(0), opacity])
        frames.append(Frame.from_array(picture, pts=number, time_base=Fraction(1, 10), duration=1, index=number))
    info = MediaInfo(tmp_path / "absent", "video", "mov", "png", *SIZE_HW[::-1], has_alpha=True)
    for name in ("a.gif", "a.png", "a.webp"):
        sink = open_image_sink(tmp_path / name, info)
        for frame in frames:
            sink.write(frame)
        sink.close()
        for wanted, result in zip(frames, read(tmp_path / name), strict=True):
            np.testing.assert_array_equal(result.alpha, wanted.alpha)


def test_one_palette_serves_while_the_colours_stay(tmp_path: Path) -> None:
    still, jump = [np.roll(scene(0), 8 * n, axis=1) for n in range(4)], 255 - scene(0)[..., ::-1]
    pictures = [*still, jump, jump]
    frames = [
        Frame.from_array(picture, pts=n, time_base=Fraction(1, 10), duration=1, index=n)
        for n, picture in enumerate(pictures)
    ]
    write(tmp_path / "a.gif", frames)
    local = [frame.palette is not None for frame in parse_gif(tmp_path / "a.gif").frames]
    assert local == [False, False, False, False, True, False]
    error = read(tmp_path / "a.gif")[4].rgb().astype(float) - jump
    assert np.sqrt(np.mean(error**2)) < 4


def test_a_part_of_a_gif_keeps_its_loop(tmp_path: Path) -> None:
    path = animation(tmp_path / "in.gif", duration=80, loop=4)
    with open_source(path) as source:
        sink = open_image_sink(tmp_path / "out.gif", source)
        for frame in source.frames(2, 5):
            sink.write(frame)
        sink.close()
        whole = list(source.frames())
    part = read(tmp_path / "out.gif")
    assert parse_gif(tmp_path / "out.gif").loop == 4
    assert len(part) == 3
    for wanted, result in zip(whole[2:5], part, strict=True):
        assert np.abs(wanted.rgb().astype(int) - result.rgb()).mean() < 1


def test_a_lossy_webp_stays_lossy_and_small(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp", duration=70, quality=60)
    rewrite(path, tmp_path / "b.webp", brighter)
    assert b"VP8L" not in (tmp_path / "b.webp").read_bytes()
    assert (tmp_path / "b.webp").stat().st_size < 2 * path.stat().st_size
    for source, result in zip(read(path), read(tmp_path / "b.webp"), strict=True):
        error = brighter(source).rgb().astype(float) - result.rgb()
        assert 10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)) > 36


def test_an_indexed_apng_stays_one(tmp_path: Path) -> None:
    palette = Image.fromarray(scene(0)).quantize(64)
    pictures = [Image.fromarray(scene(n)).quantize(palette=palette) for n in range(3)]
    path = tmp_path / "a.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    rewrite(path, tmp_path / "b.png", brighter)
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "P"
    for source, result in zip(read(path), read(tmp_path / "b.png"), strict=True):
        wanted = brighter(source).rgb()
        same = (wanted == source.rgb()).all(axis=-1)
        np.testing.assert_array_equal(result.rgb()[same], source.rgb()[same])
        # The palette has no brighter colours to choose from; the nearest ones must do.
        assert np.abs(result.rgb().astype(int) - wanted).mean() < 3


def test_limits_of_formats_are_said(tmp_path: Path) -> None:
    wide = Frame.from_array(np.zeros((2, 17_000, 3), np.uint8), duration=1)
    with pytest.raises(OutputError, match="16383"):
        write(tmp_path / "a.webp", [replace(wide)])
    with pytest.raises(OutputError, match="no frame"):
        write(tmp_path / "b.gif", [])
    assert not (tmp_path / "b.gif").exists()
    with pytest.raises(OutputError, match="one picture"):
        write(tmp_path / "b.jpg", [wide])


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_abort_leaves_nothing(tmp_path: Path, name: str) -> None:
    path = animation(tmp_path / "in.gif", duration=80)
    with open_source(path) as source:
        sink = open_image_sink(tmp_path / name, source)
        for frame in source.frames(0, 3):
            sink.write(frame)
        sink.abort()
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.gif"]


def test_a_gif_is_written_within_a_bound_of_memory_for_each_pixel(tmp_path: Path) -> None:
    """Few bytes make a large canvas, of which whoever writes it holds much."""
    import tracemalloc

    side = 1024
    indices = np.arange(side * side, dtype=np.uint32).view(np.uint8)[::4].reshape(side, side)
    palette = bytes(range(256)) * 3
    blocks = [
        frame_block(0, 0, np.roll(indices, step), palette=None, delay=4, disposal=1, transparent=None)
        for step in (0, 1)
    ]
    path = tmp_path / "a.gif"
    path.write_bytes(header_block(side, side, palette) + b"".join(blocks) + b";")
    delta = np.full((64, 64, 3), 9, np.float32)
    first, second = (frame.add_rgb(Region(9, 9, 73, 73), delta) for frame in read(path))
    with open_source(path) as source:
        tracemalloc.start()
        sink = open_image_sink(tmp_path / "out.gif", source)
        for frame in (first, second):
            sink.write(frame)
        sink.close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 * side * side
