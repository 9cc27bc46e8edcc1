"""Reading animated images: GIF, APNG, animated WebP and AVIF, one composed picture at a time.

Only the structure of the file and one or two pictures are held in memory, however long the animation is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from revisage.core import InputError
from revisage.media import png_chunks, video, webp_chunks
from revisage.media.animation.gif_file import (
    DISPOSE_BACKGROUND,
    DISPOSE_PREVIOUS,
    GifCanvas,
    decode_indices,
    parse_gif,
)
from revisage.media.formats import has_avif_sequence
from revisage.media.frame import Frame
from revisage.media.image_file import DAMAGED, MAX_ANIMATED_PIXELS, check_pixels, pillow_unlimited
from revisage.media.interface import Extent, MediaInfo, OpenSource

__all__ = ["AnimationSource", "Area", "Canvas", "animation_extent", "animation_format"]

Samples = NDArray[Any]
ZERO_DELAY = Fraction(1, 10)
"""How long a picture without a delay is shown, in seconds: what browsers do. Written out, its delay stays 0."""

_LARGEST_BASE = 2**31 - 1
"""What FFmpeg's 32-bit time bases hold."""


NONE, BACKGROUND, PREVIOUS = 0, 1, 2


@dataclass(frozen=True)
class Area:
    """A rectangle of px on the canvas."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


class Canvas:
    """What the pictures drawn so far add up to; ``pixels`` is changed in place."""

    def __init__(self, height: int, width: int, dtype: Any) -> None:
        self.pixels: Samples = np.zeros((height, width, 4), dtype=dtype)
        self._below: Samples | None = None
        self._opaque = int(np.iinfo(dtype).max)

    def draw(self, area: Area, samples: Samples, *, over: bool, disposal: int) -> None:
        """Draw a picture; parts that leave the canvas are cut off."""
        target = self.pixels[area.slices]
        self._below = target.copy() if disposal == PREVIOUS else None
        samples = samples[: target.shape[0], : target.shape[1]]
        target[...] = self._blended(target, samples) if over else samples

    def dispose(self, area: Area, disposal: int) -> None:
        """End the picture drawn last."""
        if disposal == BACKGROUND:
            self.pixels[area.slices] = 0
        elif disposal == PREVIOUS and self._below is not None:
            self.pixels[area.slices] = self._below

    def _blended(self, below: Samples, above: Samples) -> Samples:
        """``above`` over ``below``, neither premultiplied (Porter and Duff, 1984)."""
        alpha = above[..., 3:]
        hard = np.where(alpha == 0, below, above)
        mixed = (alpha > 0) & (alpha < self._opaque) & (below[..., 3:] > 0)
        if not mixed.any():
            return hard
        upper = alpha / self._opaque
        lower = below[..., 3:] / self._opaque * (1 - upper)
        total = upper + lower
        colour = (above[..., :3] * upper + below[..., :3] * lower) / np.where(total > 0, total, 1)
        soft = np.concatenate([colour, total * self._opaque], axis=-1)
        return np.where(mixed, np.rint(soft), hard).astype(below.dtype)


class _Reader:
    """One format: its structure, and its composed pictures."""

    codec: str
    size_hw: tuple[int, int]
    delays: Sequence[Fraction]  # seconds, as stored
    smallest_unit: Fraction | None  # of the format's delays, in seconds; None where each has its own
    has_alpha: bool
    bit_depth: int
    plays: int | None  # 0: for ever; None: the file does not say
    truncated: bool

    def pictures(self, file: BinaryIO) -> Iterator[tuple[Samples, bool]]:
        """Each picture as composed, ``(H, W, 4)`` RGBA, in an array that is reused, and whether it was sound."""
        raise NotImplementedError


class _GifReader(_Reader):
    codec = "gif"
    smallest_unit = Fraction(1, 100)
    bit_depth = 8

    def __init__(self, path: Path) -> None:
        self._gif = parse_gif(path)
        self.size_hw = self._gif.height, self._gif.width
        self.delays = [Fraction(frame.delay, 100) for frame in self._gif.frames]
        # The file counts repetitions after the first play.
        self.plays = self._gif.loop + 1 if self._gif.loop else self._gif.loop
        self.truncated = self._gif.truncated

    @cached_property
    def has_alpha(self) -> bool:  # type: ignore[override]  # decodes a picture: not before it is asked for
        return not self._stays_opaque()

    def _stays_opaque(self) -> bool:
        """Whether the first picture fills the screen and nothing opens a hole in it later."""
        frames = self._gif.frames
        first = frames[0]
        if (first.left, first.top) != (0, 0) or (first.height, first.width) != self.size_hw:
            return False
        with self._gif.path.open("rb") as file:
            indices, complete = decode_indices(file, first)
        if not complete or (first.transparent is not None and (indices == first.transparent).any()):
            return False
        for frame, following in pairwise(frames):
            refilled = following.transparent is None and (
                following.left <= frame.left
                and following.top <= frame.top
                and following.left + following.width >= frame.left + frame.width
                and following.top + following.height >= frame.top + frame.height
            )
            if frame.disposal == DISPOSE_BACKGROUND and not refilled:
                return False
            if frame is first and frame.disposal == DISPOSE_PREVIOUS:
                return False
        return True

    def pictures(self, file: BinaryIO) -> Iterator[tuple[Samples, bool]]:
        canvas = GifCanvas(self._gif.width, self._gif.height)
        for frame in self._gif.frames:
            indices, complete = decode_indices(file, frame)
            canvas.draw(frame, indices, self._gif.colours(frame))
            yield canvas.pixels, complete
            canvas.dispose(frame)


class _ApngReader(_Reader):
    codec = "apng"
    smallest_unit = None

    def __init__(self, path: Path) -> None:
        self._png = png_chunks.parse_png(path)
        header = self._png.header
        self.size_hw = header.height, header.width
        self.bit_depth = 16 if header.depth == 16 else 8
        self.delays = [frame.duration for frame in self._png.frames]
        self.plays = self._png.plays
        self.truncated = self._png.truncated
        first = self._png.frames[0]
        fills = (first.left, first.top, first.width, first.height) == (0, 0, header.width, header.height)
        self.has_alpha = self._png.has_alpha or not fills or any(f.disposal for f in self._png.frames[:-1])

    def pictures(self, file: BinaryIO) -> Iterator[tuple[Samples, bool]]:
        canvas = Canvas(*self.size_hw, np.uint16 if self.bit_depth == 16 else np.uint8)
        for frame in self._png.frames:
            try:
                samples = png_chunks.decode_picture(self._png, file, frame)
            except InputError:
                yield canvas.pixels, False
                continue
            area = Area(frame.left, frame.top, frame.width, frame.height)
            canvas.draw(area, samples, over=frame.over, disposal=frame.disposal)
            yield canvas.pixels, True
            canvas.dispose(area, frame.disposal)


class _WebpReader(_Reader):
    codec = "webp"
    smallest_unit = Fraction(1, 1000)
    bit_depth = 8

    def __init__(self, path: Path) -> None:
        self._webp = webp_chunks.parse_webp(path)
        self.size_hw = self._webp.height, self._webp.width
        self.delays = [Fraction(frame.duration, 1000) for frame in self._webp.frames]
        self.plays = self._webp.plays
        self.truncated = self._webp.truncated
        frames = self._webp.frames
        fills = (frames[0].left, frames[0].top, frames[0].height, frames[0].width) == (0, 0, *self.size_hw)
        self.has_alpha = self._webp.has_alpha or not fills or any(frame.clears for frame in frames[:-1])

    def pictures(self, file: BinaryIO) -> Iterator[tuple[Samples, bool]]:
        canvas = Canvas(*self.size_hw, np.uint8)
        for frame in self._webp.frames:
            try:
                samples = webp_chunks.decode_picture(self._webp, file, frame)
            except InputError:
                yield canvas.pixels, False
                continue
            area, disposal = Area(frame.left, frame.top, frame.width, frame.height), int(frame.clears)
            canvas.draw(area, samples, over=frame.over, disposal=disposal)
            yield canvas.pixels, True
            canvas.dispose(area, disposal)


class _AvifReader(_Reader):
    """Its pictures come from Pillow; their times, which Pillow knows only of decoded ones, from FFmpeg."""

    codec = "avif"
    smallest_unit = Fraction(1, 1000)
    bit_depth = 8
    plays = None
    truncated = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.delays = _avif_delays(path)
        with path.open("rb") as file, self._opened(file) as image:
            check_pixels(path, *image.size)
            self.size_hw = image.height, image.width
            self.has_alpha = image.mode.endswith("A")

    def pictures(self, file: BinaryIO) -> Iterator[tuple[Samples, bool]]:
        with self._opened(file) as image:
            for number in range(len(self.delays)):
                samples = self._picture(image, number)
                yield np.zeros((*self.size_hw, 4), np.uint8) if samples is None else samples, samples is not None

    @staticmethod
    def _picture(image: Image.Image, number: int) -> Samples | None:
        try:
            image.seek(number)
            return np.asarray(image.convert("RGBA"))
        except DAMAGED:
            return None

    def _opened(self, file: BinaryIO) -> Image.Image:
        with pillow_unlimited():
            try:
                return Image.open(file)
            except DAMAGED:
                raise InputError(f"{self._path}: the animation cannot be decoded; it is damaged") from None


def _avif_delays(path: Path) -> list[Fraction]:
    """How long each picture of an AVIF is shown; of one that does not move, one picture."""
    import av.error

    try:
        with video.open_file(path) as container:
            stream = max(container.streams.video, key=lambda one: one.frames)
            packets = [packet for packet in container.demux(stream) if packet.size and packet.time_base is not None]
            return [(packet.duration or 0) * packet.time_base for packet in packets]
    except (av.error.FFmpegError, ValueError):
        return [Fraction(0)]


_READERS: dict[str, Callable[[Path], _Reader]] = {
    "gif": _GifReader,
    "apng": _ApngReader,
    "webp": _WebpReader,
    "avif": _AvifReader,
}


def animation_format(path: Path) -> str | None:
    """``gif`` (of any GIF), ``apng``, ``webp`` or ``avif`` if the content of ``path`` is that animation, else None."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:8] == png_chunks.SIGNATURE:
        return "apng" if png_chunks.parse_png(path).animated else None
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & webp_chunks.ANIMATION:
        return "webp"
    if has_avif_sequence(head):
        return "avif" if len(_avif_delays(path)) > 1 else None
    return None


