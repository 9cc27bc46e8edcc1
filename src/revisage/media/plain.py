"""A plain MP4 of RGB pictures, with sound if wanted: for the demonstration and for pictures of measures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from revisage.media.segment import output_errors

__all__ = ["PlainVideo", "open_plain_video"]

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
    with output_errors(path):
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
    options = {"crf": f"{crf:g}", "preset": "fast", "threads": "4"}
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
