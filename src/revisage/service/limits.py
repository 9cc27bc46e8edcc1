"""What a worker may use, and what a medium may be."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from revisage.core import InputError
from revisage.service.settings import ServiceSettings

if TYPE_CHECKING:
    from revisage.media import Extent, MediaInfo

__all__ = ["MediumTooLargeError", "check_medium", "limit_process"]


class MediumTooLargeError(InputError):
    """A video or picture is longer or wider, or has more frames, than the service allows."""

    code = "too_large"


def limit_process(settings: ServiceSettings, niceness: int) -> None:
    """Bound the memory that this process may ask for, and let the server go first.

    Data, not address space, is bounded: runtimes of graphics cards reserve far more addresses than they use. Where
    the system has no such limit nothing happens.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = settings.max_memory_bytes if hard < 0 else min(hard, settings.max_memory_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold somebody's pictures
    with contextlib.suppress(AttributeError, OSError):
        os.nice(niceness)


def check_medium(medium: Extent | MediaInfo, settings: ServiceSettings) -> None:
    """Refuse what is longer, wider or of more frames than allowed.

    Raises:
        MediumTooLargeError: it is.
    """
    most = settings.max_image_pixels if medium.kind == "image" else settings.max_pixels
    if medium.width * medium.height > most:
        raise MediumTooLargeError(
            f"the picture is {medium.width} x {medium.height} px; up to {most / 1e6:g} million pixels are taken"
        )
    if medium.duration is not None and medium.duration > settings.max_seconds:
        raise MediumTooLargeError(
            f"the video is {float(medium.duration):.0f} s long; up to {settings.max_seconds:g} s are taken"
        )
    frames = _frames(medium)
    if frames > settings.max_frames:
        raise MediumTooLargeError(f"the video has {frames} frames; up to {settings.max_frames} are taken")


def _frames(medium: Extent | MediaInfo) -> int:
    """How many frames there are, as stated or from length and rate; 0 when nothing tells."""
    if medium.frame_count is not None:
        return medium.frame_count
    return round((medium.duration or 0) * (medium.average_rate or 0))
