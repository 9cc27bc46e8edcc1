"""Writing animated images: GIF, APNG and animated WebP.

Where the source is an animation of the same format and size, its own delays, loop count, metadata and untouched
pictures are written as they are stored; everything else is a difference from the picture before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from revisage.core import OutputError
from revisage.media.animation import animation_format
from revisage.media.frame import Frame
from revisage.media.gif_blocks import TRAILER, GifFile, loop_block, parse_gif
from revisage.media.gif_encoder import GifPainter, GifPatcher
from revisage.media.image_file import ImageFile, reported
from revisage.media.info import MediaInfo

__all__ = ["AnimationSink", "GifSink", "rgba_of"]

Samples = NDArray[Any]
DEFAULT_DURATION = Fraction(1, 10)


def rgba_of(frame: Frame, dtype: Any = np.uint8) -> Samples:
    """A frame as ``(H, W, 4)`` RGBA of a type: its own samples where it has them in that depth, else from 8-bit RGB."""
    largest = int(np.iinfo(dtype).max)
    rgba = np.full((*frame.size_hw, 4), largest, dtype=dtype)
    if frame.layout.family != "yuv" and frame.layout.maximum == largest:
        own = frame.to_array()
        own = own[..., None] if own.ndim == 2 else own
        grey = own.shape[2] < 3
        rgba[..., :3] = own[..., :1] if grey else own[..., :3]
        if frame.layout.has_alpha:
            rgba[..., 3] = own[..., -1]
        return rgba
    rgba[..., :3] = frame.rgb().astype(dtype) * (largest // 255)
    if frame.alpha is not None:
        rgba[..., 3] = np.rint(frame.alpha * (largest / frame.layout.maximum))
    return rgba


class AnimationSink(ABC):
    """Takes the frames of an animation. Each is written when the next has come, for that ends its time.

    Args:
        path: of the file, which is created at once.
        info: of the source.

    Attributes:
        notes: what the format could not keep, one line each.
    """

    format: str
    longest_side: int

    def __init__(self, path: Path, info: MediaInfo) -> None:
        self.notes: list[str] = []
        self._info = info
        self._path = path
        self._pending: Frame | None = None
        self._origin: Fraction | None = None
        self._dropped = 0
        self._shortest = 0  # 1/100 s between two frames; nearer ones are left out
        self._source: BinaryIO | None = None
        self._file = ImageFile(path)

    def write(self, frame: Frame) -> None:
        """Take one frame.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written, or is too large for the format.
        """
        if self._origin is None:
            self._origin = frame.pts * frame.time_base
            if max(frame.size_hw) > self.longest_side:
                raise OutputError(
                    f"{self._path}: {frame.size_hw[1]} x {frame.size_hw[0]} px is more than a side of "
                    f"{self.longest_side} px that this format allows; choose a smaller upscale or a video format"
                )
            self._begin(frame)
        elif self._pending is not None:
            if not self._can_follow(self._pending, frame):
                self._pending = _lasting(self._pending, frame)
                self._dropped += 1
                return
            self._emit(self._pending, frame)
        self._pending = frame

    def close(self) -> None:
        """Write the last frame and finish the file.

        Raises:
            DiskFullError, OutputError: see :meth:`write`; also where no frame came.
        """
        if self._pending is None:
            self.abort()
            raise OutputError(f"{self._path}: there is no frame to write")
        self._emit(self._pending, None)
        self._pending = None
        self._finish()
        self._release()
        self._file.close()

    def abort(self) -> None:
        """Give up and remove the file."""
        self._pending = None
        self._file.abort()
        self._release()

    def _matches_source(self, frame: Frame) -> bool:
        """Whether the frames are those of an animation of this format, at its own size."""
        if self._info.kind != "animation" or frame.size_hw != self._info.size_hw:
            return False
        with reported(self._info.path):
            return animation_format(self._info.path) == self.format

    def _span(self, frame: Frame, following: Frame | None) -> tuple[Fraction, Fraction]:
        """Start and end of a frame in seconds from the first one's start."""
        assert self._origin is not None
        start = frame.pts * frame.time_base
        if following is not None:
            end = following.pts * following.time_base
        else:
            end = start + self._last_duration(frame, start)
        return start - self._origin, end - self._origin

    def _last_duration(self, frame: Frame, start: Fraction) -> Fraction:
        """How long the last frame is shown. MP4 states durations in the order of decoding, so that with frames of
        changing rate the last frame may carry another one's; where the track ends is exact there."""
        own = frame.duration * frame.time_base if frame.duration else DEFAULT_DURATION
        info = self._info
        if info.kind != "video" or info.duration is None or "mp4" not in info.container:
            return own
        rest = info.start_pts * info.time_base + info.duration - start
        return rest if 0 < rest <= 2 * own else own

    def _can_follow(self, pending: Frame, frame: Frame) -> bool:
        start, end = self._span(pending, frame)
        return round(100 * end) - round(100 * start) >= self._shortest

    @abstractmethod
    def _begin(self, first: Frame) -> None:
        """Write the head of the file."""

    @abstractmethod
    def _emit(self, frame: Frame, following: Frame | None) -> None:
        """Write one picture."""

    @abstractmethod
    def _finish(self) -> None:
        """Write the end of the file."""

    def _release(self) -> None:
        if self._source is not None:
            self._source.close()


