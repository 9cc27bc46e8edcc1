"""Containers for video: which file name means which, and what each can hold."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av

from revisage.core import OutputError

__all__ = ["VIDEO_SUFFIXES", "can_hold", "muxer_for"]

_MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".mkv": "matroska",
    ".mk3d": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".vob": "vob",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".flv": "flv",
    ".wmv": "asf",
    ".asf": "asf",
    ".3gp": "3gp",
    ".nut": "nut",
}
VIDEO_SUFFIXES = tuple(_MUXERS)
"""File name endings of the containers that can be written."""

_MPEG_SYSTEM = frozenset(
    [
        "mpeg1video",
        "mpeg2video",
        "h264",
        "mp1",
        "mp2",
        "mp3",
        "ac3",
        "dts",
        "pcm_s16be",
        "pcm_dvd",
        "dvd_subtitle",
        "dvdsub",
    ]
)
_MPEG_TRANSPORT = frozenset(
    [
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "h264",
        "hevc",
        "mp1",
        "mp2",
        "mp3",
        "aac",
        "ac3",
        "eac3",
        "dts",
        "truehd",
        "opus",
        "dvb_subtitle",
        "dvbsub",
        "dvb_teletext",
        "hdmv_pgs_subtitle",
    ]
)
_UNCHECKED = {"mpeg": _MPEG_SYSTEM, "vob": _MPEG_SYSTEM, "mpegts": _MPEG_TRANSPORT}
"""What FFmpeg's MPEG muxers write so that it can be read again; they themselves refuse nothing."""


def muxer_for(path: Path) -> str:
    """FFmpeg's name of the container that a file name asks for.

    Raises:
        OutputError: none that can be written.
    """
    muxer = _MUXERS.get(path.suffix.lower())
    if muxer is None:
        known = ", ".join(sorted({suffix.lstrip(".") for suffix in _MUXERS}))
        what = f"videos cannot be written as '{path.suffix}'" if path.suffix else "the name has no ending"
        raise OutputError(f"{path}: {what}; choose one of {known}")
    return muxer


@lru_cache(maxsize=256)
def can_hold(muxer: str, codec: str) -> bool:
    """Whether a container takes streams of a codec (FFmpeg's name of the codec or of an encoder)."""
    if muxer in _UNCHECKED:
        return _canonical(codec) in _UNCHECKED[muxer]
    with av.open(io.BytesIO(), "w", format=muxer) as container:
        try:
            container.add_mux_stream(codec)
        except ValueError:
            return False
    return True


def _canonical(codec: str) -> str:
    return _name_of(codec, "w") or _name_of(codec, "r") or codec


def _name_of(codec: str, mode: Literal["r", "w"]) -> str | None:
    try:
        return av.Codec(codec, mode).canonical_name
    except ValueError:
        return None
