"""Small files made after public bug reports of other tools (``shared/field``): what comes out of them is right."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from passing import pass_through, times

from revisage.media import open_source, probe, stream_times


@pytest.fixture
def field(shared: Path) -> Path:
    return shared / "field"


def tag(path: Path) -> str:
    with av.open(str(path)) as container:
        return str(container.streams.video[0].codec_context.codec_tag)


def test_hevc_in_mov_and_mp4_plays_on_apple_devices(field: Path, tmp_path: Path) -> None:
    for name in ("out.mov", "out.mp4"):
        pass_through(field / "hvc1.mov", tmp_path / name)
        assert tag(tmp_path / name) == "hvc1"


def test_a_bare_stream_lasts_as_long_as_its_rate_says(field: Path, tmp_path: Path) -> None:
    assert probe(field / "raw.h264").average_rate == 30
    pass_through(field / "raw.h264", tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == [Fraction(number, 30) for number in range(30)]
    with open_source(field / "raw.h264") as source:
        list(source.frames())
        assert source.warnings == []


@pytest.mark.parametrize("name", ["joined.ts", "joined_video.ts"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_joined_recordings_go_on_where_the_clock_starts_anew(
    field: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    pass_through(field / name, output, segments=3)
    shown = times(output)
    assert len(shown) == 60
    assert float(shown[-1] - shown[0]) == pytest.approx(59 / 30, abs=0.002)
    before, after = stream_times(field / name), stream_times(output)
    for one, other in zip(before.audio, after.audio, strict=True):
        assert float(other.start - after.video.start) == pytest.approx(float(one.start - before.video.start), abs=0.002)
        assert float(other.stop - after.video.start) == pytest.approx(float(one.stop - before.video.start), abs=0.002)
    with open_source(field / name) as source:
        whole = [frame.pts for frame in source.frames()]
        assert [frame.pts for frame in source.frames(40, 44, first_pts=whole[40])] == whole[40:44]
        assert "clock starts anew" in source.warnings[-1]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".ts", ".mkv"])
def test_sound_with_a_repeated_time_is_kept(field: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    result = pass_through(field / "repeated_audio_time.mkv", output)
    assert "1 packets with repeated or falling times" in " ".join(result.notes)
    before, after = stream_times(field / "repeated_audio_time.mkv"), stream_times(output)
    assert after.audio[0].marks == before.audio[0].marks or suffix == ".ts"  # which puts a header before each
    assert len(after.audio[0].pts) == len(before.audio[0].pts)


@pytest.mark.parametrize(("name", "output"), [("wmv.wmv", "a.mp4"), ("wmv.wmv", "a.mkv"), ("mjpeg_pcm.avi", "b.mp4")])
def test_sound_that_the_container_refuses_is_encoded_again_and_said(
    field: Path, tmp_path: Path, name: str, output: str
) -> None:
    result = pass_through(field / name, tmp_path / output)
    assert "encoded again as aac" in result.notes[0]
    assert [stream.codec for stream in probe(tmp_path / output).audio] == ["aac"]
    before, after = stream_times(field / name), stream_times(tmp_path / output)
    assert float(after.audio[0].stop) == pytest.approx(float(before.audio[0].stop), abs=0.06)


def test_side_data_without_a_name_is_no_obstacle(field: Path, tmp_path: Path) -> None:
    pass_through(field / "exif_mjpeg.mov", tmp_path / "out.mov")
    assert len(times(tmp_path / "out.mov")) == len(times(field / "exif_mjpeg.mov"))


def test_ten_bits_stay_where_the_source_s_encoder_has_eight(field: Path, tmp_path: Path) -> None:
    for name, codec in (("out.webm", "av1"), ("out.mkv", "hevc"), ("out.mp4", "hevc")):
        pass_through(field / "vp9_10bit.webm", tmp_path / name)
        info = probe(tmp_path / name)
        assert (info.codec, info.bit_depth) == (codec, 10)


def test_the_tags_of_phones_are_kept(field: Path, tmp_path: Path) -> None:
    result = pass_through(field / "iphone_tags.mov", tmp_path / "out.mov")
    assert result.notes == ()
    before, after = probe(field / "iphone_tags.mov").metadata, probe(tmp_path / "out.mov").metadata
    tags = {key: value for key, value in before.items() if key.startswith("com.apple.")}
    assert len(tags) == 3
    assert tags.items() <= after.items()


def test_the_first_field_stays_the_first(field: Path, tmp_path: Path) -> None:
    pass_through(field / "bottom_first.mp4", tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").fields == "bottom"


def test_a_note_on_the_aspect_does_not_blame_the_container(field: Path, tmp_path: Path) -> None:
    result = pass_through(field / "sar_ffv1.mkv", tmp_path / "out.mkv")
    assert "16/15 is lost with this codec and container; MP4 keeps it" in result.notes[0]
    pass_through(field / "sar_ffv1.mkv", tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").sample_aspect_ratio == Fraction(16, 15)
