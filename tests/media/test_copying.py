"""Packets of the source in the output: which can be copied, and that the joined stream decodes as its parts do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from making import make_video

from revisage.core.errors import ProcessingError
from revisage.media import (
    CopiedFrames,
    EncodeOptions,
    MediaInfo,
    assemble,
    copyable_groups,
    open_segment,
    open_source,
    probe,
)
from revisage.media.video.parameter_sets import HeaderError, ParameterSets, annex_b_units, sized_units, with_sizes

CLOSED = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=2"}
PTS = tuple(range(1000, 1000 + 40 * 512, 512))


def clip(path: Path, **settings: Any) -> Path:
    """40 frames in four closed groups."""
    return make_video(path, pts=PTS, **{"options": CLOSED, "audio": "aac", **settings})


def frame_pts(path: Path) -> list[int]:
    with open_source(path) as source:
        return [frame.pts for frame in source.frames()]


def copyable(source: Path, output: str = "", *, pts: Sequence[int] = (), **options: Any) -> tuple[tuple[int, int], ...]:
    output = output or f"out{source.suffix}"
    return copyable_groups(
        probe(source), source.with_name(output), EncodeOptions(**options), pts or frame_pts(source)
    ).groups


def packets(path: Path) -> dict[Any, bytes]:
    with av.open(str(path)) as container:
        return {p.pts * p.time_base: bytes(p) for p in container.demux(video=0) if p.size and p.pts is not None}


def pictures(path: Path) -> list[tuple[Any, bytes]]:
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray().tobytes()) for f in container.decode(video=0)]


def planes_at(path: Path, number: int) -> list[bytes]:
    """The samples of a frame to which the reader was sent at once."""
    pts = frame_pts(path)[number]
    with open_source(path) as source:
        (frame,) = source.frames(number, number + 1, first_pts=pts)
        return [plane.tobytes() for plane in frame.planes]


def all_planes(path: Path) -> list[list[bytes]]:
    with open_source(path) as source:
        return [[plane.tobytes() for plane in frame.planes] for frame in source.frames()]


def encoded(path: Path, info: MediaInfo, start: int, stop: int, number: int) -> Path:
    """A segment of the source's frames ``start`` to ``stop``, darker."""
    options = EncodeOptions(parameter_set=number)
    sink = open_segment(path, info, options)
    with open_source(info.path) as source:
        for frame in source.frames(start, stop):
            sink.write(frame.with_rgb(frame.rgb() // 2))
    sink.close()
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_closed_groups_are_found(tmp_path: Path, name: str) -> None:
    source = clip(tmp_path / name)
    assert copyable(source) == ((0, 10), (10, 20), (20, 30), (30, 40))
    assert copyable(source, pts=frame_pts(source)[5:35]) == ((5, 15), (15, 25))


def test_pictures_that_need_those_before_a_group_keep_it_from_being_one(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=2:open-gop=1"}
    assert copyable(clip(tmp_path / "open.mkv", options=options)) == ((0, 40),)


@pytest.mark.parametrize(("codec", "name"), [("libvpx-vp9", "a.webm"), ("libx265", "a.mp4"), ("mpeg2video", "a.mkv")])
def test_other_codecs_are_copied_whole(tmp_path: Path, codec: str, name: str) -> None:
    source = make_video(tmp_path / name, pts=PTS, codec=codec, audio="libopus" if name == "a.webm" else "aac")
    assert copyable(source) == ((0, 40),)
    assert copyable(source, pts=frame_pts(source)[1:]) == ()


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("b.mp4", {"size_hw": (96, 128)}),
        ("b.mp4", {"pixel_format": "yuv444p"}),
        ("b.mp4", {"codec": "libx265"}),
        ("b.avi", {}),
    ],
)
def test_what_would_be_encoded_otherwise_is_not_copied(tmp_path: Path, output: str, options: dict[str, Any]) -> None:
    assert copyable(clip(tmp_path / "a.mp4"), output, **options) == ()


def test_packets_in_another_form_than_the_encoders_are_copied_whole(tmp_path: Path) -> None:
    assert copyable(clip(tmp_path / "a.ts"), "b.mp4") == ((0, 40),)
    assert copyable(clip(tmp_path / "a.mp4"), "b.ts") == ((0, 40),)


def test_codecs_that_were_not_tried_and_opacity_are_encoded(tmp_path: Path) -> None:
    assert copyable(make_video(tmp_path / "a.mkv", pts=PTS, codec="mpeg4")) == ()
    assert copyable(make_video(tmp_path / "b.mkv", pts=PTS, codec="ffv1", pixel_format="yuva420p")) == ()


def joined_clip(folder: Path, name: str) -> Path:
    """A clip of which the frames 10 to 30 were encoded again, darker; the source stands beside it as ``source``."""
    source = clip(folder / f"source{Path(name).suffix}")
    info, pts = probe(source), frame_pts(source)
    options = EncodeOptions(parameter_set=copyable_groups(info, source, EncodeOptions(), pts).parameter_set)
    middle = encoded(folder / f"middle{source.suffix}", info, 10, 30, options.parameter_set)
    parts: list[Path | CopiedFrames] = [CopiedFrames(pts[0], pts[9], 10), middle, CopiedFrames(pts[30], pts[39], 10)]
    output = folder / name
    assert assemble(parts, source, output, source_info=info, options=options).frames == 40
    return output


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_copied_and_encoded_groups_make_one_stream(tmp_path: Path, name: str) -> None:
    output = joined_clip(tmp_path, name)
    source = tmp_path / f"source{output.suffix}"
    before, after = pictures(source), pictures(output)
    assert [time for time, _ in before] == [time for time, _ in after]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 10 + [False] * 20 + [True] * 10
    old, new = packets(source), packets(output)
    for time in (time for number, (time, _) in enumerate(before) if not 10 <= number < 30):
        assert new[time].endswith(old[time]) if name == "a.ts" else new[time] == old[time]
    for number in (12, 35, 3, 25, 8):
        assert planes_at(output, number) == all_planes(output)[number]


def test_a_copied_stream_is_the_sources(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4")
    info, pts, output = probe(source), frame_pts(source), tmp_path / "b.mkv"
    assemble([CopiedFrames(pts[0], pts[-1], 40)], source, output, source_info=info, options=EncodeOptions())
    assert [picture for _, picture in pictures(source)] == [picture for _, picture in pictures(output)]
    assert list(packets(source).values()) == list(packets(output).values())
    after = probe(output)
    assert (after.codec, after.size_hw, after.colour) == (info.codec, info.size_hw, info.colour)


def test_a_source_that_changed_meanwhile_is_told_of(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4")
    info, pts = probe(source), frame_pts(source)
    with pytest.raises(ProcessingError, match="changed while it was read"):
        assemble(
            [CopiedFrames(pts[0], pts[-1], 41)], source, tmp_path / "b.mp4", source_info=info, options=EncodeOptions()
        )


class TestParameterSets:
    """Of H.264."""

    @pytest.fixture
    def header(self, tmp_path: Path) -> bytes:
        """As MP4 holds it."""
        with av.open(str(clip(tmp_path / "a.mp4"))) as container:
            return container.streams.video[0].codec_context.extradata or b""

    def test_both_forms_of_a_header_say_the_same(self, header: bytes) -> None:
        sets = ParameterSets.of(header)
        plain = ParameterSets.of(replace(sets, length_size=0).header_with(ParameterSets({}, {}, 0)))
        assert (sets.sequence, sets.picture) == (plain.sequence, plain.picture)
        assert (sets.length_size, plain.length_size) == (4, 0)
        assert sets.header_with(ParameterSets({}, {}, 0)) == header

    def test_sets_of_one_number_cannot_stand_together(self, header: bytes) -> None:
        sets = ParameterSets.of(header)
        assert sets.free_number == 1
        with pytest.raises(HeaderError, match="same number"):
            sets.header_with(sets)

    @pytest.mark.parametrize("length", [1, 5, 6, 9, 20])
    def test_a_header_that_breaks_off_is_refused(self, header: bytes, length: int) -> None:
        with pytest.raises(HeaderError):
            ParameterSets.of(header[:length])

    def test_units_come_back_from_both_forms(self) -> None:
        units = [b"\x65\x01\x02", b"\x41\0\0\3\1"]
        assert list(sized_units(with_sizes(units, 2), 2)) == units
        assert list(annex_b_units(b"\0\0\0\1" + units[0] + b"\0\0\1" + units[1])) == units
        with pytest.raises(HeaderError):
            list(sized_units(b"\0\0\0\7abc", 4))
