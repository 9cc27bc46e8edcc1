"""A video from one program to the next: read from a pipe, restored in one pass, written to a pipe as it came.

Every frame is restored, and none is dropped: a pipe waits. The faces are followed from the past alone, by the same
:class:`FollowedFaces` as those of a camera, and restored by :func:`revisage.pipeline.restore_frames`, like a file's.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from revisage import media, pipeline
from revisage.core import CancelToken, ConfigError, InputError, RestoreConfig, UserError
from revisage.streams.followed_faces import FollowedFaces
from revisage.streams.live_restorer import check_config

if TYPE_CHECKING:
    from revisage.media import Frame, FrameMaker, MediaInfo
    from revisage.pipeline import Block, FrameInWork, Networks, Tally

__all__ = ["PipeSink", "PipeSource", "pipe_ending", "restore_frames_of_pipe", "send_file"]

_MUXERS = {"nut": "nut", "y4m": "yuv4mpegpipe", "mkv": "matroska", "ts": "mpegts"}
"""Containers that are written without going back in them, by the usual ending of their names."""

_AS_IT_IS = {"flush_packets": "1", "avoid_negative_ts": "disabled"}
"""Packets leave at once, and sound that begins before zero, to be cut off there, does not move everything else."""

_RAW = ("rawvideo", "wrapped_avframe")
_ENDLESS = 2**62
_LONGEST_LAPSE = 4.0


class PipeSource:
    """Frames of a pipe, and the packets of its other streams.

    Args:
        name: for FFmpeg, or a path.
        said: what to call it in messages.

    Attributes:
        info: what it holds, once the first frame has come.
        warnings: why it ended before its end, if it did.

    Raises:
        InputError: there is no video in it.
    """

    def __init__(self, name: str = "pipe:0", said: str = "standard input") -> None:
        self.said = said
        self.info: MediaInfo | None = None
        self.warnings: list[str] = []
        self._others: deque[Any] = deque()
        try:
            options = {"protocol_whitelist": "pipe" if name.startswith("pipe:") else "file"}
            self._container = av.open(name, options=options)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"{said} holds no video that can be read: {_reason(error)}") from None
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{said} holds no video; there is nothing to restore")
        self._video = self._container.streams.video[0]
        self._video.thread_type = "AUTO"
        self.others = [stream for stream in self._container.streams if stream.type == "audio"]

    def frames(self) -> Iterator[Frame]:
        """Frames in order, at times that rise; the packets of other streams meanwhile wait in :meth:`passed`."""
        last, count = -1, 0
        size_hw: tuple[int, int] | None = None
        time_base = self._video.time_base or Fraction(1, 1000)
        step = round(1 / (self._rate() * time_base))
        for decoded in self._decoded():
            pts = last + max(1, step) if decoded.pts is None else decoded.pts
            last = pts if not count else max(last + 1, pts)
            size_hw = size_hw or (decoded.height, decoded.width)
            frame = media.decoded_frame(decoded, pts=last, time_base=time_base, index=count, size_hw=size_hw)
            if self.info is None:
                self.info = self._told(frame, decoded)
            count += 1
            yield frame
        if not count:
            raise InputError(f"{self.said} ended before its first frame{self._index_hint()}")

    def _index_hint(self) -> str:
        """What to do about an MP4 whose index comes last: a pipe cannot go back to the frames."""
        if "mp4" not in self._container.format.name:
            return ""
        return "; the index of this MP4 may come last, which --buffer can read"

    def passed(self) -> Iterator[Any]:
        """The packets of other streams that have come since the last call."""
        while self._others:
            yield self._others.popleft()

    def close(self) -> None:
        """Read no more."""
        self._container.close()

    def _decoded(self) -> Iterator[Any]:
        for packet in self._packets():
            if packet.stream is not self._video:
                self._others.append(packet)
                continue
            try:
                yield from packet.decode()
            except (av.error.InvalidDataError, av.error.ArgumentError):  # the latter of a bare picture that was cut off
                self._warn("damaged data was skipped")

    def _packets(self) -> Iterator[Any]:
        """All packets with something in them, and the empty ones that make the decoder give the rest."""
        packets = self._container.demux(self._video, *self.others)
        try:
            yield from (packet for packet in packets if packet.size or packet.stream is self._video)
        except av.error.FFmpegError as error:
            self._warn(f"reading stopped: {_reason(error)}")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _rate(self) -> Fraction:
        rate = self._video.average_rate or self._video.guessed_rate
        return Fraction(rate) if rate else Fraction(25)

    def _told(self, frame: Frame, decoded: Any) -> MediaInfo:
        context = self._video.codec_context
        tags = (decoded.color_range, decoded.colorspace, decoded.color_primaries, decoded.color_trc)
        return media.MediaInfo(
            path=Path(self.said),
            kind="video",
            container=self._container.format.name,
            codec=context.codec.canonical_name,
            width=frame.size_hw[1],
            height=frame.size_hw[0],
            average_rate=self._rate(),
            time_base=frame.time_base,
            start_pts=frame.pts,
            pixel_format=decoded.format.name,
            bit_depth=frame.layout.depth,
            colour=media.ColourTags(*(int(tag) for tag in tags)),
            sample_aspect_ratio=self._video.sample_aspect_ratio or Fraction(1),
            has_alpha=frame.layout.has_alpha,
        )


class PipeSink:
    """Writes frames to a pipe, in the container and the codec in which they came where nothing else is asked for.

    Args:
        source: where they come from.
        config: codec, crf, encoder_preset, pixel_format and ext are looked at.
        name: for FFmpeg, or a path.
        is_raw: write bare pictures, whatever the source holds.

    Raises:
        ConfigError: a container cannot be written to a pipe.
    """

    def __init__(
        self, source: PipeSource, config: RestoreConfig, name: str = "pipe:1", *, is_raw: bool = False
    ) -> None:
        self._ending, self._is_raw = pipe_ending(config), is_raw
        self._source, self._config, self._name = source, config, name
        self._container: Any = None
        self._stream: Any = None
        self._maker: FrameMaker | None = None
        self._copies: dict[int, Any] = {}

    def write(self, frame: Frame) -> None:
        """Write one frame at its time, and what has come of other streams.

        Raises:
            BrokenPipeError: whoever read has gone.
        """
        if self._container is None:
            self._open(frame)
        assert self._maker is not None
        native = self._maker.encodable(frame)
        native.pts, native.time_base = frame.pts, frame.time_base
        self._container.mux(self._stream.encode(native))
        self._pass_on()

    def close(self) -> None:
        """Write the rest."""
        if self._container is not None:
            container, self._container = self._container, None
            try:
                container.mux(self._stream.encode(None))
                self._pass_on(container)
            finally:
                container.close()

    def abort(self) -> None:
        """Write no more."""
        if self._container is not None:
            with contextlib.suppress(OSError):
                self._container.close()
            self._container = None

    def _pass_on(self, container: Any = None) -> None:
        for packet in self._source.passed():
            copy = self._copies.get(packet.stream.index)
            if copy is not None:
                packet.stream = copy
                (container or self._container).mux(packet)

    def _open(self, frame: Frame) -> None:
        info = self._source.info
        assert info is not None
        is_raw = self._is_raw or (info.codec in _RAW and not self._config.codec)
        ending = self._ending or _ending_of(info.container, is_raw=is_raw)
        is_raw = is_raw or ending == "y4m"
        encoder, options, pixel_format = self._encoder(info, frame, ending, is_raw=is_raw)
        self._maker = media.frame_maker(frame, pixel_format)
        self._container = av.open(self._name, "w", format=_MUXERS[ending], options=_AS_IT_IS)
        self._stream = self._container.add_stream(encoder, rate=info.average_rate, options=options)
        context, tags = self._stream.codec_context, self._maker.tags(frame)
        context.height, context.width = frame.stored_hw
        # y4m has no times, and states its rate as the inverse of this.
        time_base = 1 / (info.average_rate or Fraction(25)) if ending == "y4m" else frame.time_base
        context.pix_fmt, context.time_base = pixel_format, time_base
        context.sample_aspect_ratio = info.sample_aspect_ratio
        context.color_range, context.colorspace = tags.colour_range, tags.matrix
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        self._stream.time_base = time_base
        if ending != "y4m":
            others = self._source.others
            self._copies = {one.index: self._container.add_stream_from_template(one) for one in others}

    def _encoder(self, info: MediaInfo, frame: Frame, ending: str, *, is_raw: bool) -> tuple[str, dict[str, str], str]:
        """Name, options and pixel format of the encoder."""
        if is_raw:
            return "rawvideo", {}, self._config.pixel_format or frame.layout.name
        config = self._config
        asked = media.EncodeOptions(config.codec, config.crf, config.encoder_preset, config.pixel_format, frame.size_hw)
        settled = media.resolve_options(info, Path(f"{self._source.said}.{ending}"), asked)
        return settled.codec or "", media.encoder_options(settled, info), settled.pixel_format or frame.layout.name


def pipe_ending(config: RestoreConfig) -> str:
    """The ending of the container that a config asks for; empty where it leaves that open.

    Raises:
        ConfigError: it cannot be written to a pipe.
    """
    ending = (config.ext or "").lstrip(".").lower()
    if ending and ending not in _MUXERS:
        raise ConfigError(f"a pipe cannot hold {ending}; choose one of {', '.join(_MUXERS)} with --ext")
    return ending


def send_file(path: Path, config: RestoreConfig, *, like: MediaInfo, name: str = "pipe:1") -> None:
    """Write a file to a pipe: packet by packet, or as bare pictures where the source held such.

    Args:
        path: of the file.
        config: ext is looked at.
        like: what the source was: it decides about the container, and whether pictures are bare.
        name: for FFmpeg, or a path.

    Raises:
        BrokenPipeError: whoever read has gone.
    """
    is_raw = like.codec in _RAW and not config.codec
    ending = pipe_ending(config) or _ending_of(like.container, is_raw=is_raw)
    if not (is_raw or ending == "y4m"):
        _copy_packets(path, _MUXERS[ending], name)
        return
    source = PipeSource(str(path), path.name)
    sink = PipeSink(source, config.model_copy(update={"codec": None, "ext": ending}), name, is_raw=True)
    try:
        for frame in source.frames():
            sink.write(frame)
        sink.close()
    finally:
        sink.abort()
        source.close()


def _copy_packets(path: Path, muxer: str, name: str) -> None:
    with av.open(str(path.absolute())) as source, av.open(name, "w", format=muxer, options=_AS_IT_IS) as target:
        kept = [stream for stream in source.streams if stream.type in ("video", "audio", "subtitle")]
        copies = {stream.index: target.add_stream_from_template(stream) for stream in kept}
        for packet in source.demux(*kept):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)


def _ending_of(container: str, *, is_raw: bool) -> str:
    """The ending of the container that a pipe's own is written as; that of its nearest kin where it cannot be."""
    known = {muxer: ending for ending, muxer in _MUXERS.items()} | {"matroska,webm": "mkv"}
    return known.get(container, "nut" if is_raw else "mkv")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).lower().split())


