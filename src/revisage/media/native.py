"""Between FFmpeg's frames and ours."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import av
import av.filter
import numpy as np
from av.codec.codec import find_best_pix_fmt_of_list
from numpy.typing import NDArray

from revisage.media.frame import Frame
from revisage.media.info import ColourTags
from revisage.media.layout import PixelLayout

__all__ = ["FrameMaker", "decoded_planes", "native_format", "native_frame", "write_planes"]

_LIMITED, _FULL = 1, 2
_BT709 = 1
_SWSCALE_MATRICES = {
    "bt601": "ITU601",
    "bt709": "ITU709",
    "bt2020": "BT2020",
    "smpte240m": "SMPTE240M",
    "fcc": "FCC",
}

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
        rows = np.frombuffer(cast(Any, plane), dtype=frame.layout.dtype)
        stride = plane.line_size // frame.layout.dtype.itemsize
        rows[: stride * plane.height].reshape(plane.height, stride)[:, : plane.width] = samples


class FrameMaker:
    """Makes FFmpeg frames for an encoder: with the side data of the decoded ones, in the encoder's format.

    Args:
        tags: of the source's colour.
        pixel_format: that the encoder takes.
    """

    def __init__(self, tags: ColourTags, pixel_format: str) -> None:
        self.pixel_format = pixel_format
        self._tags = tags
        self._graph: av.filter.Graph | None = None
        self._graph_key: tuple[object, ...] = ()

    def tags(self, frame: Frame) -> ColourTags:
        """The colour tags of frames as they reach the encoder."""
        is_rgb, becomes_rgb = frame.layout.family == "rgb", av.VideoFormat(self.pixel_format).is_rgb
        if is_rgb and not becomes_rgb:
            return replace(self._tags, colour_range=_LIMITED, matrix=_BT709)
        if becomes_rgb:
            return replace(self._tags, colour_range=_FULL, matrix=0)
        is_marked = frame.layout.name.startswith("yuvj") or frame.layout.family == "grey"
        return replace(self._tags, colour_range=_range(frame)) if is_marked else self._tags

    def encodable(self, frame: Frame) -> av.VideoFrame:
        """An FFmpeg frame with the samples of ``frame``. Its times are not set."""
        native = frame.origin if frame.is_decoded and frame.origin is not None else self._made(frame)
        if native.format.name != self.pixel_format:
            native = self._converted(native, frame)
        tags = self.tags(frame)
        native.color_range, native.colorspace = tags.colour_range, tags.matrix
        native.color_primaries, native.color_trc = tags.primaries, tags.transfer
        # A decoded frame remembers whether it was I, P or B; encoders would take that for an order.
        native.pict_type = 0
        return native

    def _made(self, frame: Frame) -> av.VideoFrame:
        height, width = frame.stored_hw
        if frame.origin is None:
            made = av.VideoFrame(width, height, frame.layout.name)
            if frame.fields != "progressive":
                made = self._filtered(made, f"setfield=mode={'tff' if frame.fields == 'top' else 'bff'}")
        elif (frame.origin.height, frame.origin.width) == (height, width):
            made = self._filtered(frame.origin, "copy")
        else:
            made = self._filtered(frame.origin, f"scale={width}:{height}:flags=neighbor")
        write_planes(made, frame)
        return made

    def _filtered(self, frame: av.VideoFrame, description: str) -> av.VideoFrame:
        """A frame of its own with all properties of another; only FFmpeg's filters can carry them over."""
        key = (frame.width, frame.height, frame.format.name, description)
        if self._graph is None or key != self._graph_key:
            self._graph, self._graph_key = _graph(frame, description), key
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _converted(self, native: av.VideoFrame, frame: Frame) -> av.VideoFrame:
        is_rgb, becomes_rgb = frame.layout.family == "rgb", av.VideoFormat(self.pixel_format).is_rgb
        if is_rgb == becomes_rgb:
            same = _range(frame)
            return native.reformat(format=self.pixel_format, src_color_range=same, dst_color_range=same)
        if is_rgb:
            return native.reformat(format=self.pixel_format, dst_colorspace="ITU709", dst_color_range=_LIMITED)
        matrix = _SWSCALE_MATRICES[frame.colour.matrix]
        return native.reformat(
            format=self.pixel_format, src_colorspace=matrix, src_color_range=_range(frame), dst_color_range=_FULL
        )


def _range(frame: Frame) -> int:
    return _FULL if frame.colour.full_range else _LIMITED


def _graph(frame: av.VideoFrame, description: str) -> av.filter.Graph:
    name, _, arguments = description.partition("=")
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add(name, arguments or None), graph.add("buffersink")).configure()
    return graph
