"""Copies that every browser plays: H.264 and AAC in MP4, square pixels, upright, 8 bits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter

from revisage.core import CancelToken, InputError
from revisage.media.formats import format_of_info
from revisage.media.info import MediaInfo
from revisage.media.picture import write_picture
from revisage.media.segment import output_errors
from revisage.media.source import open_source
from revisage.media.video_probe import open_container, video_stream

__all__ = ["is_playable", "write_playable"]

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
    with output_errors(target), open_container(source) as container:
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
        options = {"crf": "20", "preset": "veryfast", "threads": "2"}
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
    except (av.error.InvalidDataError, av.error.EOFError):
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
