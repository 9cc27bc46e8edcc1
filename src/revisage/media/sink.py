"""What takes finished frames, and how they are to be encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from revisage.media.frame import Frame

__all__ = ["EncodeOptions", "Sink"]


@dataclass(frozen=True)
class EncodeOptions:
    """How the output is to be encoded; None leaves the choice to the source's own codec and format.

    Attributes:
        codec: name of an FFmpeg encoder or codec (``libx264``, ``h264``).
        crf: quality of the encoder, lower is better.
        preset: speed preset of the encoder.
        pixel_format: FFmpeg's name of the output's pixel format.
        size_hw: upright size of the output in px; the source's when None.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    size_hw: tuple[int, int] | None = None


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