def _timeline(delays: Sequence[Fraction], unit: Fraction | None) -> tuple[Fraction, list[int]]:
    """The time base, and each picture's duration in it; pictures without a delay last :data:`ZERO_DELAY`."""
    shown = [delay or ZERO_DELAY for delay in delays]
    base = unit or Fraction(1, min(math.lcm(*(delay.denominator for delay in shown)), _LARGEST_BASE))
    return base, [round(delay / base) for delay in shown]


def _opened(path: Path, kind: str) -> _Reader:
    reader = _READERS[kind](path)
    height, width = reader.size_hw
    check_pixels(path, width, height, MAX_ANIMATED_PIXELS)
    return reader


def animation_extent(path: Path, kind: str) -> Extent:
    """How large and how long an animation of a kind (see :func:`animation_format`) is; nothing is decoded.

    Raises:
        InputError: it is damaged before its first picture ends, or too large to be real.
    """
    reader = _opened(path, kind)
    base, durations = _timeline(reader.delays, reader.smallest_unit)
    height, width = reader.size_hw
    total = sum(durations) * base
    return Extent("animation", width, height, total, len(durations), len(durations) / total)


def _info_of(path: Path, reader: _Reader) -> MediaInfo:
    base, durations = _timeline(reader.delays, reader.smallest_unit)
    total = sum(durations) * base
    height, width = reader.size_hw
    return MediaInfo(
        path=path,
        kind="animation",
        container=reader.codec,
        codec=reader.codec,
        width=width,
        height=height,
        frame_count=len(durations),
        duration=total,
        average_rate=len(durations) / total,
        time_base=base,
        pixel_format=f"gbr{'a' if reader.has_alpha else ''}p{'16le' if reader.bit_depth == 16 else ''}",
        bit_depth=reader.bit_depth,
        has_alpha=reader.has_alpha,
        loop=reader.plays,
    )