def restore_frames_of_pipe(
    source: PipeSource, write: Callable[[Frame], None], config: RestoreConfig, networks: Networks, cancel: CancelToken
) -> Tally:
    """Restore all frames of a pipe in one pass.

    Args:
        source: of the frames.
        write: takes each in turn.
        config: what to do.
        networks: loaded for it.
        cancel: stops the work.

    Returns:
        What became of the frames.

    Raises:
        UserError: an option looks ahead, or there is no frame.
        CancelledError: stopped.
    """
    check_config(config)
    frames = source.frames()
    first = next(frames)
    tally = pipeline.Tally()
    size_hw = media.scaled_size(first.size_hw, config.upscale, even=True)
    planner = _Planner(config, networks)
    restored = pipeline.restore_frames(
        itertools.chain([first], frames), planner, networks, config, size_hw=size_hw, cancel=cancel
    )
    with contextlib.closing(restored):
        for item in restored:
            tally.count(item)
            write(item.shown)
    return tally


class _Planner:
    """Says which faces of the next frame to restore. Each shot is one block: what is averaged goes on to its end."""

    def __init__(self, config: RestoreConfig, networks: Networks) -> None:
        self._faces = FollowedFaces(config, networks.detector)
        self._recurrent = config.recurrent
        self._block: Block | None = None
        self._count = 0
        self._last: Fraction | None = None
        self._step = Fraction(0)

    def __call__(self, frame: Frame) -> FrameInWork:
        """See :data:`revisage.pipeline.Planner`."""
        index, self._count = self._count, self._count + 1
        problem, planned = None, []
        try:
            if self._faces.starts_shot(frame) or self._block is None:
                self._block = pipeline.Block(index, _ENDLESS, index, _ENDLESS)
            self._faces.look(frame)
            planned = self._faces.follow(frame)
        except UserError:
            raise
        except Exception as error:  # a frame is kept as it was; the next one may do
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._block = self._block or pipeline.Block(index, _ENDLESS, index, _ENDLESS)
        blocks = (self._block,) if self._recurrent else ()
        lapse = self._lapse(frame)
        return pipeline.FrameInWork(frame, planned, problem=problem, index=index, blocks=blocks, lapse=lapse)

    def _lapse(self, frame: Frame) -> float:
        now = frame.pts * frame.time_base
        step = Fraction(0) if self._last is None else now - self._last
        self._last = now
        self._step = self._step or step
        return min(_LONGEST_LAPSE, max(1.0, float(step / self._step))) if self._step else 1.0
