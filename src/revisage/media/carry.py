"""Streams beside the video: copied as packets, converted only where the container cannot hold them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import OutputContainer

from revisage.media.formats import can_hold, format_written_by
from revisage.media.recode import AudioRecoder, SubtitleRecoder
from revisage.media.tags import kept_tags
from revisage.media.video_probe import open_container

__all__ = ["Carried", "CarriedStreams", "carry_streams", "is_cover"]


class Carried(Protocol):
    """One stream on its way into the output."""

    def take(self, packet: av.Packet) -> list[Any]:
        """The packets to write for one packet of the source."""

    def finish(self) -> list[Any]:
        """The packets that remain at the end."""


class _Copy:
    """Packets as they are."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def take(self, packet: av.Packet) -> list[Any]:
        packet.stream = self._stream
        return [packet]

    def finish(self) -> list[Any]:
        return []


@dataclass
class CarriedStreams:
    """Streams by their number in the source, and what was changed or left out."""

    streams: dict[int, Carried] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def carry_streams(path: Path, container: OutputContainer, streams: list[Any]) -> CarriedStreams:
    """Add streams of the file at ``path`` to the output, in order, each with its tags and dispositions."""
    result = CarriedStreams()
    for stream in streams:
        carried, made, note = _carry(container, path, stream)
        if note:
            result.notes.append(f"{_name(stream)} {note}")
        if made is not None and stream.type != "attachment":
            made.metadata.update(kept_tags(stream.metadata))
            made.disposition = stream.disposition
        if carried is not None:
            result.streams[stream.index] = carried
    return result


def _name(stream: Any) -> str:
    language = stream.metadata.get("language")
    tagged = f" ({language})" if language and language != "und" else ""
    return f"{stream.type} stream {stream.index}{tagged}"


def _carry(container: OutputContainer, path: Path, stream: Any) -> tuple[Carried | None, Any, str]:
    if stream.type == "attachment" or (is_cover(stream) and _covers(container) != "stream"):
        made, note = _attached(container, path, stream)
        return None, made, note
    if _is_remade(container, stream):
        return None, None, ""
    if _accepts(container.format.name, stream):
        made = container.add_stream_from_template(stream, opaque=True)
        return _Copy(made), made, ""
    try:
        if stream.type == "audio" and stream.codec_context is not None:
            audio = AudioRecoder(container, stream)
            return audio, audio.stream, f"was encoded again as {audio.codec}: this container cannot hold {stream.name}"
        if stream.type == "subtitle" and stream.codec_context is not None:
            text = SubtitleRecoder(container, stream)
            return text, text.stream, f"was turned into {text.codec}: this container cannot hold {stream.name}"
    except ValueError:
        pass
    return None, None, f"({getattr(stream, 'name', None) or 'unknown'}) cannot be held by this container; left out"


def _covers(container: OutputContainer) -> str | None:
    return format_written_by(container.format.name).covers


def is_cover(stream: Any) -> bool:
    """Whether a stream is one picture that stands for the file."""
    return bool(stream.type == "video" and int(stream.disposition) & int(av.stream.Disposition.attached_pic))


def _is_remade(container: OutputContainer, stream: Any) -> bool:
    """Whether the muxer makes this stream anew: the text of chapters and the start time code in MOV and MP4."""
    if stream.type != "data" or "mov" not in stream.container.format.name:
        return False
    is_chapter_text = bool(stream.container.chapters()) and stream.name == "bin_data"
    return is_chapter_text or (_covers(container) == "stream" and "timecode" in stream.metadata)


def _accepts(muxer: str, stream: Any) -> bool:
    """Whether a container takes a stream, by writing a header with it alone."""
    if stream.codec_context is None and stream.type != "data":
        return False
    if stream.codec_context is not None and not can_hold(muxer, stream.codec_context.codec.canonical_name):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (ValueError, OSError, av.error.FFmpegError):
        return False
    return True


def _attached(container: OutputContainer, path: Path, stream: Any) -> tuple[Any, str]:
    """Put an attached file, or a cover picture as one, into the header."""
    if _covers(container) != "attachment":
        return None, "cannot be held by this container; left out"
    if stream.type == "attachment":
        return container.add_stream_from_template(stream), ""
    codec = stream.codec_context.codec.canonical_name
    ending, kind = ("png", "image/png") if codec == "png" else ("jpg", "image/jpeg")
    with open_container(path) as again:
        packet = next(again.demux(again.streams[stream.index]))
        container.add_attachment(f"cover.{ending}", kind, bytes(packet))
    return None, ""
