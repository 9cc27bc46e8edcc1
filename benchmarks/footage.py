"""Footage for the benchmarks, the same bytes in every process: clips of given pictures, and the demo's talking face."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Image
from revisage.demo import RATE, clean_frames, damage
from revisage.train.degrade.degradation import moved_by

__all__ = [
    "coded",
    "jpeg",
    "last_of_clip",
    "moved",
    "noisy",
    "resized_clip",
    "small_clip",
    "talking_clip",
    "with_noise",
    "write_clip",
]

STEP = (0.7, 0.3)
"""Pixels by which a picture moves from frame to frame of a clip that is made of it."""


def write_clip(
    target: Path | BinaryIO,
    pictures: Iterable[Image | av.VideoFrame],
    *,
    rate: Fraction | int = RATE,
    codec: str = "libx264",
    form: str = "yuv420p",
    **options: str,
) -> None:
    """Encode pictures of one size.

    Args:
        target: a file, or what takes an MP4.
        pictures: ``(H, W, 3) uint8`` RGB, or frames; those with times of their own share a time base.
        rate: frames a second.
        codec: encoder by FFmpeg's name.
        form: its pixel format.
        options: of the encoder: ``crf``, ``preset``.
    """
    if codec == "libx264":
        # At many widths x264's macroblock tree reads memory that it never wrote: each process would have its own clip.
        options["x264-params"] = "mbtree=0"
    with av.open(target, "w", format="mp4" if isinstance(target, io.IOBase) else None) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.pix_fmt, stream.codec_context.thread_count = form, 1
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24") if isinstance(picture, np.ndarray) else picture
            if number == 0:
                stream.height, stream.width = frame.height, frame.width
                if frame.time_base is not None:
                    stream.codec_context.time_base = frame.time_base
            container.mux(stream.encode(frame.reformat(format=form)))
        container.mux(stream.encode(None))


def resized_clip(source: Path, size_wh: tuple[int, int], target: Path) -> Path:
    """A clip at another size, in H.264 of closed groups of up to 250 frames."""
    with av.open(source) as reading:
        frames = (frame.reformat(*size_wh) for frame in reading.decode(video=0))
        write_clip(target, frames, rate=reading.streams.video[0].average_rate, crf="20")
    return target


def coded(pictures: Iterable[Image], **options: str) -> list[Image]:
    """Pictures as H.264 leaves them; options as for :func:`write_clip`."""
    file = io.BytesIO()
    write_clip(file, pictures, **options)
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def last_of_clip(image: Image, frames: int, crf: int) -> Image:
    """The last frame of a clip in H.264 in which a picture moves to its place."""
    return coded([moved(image, steps) for steps in range(1 - frames, 1)], crf=str(crf))[-1]


def moved(image: Image, steps: int) -> Image:
    """A picture so many frames later."""
    return moved_by(image, STEP[0] * steps, STEP[1] * steps)


def jpeg(image: Image, quality: int) -> Image:
    """A picture as JPEG leaves it."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def noisy(image: Image, sigma: float, random: np.random.Generator) -> Image:
    """A picture with Gaussian noise of that deviation (1/255)."""
    return with_noise(image, random.normal(0, sigma, image.shape))


def with_noise(image: Image, noise: NDArray[np.floating[Any]]) -> Image:
    """A picture with this laid over it, ``(H, W, 3 or 1)`` in levels."""
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def talking_clip(path: Path, frames: int) -> Path:
    """An H.264 clip of 480x270 with one face of about 115 px in each of its frames."""
    scene = [damage(frame, index) for index, frame in enumerate(clean_frames())]
    write_clip(path, (scene[index % len(scene)] for index in range(frames)), preset="veryfast", crf="26")
    return path


def small_clip(path: Path, frames: int) -> Path:
    """An H.264 clip of 160x120 with one face of about 58 px: a hundred frames again and again, each picture in two."""
    half = [cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in clean_frames()]
    scene = [np.ascontiguousarray(frame[7:127, 40:200]) for frame in half[::2]]
    pictures = (scene[index // 2 % len(scene)] for index in range(frames))
    write_clip(path, pictures, preset="ultrafast", crf="18")
    return path
