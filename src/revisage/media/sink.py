"""What takes finished frames, and how they are to be encoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from revisage.media.frame import Frame

if TYPE_CHECKING:
    from revisage.media.info import MediaInfo

__all__ = ["EncodeOptions", "Sink", "open_segment"]


@dataclass(frozen=True)
class EncodeOptions:
    """How the output is to be encoded; None leaves the choice to the source's own codec and format.

    Attributes:
        codec: name of an FFmpeg encoder or codec (``libx264``, ``h264``).
        crf: quality of the encoder, lower is better.
        preset: speed preset of the encoder.
        pixel_format: FFmpeg's name of the output's pixel format.
        size_hw: upright size of the output in px; the source's when None.
        muxer: FFmpeg's name of the container; the ending of the output's name decides when None.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    size_hw: tuple[int, int] | None = None
    muxer: str | None = None


class Sink(Protocol):
    """Takes the frames of one segment or one whole image, in order of presentation."""

    def write(self, frame: Frame) -> None:
        """Encode one frame.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written.
        """

    def close(self) -> None:
        """Finish the file; without this it is not complete."""

    def abort(self) -> None:
        """Give up and remove what was written. Does nothing after :meth:`close`."""


def open_segment(path: Path, source_info: MediaInfo, options: EncodeOptions) -> Sink:
    """A sink for one segment of a video, to be joined with others by :func:`revisage.media.assembly.assemble`.

    Args:
        path: where to write; its ending is that of the output, whose container takes part in choosing the encoder.
        source_info: of the source.
        options: how to encode.

    Raises:
        ConfigError, OutputError: the options do not go together, or the file cannot be written.
    """
    from revisage.media.segment import SegmentSink

    return SegmentSink(path, source_info, options)
