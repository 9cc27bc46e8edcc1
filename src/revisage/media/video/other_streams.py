"""Streams, tags and chapters beside the video: copied, and converted only where the container cannot hold them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import OutputContainer

from revisage.media.formats import Format, can_hold, format_written_by
from revisage.media.video.probing import BROKEN_PACKET, open_container

__all__ = [
    "Carried",
    "carry_streams",
    "is_cover",
    "kept_chapters",
    "kept_tags",
    "stream_name",
    "stream_tags",
]


class Carried(Protocol):
    """One stream on its way into the output."""

    def take(self, packet: av.Packet) -> list[Any]:
        """The packets to write for one packet of the source."""

    def finish(self) -> list[Any]:
        """The packets that remain at the end."""


class _Copy:
    """Packets as they are."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def take(self, packet: av.Packet) -> list[Any]:
        packet.stream = self.stream
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
            result.notes.append(f"{stream_name(stream)} {note}")
        if made is not None and stream.type != "attachment":
            made.metadata.update(stream_tags(container, stream))
            made.disposition = stream.disposition
        if carried is not None:
            result.streams[stream.index] = carried
    return result


def stream_name(stream: Any) -> str:
    """What notes call a stream."""
    language = stream.metadata.get("language")
    tagged = f" ({language})" if language and language != "und" else ""
    return f"{stream.type} stream {stream.index}{tagged}"


def _carry(container: OutputContainer, path: Path, stream: Any) -> tuple[Carried | None, Any, str]:
    if stream.type == "attachment" or (is_cover(stream) and _format(container).covers != "stream"):
        made, note = _attached(container, path, stream)
        return None, made, note
    if _is_remade(container, stream):
        return None, None, ""
    muxer = container.format.name
    if _can_be_copied(muxer, stream) and _works(muxer, path, stream, _copy):
        copied = _copy(container, stream)
        return copied, copied.stream, ""
    if stream.type == "audio" and stream.codec_context is not None:
        for codec in _AUDIO_CODECS:
            recoder = partial(AudioRecoder, codec=codec)
            if _is_there(container, codec) and _works(muxer, path, stream, recoder):
                audio = recoder(container, stream)
                return audio, audio.stream, f"was encoded again as {codec}: this container cannot hold {stream.name}"
    if stream.type == "subtitle" and _works(muxer, path, stream, SubtitleRecoder):
        text = SubtitleRecoder(container, stream)
        return text, text.stream, f"was turned into {text.codec}: this container cannot hold {stream.name}"
    return None, None, f"({getattr(stream, 'name', None) or 'unknown'}) cannot be held by this container; left out"


def _format(container: OutputContainer) -> Format:
    return format_written_by(container.format.name)


def is_cover(stream: Any) -> bool:
    """Whether a stream is one picture that stands for the file."""
    return bool(stream.type == "video" and int(stream.disposition) & int(av.stream.Disposition.attached_pic))


def _is_remade(container: OutputContainer, stream: Any) -> bool:
    """Whether the muxer makes this stream anew: the text of chapters and the start time code in MOV and MP4."""
    if stream.type != "data" or "mov" not in stream.container.format.name:
        return False
    is_chapter_text = bool(stream.container.chapters()) and stream.name == "bin_data"
    return is_chapter_text or (_format(container).makes_timecodes and "timecode" in stream.metadata)


def _can_be_copied(muxer: str, stream: Any) -> bool:
    if stream.codec_context is None:
        return bool(stream.type == "data")
    return can_hold(muxer, stream.codec_context.codec.canonical_name)


def _works(muxer: str, path: Path, stream: Any, carry: Callable[[OutputContainer, Any], Carried]) -> bool:
    """Whether a stream can be carried so, by a file of its first packets: some muxers refuse only at the end."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            carried = carry(trial, stream)
            trial.start_encoding()
            with open_container(path) as again:
                for packet in islice(again.demux(again.streams[stream.index]), _TRIED):
                    if packet.size and packet.dts is not None:
                        trial.mux(carried.take(packet))
            trial.mux(carried.finish())
    except (ValueError, OSError, av.error.FFmpegError):
        return False
    return True


def _copy(container: OutputContainer, stream: Any) -> _Copy:
    return _Copy(container.add_stream_from_template(stream, opaque=True))


def _attached(container: OutputContainer, path: Path, stream: Any) -> tuple[Any, str]:
    """Put an attached file, or a cover picture as one, into the header."""
    if is_cover(stream) and _format(container).covers is None:
        return None, "(cover picture) cannot be held by this container, only by MP4 and MKV; left out"
    if _format(container).covers != "attachment":
        return None, "cannot be held by this container; left out"
    if stream.type == "attachment":
        return container.add_stream_from_template(stream), ""
    codec = stream.codec_context.codec.canonical_name
    ending, kind = ("png", "image/png") if codec == "png" else ("jpg", "image/jpeg")
    with open_container(path) as again:
        packet = next(again.demux(again.streams[stream.index]))
        container.add_attachment(f"cover.{ending}", kind, bytes(packet))
    return None, ""


_TRIED = 4
"""Packets that a container is tried with."""

_AUDIO_CODECS = ("aac", "libopus", "ac3", "mp2", "wmav2", "mp3", "pcm_s16le")
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Of so many channels: encoders take none that says only their number, as those of WMA and PCM often do."""

