"""Audio and subtitles for containers that cannot hold them as they are."""

from __future__ import annotations

from typing import Any

import av
from av.container import OutputContainer

from revisage.media.formats import can_hold

__all__ = ["AudioRecoder", "SubtitleRecoder"]

_AUDIO_CODECS = ("aac", "libopus", "ac3", "mp2", "wmav2", "mp3", "pcm_s16le")
_BIT_RATES = {1: 128_000, 2: 192_000}
_TEXT_ENCODERS = ("srt", "mov_text", "webvtt")
_ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\n"


class AudioRecoder:
    """Decodes the packets of one audio stream and encodes them for the container.

    Raises:
        ValueError: the container holds no codec that can be written.
    """

    def __init__(self, container: OutputContainer, source: Any) -> None:
        self.codec = next((name for name in _AUDIO_CODECS if _is_there(container, name)), "")
        if not self.codec:
            raise ValueError("no audio codec")
        context = source.codec_context
        rates = av.Codec(self.codec, "w").audio_rates
        rate = context.sample_rate
        if rates and rate not in rates:
            rate = 48000 if 48000 in rates else rates[0]
        self.stream: Any = container.add_stream(self.codec, rate=rate)
        made: Any = self.stream.codec_context
        made.layout = context.layout.name if context.layout.nb_channels <= 8 else "stereo"
        made.bit_rate = _BIT_RATES.get(context.layout.nb_channels, 384_000)

    def take(self, packet: av.Packet) -> list[Any]:
        """Encoded packets for one packet of the source; damaged ones give none."""
        try:
            frames: list[Any] = packet.decode()
        except av.error.InvalidDataError:
            return []
        return [made for frame in frames for made in self.stream.encode(frame)]

    def finish(self) -> list[Any]:
        """What the encoder still holds."""
        return list(self.stream.encode(None))


class SubtitleRecoder:
    """Turns text subtitles of one kind into those of another, with their times.

    Raises:
        ValueError: they are pictures, or the container holds no text.
    """

    def __init__(self, container: OutputContainer, source: Any) -> None:
        if not source.codec_context.codec.text_sub:
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