class AnimationSource(OpenSource):
    """The frames of a GIF, APNG or animated WebP, composed: what a viewer shows.

    Frames hold RGB, or RGB and alpha where something can be transparent; 16 bits where the file has them.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._reader = _opened(path, kind)
        self.info = _info_of(path, self._reader)
        self.warnings: list[str] = []
        self.truncated = False
        if self._reader.truncated:
            complete = len(self._reader.delays)
            read = "1 complete picture is" if complete == 1 else f"{complete} complete pictures are"
            self._note(f"{path}: the file ends too early; {read} read")

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """Frames ``first`` to ``stop`` (excluded) in order of presentation, from ``first_pts`` on where it is given.

        Raises:
            InputError: no picture can be decoded.
        """
        base, durations = _timeline(self._reader.delays, self._reader.smallest_unit)
        pts, found = 0, False
        with self._path.open("rb") as file:
            for index, (picture, sound) in enumerate(self._reader.pictures(file)):
                if stop is not None and index >= stop:
                    return
                if not sound:
                    self._note(f"{self._path}: picture {index + 1} is damaged; shown as far as it can be read")
                found = found or sound
                if index >= first and (first_pts is None or pts >= first_pts):
                    channels = 4 if self._reader.has_alpha else 3
                    yield Frame.from_array(
                        picture[..., :channels].copy(),
                        pts=pts,
                        time_base=base,
                        duration=durations[index],
                        index=index,
                    )
                pts += durations[index]
        if not found:
            raise InputError(f"{self._path}: no picture of the file can be decoded; it is damaged")

    def _note(self, warning: str) -> None:
        self.truncated = True
        if warning not in self.warnings:
            self.warnings.append(warning)