_BIT_RATES = {1: 128_000, 2: 192_000}
_TEXT_ENCODERS = ("srt", "mov_text", "webvtt")
_ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\n"


class AudioRecoder:
    """Decodes the packets of one audio stream and encodes them for the container."""

    def __init__(self, container: OutputContainer, source: Any, codec: str) -> None:
        context = source.codec_context
        rates = av.Codec(codec, "w").audio_rates
        rate = context.sample_rate
        if rates and rate not in rates:
            rate = 48000 if 48000 in rates else rates[0]
        self.stream: Any = container.add_stream(codec, rate=rate)
        made: Any = self.stream.codec_context
        named = context.layout.nb_channels <= 8 and not context.layout.name.endswith("channels")
        made.layout = context.layout.name if named else _LAYOUTS.get(context.layout.nb_channels, "stereo")
        made.bit_rate = _BIT_RATES.get(context.layout.nb_channels, 384_000)
        self._decoder: Any = None
        self._end: Fraction | None = None
        self._ticks = Fraction(1)

    def take(self, packet: av.Packet) -> list[Any]:
        """Encoded packets for one packet of the source; damaged ones give none."""
        self._decoder = packet.stream.codec_context
        try:
            frames: list[Any] = packet.decode()
        except BROKEN_PACKET:
            return []
        return [made for frame in frames for made in self.stream.encode(self._timed(frame))]

    def finish(self) -> list[Any]:
        """What decoder and encoder still hold: a decoder (of WMA) may be a packet behind."""
        try:
            held = self._decoder.decode(None) if self._decoder is not None else []
        except BROKEN_PACKET:
            held = []
        return [made for frame in (*map(self._timed, held), None) for made in self.stream.encode(frame)]

    def _timed(self, frame: Any) -> Any:
        """The frame; one without a time, as the last of a decoder's is, follows the one before."""
        if frame.pts is None and self._end is not None:
            frame.pts, frame.time_base = (
                round(self._end / self._ticks),
                self._ticks,
            )  # a second unit would confuse FFmpeg
        if frame.pts is not None:
            self._ticks = frame.time_base
            self._end = frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)
        return frame


class SubtitleRecoder:
    """Turns text subtitles of one kind into those of another, with their times.

    Raises:
        ValueError: they are pictures, or the container holds no text.
    """

    def __init__(self, container: OutputContainer, source: Any) -> None:
        if source.codec_context is None or not source.codec_context.codec.text_sub:
            raise ValueError("pictures cannot become text")
        self.codec = next((name for name in _TEXT_ENCODERS if _is_there(container, name)), "")
        if not self.codec:
            raise ValueError("no subtitles")
        self._decoder = source.codec_context
        self.stream: Any = container.add_stream(self.codec)
        context: Any = self.stream.codec_context
        context.time_base = source.time_base
        self.stream.time_base = source.time_base
        self._decoder.open(strict=False)
        context.subtitle_header = self._decoder.subtitle_header or _ASS_HEADER

    def take(self, packet: av.Packet) -> list[Any]:
        """The text of one packet in the other form; none where it says nothing."""
        subtitles = self._decoder.decode2(packet)
        if subtitles is None or len(subtitles) == 0:
            return []
        made = self.stream.codec_context.encode_subtitle(subtitles)
        made.pts = made.dts = packet.pts
        made.duration, made.time_base, made.stream = packet.duration, packet.time_base, self.stream
        return [made]

    def finish(self) -> list[Any]:
        """Nothing is ever held back."""
        return []


def _is_there(container: OutputContainer, codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except ValueError:
        return False
    return can_hold(container.format.name, codec)


# fmt: off
_OF_THE_FILE = frozenset((
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "handler_name", "software",
))
# fmt: on
_OF_THE_FILE_STARTS = ("_statistics", "bps", "number_of_", "duration-", "variant_bitrate")


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that speak of the work; those that describe the old file are left out."""
    return {key: value for key, value in tags.items() if _is_kept(key.lower())}


def stream_tags(container: OutputContainer, stream: Any) -> dict[str, str]:
    """The tags of a stream to keep; of the kin of MOV with the name that its editors show for it."""
    tags, name = kept_tags(stream.metadata), stream.metadata.get("handler_name")
    if name and _format(container).clock == "scaled":
        tags["handler_name"] = name
    return tags


def _is_kept(key: str) -> bool:
    return key not in _OF_THE_FILE and not key.startswith(_OF_THE_FILE_STARTS)


def kept_chapters(source: Any, start: Fraction | None, end: Fraction | None, shift: Fraction) -> list[dict[str, Any]]:
    """The source's chapters within a span, moved by ``shift`` seconds."""
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        first, last = chapter["start"] * base, chapter["end"] * base
        if (end is not None and first >= end) or (start is not None and last <= start):
            continue
        first = max(first, start or first) - shift
        last = min(last, end if end is not None else last) - shift
        kept.append({**chapter, "start": round(first / base), "end": round(last / base), "time_base": base})
    return kept
