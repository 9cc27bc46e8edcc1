"""Between FFmpeg's frames and ours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import av
import numpy as np
from av.codec.codec import find_best_pix_fmt_of_list
from numpy.typing import NDArray

from revisage.media.frame import Frame
from revisage.media.layout import PixelLayout

__all__ = ["decoded_planes", "native_format", "native_frame", "video_frame", "write_planes"]

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


def decoded_planes(frame: av.VideoFrame, layout: PixelLayout) -> tuple[NDArray[Any], ...]:
    """Read-only views of a decoded frame's samples, in the order of :class:`PixelLayout`."""
    return tuple(_plane_view(frame.planes[number], layout) for number in layout.planes_in_file)


def _plane_view(plane: Any, layout: PixelLayout) -> NDArray[Any]:
    samples: NDArray[Any] = np.frombuffer(plane, dtype=layout.dtype)
    stride = plane.line_size // layout.dtype.itemsize
    view = samples[: stride * plane.height].reshape(plane.height, stride)[:, : plane.width]
    view.flags.writeable = False
    return view


def write_planes(target: av.VideoFrame, frame: Frame) -> None:
    """Copy a frame's samples into an FFmpeg frame of the same format and size."""
    for samples, number in zip(frame.planes, frame.layout.planes_in_file, strict=True):
        plane = target.planes[number]
        rows = np.frombuffer(cast(Any, plane), dtype=frame.layout.dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = samples


def video_frame(frame: Frame) -> av.VideoFrame:
    """An FFmpeg frame with a frame's samples, without side data."""
    height, width = frame.stored_hw
    made = av.VideoFrame(width, height, frame.layout.name)
    write_planes(made, frame)
    return made
