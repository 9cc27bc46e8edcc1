"""Real media, made small and on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np

from sample_media import X265


def picture(size_hw: tuple[int, int], number: int) -> np.ndarray:
    """A smooth RGB picture that moves with its number."""
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    waves = [np.sin(x / 9 + number / 3), np.cos(y / 7 - number / 5), np.sin((x + y) / 11 + number)]
    return np.stack([127.5 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


def native(size_hw: tuple[int, int], pixel_format: str, number: int) -> av.VideoFrame:
    """The picture in a pixel format."""
    rgb = av.VideoFrame.from_ndarray(picture(size_hw, number), "rgb24")
    return rgb.reformat(format=pixel_format)


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size_hw: tuple[int, int] = (48, 64),
    pts: Sequence[int] = tuple(range(0, 20 * 512, 512)),
    time_base: Fraction = Fraction(1, 15360),
    rate: Fraction = Fraction(30),
    options: dict[str, str] | None = None,
    audio: str | None = None,
    audio_start: float = 0.0,
    context: dict[str, Any] | None = None,
    rotation: int = 0,
    chapters: bool = False,
    subtitle: str | None = None,
    attachment: bytes | None = None,
    metadata: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    filter_frames: str | None = None,
) -> Path:
    """Write a video whose frames have the given times."""
    alike = X265 if codec == "libx265" else {}
    scale = {"video_track_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", container_options={**scale, **(muxing or {})}) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(
            codec, rate=rate, options={"g": "6", "threads": "1", **alike, **(options or {})}
        )
        ctx = stream.codec_context
        ctx.height, ctx.width = size_hw
        ctx.pix_fmt, ctx.time_base = pixel_format, 1 / rate
        for name, value in (context or {}).items():
            setattr(ctx, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        stream.metadata["language"] = "fra"
        sound = _add_audio(container, audio)
        text = _add_subtitle(container, subtitle)
        if attachment is not None:
            container.add_attachment("notes.txt", "text/plain", attachment)
        if chapters:
            container.set_chapters(_chapters())
        container.start_encoding()
        packets = _encoded(stream, pts, time_base, size_hw, pixel_format, filter_frames)
        length = float((pts[-1] - pts[0]) * time_base) + 0.1
        if sound is not None:
            packets += _sound(sound, audio_start, length)
        if text is not None:
            packets += _texts(text)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            container.mux(packet)
    return path


def _encoded(stream: Any, pts: Sequence[int], time_base: Fraction, size_hw: Any, fmt: str, graph: str | None) -> Any:
    packets = []
    for number in range(len(pts)):
        frame = native(size_hw, fmt, number)
        if graph:
            frame = _filtered(frame, graph)
        frame.pts, frame.time_base = number, stream.codec_context.time_base
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(frame, name, getattr(stream.codec_context, name))
        packets += stream.encode(frame)
    packets += stream.encode(None)
    for packet in packets:
        step = pts[1] - pts[0] if len(pts) > 1 else 1
        packet.dts = pts[packet.dts] if packet.dts >= 0 else pts[0] + packet.dts * step
        packet.pts, packet.time_base, packet.duration = pts[packet.pts], time_base, step
    return packets


def _filtered(frame: Any, description: str) -> Any:
    graph = av.filter.Graph()
    name, _, arguments = description.partition("=")
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def _add_audio(container: Any, codec: str | None) -> Any:
    if codec is None:
        return None
    stream = container.add_stream(codec, rate=44100 if codec != "libopus" else 48000, options={"threads": "1"})
    stream.codec_context.layout = "mono"
    stream.metadata["language"] = "deu"
    return stream


def _sound(stream: Any, start: float, length: float) -> Any:
    rate = stream.codec_context.sample_rate
    samples = (8000 * np.sin(np.arange(int(length * rate)) / 20)).astype(np.int16)[None]
    packets = []
    for begin in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(samples[:, begin : begin + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin + round(start * rate), Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _add_subtitle(container: Any, codec: str | None) -> Any:
    if codec is None:
        return None
    stream = container.add_stream(codec)
    stream.codec_context.time_base = Fraction(1, 1000)
    stream.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    stream.metadata["language"] = "spa"
    return stream


def _texts(stream: Any) -> Any:
    from av.subtitles.subtitle import SubtitleSet

    packets = []
    for number, start in enumerate((100, 350)):
        text = SubtitleSet.create(f"{number},0,Default,,0,0,0,,Line {number}".encode(), start=0, end=200)
        packet = stream.codec_context.encode_subtitle(text)
        packet.pts = packet.dts = start
        packet.duration, packet.time_base, packet.stream = 200, Fraction(1, 1000), stream
        packets.append(packet)
    return packets


def _chapters() -> Any:
    base = Fraction(1, 1000)
    return [
        {"id": 0, "start": 0, "end": 300, "time_base": base, "metadata": {"title": "One"}},
        {"id": 1, "start": 300, "end": 600, "time_base": base, "metadata": {"title": "Two"}},
    ]
