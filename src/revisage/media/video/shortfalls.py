"""What a finished file does not hold of its source, or holds otherwise: a line each, with what to do where something
can be done."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from revisage.media.formats import format_written_by
from revisage.media.interface import MediaInfo
from revisage.media.video.encoders import SUCCESSORS
from revisage.media.video.other_streams import kept_tags
from revisage.media.video.pixel_aspect import agrees
from revisage.media.video.probing import open_container

__all__ = ["shortfalls"]


def shortfalls(before: MediaInfo, after: MediaInfo, muxer: str, *, is_even: bool, codec_asked: bool) -> list[str]:
    """Notes on a finished file.

    Args:
        before: the source.
        after: the finished file.
        muxer: that wrote it, in FFmpeg's words.
        is_even: all frames are equally far apart.
        codec_asked: the user named the codec.
    """
    return [
        *_codec(before, after, codec_asked),
        *_times(before, muxer, is_even),
        *_tags(before.path, after.path),
        *_picture(before, after),
    ]


def _codec(before: MediaInfo, after: MediaInfo, asked: bool) -> list[str]:
    if after.codec == before.codec or asked or before.kind != "video":
        return []
    how = f"{before.codec} is written as {after.codec}"
    if before.codec not in SUCCESSORS:
        deep = f", which keeps its {before.bit_depth} bits" if 8 < before.bit_depth <= after.bit_depth else ""
        return [how + deep]
    if after.codec == SUCCESSORS[before.codec]:
        return [f"{how}, without loss, which can be read again"]
    return [f"{how}, with a little loss; name the output .mkv to have none"]


def _times(before: MediaInfo, muxer: str, is_even: bool) -> list[str]:
    clock = format_written_by(muxer).clock
    if clock == "milliseconds" and (before.time_base * 1000).denominator != 1:
        return ["this container keeps times in whole milliseconds; each frame's is rounded to the nearest"]
    if clock == "rate" and not is_even:
        return ["this container has one frame rate for all; frames were moved to fit it"]
    return []


def _tags(source: Path, output: Path) -> list[str]:
    with open_container(source) as opened, open_container(output) as written:
        there = {key.lower() for key in written.metadata}
        lost = sorted(key for key in kept_tags(opened.metadata) if key.lower() not in there)
        notes = [f"this container cannot hold the tag{'s' if len(lost) > 1 else ''} {', '.join(lost)}"] if lost else []
        if opened.chapters() and not written.chapters():
            notes.append("this container cannot hold chapters")
    return notes


def _picture(before: MediaInfo, after: MediaInfo) -> list[str]:
    notes = []
    shape = before.sample_aspect_ratio
    if not agrees(after.sample_aspect_ratio or Fraction(1), shape, before.width):
        notes.append(f"the pixels' aspect ratio {shape} is lost with this codec and container; MP4 and MKV keep it")
    if before.has_alpha and not after.has_alpha:
        notes.append("transparency is lost with this codec and container; name the output .webm to keep it")
    if before.has_captions and not after.has_captions:
        notes.append("captions inside the pictures are lost with this codec; H.264, HEVC and MPEG-2 keep them")
    if before.is_spherical and not after.is_spherical:
        notes.append(
            "the mark of 360° video is lost; put it back with a tool for spatial media, or players show it flat"
        )
    has_light = before.mastering_display is not None or before.content_light is not None
    if has_light and (after.mastering_display is None) != (before.mastering_display is None):
        notes.append("this codec cannot hold the HDR mastering and light levels; use libx264, libx265 or libsvtav1")
    if after.bit_depth < before.bit_depth:
        notes.append(f"this codec holds {after.bit_depth} bits a sample; the source has {before.bit_depth}")
    return notes