class GifSink(AnimationSink):
    """Writes a GIF: its own pictures patched where the source is that GIF, else with palettes of our own."""

    format = "gif"
    longest_side = 0xFFFF

    def __init__(self, path: Path, info: MediaInfo) -> None:
        super().__init__(path, info)
        self._gif: GifFile | None = None
        self._patcher: GifPatcher | None = None
        self._painter: GifPainter | None = None

    def _begin(self, first: Frame) -> None:
        if self._info.kind == "animation" and self._info.codec == "gif":
            self._gif = parse_gif(self._info.path)
        if self._gif is not None and first.size_hw == (self._gif.height, self._gif.width):
            with reported(self._info.path):
                self._source = self._info.path.open("rb")
            self._patcher = GifPatcher(self._gif, self._source)
            header = self._patcher.header()
        else:
            self._painter = GifPainter(*first.size_hw)
            header = self._painter.header(_binary(first))
        self._file.write(header + self._first_extensions(first))

    def _first_extensions(self, first: Frame) -> bytes:
        """Repetitions and comments, unless they will come with the source's first picture."""
        if self._gif is not None:
            return self._gif.frames[0].extensions if first.index > 0 else b""
        # Browsers show delays below 2 as a tenth of a second; an animation keeps them, as its own viewers do the same.
        self._shortest = 2 if self._info.kind == "video" else 1
        plays = 0 if self._info.kind == "video" else self._info.loop
        # The count of repetitions leaves out the first play; a GIF that plays once has no count.
        return b"" if plays is None or plays == 1 else loop_block(plays and plays - 1)

    def _emit(self, frame: Frame, following: Frame | None) -> None:
        target = _binary(frame)
        extensions = b""
        if self._patcher is not None:
            self._file.write(self._patcher.picture(frame.index, target))
            return
        assert self._painter is not None
        if self._gif is not None:
            delay = self._gif.frames[frame.index].delay
            extensions = self._gif.frames[frame.index].extensions
        else:
            start, end = (round(100 * time) for time in self._span(frame, following))
            delay = max(end - start, self._shortest)
        next_target = None if following is None else _binary(following)
        self._file.write(extensions + self._painter.picture(target, next_target, delay))

    def _finish(self) -> None:
        if self._dropped:
            self.notes.append(
                f"{self._dropped} frames were left out, as a GIF shows at most 50 a second; the others kept their times"
            )
        self._file.write((self._gif.trailing if self._gif is not None else b"") + TRAILER)


def _lasting(frame: Frame, last: Frame) -> Frame:
    """``frame`` shown until the end of a later one."""
    end = last.pts * last.time_base + (last.duration or 0) * last.time_base
    return replace(frame, duration=max(1, round(end / frame.time_base) - frame.pts))


def _binary(frame: Frame) -> NDArray[np.uint8]:
    """A frame as RGBA with alpha 0 or 255, black where it is transparent."""
    rgba = rgba_of(frame)
    if frame.layout.has_alpha:
        hidden = rgba[..., 3] < 128
        rgba[..., 3] = 255
        rgba[hidden] = 0
    return rgba
