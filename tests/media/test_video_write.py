"""Segments encoded and joined: what must come out as it went in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from making import make_video
from passing import decoded, packets, pass_through, times

from revisage.core.errors import ProcessingError
from revisage.core.values import Region
from revisage.media import EncodeOptions, Frame, assemble, open_segment, open_source, probe

VARIABLE = tuple(507 + n * 512 + (n % 5) * 77 for n in range(23))
FFV1 = EncodeOptions(codec="ffv1")


@pytest.mark.parametrize("segments", [1, 2, 7])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_and_sound_stay(tmp_path: Path, suffix: str, segments: int) -> None:
    base = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 15360)
    pts = tuple(33 * n + n // 3 for n in range(23)) if suffix == ".mkv" else VARIABLE
    source = make_video(tmp_path / f"in{suffix}", pts=pts, time_base=base, audio="aac")
    output = tmp_path / f"out{suffix}"
    result = pass_through(source, output, segments=segments)
    assert result == replace(result, frames=23, notes=())
    assert times(output) == times(source) == [n * base for n in pts]
    assert packets(output, "audio") == packets(source, "audio")
    with av.open(str(output)) as container:
        decoding = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
    assert decoding == sorted(set(decoding))


@pytest.mark.parametrize("start", [0.0, 0.9], ids=["with the sound", "before the sound"])
def test_late_tracks_stay_late(tmp_path: Path, start: float) -> None:
    source = make_video(
        tmp_path / "in.mp4", pts=tuple(10214 + 400 * n for n in range(12)), time_base=Fraction(1, 11988),
        rate=Fraction(2997, 100), audio="aac", audio_start=start,
    )  # fmt: skip
    output = tmp_path / "out.mp4"
    pass_through(source, output)
    assert times(output) == times(source)
    assert packets(output, "audio") == packets(source, "audio")


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv420p", "libx264"),
        ("yuvj420p", "libx264"),
        ("yuv420p10le", "libx264"),
        ("yuv422p", "ffv1"),
        ("yuv444p16le", "ffv1"),
        ("gbrp10le", "ffv1"),
        ("bgr0", "ffv1"),
        ("gray", "ffv1"),
        ("yuva420p", "ffv1"),
    ],
)
def test_untouched_frames_are_identical_without_loss(tmp_path: Path, pixel_format: str, codec: str) -> None:
    source = make_video(
        tmp_path / "in.mkv", codec=codec, pixel_format=pixel_format, size_hw=(38, 54), pts=range(0, 400, 40),
        time_base=Fraction(1, 1000), rate=Fraction(25),
    )  # fmt: skip
    output = tmp_path / "out.mkv"
    pass_through(source, output, FFV1)
    with open_source(source) as one, open_source(output) as other:
        pairs = list(zip(one.frames(), other.frames(), strict=True))
        assert len(pairs) == 10
        for before, after in pairs:
            assert before.layout.depth == after.layout.depth
            assert all(map(np.array_equal, before.planes, after.planes))
            assert np.array_equal(before.rgb(), after.rgb())


def test_a_change_stays_in_its_region(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4")
    region = Region(16, 8, 40, 32)
    delta = np.full((24, 24, 3), 25, np.float32)
    pass_through(
        source,
        tmp_path / "out.mkv",
        FFV1,
        change=lambda frame: frame.add_rgb(region, delta) if frame.index % 2 else frame,
    )
    before, after = decoded(source), decoded(tmp_path / "out.mkv")
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        difference = np.abs(old[0].astype(int) - new[0])
        assert (difference[8:32, 16:40].max() > 10) == bool(number % 2)
        difference[8:32, 16:40] = 0
        assert difference.max() == 0


@pytest.mark.parametrize(
    ("source_codec", "suffix", "expected"),
    [
        ("libx264", ".mp4", "h264"),
        ("libx265", ".mp4", "hevc"),
        ("libx265", ".mkv", "hevc"),
        ("libvpx-vp9", ".webm", "vp9"),
        ("libsvtav1", ".mkv", "av1"),
        ("mpeg1video", ".mpg", "mpeg1video"),
        ("mpeg2video", ".ts", "mpeg2video"),
        ("mpeg4", ".avi", "mpeg4"),
        ("prores_ks", ".mov", "prores"),
        ("mjpeg", ".mkv", "mjpeg"),
        ("libvpx", ".webm", "vp8"),
        ("qtrle", ".mov", "qtrle"),
    ],
)
def test_the_codec_is_the_source_s(tmp_path: Path, source_codec: str, suffix: str, expected: str) -> None:
    formats = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p", "qtrle": "rgb24"}
    pts = range(4, 16) if suffix == ".avi" else tuple(3600 * n for n in range(4, 16))
    source = make_video(
        tmp_path / f"in{suffix}", codec=source_codec, pixel_format=formats.get(source_codec, "yuv420p"),
        size_hw=(64, 96), pts=pts, time_base=Fraction(1, 25 if suffix == ".avi" else 90000), rate=Fraction(25),
    )  # fmt: skip
    output = tmp_path / f"out{suffix}"
    result = pass_through(source, output, segments=3)
    assert probe(output).codec == expected
    shown, wanted = times(output), times(source)
    assert len(shown) == len(wanted) == result.frames
    assert [one - shown[0] for one in shown] == [one - wanted[0] for one in wanted]
    with open_source(source) as one, open_source(output) as other:
        for before, after in zip(one.frames(), other.frames(), strict=True):
            error = np.abs(before.rgb().astype(int) - after.rgb()).mean()
            assert error < 6, (before.index, error)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_video_is_stored_turned_and_plays_upright(tmp_path: Path, degrees: int) -> None:
    source = make_video(tmp_path / "in.mp4", rotation=degrees)
    pass_through(source, tmp_path / "out.mp4")
    pass_through(source, tmp_path / "lossless.mkv", FFV1)
    for output in (tmp_path / "out.mp4", tmp_path / "lossless.mkv"):
        assert (probe(output).rotation, probe(output).size_hw) == (degrees, probe(source).size_hw)
    for one, other in zip(decoded(source), decoded(tmp_path / "lossless.mkv"), strict=True):
        assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "libx264"), (".mp4", "libx264"), (".mp4", "libx265"), (".mkv", "libsvtav1")]
)
def test_hdr_stays_hdr(tmp_path: Path, suffix: str, codec: str) -> None:
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    made = make_video(
        tmp_path / f"in{suffix}", pixel_format="yuv420p10le", context={**tags, "sample_aspect_ratio": Fraction(4, 3)},
        options={"x264-params": f"mastering-display={display}:cll=1000,400"}, size_hw=(64, 96), pts=range(0, 5120, 512),
    )  # fmt: skip
    output = tmp_path / f"out{suffix}"
    result = pass_through(made, output, EncodeOptions(codec=codec))
    before, after = probe(made), probe(output)
    assert not any("HDR" in note for note in result.notes)
    assert any("HDR" in note for note in pass_through(made, tmp_path / "lost.mkv", FFV1).notes)
    assert before.mastering_display is not None
    assert after.colour == before.colour
    assert after.bit_depth == 10
    assert (after.sample_aspect_ratio == Fraction(4, 3)) != any("aspect ratio 4/3" in note for note in result.notes)
    assert after.content_light == before.content_light
    assert after.mastering_display is not None
    for old, new in zip(before.mastering_display.primaries_xy, after.mastering_display.primaries_xy, strict=True):
        assert [float(value) for value in new] == pytest.approx([float(value) for value in old], abs=2e-4)
    assert [float(v) for v in after.mastering_display.luminance] == pytest.approx([0.005, 1000], abs=1e-3)


@pytest.mark.parametrize(("colour_range", "pixel_format"), [(1, "yuv420p"), (2, "yuv420p"), (2, "yuvj420p")])
@pytest.mark.parametrize("codec", [None, "ffv1"])
def test_the_range_stays(tmp_path: Path, colour_range: int, pixel_format: str, codec: str | None) -> None:
    tags = {"color_range": colour_range, "colorspace": 1, "color_primaries": 1, "color_trc": 1}
    made = make_video(tmp_path / "in.mkv", pixel_format=pixel_format, context=tags, pts=range(0, 400, 40))
    pass_through(made, tmp_path / "out.mkv", EncodeOptions(codec=codec))
    assert probe(tmp_path / "out.mkv").colour == probe(made).colour


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "ffv1"])
def test_interlaced_video_stays_interlaced(tmp_path: Path, codec: str) -> None:
    made = make_video(
        tmp_path / "in.mkv", codec="mpeg2video", pts=range(0, 480, 40), time_base=Fraction(1, 1000), rate=Fraction(25),
        context={"flags": (1 << 18) | (1 << 29), "field_order": 2}, filter_frames="setfield=mode=tff",
    )  # fmt: skip
    output = tmp_path / "out.mkv"
    region = Region(4, 4, 20, 20)
    pass_through(
        made,
        output,
        EncodeOptions(codec=codec),
        change=lambda frame: frame.add_rgb(region, np.full((16, 16, 3), 9, np.float32)) if frame.index % 3 else frame,
    )
    assert probe(output).fields == probe(made).fields == "top"
    pass_through(made, tmp_path / "plain.mkv", EncodeOptions(codec=codec), deinterlace=True)
    assert probe(tmp_path / "plain.mkv").fields == "progressive"
    assert times(tmp_path / "plain.mkv") == times(made)


def test_everything_beside_the_video_is_kept(tmp_path: Path) -> None:
    made = make_video(
        tmp_path / "in.mkv", pts=range(0, 800, 40), time_base=Fraction(1, 1000), rate=Fraction(25), audio="libopus",
        subtitle="srt", attachment=b"a note", chapters=True, metadata={"title": "A film", "comment": "kept"},
    )  # fmt: skip
    output = tmp_path / "out.mkv"
    result = pass_through(made, output)
    assert result.notes == ()
    for kind in ("audio", "subtitle"):
        assert packets(output, kind) == packets(made, kind)
        assert packets(made, kind)
    before, after = probe(made), probe(output)
    assert [replace(one, title="") for one in after.streams] == [replace(one, title="") for one in before.streams]
    assert after.chapters == before.chapters
    assert {key.lower(): value for key, value in after.metadata.items()}["comment"] == "kept"
    with av.open(str(output)) as container:
        assert container.streams.video[0].language == "fra"
        assert container.streams.attachments[0].data == b"a note"


def test_subtitles_change_form_where_the_container_asks(tmp_path: Path) -> None:
    made = make_video(
        tmp_path / "in.mkv", pts=range(0, 800, 40), time_base=Fraction(1, 1000), audio="aac", subtitle="srt"
    )
    result = pass_through(made, tmp_path / "out.mp4")
    assert any("turned into mov_text" in note for note in result.notes)
    assert [text[2:] for _, text in packets(tmp_path / "out.mp4", "subtitle") if len(text) > 2] == [
        b"Line 0",
        b"Line 1",
    ]
    back = pass_through(tmp_path / "out.mp4", tmp_path / "back.mkv")
    assert any("turned into srt" in note for note in back.notes)
    texts = packets(tmp_path / "back.mkv", "subtitle")
    assert [text for _, text in texts] == [b"Line 0", b"Line 1"]
    assert [time for time, _ in texts] == [Fraction(1, 10), Fraction(35, 100)]


def test_sound_is_encoded_again_only_where_it_must_be_and_says_so(tmp_path: Path) -> None:
    made = make_video(tmp_path / "in.mp4", audio="aac", chapters=True, metadata={"title": "A film"})
    result = pass_through(made, tmp_path / "out.webm")
    assert any("audio stream 1 (deu) was encoded again as libopus" in note for note in result.notes)
    info = probe(tmp_path / "out.webm")
    assert [stream.codec for stream in info.audio] == ["opus"]
    sound = packets(tmp_path / "out.webm", "audio")
    assert float(sound[-1][0]) == pytest.approx(float(packets(made, "audio")[-1][0]), abs=0.06)


def test_what_a_container_cannot_hold_is_named(tmp_path: Path) -> None:
    made = make_video(tmp_path / "in.mkv", pts=range(0, 400, 40), time_base=Fraction(1, 1000), attachment=b"a note")
    result = pass_through(made, tmp_path / "out.mp4")
    assert any("attachment" in note and "left out" in note for note in result.notes)


@pytest.mark.parametrize("span", [slice(5, 15), slice(0, 9), slice(8, None)], ids=str)
def test_a_part_keeps_its_sound_in_step(tmp_path: Path, span: slice) -> None:
    source = make_video(tmp_path / "in.mp4", audio="aac", chapters=True)
    output = tmp_path / "out.mp4"
    pass_through(source, output, span=span)
    wanted = times(source)[span]
    shift = wanted[0] if span.start else Fraction(0)
    assert times(output) == [time - shift for time in wanted]
    end = wanted[-1] + Fraction(512, 15360)
    expected = [
        (time - shift, data)
        for time, data in packets(source, "audio")
        if (time >= wanted[0] or not span.start) and (time < end or span.stop is None)
    ]
    got = packets(output, "audio")
    assert [data for _, data in got] == [data for _, data in expected]
    assert [float(time) for time, _ in got] == pytest.approx([float(time) for time, _ in expected], abs=1e-4)


def test_enlarged_video_has_its_size(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", rotation=90)
    height, width = probe(source).size_hw
    options = EncodeOptions(size_hw=(2 * height, 2 * width))
    pass_through(source, tmp_path / "out.mp4", options, change=lambda frame: frame.resized((2 * height, 2 * width)))
    assert probe(tmp_path / "out.mp4").size_hw == (2 * height, 2 * width)


def test_pixel_format_can_be_asked_for(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mkv", codec="ffv1", pixel_format="bgr0", pts=range(0, 400, 40))
    pass_through(source, tmp_path / "out.mp4", EncodeOptions(codec="libx265", pixel_format="yuv420p10le", crf=5))
    info = probe(tmp_path / "out.mp4")
    assert (info.pixel_format, info.codec) == ("yuv420p10le", "hevc")
    with open_source(source) as one, open_source(tmp_path / "out.mp4") as other:
        before, after = next(one.frames()).rgb(), next(other.frames()).rgb()
    assert np.abs(before.astype(int) - after)[4:-4, 4:-4].mean() < 8


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", audio="aac", metadata={"title": "A film"})
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        pass_through(source, folder / "out.mp4")
        digests.add(hashlib.sha256((folder / "out.mp4").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_file_that_ends_early_is_written_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = make_video(
        tmp_path / "whole.mp4", pts=range(0, 60 * 512, 512), audio="aac", muxing={"movflags": "faststart"}
    )
    source = tmp_path / "cut.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    output = tmp_path / "out.mp4"
    result = pass_through(source, output)
    assert 5 < result.frames < 60
    assert times(output) == times(whole)[: result.frames]
    sound = packets(output, "audio")
    assert sound
    assert sound[:-1] == packets(whole, "audio")[: len(sound) - 1]


def test_animations_become_videos_that_players_take(tmp_path: Path, shared: Path) -> None:
    source = shared / "gifs" / "one-by-one-person-detection.gif"
    result = pass_through(source, tmp_path / "out.mp4", EncodeOptions(encoder_preset="ultrafast"))
    assert (result.frames, probe(tmp_path / "out.mp4").pixel_format) == (39, "yuv420p")
    assert times(tmp_path / "out.mp4") == [Fraction(n, 10) for n in range(39)]


def test_uneven_times_in_avi_are_told(tmp_path: Path) -> None:
    result = pass_through(make_video(tmp_path / "in.mp4", pts=VARIABLE), tmp_path / "out.avi")
    assert any("one frame rate" in note for note in result.notes)


def test_segments_must_fit_together(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4")
    with open_source(source) as opened:
        frames: list[Frame] = list(opened.frames())
        for name, part in (("a.mp4", frames[:5]), ("b.mp4", frames[3:8])):
            sink = open_segment(tmp_path / name, opened.info, EncodeOptions())
            for frame in part:
                sink.write(frame)
            sink.close()
        with pytest.raises(ProcessingError, match="does not follow"):
            assemble(
                [tmp_path / "a.mp4", tmp_path / "b.mp4"], source, tmp_path / "out.mp4", source_info=opened.info,
                options=EncodeOptions(),
            )  # fmt: skip
    assert not (tmp_path / "out.mp4").exists()


def test_development_clips_pass_unharmed(tmp_path: Path, shared: Path) -> None:
    for name in ("retalking_1.mp4", "short_hamilton_clip.mp4", "swiz3n.mpg", "asl_thanks.mkv"):
        source = shared / "clips" / name
        output = tmp_path / f"out{source.suffix}"
        result = pass_through(
            source, output, EncodeOptions(encoder_preset="ultrafast" if source.suffix != ".mpg" else None)
        )
        assert times(output) == times(source), name
        assert [data for _, data in packets(output, "audio")] == [data for _, data in packets(source, "audio")]
        assert result.notes == ()
