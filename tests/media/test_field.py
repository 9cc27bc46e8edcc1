"""Small files made after public bug reports of other tools (``shared/field``): what comes out of them is right."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
from av.sidedata.sidedata import Type as SideType
from making import make_video
from passing import pass_through, times
from PIL import Image

from revisage.core import OutputError, Region
from revisage.media import (
    EncodeOptions,
    Sniffed,
    check_output,
    default_output,
    find_media,
    open_image_sink,
    open_source,
    probe,
    read_extent,
    sniff_file,
    stream_times,
)
from revisage.media.behind_jpeg import with_true_index
from revisage.media.still import StillSink
from revisage.media.still.source import read_still


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


@pytest.mark.parametrize("count", [1, 2])
def test_hevc_of_a_picture_or_two_is_written(field: Path, tmp_path: Path, count: int) -> None:
    for turn in range(4):  # x265's memory is not always the same
        output = tmp_path / f"out{turn}.mp4"
        pass_through(field / "hvc1.mov", output, segments=1, span=slice(0, count))
        assert times(output) == [Fraction(number, 30) for number in range(count)]


@pytest.mark.parametrize(("name", "codec"), [("out.mov", "h264"), ("out.flv", "vp9"), ("out.mp4", "vp9")])
def test_the_codec_is_one_that_the_container_takes(field: Path, tmp_path: Path, name: str, codec: str) -> None:
    source = field / "alpha_vp9.webm"
    check_output(tmp_path / name, probe(source), EncodeOptions())
    pass_through(source, tmp_path / name)
    assert probe(tmp_path / name).codec == codec
    with pytest.raises(OutputError, match="this container cannot hold vp9"):
        check_output(tmp_path / "out.mov", probe(source), EncodeOptions(codec="vp9"))


def test_what_the_container_refuses_is_said_before_the_work(field: Path, tmp_path: Path) -> None:
    source = tmp_path / "two.mkv"
    with av.open(str(field / "vp9_10bit.webm")) as one, av.open(str(source), "w") as two:
        streams = [two.add_stream_from_template(one.streams.video[0], opaque=True) for _ in range(2)]
        for packet in one.demux(video=0):
            for stream in streams if packet.size else []:
                packet.stream = stream
                two.mux(packet)
    with pytest.raises(OutputError, match=r"out\.ivf: this container refuses what the source holds .*name it \.mkv"):
        check_output(tmp_path / "out.ivf", probe(source), EncodeOptions())
    check_output(tmp_path / "out.mkv", probe(source), EncodeOptions())
    assert list(tmp_path.iterdir()) == [source]


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
        assert (len(source.warnings), source.truncated) == (1, False)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".ts", ".mkv"])
def test_sound_with_a_repeated_time_is_kept(field: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    result = pass_through(field / "repeated_audio_time.mkv", output)
    assert "repeated or falling times of 1 packet were moved a little later" in " ".join(result.notes)
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
    assert heard(tmp_path / output) >= heard(field / name)  # whatever a decoder holds back


def heard(path: Path) -> float:
    """Seconds of sound in the first audio stream."""
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


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


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("out.mkv", None),
        ("out.mkv", "av1"),
        ("out.mkv", "mjpeg"),
        ("out.webm", "vp9"),
        ("out.webm", "vp8"),
        ("out.avi", "ffv1"),
        ("out.mp4", None),
    ],
)
def test_the_shape_of_pixels_is_kept(field: Path, tmp_path: Path, name: str, codec: str | None) -> None:
    result = pass_through(field / "sar_ffv1.mkv", tmp_path / name, EncodeOptions(codec=codec))
    assert not any("aspect" in note for note in result.notes)
    assert probe(tmp_path / name).sample_aspect_ratio == Fraction(16, 15)
    assert len(times(tmp_path / name)) == len(times(field / "sar_ffv1.mkv"))


def test_a_shape_of_pixels_that_is_lost_is_said(field: Path, tmp_path: Path) -> None:
    result = pass_through(field / "sar_ffv1.mkv", tmp_path / "out.nut")
    assert any("16/15 is lost with this codec and container" in note for note in result.notes)


def transparent_clip(path: Path, encoder: str) -> Path:
    """Ten frames with a hole that wanders."""
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "b": "1000000", "auto-alt-ref": "0", "cpu-used": "8", "deadline": "realtime"}
        stream = container.add_stream(encoder, rate=Fraction(30), options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuva420p"  # type: ignore[attr-defined]
        stream.metadata["alpha_mode"] = "1"
        for number in range(10):
            samples = np.full((96, 160, 4), 200, np.uint8)
            samples[..., 3] = 255
            samples[16:64, 8 * number : 8 * number + 48, 3] = 64
            frame = av.VideoFrame.from_ndarray(samples, "rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize(("encoder", "suffix"), [("libvpx-vp9", ".webm"), ("libvpx", ".webm"), ("libvpx-vp9", ".mkv")])
def test_transparency_of_vp8_and_vp9_is_kept(tmp_path: Path, encoder: str, suffix: str) -> None:
    source = transparent_clip(tmp_path / f"in{suffix}", encoder)
    assert pass_through(source, tmp_path / f"out{suffix}", segments=3).notes == ()
    with open_source(source) as before, open_source(tmp_path / f"out{suffix}") as after:
        assert before.warnings == []
        assert (after.info.codec, after.info.has_alpha) == (before.info.codec, True)
        for one, other in zip(before.frames(), after.frames(), strict=True):
            assert one.alpha is not None
            assert other.alpha is not None
            assert other.pts * other.time_base == one.pts * one.time_base
            assert other.duration == one.duration
            assert np.abs(one.alpha.astype(int) - other.alpha).max() < 24
            assert abs(int(other.alpha[40, 8 * one.index + 24]) - 64) < 8
        whole = [frame.pts for frame in before.frames()]
        assert [frame.pts for frame in before.frames(6, 9, first_pts=whole[6])] == whole[6:9]


def test_transparency_of_the_example_is_kept(field: Path, tmp_path: Path) -> None:
    pass_through(field / "alpha_vp9.webm", tmp_path / "out.webm")
    assert probe(tmp_path / "out.webm").has_alpha


def test_transparency_that_is_lost_is_said(tmp_path: Path) -> None:
    source = transparent_clip(tmp_path / "in.webm", "libvpx-vp9")
    result = pass_through(source, tmp_path / "out.mp4")
    assert "transparency is lost with this codec and container; name the output .webm" in result.notes[-1]


def restored(source: Path, output: Path, factor: int = 1) -> list[str]:
    """Notes of a photo written again with one corner changed, perhaps larger."""
    with open_source(source) as opened:
        frame = next(opened.frames())
        sink = open_image_sink(output, opened)
        changed = frame.add_rgb(Region(0, 0, 8, 8), np.full((8, 8, 3), 40, np.float32))
        sink.write(changed.resized((factor * frame.size_hw[0], factor * frame.size_hw[1])))
        sink.close()
    return list(sink.notes)  # type: ignore[attr-defined]


def test_a_tiled_photo_is_read_whole(field: Path) -> None:
    info = probe(field / "tiled.heic")
    assert (info.kind, info.container, info.width, info.height) == ("image", "heic", 4032, 3024)
    assert sniff_file(field / "tiled.heic") == Sniffed("heic", "image")


def test_heic_and_avif_are_written_with_exif_and_alpha(field: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    samples = np.zeros((48, 64, 4), np.uint8)
    samples[..., 0], samples[..., 3], samples[:24, :, 3] = 200, 255, 128
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(samples).save(source, exif=exif)
    for name in ("out.heic", "out.avif"):
        assert restored(source, tmp_path / name) == []
        with open_source(tmp_path / name) as opened:
            frame = next(opened.frames())
            assert (opened.info.kind, opened.info.container) == ("image", name[4:])
        assert np.abs(frame.rgb()[16:].astype(int) - samples[16:, :, :3]).max() < 6
        assert frame.alpha is not None
        assert (int(frame.alpha[4, 40]), int(frame.alpha[40, 40])) == (128, 255)
        again = tmp_path / f"again_{name}.png"
        restored(tmp_path / name, again)
        with Image.open(again) as image:
            assert image.getexif()[0x010F] == "Maker"


def test_avif_with_exif_is_a_photo(field: Path, tmp_path: Path) -> None:
    assert probe(field / "exif.avif").kind == "image"
    assert restored(field / "exif.avif", tmp_path / "out.png") == []
    assert probe(tmp_path / "out.png").size_hw == (512, 512)


def moving_avif(path: Path) -> list[int]:
    """An AVIF of six pictures with a hole that wanders; returns how long each is shown, in ms."""
    pictures = []
    for number in range(6):
        samples = np.full((64, 96, 4), 255, np.uint8)
        samples[..., 0] = 40 * number
        samples[10:30, 10 * number : 10 * number + 20, 3] = 0
        pictures.append(Image.fromarray(samples))
    delays = [100, 50, 200, 40, 40, 300]
    rest = {"append_images": pictures[1:], "duration": delays, "quality": 95, "subsampling": "4:4:4"}
    pictures[0].save(path, save_all=True, **rest)  # type: ignore[arg-type]
    return delays


@pytest.mark.parametrize("name", ["out.avif", "out.webp", "out.png"])
def test_an_avif_that_moves_is_an_animation(tmp_path: Path, name: str) -> None:
    delays = moving_avif(tmp_path / "in.avif")
    assert sniff_file(tmp_path / "in.avif") == Sniffed("avif", "animation")
    assert read_extent(tmp_path / "in.avif").duration == Fraction(sum(delays), 1000)
    with open_source(tmp_path / "in.avif") as source:
        sink = open_image_sink(tmp_path / name, source)
        for frame in source.frames():
            sink.write(frame)
        sink.close()
    with open_source(tmp_path / "in.avif") as before, open_source(tmp_path / name) as after:
        assert (after.info.kind, after.info.frame_count) == ("animation", 6)
        for one, other, delay in zip(before.frames(), after.frames(), delays, strict=True):
            assert one.duration == delay
            assert other.duration is not None
            assert other.duration * other.time_base == Fraction(delay, 1000)
            assert np.abs(one.rgb().astype(int) - other.rgb()).max() < 12
            assert one.alpha is not None
            assert other.alpha is not None
            assert np.abs(one.alpha.astype(int) - other.alpha).max() < (8 if name == "out.avif" else 1)
    assert {path.name for path in tmp_path.iterdir()} == {"in.avif", name}


def test_a_gain_map_goes_behind_the_restored_photo(field: Path, tmp_path: Path) -> None:
    assert restored(field / "gain_map.jpg", tmp_path / "out.jpg") == []
    before, after = ((folder).read_bytes() for folder in (field / "gain_map.jpg", tmp_path / "out.jpg"))
    assert after[-3422:] == before[-3422:]  # as long as its XMP says, which counts from the end
    assert after[-3424:-3422] == b"\xff\xd9"
    assert b'Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="3422"' in after
    assert before[:-3422] != after[:-3422]
    with Image.open(io.BytesIO(after[-3422:])) as gains:
        assert gains.size == (160, 90)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_gain_map_that_is_not_kept_is_said_and_not_promised(field: Path, tmp_path: Path, factor: int) -> None:
    name = "out.jpg" if factor == 2 else "out.webp"
    notes = restored(field / "gain_map.jpg", tmp_path / name, factor)
    assert "gain map" in notes[0]
    data = (tmp_path / name).read_bytes()
    assert b"hdrgm:" not in data.replace(b"xmlns:hdrgm", b"")
    assert b"Container:Directory" not in data
    assert (b"http://ns.adobe.com/xap/1.0/" in data) == (factor == 2)


def test_the_gain_map_and_depth_of_a_heic_are_said(field: Path, tmp_path: Path) -> None:
    sink = StillSink(tmp_path / "out.png", probe(field / "tiled.heic"), "png")
    still = read_still(field / "tiled.heic")
    assert not sink._keeps_more(still.samples, still)
    assert sink.notes == ["a gain map and a depth map beside the photo are left out; the photo is kept"]
    sink.abort()


@pytest.mark.parametrize(("suffix", "back"), [(".jp2", ".jp2"), (".ppm", ".ppm"), (".ico", ".png")])
def test_rarer_pictures_are_pictures(tmp_path: Path, suffix: str, back: str) -> None:
    source = tmp_path / f"in{suffix}"
    samples = (np.mgrid[:48, :48].sum(axis=0)[..., None] * [2, 1, 3] % 255).astype(np.uint8)
    Image.fromarray(samples).save(source)
    assert (probe(source).kind, default_output(source).suffix) == ("image", back)
    output = default_output(source)
    assert restored(source, output) == []
    with open_source(output) as opened:
        assert np.array_equal(next(opened.frames()).rgb()[8:], samples[8:])
    with pytest.raises(OutputError, match="holds one picture"):
        check_output(tmp_path / f"out{'.jp2' if suffix == '.ico' else suffix}", probe(clip(tmp_path)), EncodeOptions())


def clip(folder: Path) -> Path:
    return make_video(folder / "clip.mp4", pts=range(0, 2048, 512))


def test_a_deep_pgm_keeps_its_sixteen_bits(tmp_path: Path) -> None:
    samples = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    (tmp_path / "in.pgm").write_bytes(b"P5\n64 48\n65535\n" + samples.astype(">u2").tobytes())
    assert probe(tmp_path / "in.pgm").bit_depth == 16
    restored(tmp_path / "in.pgm", tmp_path / "out.png")
    with open_source(tmp_path / "out.png") as opened:
        assert np.array_equal(next(opened.frames()).planes[0][8:], samples[8:])


@pytest.mark.parametrize(
    ("name", "pixel_format"), [("raw.avi", "yuv420p"), ("raw.mkv", "yuv420p"), ("raw.nut", "yuyv422")]
)
def test_uncompressed_video_comes_back_without_loss(tmp_path: Path, name: str, pixel_format: str) -> None:
    made = uncompressed(tmp_path / name, pixel_format)
    result = pass_through(made, tmp_path / f"out{made.suffix}")
    assert "rawvideo is written as ffv1, without loss" in result.notes[0]
    with open_source(made) as before, open_source(tmp_path / f"out{made.suffix}") as after:
        for one, other in zip(before.frames(), after.frames(), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def test_uncompressed_mov_says_that_it_becomes_lossy(tmp_path: Path) -> None:
    result = pass_through(uncompressed(tmp_path / "raw.mov", "uyvy422"), tmp_path / "out.mov")
    assert "written as h264, with a little loss; name the output .mkv" in result.notes[0]


def uncompressed(path: Path, pixel_format: str) -> Path:
    times = {"pts": range(0, 200, 40), "time_base": Fraction(1, 1000), "rate": Fraction(25)}
    return make_video(path, codec="rawvideo", pixel_format=pixel_format, **times)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_whose_white_is_zero_is_not_a_negative(tmp_path: Path, depth: int) -> None:
    shade = np.tile(np.arange(0, 256, 4), (48, 1)).astype(np.uint8 if depth == 8 else "<u2") * (
        1 if depth == 8 else 257
    )
    data = shade.tobytes()
    entries = {256: 64, 257: 48, 258: depth, 259: 1, 262: 0, 273: 8, 277: 1, 278: 48, 279: len(data)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    (tmp_path / "in.tif").write_bytes(head + data + struct.pack("<H", len(entries)) + directory + bytes(4))
    assert restored(tmp_path / "in.tif", tmp_path / "out.tif") == []
    for name in ("in.tif", "out.tif"):
        with open_source(tmp_path / name) as opened:
            assert np.array_equal(next(opened.frames()).planes[0][8:], (2**depth - 1) - shade[8:])


def test_photos_of_more_than_eight_bits_say_that_eight_are_taken(tmp_path: Path) -> None:
    samples = (np.mgrid[:64, :64].sum(axis=0)[..., None] * [300, 200, 100]).astype(np.uint16)
    deep = pillow_heif.from_bytes(mode="RGB;16", size=(64, 64), data=samples.tobytes())
    for name in ("in.heic", "in.avif"):
        deep.save(tmp_path / name, quality=90)
        with open_source(tmp_path / name) as opened:
            assert opened.warnings == [f"{tmp_path / name}: has 10 bits a sample; 8 of them are taken"]


def stereo(path: Path, **options: object) -> None:
    """A photo with two further views behind it."""
    views = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)) for seed in range(3)]
    views[0].save(path, "MPO", save_all=True, append_images=views[1:], **options)


def views_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        assert image.format == "MPO"
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(np.asarray(image))
        return found


def index_of(path: Path) -> list[dict[str, int]]:
    """The pictures that the index of a JPEG lists, as Pillow reads it."""
    with Image.open(path) as image:
        return list(image.mpinfo[0xB002])


@pytest.mark.parametrize("turned", [False, True])
def test_further_views_go_behind_the_restored_photo(tmp_path: Path, turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    stereo(tmp_path / "in.jpg", exif=exif)
    notes = restored(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert notes == ["further pictures behind the photo stay as they are, with their faces as they were"]
    before, after = views_of(tmp_path / "in.jpg"), views_of(tmp_path / "out.jpg")
    assert len(before) == len(after) == 3
    assert not np.array_equal(before[0], after[0])
    assert all(np.array_equal(one, other) for one, other in zip(before[1:], after[1:], strict=True))
    entries = index_of(tmp_path / "out.jpg")
    data = (tmp_path / "out.jpg").read_bytes()
    assert data[entries[0]["Size"] - 2 :][:4] == b"\xff\xd9\xff\xd8"


def test_further_views_are_found_with_a_label_before_them(tmp_path: Path) -> None:
    stereo(tmp_path / "in.jpg", xmp=b"<x:xmpmeta/>")
    restored(tmp_path / "in.jpg", tmp_path / "out.jpg")
    data = (tmp_path / "out.jpg").read_bytes()
    comment = b"\xff\xfe\0\x0ca comment!"
    for place in (2, data.index(b"\xff\xdb")):  # before the index, and behind it
        changed = with_true_index(data[:place] + comment + data[place:], data)
        (tmp_path / "changed.jpg").write_bytes(changed)
        pairs = zip(views_of(tmp_path / "out.jpg"), views_of(tmp_path / "changed.jpg"), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_stereo_photo_is_a_photo_under_its_own_ending_too(tmp_path: Path) -> None:
    stereo(tmp_path / "in.mpo")
    assert [file.name for file in find_media(tmp_path).files] == ["in.mpo"]
    output = default_output(tmp_path / "in.mpo")
    assert output.suffix == ".mpo"
    restored(tmp_path / "in.mpo", output)
    assert len(views_of(output)) == 3


@pytest.mark.parametrize("damage", ["beyond", "no index", "format"])
def test_further_views_that_cannot_be_kept_are_said(tmp_path: Path, damage: str) -> None:
    stereo(tmp_path / "in.jpg")
    data = bytearray((tmp_path / "in.jpg").read_bytes())
    if damage == "beyond":
        second = index_of(tmp_path / "in.jpg")[1]
        at = data.index(struct.pack("<II", second["Size"], second["DataOffset"]))
        struct.pack_into("<I", data, at + 4, len(data))
    elif damage == "no index":
        at = data.index(b"MPF\0") + 4
        data[at : at + 4] = b"XXXX"
    (tmp_path / "in.jpg").write_bytes(data)
    name = "out.png" if damage == "format" else "out.jpg"
    assert "other pictures behind the photo are left out" in restored(tmp_path / "in.jpg", tmp_path / name)[0]
    assert b"MPF\0" not in (tmp_path / name).read_bytes()


@pytest.mark.parametrize("told", [True, False])
def test_the_film_behind_a_photo_stays_behind_it(field: Path, tmp_path: Path, told: bool) -> None:
    film = (field / "hvc1.mov").read_bytes()
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MicroVideo="1" '
        b'GCamera:MicroVideoOffset="%d" dc:title="kept"/></rdf:RDF></x:xmpmeta>' % len(film)
    )
    Image.new("RGB", (64, 48), (200, 90, 30)).save(tmp_path / "in.jpg", "JPEG", **({"xmp": xmp} if told else {}))
    with (tmp_path / "in.jpg").open("ab") as file:
        file.write(film)
    assert "a film behind the photo stays as it is" in restored(tmp_path / "in.jpg", tmp_path / "out.jpg")[0]
    data = (tmp_path / "out.jpg").read_bytes()
    assert (data.endswith(b"\xff\xd9" + film), b'MicroVideoOffset="%d"' % len(film) in data) == (True, told)
    assert "a film" in restored(tmp_path / "in.jpg", tmp_path / "out.webp")[0]
    data = (tmp_path / "out.webp").read_bytes()
    assert b"GCamera:MicroVideo" not in data
    assert (b'dc:title="kept"' in data) == told


def test_a_photo_with_nothing_behind_it_says_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    for progressive in (False, True):
        Image.fromarray(noise).save(tmp_path / "in.jpg", "JPEG", progressive=progressive)
        assert restored(tmp_path / "in.jpg", tmp_path / "out.jpg") == []


def captioned(source: Path, path: Path) -> Path:
    """A bare H.264 stream with an empty caption (CEA-608 in ATSC A/53) before each picture."""
    text = bytes((0xB5, 0, 0x31)) + b"GA94" + bytes((3, 0xC1, 0xFF, 0xFC, 0x94, 0x2C, 0xFF))
    message = b"\0\0\1\x06\x04" + bytes((len(text),)) + text + b"\x80"
    units = re.split(rb"(?=\x00\x00\x01)", source.read_bytes())
    path.write_bytes(b"".join(message + unit if unit[3:4] and unit[3] & 31 in (1, 5) else unit for unit in units))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [("out.mkv", None, True), ("out.mp4", "hevc", True), ("out.mpg", None, True), ("out.webm", None, False)],
)
def test_captions_inside_the_pictures_are_kept_or_said(
    field: Path, tmp_path: Path, name: str, codec: str | None, kept: bool
) -> None:
    source = captioned(field / "raw.h264", tmp_path / "in.h264")
    result = pass_through(source, tmp_path / name, EncodeOptions(codec=codec))
    with av.open(str(tmp_path / name)) as container:
        kinds = [{side.type for side in frame.side_data} for frame in container.decode(video=0)]  # type: ignore[attr-defined]
    assert sum(SideType.A53_CC in found for found in kinds) == (30 if kept else 0)
    assert any("captions inside the pictures are lost" in note for note in result.notes) != kept


def test_the_names_that_editors_show_for_tracks_are_kept(field: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mov"
    with av.open(str(field / "hvc1.mov")) as one, av.open(str(source), "w") as made:
        stream = made.add_stream_from_template(one.streams.video[0], opaque=True)
        stream.metadata["handler_name"] = "Camera left"
        for packet in one.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    for name in ("out.mov", "out.mp4"):
        pass_through(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].metadata["handler_name"] == "Camera left"


def test_an_avi_of_a_source_in_milliseconds_has_its_frame_rate(tmp_path: Path) -> None:
    pts = [0, 33, 67, 100, 133, 167, 200, 233, 267, 300]
    source = make_video(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000), rate=Fraction(30))
    pass_through(source, tmp_path / "out.avi")
    info = probe(tmp_path / "out.avi")
    assert (info.average_rate, info.frame_count) == (30, 10)
    assert times(tmp_path / "out.avi") == [Fraction(number, 30) for number in range(10)]


def test_an_avi_with_places_that_are_empty_does_not_end_early(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.avi", codec="mpeg4", pts=[0, 1, 2, 5, 6, 9], time_base=Fraction(1, 25))
    with av.open(str(source)) as container:
        assert container.streams.video[0].frames > 6
    with open_source(source) as opened:
        assert len(list(opened.frames())) == 6
        assert (opened.warnings, opened.truncated) == ([], False)
    pass_through(source, tmp_path / "out.avi")
    assert times(tmp_path / "out.avi") == times(source)


def recording(path: Path, ticks: int = 0) -> Path:
    """A second of MPEG-2 with sound, which begins at a time of its clock of 90 kHz."""
    options = {"mpegts_copyts": "1"} if path.suffix == ".ts" else {}
    with av.open(str(path), "w", container_options=options) as container:
        film = container.add_stream("mpeg2video", rate=25, options={"bf": "0", "qscale": "2"})
        film.width, film.height, film.pix_fmt = 160, 96, "yuv420p"  # type: ignore[attr-defined]
        sound = container.add_stream("mp2", rate=48000)
        packets = []
        for number in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 8 * number + 20, np.uint8), "rgb24")
            frame = picture.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += film.encode(frame)  # type: ignore[attr-defined]
        for number in range(41):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), "s16", "stereo")
            tone.sample_rate, tone.pts, tone.time_base = 48000, number * 1152, Fraction(1, 48000)
            packets += sound.encode(tone)  # type: ignore[attr-defined]
        packets += [*film.encode(None), *sound.encode(None)]  # type: ignore[attr-defined]
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            packet.pts, packet.dts = (round(t * packet.time_base * 90_000) + ticks for t in (packet.pts, packet.dts))
            packet.time_base = Fraction(1, 90_000)
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.ts"])
def test_a_clock_that_runs_over_loses_nothing(tmp_path: Path, name: str) -> None:
    source = recording(tmp_path / "in.ts", 2**33 - 45_000)
    pass_through(source, tmp_path / name)
    shown = times(tmp_path / name)
    assert len(shown) == 25
    assert float(shown[-1] - shown[0]) == pytest.approx(0.96, abs=0.002)
    before, after = stream_times(source), stream_times(tmp_path / name)
    early = before.audio[0].start - before.video.start
    assert float(after.audio[0].start - after.video.start) == pytest.approx(float(early), abs=0.002)


@pytest.mark.parametrize("suffix", [".mpg", ".vob", ".ts"])
def test_recordings_of_every_mpeg_kind_are_joined(tmp_path: Path, suffix: str) -> None:
    part = recording(tmp_path / f"part{suffix}")
    (tmp_path / f"in{suffix}").write_bytes(part.read_bytes() * 2)
    for name in (f"out{suffix}", "out.mp4"):
        pass_through(tmp_path / f"in{suffix}", tmp_path / name)
        shown = times(tmp_path / name)
        assert len(shown) == 50
        assert float(shown[-1] - shown[0]) == pytest.approx(1.96, abs=0.02)  # sound, a little shorter, may lead


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)


def with_box(boxes: bytes, path: list[bytes], added: bytes) -> bytes:
    """The boxes of an MP4, one more at the end of the one at a path."""
    found, at = b"", 0
    while at < len(boxes):
        size, kind = struct.unpack_from(">I4s", boxes, at)
        body, at = boxes[at + 8 : at + size], at + size
        if kind == path[0] and len(path) == 1:
            body += added
        elif kind == path[0]:
            fixed = 8 if kind == b"stsd" else 0
            body = body[:fixed] + with_box(body[fixed:], path[1:], added)
        found += box(kind, body)
    return found


def test_the_mark_of_a_360_degree_video_is_kept_or_said(field: Path, tmp_path: Path) -> None:
    direction, shape = box(b"prhd", bytes(16)), box(b"equi", bytes(20))
    sphere = box(b"sv3d", box(b"svhd", bytes(4), b"tool\0"), box(b"proj", direction, shape))
    path = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"]
    (tmp_path / "in.mov").write_bytes(with_box((field / "hvc1.mov").read_bytes(), path, sphere))
    assert probe(tmp_path / "in.mov").is_spherical
    result = pass_through(tmp_path / "in.mov", tmp_path / "out.mov")
    is_kept = probe(tmp_path / "out.mov").is_spherical
    assert any("360° video is lost" in note for note in result.notes) != is_kept


def test_a_cover_picture_that_mov_cannot_hold_is_said(field: Path, tmp_path: Path) -> None:
    source = with_cover(field / "hvc1.mov", tmp_path / "in.mp4")
    assert pass_through(source, tmp_path / "out.mp4").notes == ()
    result = pass_through(source, tmp_path / "out.mov")
    assert "(cover picture) cannot be held by this container, only by MP4 and MKV" in result.notes[0]
    for name, covers in (("out.mp4", 1), ("out.mov", 0)):
        assert len(probe(tmp_path / name).streams) == covers


def with_cover(source: Path, path: Path) -> Path:
    """The video with a picture that stands for the file."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(picture, "JPEG")
    picture.seek(0)
    with av.open(str(source)) as film, av.open(picture, format="jpeg_pipe") as still, av.open(str(path), "w") as made:
        video = made.add_stream_from_template(film.streams.video[0], opaque=True)
        cover = made.add_stream_from_template(still.streams.video[0], opaque=True)
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in still.demux(video=0):
            if packet.size:
                packet.stream, packet.pts, packet.dts = cover, 0, 0
                made.mux(packet)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                made.mux(packet)
    return path


