"""Outputs that cannot be written are refused before any work; and what goes wrong while writing is said plainly."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making import make_video, picture
from passing import pass_through, times
from PIL import Image

from revisage.core import ConfigError, DiskFullError, OutputError, OutputExistsError
from revisage.media import (
    EncodeOptions,
    check_output,
    open_plain_video,
    open_segment,
    open_source,
    probe,
    resolve_options,
    scaled_size,
)
from revisage.media.formats import FORMATS, can_hold
from revisage.media.video.encoders import encoder_options


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("out.xyz", {}, OutputError, "cannot be written as '.xyz'; choose one of .*mp4"),
        ("out", {}, OutputError, "no ending"),
        ("none/out.mp4", {}, OutputError, "there is no folder"),
        ("out.mp4", {"codec": "libx2644"}, ConfigError, "did you mean 'libx264'"),
        ("out.mp4", {"codec": "aac"}, ConfigError, "codec cannot be 'aac'"),
        ("out.webm", {"codec": "libx264"}, OutputError, "cannot hold libx264"),
        ("out.mp4", {"codec": "ffv1", "crf": 3}, ConfigError, "crf cannot be set for ffv1"),
        ("out.mp4", {"crf": 60}, ConfigError, "crf cannot be 60 for libx264; it goes from 0 to 51"),
        ("out.mp4", {"encoder_preset": "fastt"}, ConfigError, "did you mean 'faster'|did you mean 'fast'"),
        ("out.mkv", {"codec": "ffv1", "encoder_preset": "fast"}, ConfigError, "encoder_preset cannot be set for ffv1"),
        ("out.mp4", {"pixel_format": "yuv420"}, ConfigError, "did you mean 'yuv420p'"),
        ("out.mp4", {"pixel_format": "yuv410p"}, ConfigError, "pixel_format cannot be 'yuv410p' for libx264"),
        ("out.mp4", {"size_hw": (47, 64)}, OutputError, "cannot encode 64 x 47 px"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(
    tmp_path: Path, clip: Path, name: str, options: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        check_output(tmp_path / name, probe(clip), EncodeOptions(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4")
    info = probe(source)
    names = [source, tmp_path / "." / "in.mp4"]
    if hasattr(os, "symlink"):
        (tmp_path / "link.mp4").symlink_to(source)
        os.link(source, tmp_path / "hard.mp4")
        names += [tmp_path / "link.mp4", tmp_path / "hard.mp4"]
    for name in names:
        with pytest.raises(OutputError, match="is the input"):
            check_output(name, info, EncodeOptions())


def test_what_is_there_is_replaced_only_when_allowed(tmp_path: Path, clip: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="exists"):
        check_output(output, probe(clip), EncodeOptions(), overwrite=False)
    check_output(output, probe(clip), EncodeOptions())
    assert output.read_bytes() == b"precious"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="read-only"):
        check_output(folder / "out.mp4", probe(clip), EncodeOptions())


@pytest.mark.parametrize("suffix", [s for one in FORMATS if one.is_video and one.writer for s in one.suffixes])
def test_every_container_has_an_encoder(tmp_path: Path, clip: Path, suffix: str) -> None:
    options = resolve_options(probe(clip), tmp_path / f"out{suffix}", EncodeOptions())
    assert options.muxer is not None
    assert options.codec is not None
    assert can_hold(options.muxer, options.codec)
    assert options.pixel_format == "yuv420p"


@pytest.mark.parametrize("odd", [(48, 64), (47, 63)])
@pytest.mark.parametrize("factor", [1, 1.5, 2, 0.25])
def test_scaled_sizes_are_even(tmp_path: Path, odd: tuple[int, int], factor: float) -> None:
    info = probe(make_video(tmp_path / "clip.mkv", codec="ffv1", size_hw=odd, pts=(0, 40)))
    size_hw = scaled_size(info.size_hw, factor, even=info.kind == "video")
    assert all(abs(side - before * factor) <= 1 for side, before in zip(size_hw, odd, strict=True))
    assert factor == 1 or all(side % 2 == 0 for side in size_hw)


def test_giving_up_leaves_nothing(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "segment.mp4"
    with open_source(clip) as source:
        sink = open_segment(path, source.info, EncodeOptions())
        sink.abort()
        sink = open_segment(path, source.info, EncodeOptions(codec="mpeg4"))
        for frame in source.frames(0, 5):
            sink.write(frame)
        assert path.exists()
        sink.abort()
        sink.abort()
        sink.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_called_so(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "full.mkv"
    path.symlink_to("/dev/full")
    with open_source(clip) as source, pytest.raises(DiskFullError, match="no space left"):
        sink = open_segment(path, source.info, EncodeOptions(codec="rawvideo"))
        for turn in range(40):
            for frame in source.frames():
                sink.write(replace(frame, pts=frame.pts + turn * 20 * 512))
        sink.close()
    sink.abort()
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_while_joining_is_called_so(tmp_path: Path, clip: Path) -> None:
    output = tmp_path / "full.mp4"
    output.symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="no space left"):
        pass_through(clip, output)
    assert not output.exists()


def test_an_empty_segment_is_refused(tmp_path: Path, clip: Path) -> None:
    sink = open_segment(tmp_path / "segment.mp4", probe(clip), EncodeOptions())
    with pytest.raises(OutputError, match="no frame was written"):
        sink.close()


def test_a_plain_video_has_pictures_and_sound(tmp_path: Path) -> None:
    path = tmp_path / "plain.mp4"
    sound = np.sin(np.arange(22050)[:, None] / 20).astype(np.float32)
    with open_plain_video(path, size_hw=(48, 64), rate=25, audio=sound, sample_rate=22050) as video:
        for number in range(10):
            video.write(picture((48, 64), number))
        with pytest.raises(ValueError, match="need a picture"):
            video.write(picture((40, 64), 0))
    assert [float(time) for time in times(path)] == pytest.approx([n / 25 for n in range(10)])
    info = probe(path)
    assert (info.codec, info.colour.matrix, info.audio[0].sample_rate) == ("h264", 1, 22050)
    with open_source(path) as source:
        for frame in source.frames():
            assert np.abs(frame.rgb().astype(int) - picture((48, 64), frame.index)).mean() < 4


def test_a_plain_video_that_fails_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_plain_video(tmp_path / "plain.mp4", size_hw=(48, 64), rate=25) as video:
        video.write(picture((48, 64), 0))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_preset_that_is_asked_for_is_taken_whole(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mp4"))
    own, asked = (
        encoder_options(resolve_options(info, tmp_path / "b.mp4", EncodeOptions(encoder_preset=preset)), info)
        for preset in (None, "faster")
    )
    assert (own["preset"], own["subq"]) == ("faster", "2")
    assert asked["preset"] == "faster"
    assert "subq" not in asked


@pytest.mark.parametrize("name", ["photo.jpg", "photo.JPEG", "photo.png", "photo.webp", "photo.tif"])
def test_a_photo_can_become_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.new("RGB", (64, 48), (200, 120, 90)).save(path)
    check_output(tmp_path / "out.mp4", probe(path), EncodeOptions(size_hw=(48, 64)))


def test_a_video_named_as_a_photo_is_still_one(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "clip.jpg"
    path.write_bytes(clip.read_bytes())
    check_output(tmp_path / "out.mp4", probe(path), EncodeOptions())


def test_x265_is_told_one_frame_thread(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mp4"))
    options = encoder_options(resolve_options(info, tmp_path / "b.mp4", EncodeOptions(codec="hevc")), info)
    assert "frame-threads=1" in options["x265-params"].split(":")
