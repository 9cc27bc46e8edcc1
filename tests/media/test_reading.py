"""A file can make FFmpeg open no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revisage.api import probe
from revisage.core.errors import InputError
from sample_media import plain_frames, write_video


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write_video(tmp_path / "secret.mp4", plain_frames(3))


@pytest.mark.parametrize("name", ["list.mp4", "list.ffconcat", "list.m3u8", "list.mpd"])
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "ffconcat version 1.0\nfile {secret}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_playlists_are_refused_whatever_they_are_called(tmp_path: Path, secret: Path, name: str, text: str) -> None:
    playlist = tmp_path / name
    playlist.write_text(text.format(secret=secret))
    with pytest.raises(InputError, match="it holds text, no pictures"):
        probe(playlist)


def test_a_name_is_no_address(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path("concat:secret.mp4|secret.mp4")
    shutil.copy(secret, odd)
    assert probe(odd).frame_count == 3
