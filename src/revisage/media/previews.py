"""Pictures and videos for people to look at: outlined, side by side, plain, or as every browser plays them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.filter
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from revisage.core import Box, CancelToken, Image, InputError
from revisage.media.dispatch import open_source
from revisage.media.formats import format_of_info
from revisage.media.interface import MediaInfo
from revisage.media.video import BROKEN_PACKET, muxing, open_container, repeatable_x264, video_stream

__all__ = [
    "PlainVideo",
    "is_playable",
    "open_plain_video",
    "outlined",
    "side_by_side",
    "write_jpeg",
    "write_picture",
    "write_playable",
]

_FORMATS = ("yuv420p", "yuvj420p")
_TURNS = {90: "transpose=2", 180: "hflip,vflip", 270: "transpose=1"}
_RATE = 48000
_CLOCK = 90000


def is_playable(info: MediaInfo) -> bool:
    """Whether browsers show a medium as it is."""
    found = format_of_info(info)
    shown = found.in_browsers if found is not None else ()
    if not all(codec in shown for codec in (info.codec, *(stream.codec for stream in info.audio))):
        return False
    return info.kind != "video" or (info.pixel_format in _FORMATS and not info.interlaced)


def write_playable(source: Path, target: Path, info: MediaInfo, cancel: CancelToken) -> None:
    """Write a copy of ``source`` that browsers show; pictures become PNG.

    Both copies of one pair start at the first picture, so that they can be played side by side.

    Raises:
        InputError: it cannot be read.
        DiskFullError, OutputError: it cannot be written.
        CancelledError: a stop was asked for; nothing is left.
    """
    if info.kind != "video":
        with open_source(source) as pictures:
            write_picture(target, next(pictures.frames()).rgb())
        return
    with muxing(target), open_container(source) as container:
        try:
            with av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as made:
                _Copy(container, made, source, info, cancel).run()
        except BaseException:
            target.unlink(missing_ok=True)
            raise


class _Copy:
    """One container copied into another, picture and first sound track."""

    def __init__(self, container: Any, made: Any, source: Path, info: MediaInfo, cancel: CancelToken) -> None:
        self._container, self._made, self._cancel = container, made, cancel
        self._video = video_stream(container, source)
        self._video.thread_type = "AUTO"
        self._audio = next(iter(container.streams.audio), None) if info.audio else None
        self._graph = _graph(self._video, info)
        # Known before the first picture is: its decoder may hold it back while sound comes already.
        self._origin = info.start_pts * info.time_base
        self._last = -1
        self._held: list[Any] = []  # sound of before the first picture: no file begins before that one's size is known
        self._out: Any = self._video_stream(info.average_rate or Fraction(25))
        self._sound: Any = None if self._audio is None else self._sound_stream()

    def _video_stream(self, rate: Fraction) -> Any:
        # Without the macroblock tree the same file is written each time at any width, which is not known yet.
        options = {"crf": "20", "preset": "veryfast", "threads": "2", "x264-params": "mbtree=0"}
        stream = self._made.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        stream.codec_context.pix_fmt = "yuv420p"
        return stream

    def _sound_stream(self) -> Any:
        stream = self._made.add_stream("aac", rate=_RATE)
        stream.codec_context.layout = "stereo"
        self._resample: Any = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
        return stream

    def run(self) -> None:
        """Copy everything."""
        streams = [self._video, *([self._audio] if self._audio is not None else [])]
        for packet in self._container.demux(streams):
            self._cancel.check()
            for frame in _decoded(packet):
                if isinstance(frame, av.VideoFrame):
                    self._filter(frame)
                else:
                    self._hear(frame)
        self._filter(None)
        self._made.mux(self._out.encode(None))
        if self._last < 0:
            raise InputError("no picture could be read for the copy that plays in a browser")
        if self._sound is not None:
            self._hear(None)
            self._made.mux(self._sound.encode(None))

    def _filter(self, frame: Any) -> None:
        self._graph.push(frame)
        while True:
            try:
                shown = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            self._show(shown)

    def _show(self, frame: Any) -> None:
        if self._last < 0:
            self._out.codec_context.height, self._out.codec_context.width = frame.height, frame.width
        time = (frame.pts or 0) * frame.time_base
        pts = max(self._last + 1, round((time - self._origin) * _CLOCK))
        frame.pts, frame.time_base, frame.pict_type = pts, Fraction(1, _CLOCK), 0
        self._last = pts
        self._made.mux(self._out.encode(frame))
        self._made.mux(self._held)
        self._held.clear()

    def _hear(self, frame: Any) -> None:
        for heard in self._resample.resample(frame):
            time = (heard.pts or 0) * heard.time_base - self._origin
            if time < 0:
                continue  # sound before the first picture
            heard.pts, heard.time_base = round(time * _RATE), Fraction(1, _RATE)
            packets = self._sound.encode(heard)
            if self._last < 0:
                self._held += packets
            else:
                self._made.mux(packets)


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except (*BROKEN_PACKET, av.error.EOFError):
        return []


def _graph(stream: Any, info: MediaInfo) -> Any:
    """Deinterlaced, upright, square pixels, even sides, 8 bits."""
    steps = ["bwdif=mode=send_frame"] if info.interlaced else []
    if info.rotation in _TURNS:
        steps.append(_TURNS[info.rotation])
    steps += ["scale=trunc(iw*sar/2)*2:trunc(ih/2)*2:out_range=limited", "setsar=1", "format=yuv420p"]
    graph = av.filter.Graph()
    last = graph.add_buffer(template=stream)
    for step in ",".join(steps).split(","):
        name, _, options = step.partition("=")
        node = graph.add(name, options) if options else graph.add(name)
        last.link_to(node)
        last = node
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


_LIMITED, _BT709 = 1, 1
_AUDIO_CHUNK = 1024


class PlainVideo:
    """Takes RGB pictures of one size; made by :func:`open_plain_video`."""

    def __init__(self, container: Any, stream: Any, size_hw: tuple[int, int]) -> None:
        self._container, self._stream, self._size_hw = container, stream, size_hw
        self._count = 0

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append one picture.

        Args:
            rgb: ``(H, W, 3)`` uint8 RGB of the video's size.

        Raises:
            ValueError: another size.
        """
        if rgb.shape != (*self._size_hw, 3):
            raise ValueError(f"need a picture of shape {(*self._size_hw, 3)}, got {rgb.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range=_LIMITED)
        frame.pts, frame.time_base = self._count, self._stream.codec_context.time_base
        self._count += 1
        self._container.mux(self._stream.encode(frame))


@contextmanager
def open_plain_video(
    path: Path,
    *,
    size_hw: tuple[int, int],
    rate: Fraction | int,
    crf: float = 16,
    audio: NDArray[np.float32] | None = None,
    sample_rate: int = 44100,
) -> Iterator[PlainVideo]:
    """Write an H.264 MP4 picture by picture. When the block ends with an error, the file is removed.

    Args:
        path: of the file, written over.
        size_hw: of the pictures in px, both even.
        rate: pictures per second.
        crf: quality, lower is better.
        audio: ``(samples, channels)`` float32 in -1..1, one or two channels, written as AAC.
        sample_rate: of the audio, in Hz.

    Raises:
        DiskFullError, OutputError: it cannot be written.
    """
    with muxing(path):
        container = av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"})
        try:
            stream = _video_stream(container, size_hw, Fraction(rate), crf)
            sound = None if audio is None else _audio_stream(container, audio, sample_rate)
            yield PlainVideo(container, stream, size_hw)
            container.mux(stream.encode(None))
            if audio is not None and sound is not None:
                _write_audio(container, sound, audio, sample_rate)
            container.close()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _video_stream(container: Any, size_hw: tuple[int, int], rate: Fraction, crf: float) -> Any:
    parameters = ":".join(repeatable_x264(size_hw[1]))
    options = {"crf": f"{crf:g}", "preset": "fast", "threads": "4", "x264-params": parameters}
    stream = container.add_stream("libx264", rate=rate, options=options)
    context = stream.codec_context
    context.height, context.width = size_hw
    context.pix_fmt, context.time_base = "yuv420p", 1 / rate
    context.color_range = _LIMITED
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _audio_stream(container: Any, audio: NDArray[np.float32], sample_rate: int) -> Any:
    stream = container.add_stream("aac", rate=sample_rate, options={"threads": "1"})
    stream.codec_context.layout = "mono" if audio.shape[1] == 1 else "stereo"
    stream.codec_context.bit_rate = 128_000
    return stream


def _write_audio(container: Any, stream: Any, audio: NDArray[np.float32], sample_rate: int) -> None:
    layout = "mono" if audio.shape[1] == 1 else "stereo"
    for start in range(0, len(audio), _AUDIO_CHUNK):
        samples = np.ascontiguousarray(audio[start : start + _AUDIO_CHUNK].T, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(cast(Any, samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = sample_rate, start
        frame.time_base = Fraction(1, sample_rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_picture(path: Path, picture: Image) -> None:
    """Write an ``(H, W, 3) uint8 RGB`` picture as PNG, quickly rather than small.

    Raises:
        OSError: it cannot be written.
    """
    PillowImage.fromarray(picture).save(path, format="PNG", compress_level=1)


def side_by_side(left: Image, right: Image, labels: tuple[str, str]) -> Image:
    """Two ``(H, W, 3) uint8 RGB`` pictures of one size beside each other, ``(H, 2W, 3)``, a label in each.

    Raises:
        ValueError: the pictures differ in shape.
    """
    if left.shape != right.shape:
        raise ValueError(f"pictures side by side must have one shape, got {left.shape} and {right.shape}")
    height, width = left.shape[:2]
    canvas = PillowImage.fromarray(np.hstack((left, right)))
    draw = ImageDraw.Draw(canvas, "RGBA")
    size = max(10, min(height, width) // 18)
    font = ImageFont.load_default(size)
    pad = size // 3
    for offset, label in zip((0, width), labels, strict=True):
        edge = offset + 3 * pad + round(draw.textlength(label, font=font))
        bottom = 3 * pad + round(1.2 * size)
        draw.rectangle((offset + pad, pad, edge, bottom), fill=(0, 0, 0, 150))
        draw.text((offset + 2 * pad, 2 * pad), label, font=font, fill=(255, 255, 255, 255))
    return np.ascontiguousarray(canvas)


_LINE, _EDGE, _TEXT = (255, 214, 0), (0, 0, 0), (0, 0, 0)


def outlined(picture: Image, boxes: Sequence[tuple[str, Box]]) -> Image:
    """A copy with labelled rectangles: yellow with a dark edge, seen on any background.

    Args:
        picture: ``(H, W, 3) uint8 RGB``.
        boxes: a label, and x, y, width, height (px).
    """
    canvas = PillowImage.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(max(canvas.size) / 400))
    font = ImageFont.load_default(max(12, round(max(canvas.size) / 45)))
    for label, (x, y, wide, high) in boxes:
        corners = (x, y, x + wide, y + high)
        draw.rectangle(tuple(v + d * width for v, d in zip(corners, (-1, -1, 1, 1), strict=True)), outline=_EDGE)
        draw.rectangle(corners, outline=_LINE, width=width)
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        pad = 2 * width
        tag = (x, y, x + right - left + 2 * pad, y + bottom - top + 2 * pad)
        draw.rectangle(tag, fill=_LINE)
        draw.text((x + pad - left, y + pad - top), label, font=font, fill=_TEXT)
    return np.asarray(canvas).copy()


def write_jpeg(path: Path, picture: Image, *, longest: int, quality: int) -> None:
    """Write an ``(H, W, 3) uint8 RGB`` picture as JPEG, reduced until its longer side is at most ``longest`` px.

    Raises:
        OSError: it cannot be written.
    """
    image = PillowImage.fromarray(picture)
    scale = longest / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, PillowImage.Resampling.LANCZOS)
    image.save(path, format="JPEG", quality=quality, subsampling=0)
