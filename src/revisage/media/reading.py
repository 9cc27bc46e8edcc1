"""Opening files with FFmpeg so that a file can name no other: what was handed in is all that is read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av
from av.container import InputContainer

__all__ = ["open_file"]

# fmt: off
_OPEN_OTHERS = frozenset((
    "alsa", "android_camera", "avfoundation", "avisynth", "bktr", "concat", "dash", "decklink", "dshow", "dvdvideo",
    "fbdev", "gdigrab", "hls", "iec61883", "image2", "imf", "jack", "kmsgrab", "lavfi", "libcdio", "libdc1394",
    "oss", "pulse", "rtp", "rtsp", "sap", "sdp", "smoothstreaming", "sndio", "svg_pipe", "vapoursynth", "vfwcap",
    "video4linux2,v4l2", "vobsub", "webm_dash_manifest", "whep", "whip", "x11grab", "xcbgrab",
))
# fmt: on
"""Formats of FFmpeg that are lists of other files or addresses, scripts, or devices."""


def open_file(path: Path) -> InputContainer:
    """Open a media file for reading. Neither its name nor its content can make FFmpeg open anything else.

    Raises:
        av.error.FFmpegError: it cannot be read, or it is a playlist, a script or the like.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _formats()}
    # A relative name might be taken for an address, such as concat:a|b.
    return av.open(str(path.absolute()), "r", metadata_errors="replace", options=options)


@lru_cache(maxsize=1)
def _formats() -> str:
    return ",".join(sorted(av.format.formats_available - _OPEN_OTHERS))
