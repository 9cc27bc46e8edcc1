"""Pictures through a real codec in memory: 4:2:0 planes into an encoder, what its decoder makes of them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Codec", "from_planes", "jpeg_recoded", "recoded", "to_planes"]

Codec = Literal["h264", "mpeg2"]
Planes = NDArray[np.uint8]
"""(3 H / 2, W): luma over the quartered chroma planes, as FFmpeg's yuv420p lies in memory. H and W even."""

_RATE = Fraction(25)
_ENCODERS = {"h264": "libx264", "mpeg2": "mpeg2video"}
_DECODERS = {"h264": "h264", "mpeg2": "mpeg2video"}


def to_planes(rgb: NDArray[np.uint8]) -> Planes:
    """(H, W, 3) uint8 RGB of even sides to 4:2:0: BT.601, full range, each chroma sample the mean of four pixels."""
    height, width = rgb.shape[:2]
    luma, red, blue = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    half = (width // 2, height // 2)
    chroma = [cv2.resize(plane, half, interpolation=cv2.INTER_AREA).ravel() for plane in (blue, red)]
    return np.concatenate((luma.ravel(), *chroma)).reshape(height * 3 // 2, width)


def from_planes(planes: Planes) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB of 4:2:0 planes, chroma enlarged linearly."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    blue, red = planes[height:].reshape(2, height // 2, width // 2)
    full = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in (red, blue)]
    rgb = cv2.cvtColor(cv2.merge((planes[:height], *full)), cv2.COLOR_YCrCb2RGB)
    return rgb.astype(np.uint8, copy=False)


def recoded(frames: Iterable[Planes], codec: Codec, quality: float, *, deblock: bool = True) -> Iterator[Planes]:
    """Frames of one size as the codec leaves them, coded as one sequence with prediction from frame to frame.

    Args:
        frames: 4:2:0 planes.
        codec: ``h264`` (x264) or ``mpeg2``.
        quality: x264's CRF (0 to 51), or MPEG-2's quantiser (1 to 31); higher is worse.
        deblock: H.264's filter over block edges; cheap encoders go without.
    """
    coder: _Coder | None = None
    for number, planes in enumerate(frames):
        if coder is None:
            coder = _Coder(codec, planes.shape, _options(codec, quality, deblock))
        yield from coder.coded(planes, number)
    if coder is not None:
        yield from coder.rest()


class _Coder:
    """An encoder with its decoder behind it. One thread: the same frames give the same pixels."""

    def __init__(self, codec: Codec, shape: tuple[int, ...], options: dict[str, str]) -> None:
        encoder: Any = av.CodecContext.create(_ENCODERS[codec], "w")
        encoder.height, encoder.width, encoder.pix_fmt = shape[0] * 2 // 3, shape[1], "yuv420p"
        encoder.time_base, encoder.framerate = 1 / _RATE, _RATE
        encoder.thread_count, encoder.options = 1, options
        self._encoder = encoder
        self._decoder: Any = av.CodecContext.create(_DECODERS[codec], "r")
        self._decoder.thread_count = 1

    def coded(self, planes: Planes, number: int) -> Iterator[Planes]:
        """Take a frame; gives those that are ready."""
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        yield from self._decoded(self._encoder.encode(frame))

    def rest(self) -> Iterator[Planes]:
        """Those that were still on their way."""
        yield from self._decoded(self._encoder.encode(None))
        yield from (frame.to_ndarray() for frame in self._decoder.decode(None))

    def _decoded(self, packets: list[Any]) -> Iterator[Planes]:
        for packet in packets:
            yield from (frame.to_ndarray() for frame in self._decoder.decode(packet))


def _options(codec: Codec, quality: float, deblock: bool) -> dict[str, str]:
    if codec == "mpeg2":
        step = str(round(quality))
        return {"qmin": step, "qmax": step, "g": "12", "bf": "0", "flags": "+bitexact", "sc_threshold": "1000000000"}
    settings = "sliced-threads=0:sync-lookahead=0:rc-lookahead=10" + ("" if deblock else ":no-deblock=1")
    return {
        "crf": f"{quality:.2f}",
        "preset": "veryfast",
        "bf": "0",
        "threads": "1",
        "x264-params": f"{settings}:log-level=none",
    }


def jpeg_recoded(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """An RGB image as JPEG of that quality leaves it (4:2:0)."""
    # Colour order is of no matter to the channels' noise, but chroma is: encode as what it is.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