def untagged(path: Path, codec: str, pixel_format: str) -> Path:
    """Bars from black to white in the limited range, as cameras and tapes have it, and nothing that says so."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options={"crf": "4", "qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, pixel_format
        for number in range(6):
            frame = av.VideoFrame(128, 64, pixel_format)
            deep = 4 if "10" in pixel_format else 1
            for plane, values in zip(frame.planes, (np.repeat([16, 90, 163, 235], 32), 128, 128), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8).view(np.uint8 if deep == 1 else "<u2")
                rows[:, : plane.width] = deep * values
                plane.update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert {int(frame.color_range) for frame in container.decode(video=0)} == {0}  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("in.mp4", "libx264", "yuv420p"),
        ("in.mp4", "libx264", "yuv422p10le"),
        ("in.mkv", "ffv1", "yuv420p"),
        ("in.avi", "mpeg4", "yuv420p"),
    ],
)
@pytest.mark.parametrize("to", [None, "hevc", "av1", "ffv1", "mjpeg"])
def test_the_limited_range_of_a_source_without_tags_is_kept(
    tmp_path: Path, name: str, codec: str, pixel_format: str, to: str | None
) -> None:
    source = untagged(tmp_path / name, codec, pixel_format)
    output = tmp_path / (f"out{source.suffix}" if to is None else "out.mkv")
    corner = Region(0, 0, 8, 8)
    change = np.full((8, 8, 3), 40, np.float32)
    pass_through(source, output, EncodeOptions(codec=to), change=lambda frame: frame.add_rgb(corner, change))
    with open_source(source) as before, open_source(output) as after:
        for one, other in zip(before.frames(), after.frames(), strict=True):
            assert not one.colour.full_range
            assert other.colour.full_range == (to == "mjpeg")  # JPEG has no other; its samples are stretched
            assert np.abs(one.rgb()[16:].astype(int) - other.rgb()[16:]).max() < 8
            if to != "mjpeg":
                step = 2 ** (other.layout.depth - 8)
                assert (
                    np.abs(
                        one.planes[0][16:].astype(int) // 2 ** (one.layout.depth - 8) - other.planes[0][16:] // step
                    ).max()
                    < 5
                )
    with av.open(str(output)) as container:
        assert {int(frame.color_range) for frame in container.decode(video=0)} <= {2 if to == "mjpeg" else 1, 0}  # type: ignore[attr-defined]
