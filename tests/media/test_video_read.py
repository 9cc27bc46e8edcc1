"""Reading videos: times, places, orientation, and damage."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from making import make_video, picture

from revisage.core.errors import InputError
from revisage.media import Frame, open_source, probe, start_notes
from revisage.media.video.lost_pictures import LostPictures
from sample_media import plain_frames, soft_frames, write_video

VARIABLE = (507, 1019, 2043, 2555, 2900, 6000, 6512, 7536, 8000, 8100, 9000, 9512)


def test_times_are_the_file_s_own(tmp_path: Path) -> None:
    path = make_video(tmp_path / "vfr.mp4", pts=VARIABLE)
    with open_source(path) as source:
        frames = list(source.frames())
    assert [frame.pts for frame in frames] == list(VARIABLE)
    assert {frame.time_base for frame in frames} == {Fraction(1, 15360)}
    assert [frame.index for frame in frames] == list(range(len(VARIABLE)))
    assert source.info.start_pts == 507
    assert (source.warnings, source.truncated) == ([], False)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mpg"])
def test_any_frame_can_be_the_first(tmp_path: Path, suffix: str) -> None:
    codec, rate = ("mpeg2video", Fraction(25)) if suffix == ".mpg" else ("libx264", Fraction(25))
    pts = tuple(3600 * n for n in range(2, 42))
    options = {"bf": "2"} if codec == "mpeg2video" else {"bf": "2", "x264-params": "open-gop=1"}
    path = make_video(
        tmp_path / f"clip{suffix}", codec=codec, pts=pts, time_base=Fraction(1, 90000), rate=rate, options=options
    )
    with open_source(path) as source:
        whole = list(source.frames())
        assert len(whole) == 40
        for first in (1, 5, 6, 13, 39):
            part = list(source.frames(first, first + 3, first_pts=whole[first].pts))
            assert [frame.index for frame in part] == list(range(first, min(first + 3, 40)))
            for frame in part:
                assert frame.pts == whole[frame.index].pts
                assert all(map(np.array_equal, frame.planes, whole[frame.index].planes))


def test_frames_outlive_their_source(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4")
    with open_source(path) as source:
        kept = [frame for frame in source.frames() if frame.index % 7 == 0]
    again = {frame.index: frame for frame in source.frames()}
    for frame in kept:
        assert np.array_equal(frame.rgb(), again[frame.index].rgb())
        assert not frame.planes[0].flags.writeable


def test_one_frame_and_odd_sizes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mkv", codec="ffv1", size_hw=(35, 51), pts=(0,), time_base=Fraction(1, 1000))
    with open_source(path) as source:
        (frame,) = source.frames()
    assert frame.size_hw == source.info.size_hw == (35, 51)
    assert frame.planes[1].shape == (18, 26)
    assert np.abs(frame.rgb().astype(int) - picture((35, 51), 0)).mean() < 8


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_video_is_read_upright(tmp_path: Path, degrees: int) -> None:
    path = make_video(tmp_path / "turned.mp4", rotation=degrees, options={"crf": "5"})
    with open_source(path) as source:
        frame: Frame = next(source.frames())
    upright = np.rot90(picture((48, 64), 0), degrees // 90)
    assert source.info.rotation == degrees
    assert frame.size_hw == source.info.size_hw == upright.shape[:2]
    assert np.abs(frame.rgb().astype(int) - upright).mean() < 8


@pytest.mark.parametrize(
    ("pixel_format", "depth"), [("yuv420p10le", 10), ("gbrp10le", 10), ("yuva420p", 8), ("gray", 8)]
)
def test_depth_and_format_are_kept(tmp_path: Path, pixel_format: str, depth: int) -> None:
    path = make_video(tmp_path / "clip.mkv", codec="ffv1", pixel_format=pixel_format, pts=(0, 40, 80))
    with open_source(path) as source:
        frame = next(source.frames())
    assert (frame.layout.name, frame.layout.depth) == (pixel_format, depth)
    assert source.info.bit_depth == depth
    assert source.info.has_alpha == (pixel_format == "yuva420p")


def test_tags_are_told(tmp_path: Path) -> None:
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    params = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):cll=1000,400"
    path = make_video(
        tmp_path / "hdr.mkv",
        pixel_format="yuv420p10le",
        context={**tags, "sample_aspect_ratio": Fraction(4, 3)},
        options={"x264-params": params},
        audio="aac",
        subtitle="srt",
        attachment=b"a note",
        chapters=True,
        metadata={"title": "A film"},
    )
    info = probe(path)
    assert (info.colour.matrix, info.colour.primaries, info.colour.transfer, info.colour.colour_range) == (9, 9, 16, 1)
    assert info.mastering_display is not None
    assert info.mastering_display.luminance == (Fraction(1, 200), 1000)
    assert info.content_light is not None
    assert (info.content_light.maximum, info.content_light.frame_average) == (1000, 400)
    assert info.sample_aspect_ratio == Fraction(4, 3)
    assert [stream.language for stream in (*info.audio, *info.subtitles)] == ["deu", "spa"]
    assert len(info.attachments) == 1
    assert [chapter.title for chapter in info.chapters] == ["One", "Two"]
    assert info.metadata["title"] == "A film"
    told = info.to_json()
    assert told["time_base"] == "1/1000"
    assert told["streams"][0]["codec"] == "aac"


def test_interlaced_video_is_told_and_can_be_made_progressive(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "tv.mpg",
        codec="mpeg2video",
        pts=tuple(3600 * n for n in range(1, 13)),
        time_base=Fraction(1, 90000),
        rate=Fraction(25),
        context={"flags": (1 << 18) | (1 << 29), "field_order": 2},
        filter_frames="setfield=mode=tff",
    )
    with open_source(path) as source:
        woven = list(source.frames())
    assert source.info.fields == "top"
    assert {frame.fields for frame in woven} == {"top"}
    with open_source(path, deinterlace=True) as source:
        plain = list(source.frames())
        later = list(source.frames(7, first_pts=plain[7].pts))
    assert source.info.interlaced is False
    assert [frame.pts for frame in plain] == [frame.pts for frame in woven]
    assert {frame.fields for frame in plain} == {"progressive"}
    assert not all(map(np.array_equal, plain[3].planes, woven[3].planes))
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(plain[7:], later, strict=True))


def test_a_file_that_ends_early_gives_what_is_there(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", pts=tuple(512 * n for n in range(60)), muxing={"movflags": "faststart"})
    data = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_source(path) as source:
        frames = list(source.frames())
    assert 5 < len(frames) < 60
    assert source.truncated
    assert "the data ends early" in " ".join(source.warnings)


def test_broken_packets_are_counted_not_fatal(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", pts=tuple(512 * n for n in range(60)), options={"crf": "5"})
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat")
    rng = np.random.default_rng(0)
    for place in rng.integers(start + 3000, start + 20000, 300):
        data[place] = int(rng.integers(256))
    path = tmp_path / "broken.mp4"
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source.frames())
    assert 20 < len(frames) <= 60
    assert source.warnings
    assert source.truncated


def damaged(whole: Path, number: int, mend: Callable[[bytes], bytes]) -> Path:
    """A copy of a video in which the data of one packet of the picture, by its place in the file, is another."""
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        place, size = packet.pos, packet.size
    data = bytearray(whole.read_bytes())
    data[place : place + size] = mend(bytes(data[place : place + size]))
    path = whole.with_stem(f"damaged-{number}")
    path.write_bytes(data)
    return path


def emptied(data: bytes) -> bytes:
    return bytes(len(data))


def spoilt(data: bytes) -> bytes:
    step = len(data) // 6
    return bytes(value ^ 0x5A if place % step == 8 else value for place, value in enumerate(data))


@pytest.mark.parametrize(
    ("codec", "number"),
    [
        ("libx264", 0),
        ("libx264", 13),
        ("libx264", 24),
        ("libx265", 0),
        ("libx265", 24),
        ("mpeg4", 13),
        ("mpeg2video", 0),
    ],
)
def test_frames_that_a_decoder_drops_in_silence_are_counted(tmp_path: Path, codec: str, number: int) -> None:
    options = {"g": "12", "bf": "2"}
    whole = write_video(tmp_path / "whole.mp4", plain_frames(60, (96, 128)), codec=codec, options=options)
    with open_source(whole) as source:
        assert len(list(source.frames())) == 60
        assert not (source.warnings or source.truncated or source.is_damaged)
    with open_source(damaged(whole, number, emptied)) as source:
        lost = 60 - len(list(source.frames()))
        assert source.truncated
        assert source.is_damaged
    told = [match[1] for match in re.finditer(r": (\d+) frames? (?:is|are) missing, from", " ".join(source.warnings))]
    assert lost > 0
    assert told == [str(lost)]


def test_frames_that_a_decoder_shows_though_they_are_damaged_are_counted(tmp_path: Path) -> None:
    options = {"g": "12", "bf": "2"}
    whole = write_video(tmp_path / "whole.mp4", plain_frames(60, (96, 128)), options=options)
    with open_source(damaged(whole, 0, spoilt)) as source:
        assert len(list(source.frames())) == 60
        assert source.truncated
    (warning,) = source.warnings
    assert warning.endswith(": 1 frame is damaged and shown as far as the data goes")


def test_the_second_field_of_a_frame_is_not_missed() -> None:
    """No encoder here gives fields packets of their own; some recorders do."""
    lost = LostPictures("h264", "mov,mp4,m4a,3gp,3g2,mj2")
    frame = {"is_corrupt": False, "interlaced_frame": True}
    for pts in range(8):
        lost.sent(SimpleNamespace(size=99, pts=pts, is_discard=False, time_base=Fraction(1, 50)))
    for pts in (0, 2, 6):
        lost.shown(SimpleNamespace(pts=pts, **frame))
    assert lost.count == 3


@pytest.mark.parametrize("spoilt_cluster", [0, 2])
def test_what_a_demuxer_passes_over_in_silence_is_told(tmp_path: Path, spoilt_cluster: int) -> None:
    # A picture that is shown for four seconds, on the way and at the end, is no hole.
    times = [40 * n for n in range(60)] + [6400 + 40 * n for n in range(40)]
    timing = {"pts": times, "time_base": Fraction(1, 1000), "rate": Fraction(25)}
    whole = make_video(tmp_path / "whole.mkv", size_hw=(96, 128), options={"crf": "5", "g": "10"}, **timing)
    data = bytearray(whole.read_bytes())
    clusters = [place for place in range(len(data)) if data.startswith(b"\x1fC\xb6u", place)]
    data[clusters[spoilt_cluster] : clusters[spoilt_cluster] + 16] = b"\x55" * 16
    path = tmp_path / "broken.mkv"
    path.write_bytes(data)
    with open_source(whole) as source:
        assert len(list(source.frames())) == 100
        assert not (source.warnings or source.truncated)
    with open_source(path) as source:
        there = [frame.pts * frame.time_base for frame in source.frames()]
        assert source.truncated
    lost = 100 - len(there)
    assert 0 < lost < 60
    (warning,) = source.warnings
    assert f"{0.04 * lost:.2f} s of its picture are missing" in warning


@pytest.mark.parametrize("name", ["late.webm", "late.mkv"])
def test_a_picture_that_begins_late_is_no_hole(tmp_path: Path, name: str) -> None:
    codec = {"codec": "libvpx", "options": {"deadline": "realtime"}} if name.endswith("webm") else {}
    late = make_video(tmp_path / name, pts=[3000 + 40 * n for n in range(20)], time_base=Fraction(1, 1000), **codec)
    with open_source(late) as source:
        assert len(list(source.frames())) == 20
        assert not (source.warnings or source.truncated)


def test_an_empty_first_cluster_is_told(tmp_path: Path) -> None:
    """Its blocks have become padding, as a recorder leaves them that was cut off while it wrote."""
    timing = {"pts": [40 * n for n in range(48)], "time_base": Fraction(1, 1000), "rate": Fraction(25)}
    options, muxing = {"deadline": "realtime", "g": "13"}, {"cluster_time_limit": "480"}
    whole = make_video(tmp_path / "whole.webm", codec="libvpx", options=options, muxing=muxing, **timing)
    data = bytearray(whole.read_bytes())
    first, second = [place for place in range(len(data)) if data.startswith(b"\x1fC\xb6u", place)][:2]
    inside = data.index(b"\xe7\x81\x00", first) + 3  # behind its time, which is zero
    data[inside:second] = b"\xec\x01" + (second - inside - 9).to_bytes(7, "big") + bytes(second - inside - 9)
    path = tmp_path / "empty.webm"
    path.write_bytes(data)
    with open_source(path) as source:
        there = len(list(source.frames()))
        assert source.truncated
    assert 0 < there < 48
    (warning,) = source.warnings
    assert f"{0.04 * (48 - there):.2f} s of its picture are missing, from 0.00 s on" in warning


def test_pictures_that_change_size_are_brought_to_the_first(tmp_path: Path) -> None:
    parts = [make_video(tmp_path / f"{n}.h264", size_hw=size) for n, size in enumerate([(48, 64), (64, 96)])]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(path) as source:
        frames = list(source.frames())
    assert len(frames) == 40
    assert {frame.size_hw for frame in frames} == {(48, 64)}
    assert any("changes on the way" in warning for warning in source.warnings)


def no_file(folder: Path) -> Path:
    return folder / "none.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    return folder / "text.mp4"


def without_index(folder: Path) -> Path:
    data = make_video(folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: data.index(b"moov") - 4])
    return folder / "cut.mp4"


def only_audio(folder: Path) -> Path:
    path = folder / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(folder: Path) -> Path:
    (folder / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "noise.mkv"


def folder_itself(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_file, "no such file"),
        (empty, "is empty"),
        (text, "holds text"),
        (without_index, "index \\(moov\\) is missing"),
        (only_audio, "only audio"),
        (noise, "cannot be read"),
        (folder_itself, "is a folder"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, make: object, words: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_too_large_to_be_true_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mkv", codec="ffv1", size_hw=(300, 300), pts=(0,))
    size = b"\xb0\x82%b\xba\x82%b"
    data = path.read_bytes()
    assert size % (b"\x01\x2c", b"\x01\x2c") in data
    path.write_bytes(data.replace(size % (b"\x01\x2c", b"\x01\x2c"), size % (b"\x4e\x20", b"\x4e\x20")))
    with pytest.raises(InputError, match="too large to be true"):
        open_source(path)


def test_development_clips_are_read_whole(shared: Path) -> None:
    counts = {
        "swiz3n.mpg": 75,
        "retalking_1.mp4": 135,
        "short_hamilton_clip.mp4": 275,
        "asl_brother.mkv": 65,
        "asl_thanks.mkv": 51,
    }
    for name, count in counts.items():
        with open_source(shared / "clips" / name) as source:
            frames = [frame.pts for frame in source.frames()]
        assert len(frames) == count, name
        assert frames == sorted(set(frames))
        assert (source.warnings, source.truncated) == ([], False)


@pytest.mark.parametrize(("name", "codec"), [("a.mpg", "mpeg1video"), ("a.mpg", "mpeg2video"), ("a.ts", "mpeg2video")])
def test_pictures_before_the_first_that_can_be_shown_are_told(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, soft_frames(24), codec=codec, options={"g": "6", "bf": "0"})
    assert probe(path).unshown is None
    assert start_notes(probe(path)) == []
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.is_keyframe]
    (begin, size), data = spans[0], bytearray(path.read_bytes())
    data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    assert probe(path).unshown is not None
    (note,) = start_notes(probe(path))
    assert re.fullmatch(
        r"at least the first 0\.\d\d s of the picture cannot be shown: .* cut there, or is damaged", note
    )
