"""What a file is, by its first bytes and its name; and which format its output has."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_video
from passing import pass_through, times
from PIL import Image

from revisage.core import InputError, OutputError
from revisage.media import (
    VIDEO_SUFFIXES,
    EncodeOptions,
    Sniffed,
    check_output,
    default_output,
    find_media,
    format_notes,
    format_of,
    probe,
    sniff,
    sniff_file,
    written_suffix,
)
from revisage.media.formats import FORMATS, can_hold


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\0\0\0\x20ftypisom", Sniffed("mp4", "video")),
        (b"\0\0\0\x14ftypqt  ", Sniffed("mov", "video")),
        (b"\x1aE\xdf\xa3....B\x82\x84webm", Sniffed("webm", "video")),
        (b"\x1aE\xdf\xa3....B\x82\x88matroska", Sniffed("mkv", "video")),
        (b"RIFF....AVI LIST", Sniffed("avi", "video")),
        (b"\0\0\x01\xba", Sniffed("mpg", "video")),
        (b"G" + bytes(187) + b"G" + bytes(187), Sniffed("ts", "video")),
        (b"RIFF....WEBPVP8X\x0a\0\0\0\x02" + bytes(9), Sniffed("webp", "animation")),
        (b"RIFF....WEBPVP8 " + bytes(20), Sniffed("webp", "image")),
        (b"\x89PNG\r\n\x1a\n....IHDR....acTL....IDAT", Sniffed("png", "animation")),
        (b"\x89PNG\r\n\x1a\n....IHDR....IDATacTL", Sniffed("png", "image")),
        (b"\xff\xd8\xff\xe0", Sniffed("jpg", "image")),
    ],
)
def test_known_beginnings(head: bytes, found: Sniffed) -> None:
    assert sniff(head, "x") == found


@given(st.binary(max_size=600))
def test_anything_is_known_or_refused(head: bytes) -> None:
    try:
        found = sniff(head, "name")
    except InputError as error:
        assert str(error).startswith("name ")
    else:
        assert found.format.isalnum()


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no\.mp4: no such file"):
        sniff_file(tmp_path / "no.mp4")
    with pytest.raises(InputError, match="cannot be opened"):
        sniff_file(tmp_path)


def test_the_clips_of_the_wild(shared: Path) -> None:
    found = {path.suffix[1:]: sniff_file(path).format for path in (shared / "clips").glob("*.m[pk]*")}
    assert found == {"mp4": "mp4", "mkv": "mkv", "mpg": "mpg"}


def test_endings_and_names_belong_to_one_format() -> None:
    suffixes = [suffix for record in FORMATS for suffix in record.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    names = {record.name: record for record in FORMATS}
    assert len(names) == len(FORMATS)
    for record in FORMATS:
        assert (record.writer is None) == bool(record.successors), record.name
        assert all(names[successor].writer is not None for successor in record.successors)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_the_default_output_of_any_video_can_be_written(tmp_path: Path, suffix: str) -> None:
    info = probe(make_video(tmp_path / "clip.mkv", audio="aac"))
    found = format_of(written_suffix(suffix, info))
    assert found is not None
    assert found.writer is not None
    assert suffix in found.suffixes or all(can_hold(found.writer, codec) for codec in ("h264", "aac"))


def test_a_folder_s_unwritable_files_get_the_nearest_container(tmp_path: Path) -> None:
    made = make_video(tmp_path / "clip.mkv", codec="mpeg2video", audio="pcm_s16le")
    for name in ("tape.mxf", "tape.mov", "film.ogv", "film.mkv", "other.dat"):
        (tmp_path / name).write_bytes(made.read_bytes())
    outputs = find_media(tmp_path).outputs(tmp_path / "out")
    assert sorted(path.name for path in outputs.values()) == [
        "clip.mkv", "film.mkv", "film.ogv.mkv", "tape.mov", "tape.mxf.mov",
    ]  # fmt: skip
    assert default_output(tmp_path / "film.ogv") == tmp_path / "film_restored.mkv"
    assert default_output(tmp_path / "other.dat") == tmp_path / "other_restored.mkv"
    assert default_output(tmp_path / "none.ogv") == tmp_path / "none_restored.ogv"
    assert format_notes(tmp_path / "tape.mov", tmp_path / "tape.mp4") == []
    assert "OGV cannot be written; the result is MKV" in format_notes(tmp_path / "film.ogv", tmp_path / "a.mkv")[0]


def test_what_a_file_holds_decides_about_its_output_where_the_name_is_wrong(tmp_path: Path) -> None:
    image, clip = Image.new("RGB", (32, 24)), make_video(tmp_path / "clip.mkv")
    image.save(tmp_path / "photo.mp4", "jpeg")
    image.save(tmp_path / "photo.gif", "png")
    image.save(tmp_path / "moving.jpg", "gif", save_all=True, append_images=[image.rotate(9)])
    (tmp_path / "film.png").write_bytes(clip.read_bytes())
    made = {path.name: default_output(path).name for path in tmp_path.iterdir()}
    assert made == {
        "clip.mkv": "clip_restored.mkv",
        "photo.mp4": "photo_restored.jpg",
        "photo.gif": "photo_restored.png",
        "moving.jpg": "moving_restored.gif",
        "film.png": "film_restored.mkv",
    }
    (note,) = format_notes(tmp_path / "photo.mp4", tmp_path / "photo_restored.jpg")
    assert note == "photo.mp4 holds JPEG, whatever its name says; the result is JPEG"
    assert format_notes(clip, tmp_path / "clip_restored.mkv") == []


def test_ivf_is_read_and_written(tmp_path: Path) -> None:
    source = make_video(tmp_path / "clip.mkv", codec="libvpx-vp9", time_base=Fraction(1, 1000), pts=range(0, 400, 40))
    result = pass_through(source, tmp_path / "out.ivf")
    assert (probe(tmp_path / "out.ivf").codec, result.notes) == ("vp9", ())
    assert times(tmp_path / "out.ivf") == times(source)
    assert sniff_file(tmp_path / "out.ivf") == Sniffed("ivf", "video")
    again = pass_through(tmp_path / "out.ivf", tmp_path / "again.ivf")
    assert again.frames == 10


@pytest.mark.parametrize("suffix", [".ogv", ".mxf"])
def test_what_is_only_read_is_refused_as_an_output_with_the_way_out(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / "clip.mp4", pts=(0, 512))
    with pytest.raises(OutputError, match=rf"cannot be written as '\{suffix}'; choose one of .*mkv.*mp4"):
        check_output(tmp_path / f"out{suffix}", probe(source), EncodeOptions())
