"""Reading and writing videos, animations and pictures without losing anything. Only this room knows pixel formats."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revisage.media.assembly import AssembleResult, assemble
    from revisage.media.encoders import resolve_options, scaled_size
    from revisage.media.frame import Frame
    from revisage.media.image_sink import open_image_sink
    from revisage.media.info import MediaInfo, probe
    from revisage.media.output import output_problem
    from revisage.media.sink import EncodeOptions, Sink, open_segment
    from revisage.media.source import Source, open_source

__all__ = [
    "AssembleResult",
    "EncodeOptions",
    "Frame",
    "MediaInfo",
    "Sink",
    "Source",
    "assemble",
    "open_image_sink",
    "open_segment",
    "open_source",
    "output_problem",
    "probe",
    "resolve_options",
    "scaled_size",
]

_HOMES = {
    "AssembleResult": "assembly",
    "EncodeOptions": "sink",
    "Frame": "frame",
    "MediaInfo": "info",
    "Sink": "sink",
    "Source": "source",
    "assemble": "assembly",
    "open_image_sink": "image_sink",
    "open_segment": "sink",
    "open_source": "source",
    "output_problem": "output",
    "probe": "info",
    "resolve_options": "encoders",
    "scaled_size": "encoders",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for, because some bring FFmpeg and OpenCV with them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'revisage.media' has no attribute '{name}'")
    return getattr(import_module(f"revisage.media.{_HOMES[name]}"), name)
