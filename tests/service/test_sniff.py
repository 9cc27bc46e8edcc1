"""What a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.core.errors import InputError
from revisage.service.sniff import Sniffed, sniff, sniff_file
from revisage.service.store import clean_name


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


@given(st.text())
def test_names_never_are_paths(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= 200
    assert not set(cleaned) & set("/\\\0\n\r")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no\.mp4: no such file"):
        sniff_file(tmp_path / "no.mp4")
    with pytest.raises(InputError, match="cannot be opened"):
        sniff_file(tmp_path)


def test_the_clips_of_the_wild(shared: Path) -> None:
    found = {path.suffix[1:]: sniff_file(path).format for path in (shared / "clips").glob("*.m[pk]*")}
    assert found == {"mp4": "mp4", "mkv": "mkv", "mpg": "mpg"}
