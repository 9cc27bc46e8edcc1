"""One suite over every source and every sink: video, animation, still picture and memory alike."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from making import make_video, picture

from revisage.core import InputError, OutputError
from revisage.media import (
    EncodeOptions,
    Frame,
    MediaInfo,
    MemorySink,
    MemorySource,
    Sink,
    Source,
    open_image_sink,
    open_segment,
    open_source,
    probe,
)

SIZE_HW = (48, 64)


def made(count: int) -> list[Frame]:
    return [
        Frame.from_array(picture(SIZE_HW, number), pts=40 * number, time_base=Fraction(1, 1000), duration=40)
        for number in range(count)
    ]


def video(folder: Path) -> Path:
    return make_video(folder / "clip.mp4", size_hw=SIZE_HW, pts=[512 * n + (7 if n > 3 else 0) for n in range(9)])


def written(name: str, count: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        info = MediaInfo(folder / "none", "video", "x", "x", SIZE_HW[1], SIZE_HW[0], frame_count=count)
        sink = open_image_sink(folder / name, info)
        for frame in made(count):
            sink.write(frame)
        sink.close()
        return folder / name

    return make


def lossless(folder: Path) -> Path:
    times = {"pts": range(0, 360, 40), "time_base": Fraction(1, 1000)}
    return make_video(folder / "clip.mkv", codec="ffv1", pixel_format="yuv444p10le", size_hw=SIZE_HW, **times)  # type: ignore[arg-type]


FILES = {
    "video": video,
    "lossless": lossless,
    "gif": written("clip.gif", 7),
    "apng": written("clip.png", 7),
    "webp": written("clip.webp", 7),
    "png": written("still.png", 1),
    "jpeg": written("still.jpg", 1),
    "tiff": written("still.tif", 1),
}


@pytest.fixture(params=[*FILES, "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param == "memory":
        return MemorySource(made(7))
    return open_source(FILES[request.param](tmp_path))


def seen(frames: object) -> list[tuple[int, int, bytes]]:
    return [(one.index, one.pts, one.rgb().tobytes()) for one in frames]  # type: ignore[attr-defined]


def test_frames_are_what_the_source_says(source: Source) -> None:
    with source:
        frames = list(source.frames())
    info = source.info
    assert info.frame_count in (None, len(frames))
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert {frame.size_hw for frame in frames} == {info.size_hw} == {SIZE_HW}
    assert {frame.time_base for frame in frames} == {info.time_base}
    assert frames[0].pts == info.start_pts
    assert all(later.pts > earlier.pts for earlier, later in pairwise(frames))
    assert (source.warnings, source.truncated) == ([], False)
    assert all(frame.rgb().shape == (*SIZE_HW, 3) for frame in frames)


def test_any_part_is_the_same_as_in_the_whole(source: Source) -> None:
    with source:
        whole = seen(source.frames())
        assert seen(source.frames()) == whole
        for first in range(len(whole)):
            assert seen(source.frames(first)) == whole[first:]
            assert seen(source.frames(first, first + 2, first_pts=whole[first][1])) == whole[first : first + 2]
        assert seen(source.frames(len(whole))) == []
        assert seen(source.frames(0, 0)) == []


def image_sink(suffix: str) -> Callable[[Path, MediaInfo], Sink]:
    return lambda folder, info: open_image_sink(folder / f"out{suffix}", info)


SINKS: dict[str, Callable[[Path, MediaInfo], Sink]] = {
    "gif": image_sink(".gif"),
    "apng": image_sink(".apng"),
    "webp": image_sink(".webp"),
    "segment": lambda folder, info: open_segment(folder / "out.mkv", info, EncodeOptions(codec="ffv1")),
    "memory": lambda _folder, _info: MemorySink(),
}


@pytest.fixture(params=SINKS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sink, Path]:
    return SINKS[request.param](tmp_path, MemorySource(made(5)).info), tmp_path


def left(sink: Sink, folder: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Times and pixels of what a sink has made."""
    if isinstance(sink, MemorySink):
        return [(frame.pts * frame.time_base, frame.rgb()) for frame in sink.frames]
    files = list(folder.iterdir())
    if not files:
        return []
    with open_source(files[0]) as source:
        frames = list(source.frames())
    start = frames[0].pts
    return [((frame.pts - start) * frame.time_base, frame.rgb()) for frame in frames]


def test_what_is_written_can_be_read(opened: tuple[Sink, Path]) -> None:
    sink, folder = opened
    for frame in made(5):
        sink.write(frame)
    sink.close()
    sink.abort()
    found = left(sink, folder)
    assert [time for time, _ in found] == [Fraction(number, 25) for number in range(5)]
    for (_, pixels), frame in zip(found, made(5), strict=True):
        assert np.abs(pixels.astype(int) - frame.rgb()).mean() < 8


def test_giving_up_leaves_nothing(opened: tuple[Sink, Path]) -> None:
    sink, folder = opened
    for frame in made(3):
        sink.write(frame)
    sink.abort()
    sink.abort()
    assert left(sink, folder) == []


def test_nothing_written_is_an_error_and_leaves_nothing(opened: tuple[Sink, Path]) -> None:
    sink, folder = opened
    with pytest.raises(OutputError, match=r"no (frame|picture)") as error:
        sink.close()
    assert "\n" not in str(error.value)
    sink.abort()
    assert left(sink, folder) == []


def test_a_source_in_memory_needs_frames_in_order() -> None:
    with pytest.raises(InputError, match="times that rise"):
        MemorySource([])
    with pytest.raises(InputError, match="times that rise"):
        MemorySource(reversed(made(2)))


def test_memory_tells_the_same_as_a_file(tmp_path: Path) -> None:
    memory, file = MemorySource(made(7)).info, probe(written("a.png", 7)(tmp_path))
    for name in ("width", "height", "frame_count", "duration", "average_rate", "bit_depth", "has_alpha"):
        assert getattr(memory, name) == getattr(file, name), name
