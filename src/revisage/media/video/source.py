"""Frames of a video, in order, from any of them on; interlaced ones made progressive where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
import av.filter
import numpy as np
from av.codec.codec import find_best_pix_fmt_of_list
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from revisage.core import InputError, ProcessingError
from revisage.media.formats import format_of_info
from revisage.media.frame import Frame, Orientation, PixelLayout, guess_colour
from revisage.media.interface import MediaInfo, OpenSource
from revisage.media.video.ebml import end_of_head
from revisage.media.video.lost_pictures import LostPictures
from revisage.media.video.probing import (
    BROKEN_PACKET,
    FrameDecoder,
    SourceClock,
    open_container,
    read_info,
    says_alpha,
    video_stream,
)

__all__ = ["VideoSource", "decoded_frame", "decoded_planes", "native_format", "native_frame"]

_STEPS_BACK = (Fraction(0), Fraction(2), Fraction(10))
"""Seconds by which to seek further back until the frame wanted is met. MPEG streams state times only now and then, at
least every 0.7 s; until the first of them FFmpeg guesses, so there a seek to the place itself is not enough."""


_AT_A_JOIN = 4
"""So many packets before a clock that starts anew FFmpeg takes one for damaged, because the count of transport packets
starts anew too."""


_OVERHEAD = 512
"""Bytes that may lie between two blocks of Matroska, of the heads of clusters and blocks and of padding."""

_HEAD = 1 << 20
"""Bytes at the beginning of a Matroska file within which its first cluster lies, but for huge attached files."""


class VideoSource(OpenSource):
    """A video file as a :class:`revisage.media.Source`. Each call of ``frames`` reads by itself."""

    def __init__(self, path: Path, *, deinterlace: bool = False, info: MediaInfo | None = None) -> None:
        self.info = info or read_info(path)
        self.warnings: list[str] = []
        self.truncated = False
        self._reader: _Reader | None = None
        self._path = path
        self._deinterlace = deinterlace and self.info.interlaced
        if self._deinterlace:
            self.info = replace(self.info, fields="progressive")
        self._format = native_format(self.info.pixel_format)
        layout = PixelLayout.find(self._format)
        if layout is None:
            raise InputError(f"{path}: its pixel format {self.info.pixel_format} is not supported")
        matrix = self.info.display_matrix
        self._orientation = Orientation.from_matrix(matrix) if matrix else Orientation()
        self._layout = layout
        self._stored_hw = self._orientation.size(self.info.size_hw)
        tags = self.info.colour
        self._colour = guess_colour(
            layout,
            self._stored_hw,
            matrix=tags.matrix,
            colour_range=tags.colour_range,
            transfer=tags.transfer,
            codec=self.info.codec,
        )

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """See :meth:`revisage.media.Source.frames`."""
        if stop is not None and stop <= first:
            return
        for number, (frame, pts) in self._numbered(first, first_pts):
            yield self._frame(frame, pts, number)
            if stop is not None and number + 1 >= stop:
                return

    @property
    def seeks(self) -> bool:
        """See :attr:`revisage.media.Source.seeks`."""
        return _seeks(self.info) and not self._clock().is_joined

    @property
    def is_damaged(self) -> bool:
        """See :attr:`revisage.media.Source.is_damaged`."""
        return super().is_damaged or (self._reader is not None and self._reader.is_damaged)

    def frames_since(self, pts: int, *, within: int) -> Iterator[Frame]:
        """See :meth:`revisage.media.Source.frames_since`."""
        if not self.seeks:
            yield from super().frames_since(pts, within=within)
            return
        for number, (frame, at) in enumerate(self._decoded_since(pts, within)):
            yield self._frame(frame, at, number)

    def _numbered(self, first: int, first_pts: int | None) -> Iterator[tuple[int, tuple[av.VideoFrame, int]]]:
        if first == 0 or first_pts is None or not self.seeks:
            yield from ((number, item) for number, item in enumerate(self._decoded()) if number >= first)
        else:
            decoded = self._decoded_from(first_pts)
            yield from enumerate(decoded, first)

    def _clock(self) -> SourceClock:
        return SourceClock(self._path, self.info.container)

    def _decoded_from(self, first_pts: int) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decoded frames from the one at ``first_pts`` on."""
        for wanted in self._places_before(first_pts):
            decoded = self._decoded(wanted)
            last: int | None = None
            for frame, pts in decoded:
                # One frame before it must have been there, or what it is predicted from may be missing.
                if pts == first_pts and (last is not None or (frame.key_frame and not self._deinterlace)):
                    yield frame, pts
                    yield from decoded
                    return
                if pts >= first_pts:
                    break
                last = pts
        yield from (item for item in self._decoded() if item[1] >= first_pts)

    def _decoded_since(self, since: int, within: int) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decoded frames from the first one at or after ``since`` on."""
        for wanted in self._places_before(since):
            decoded = self._decoded(wanted)
            last: int | None = None
            for frame, pts in decoded:
                if last is None and pts < since - within:
                    raise ProcessingError(f"{self._path}: {self._seconds(since)} s lies too far behind a key frame")
                # One before it must have been met, or there may be others between, or what it is predicted from lacks.
                if pts >= since and (last is not None or (frame.key_frame and pts == since and not self._deinterlace)):
                    yield frame, pts
                    yield from decoded
                    return
                if pts >= since:
                    break
                last = pts
        if since - within > self.info.start_pts:
            raise ProcessingError(f"{self._path}: {self._seconds(since)} s cannot be found without reading all before")
        yield from (item for item in self._decoded() if item[1] >= since)

    def _seconds(self, pts: int) -> float:
        return round(float(pts * self.info.time_base), 3)

    def _places_before(self, pts: int) -> Iterator[int]:
        """Where to seek to, so that decoding begins before a frame at ``pts``: farther back each time."""
        steps = _STEPS_BACK[1:] if self.info.container.startswith("mpeg") else _STEPS_BACK
        for step in steps:
            wanted = pts - int(step / self.info.time_base) - int(self._deinterlace)
            if wanted <= self.info.start_pts:
                return
            yield wanted

    def _decoded(self, seek_pts: int | None = None) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decoded frames with times that rise; after a seek from the first key frame on."""
        with open_container(self._path) as container:
            stream = video_stream(container, self._path)
            if says_alpha(stream) and not self.info.has_alpha:
                self._warn("its transparency cannot be read and is left out")
            if seek_pts is not None:
                try:
                    container.seek(seek_pts, stream=stream, backward=True)
                except av.error.FFmpegError:
                    seek_pts = None
            reader = self._reader = _Reader(container, stream, self.info, self._clock())
            if seek_pts is None:
                reader.skipped.begins = self._end_of_head
            frames = reader.frames(from_key=seek_pts is not None)
            if self._deinterlace:
                frames = _Deinterlacer(stream).frames(frames)
            yield from _rising(frames, _step(self.info), reader)
            if reader.ended and seek_pts is None:
                self._note_damage(reader)
                if reader.is_joined:
                    self._warn(
                        "its clock starts anew on the way, as in joined recordings; all streams were put in order"
                    )

    def _end_of_head(self) -> int | None:
        with self._path.open("rb") as file:
            return end_of_head(file.read(_HEAD))

    def _note_damage(self, reader: _Reader) -> None:
        problem = reader.missing()
        passed_over, lost = reader.skipped.told(), reader.lost.told()
        is_short = problem is not None or passed_over is not None or bool(lost)
        self.truncated = self.truncated or is_short or bool(reader.broken)
        if reader.broken:
            reader.warnings.append(f"{reader.broken} damaged packets were skipped or repaired")
        for warning in [*reader.warnings, *lost, *filter(None, (passed_over, problem))]:
            self._warn(warning)

    def _warn(self, warning: str) -> None:
        text = f"{self._path}: {warning}"
        if text not in self.warnings:
            self.warnings.append(text)

    def _frame(self, frame: av.VideoFrame, pts: int, number: int) -> Frame:
        if (frame.height, frame.width) != self._stored_hw:
            self._warn("the size of its picture changes on the way; all pictures are brought to the first one's")
        native = native_frame(frame, self._stored_hw, self._format)
        native.pts = pts
        return Frame(
            planes=decoded_planes(native, self._layout),
            layout=self._layout,
            colour=self._colour,
            pts=pts,
            time_base=self.info.time_base,
            duration=frame.duration or None,
            index=number,
            orientation=self._orientation,
            fields=self.info.fields,
            origin=native,
            is_decoded=True,
        )


def _seeks(info: MediaInfo) -> bool:
    found = format_of_info(info)
    return found is None or found.seeks


def _step(info: MediaInfo) -> int:
    """The time from one frame to the next, in ``time_base``."""
    return max(1, round(1 / (info.average_rate * info.time_base))) if info.average_rate else 1


def _rising(frames: Iterator[av.VideoFrame], step: int, reader: _Reader) -> Iterator[tuple[av.VideoFrame, int]]:
    """Frames with their pts. One that is absent is a frame's length after the one before, as in a bare stream, where
    all are; one that does not rise is just after it."""
    last: int | None = None
    for frame in frames:
        pts = frame.pts
        if pts is None:
            pts = 0 if last is None else last + step
            reader.absent += 1
        elif last is not None and pts <= last:
            pts = last + 1
            reader.repaired += 1
        else:
            reader.timed += 1
        yield frame, pts
        last = pts
    if reader.has_odd_times:
        count = reader.repaired + reader.absent
        reader.warnings.append(f"{count} frames had no time of their own or one out of order")


class _Reader:
    """Demuxes and decodes one video stream, counting what is broken.

    Attributes:
        broken: packets that were skipped or repaired.
        timed, repaired, absent: frames with a time that rises, with one that does not, and without one.
        ended: whether the data was read to its end.
        skipped: what the demuxer passed over in silence.
        lost: what the decoder dropped, or gave though it is damaged.
        warnings: what there is to say of it.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, info: MediaInfo, clock: SourceClock) -> None:
        self._container, self._stream, self._info, self._clock = container, stream, info, clock
        self._promised_length = container.duration
        self._decoder = FrameDecoder(stream, threaded=True)
        self._packets = self._places = 0
        self._doubtful = -_AT_A_JOIN
        self._end = Fraction(0)
        # Transparency lies beside a picture's packet, as bytes that no packet counts.
        self._is_matroska = "matroska" in info.container and not info.has_alpha
        self.skipped = _Skipped()
        self.lost = LostPictures(info.codec, info.container)
        self.broken = 0
        self.timed = self.repaired = self.absent = 0
        self.ended = False
        self.warnings: list[str] = []

    @property
    def is_joined(self) -> bool:
        """Whether the file's clock starts anew on the way."""
        return self._clock.is_joined

    @property
    def has_odd_times(self) -> bool:
        """Whether frames had no time of their own, though others had, or one out of order."""
        return self.repaired > 0 or (self.absent > 0 and self.timed > 0)

    @property
    def is_damaged(self) -> bool:
        """Whether damage was met so far, wherever reading began."""
        lost = self.skipped.seconds or self.lost.count or self.lost.damaged
        met = bool(self.broken or self.warnings or lost) or self.has_odd_times
        return met or (self.ended and self.missing(whole=False) is not None)

    def frames(self, *, from_key: bool) -> Iterator[av.VideoFrame]:
        """Frames until the data ends; with ``from_key`` those before the first key frame are left out."""
        wait = from_key
        for frame, is_key in self._all_frames():
            if wait and not is_key:
                continue
            wait = False
            yield frame
        self.lost.end()
        self.ended = True

    def missing(self, *, whole: bool = True) -> str | None:
        """What the container promised and did not hold, as text; ``whole``: it was read from its beginning."""
        promised = self._info.frame_count if whole else None
        there = max(self._packets, self._places if self._info.container == "avi" else 0)
        if promised is not None and there < promised:
            return f"the data ends early: {there} of {promised} frames are there"
        length = self._promised_length
        if self._info.frame_count is None and length and "matroska" in self._info.container:
            lacking = Fraction(length, 1_000_000) - self._end  # it counts from zero, wherever the first picture stands
            if lacking > max(Fraction(1), Fraction(length, 20_000_000)):
                return f"the data ends early: {float(lacking):.1f} s are missing at the end"
        return None

    def _all_frames(self) -> Iterator[tuple[av.VideoFrame, bool]]:
        for packet in self._all_packets():
            if packet.is_corrupt:
                self.broken += 1
            self.lost.sent(packet)
            try:
                for frame in self._decoder.decode(packet):
                    self.lost.shown(frame)
                    yield frame, frame.key_frame if self._decoder.marks_keys else packet.is_keyframe
            except BROKEN_PACKET:
                self.broken += 1
            except av.error.EOFError:
                return

    def _all_packets(self) -> Iterator[av.Packet]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.warnings.append(f"reading stopped: {str(error.strerror).lower()}")
                self.broken += 1
                yield from self._flush()
                return
            starts_anew = bool(packet.size) and self._clock.straighten(packet)
            if packet.size and packet.pts is not None and packet.time_base is not None:
                self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if self._is_matroska and packet.size:
                self.skipped.pass_by(packet, is_video=packet.stream.index == self._stream.index)
            # Of the empty packets at the end only the stream, not its number, is right.
            if packet.stream.index == self._stream.index:
                self._packets += 1 if packet.size else 0
                # AVI counts the places of frames, of which some are empty: the one before them is shown on.
                self._places = max(self._places, (packet.pts or 0) + 1)
                if packet.is_corrupt:
                    self._doubtful = self._packets
                if starts_anew and self._packets - self._doubtful <= _AT_A_JOIN:
                    self.broken -= 1
                yield packet

    def _flush(self) -> Iterator[av.Packet]:
        flush = av.Packet()
        flush.stream = self._stream
        yield flush


class _Skipped:
    """What is missing of a Matroska file's picture where its demuxer met no block and went on to the next cluster.

    It says nothing of that; but bytes that belong to no block lie between two of them. A picture that is only shown for
    long leaves no such bytes.

    Attributes:
        seconds: of the picture that are missing.
        begins: where in the file the first cluster lies, where that is known and reading began there.
    """

    def __init__(self) -> None:
        self.seconds = Fraction(0)
        self.begins: Callable[[], int | None] = lambda: None
        self._begun: int | None = None
        self._first = Fraction(0)
        self._block: int | None = None
        self._end = 0
        self._shown: Fraction | None = None
        self._is_behind_hole = False

    def pass_by(self, packet: av.Packet, *, is_video: bool) -> None:
        """Take the next packet in the order of the file."""
        place = -1 if packet.pos is None else packet.pos
        if place >= 0:
            self._begun = place if self._begun is None else self._begun
            self._is_behind_hole |= self._block is not None and place - self._end > _OVERHEAD
            # Several packets may share a block.
            self._end = (self._end if place == self._block else place) + packet.size
            self._block = place
        if not is_video or packet.pts is None or packet.time_base is None:
            return
        start = packet.pts * packet.time_base
        length = (packet.duration or 0) * packet.time_base
        if self._shown is None and start > length / 2 and self._begins_with_hole():
            self._shown, self._is_behind_hole = Fraction(0), True
        if self._is_behind_hole and self._shown is not None and start - self._shown > length / 2:
            self._first = self._first if self.seconds else self._shown
            self.seconds += start - self._shown
        self._is_behind_hole = False
        self._shown = start + length if self._shown is None else max(self._shown, start + length)

    def _begins_with_hole(self) -> bool:
        """Whether the first block lies farther behind the file's head than it may: clusters without any came before."""
        begins = self.begins()
        return begins is not None and self._begun is not None and self._begun - begins > _OVERHEAD

    def told(self) -> str | None:
        """That as text; None where nothing is missing."""
        if not self.seconds:
            return None
        # Pictures that refer to those that are missing may not come out either.
        seconds, first = float(self.seconds), float(self._first)
        return f"at least {seconds:.2f} s of its picture are missing, from {first:.2f} s on; the file is damaged there"


class _Deinterlacer:
    """Feeds frames through the filter and restores their times, which it keeps in half units."""

    def __init__(self, stream: VideoStream) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 2
        source = self._graph.add_buffer(template=stream)
        filtering = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        sink = self._graph.add("buffersink")
        self._graph.link_nodes(source, filtering, sink).configure()

    def frames(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Progressive frames, one for each given, with its pts and duration."""
        times: list[tuple[int | None, int, object]] = []
        for frame in frames:
            times.append((frame.pts, frame.duration, frame.time_base))
            self._graph.vpush(frame)
            yield from self._ready(times)
        self._graph.vpush(None)
        yield from self._ready(times)

    def _ready(self, times: list[tuple[int | None, int, object]]) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            pts, duration, time_base = times.pop(0)
            frame.time_base = time_base  # type: ignore[assignment]
            frame.pts, frame.duration = pts, duration
            yield frame


_CANDIDATES = [
    *(f"yuv{sub}p{depth}" for sub in ("420", "422", "444") for depth in ("", "10le", "12le", "16le")),
    *("yuv440p", "yuv411p", "yuv410p", "yuva420p", "yuva422p", "yuva444p", "yuva444p10le", "yuva444p16le"),
    *("gbrp", "gbrp10le", "gbrp12le", "gbrp16le", "gbrap", "gbrap10le", "gbrap12le", "gbrap16le"),
    *("gray", "gray10le", "gray12le", "gray16le", "ya8", "ya16le"),
]


@lru_cache(maxsize=64)
def native_format(name: str) -> str:
    """The pixel format in which frames of a format are kept: itself, or one of separate planes that holds the same.

    Semi-planar, packed and big-endian samples are only moved; palettes become RGB; floating point 16 bits.
    """
    if _is_native(name):
        return name
    little = name.removesuffix("be") + "le"
    if name.endswith("be") and _is_native(little):
        return little
    best, _ = find_best_pix_fmt_of_list(_CANDIDATES, name, has_alpha=True)
    return best.name if best is not None else "yuv420p"


def _is_native(name: str) -> bool:
    return PixelLayout.find(name) is not None and name not in ("ya8", "ya16le")


def native_frame(frame: av.VideoFrame, size_hw: tuple[int, int], pixel_format: str) -> av.VideoFrame:
    """A decoded frame in the given size and format; itself when it already is."""
    if (frame.height, frame.width) == size_hw and frame.format.name == pixel_format:
        return frame
    moved = frame.reformat(width=size_hw[1], height=size_hw[0], format=pixel_format)
    moved.pts, moved.time_base = frame.pts, cast(Any, frame.time_base)
    return moved


def decoded_frame(
    frame: av.VideoFrame, *, pts: int, time_base: Fraction, index: int = 0, size_hw: tuple[int, int] | None = None
) -> Frame:
    """A frame of a stream that is decoded as it comes in, and of which nothing is known beforehand.

    Args:
        frame: as decoded.
        pts, time_base: its time.
        index: its place among the stream's frames.
        size_hw: the size wanted (px); its own if None.

    Raises:
        InputError: its pixel format is not supported.
    """
    name = native_format(frame.format.name)
    layout = PixelLayout.find(name)
    if layout is None:
        raise InputError(f"pixel format {frame.format.name} is not supported; convert the video first, to yuv420p say")
    native = native_frame(frame, size_hw or (frame.height, frame.width), name)
    native.pts = pts
    colour = guess_colour(
        layout,
        (native.height, native.width),
        matrix=int(frame.colorspace),
        colour_range=int(frame.color_range),
        transfer=int(frame.color_trc),
        codec="",
    )
    return Frame(
        planes=decoded_planes(native, layout),
        layout=layout,
        colour=colour,
        pts=pts,
        time_base=time_base,
        duration=frame.duration or None,
        index=index,
        origin=native,
        is_decoded=True,
    )


def decoded_planes(frame: av.VideoFrame, layout: PixelLayout) -> tuple[NDArray[Any], ...]:
    """Read-only views of a decoded frame's samples, in the order of :class:`PixelLayout`."""
    return tuple(_plane_view(frame.planes[number], layout) for number in layout.planes_in_file)


def _plane_view(plane: Any, layout: PixelLayout) -> NDArray[Any]:
    samples: NDArray[Any] = np.frombuffer(plane, dtype=layout.dtype)
    stride = plane.line_size // layout.dtype.itemsize
    view = samples[: stride * plane.height].reshape(plane.height, stride)[:, : plane.width]
    view.flags.writeable = False
    return view
