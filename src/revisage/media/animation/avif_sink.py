"""Writing animated AVIF through Pillow: all pictures anew, with a little loss."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from PIL import Image

from revisage.media.animation.sink import DEFAULT_DURATION, ApngSink
from revisage.media.frame import Frame
from revisage.media.image_file import ImageFile, pillow_unlimited
from revisage.media.interface import MediaInfo

__all__ = ["AvifSink"]

_QUALITY = {"quality": 90, "subsampling": "4:4:4", "speed": 8}
"""As of photos, but faster: a film of them takes minutes otherwise."""


class AvifSink:
    """Takes the frames of an animation. They wait in an APNG beside the output, so that memory stays flat.

    Args:
        path: of the file, which is created at once.
        info: of the source.

    Attributes:
        notes: what the format could not keep, one line each.
    """

    def __init__(self, path: Path, info: MediaInfo) -> None:
        self.notes: list[str] = []
        self._info = info
        self._file = ImageFile(path)
        self._folder = tempfile.TemporaryDirectory(prefix=".", dir=path.parent)
        self._waiting = Path(self._folder.name) / "frames.png"
        self._frames = ApngSink(self._waiting, info)
        self._starts: list[Fraction] = []
        self._last = DEFAULT_DURATION

    def write(self, frame: Frame) -> None:
        """Take one frame.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written, or is too large for the format.
        """
        self._frames.write(frame)
        self._starts.append(frame.pts * frame.time_base)
        self._last = frame.duration * frame.time_base if frame.duration else DEFAULT_DURATION

    def close(self) -> None:
        """Encode the pictures and finish the file.

        Raises:
            DiskFullError, OutputError: see :meth:`write`; also where no frame came.
        """
        try:
            self._frames.close()
            self._file.write(self._encoded())
        except BaseException:
            self.abort()
            raise
        self._folder.cleanup()
        self._file.close()

    def abort(self) -> None:
        """Give up and remove the file."""
        self._frames.abort()
        self._folder.cleanup()
        self._file.abort()

    def _encoded(self) -> bytes:
        times = [*self._starts, self._starts[-1] + self._last]
        ticks = [round(1000 * (time - times[0])) for time in times]
        durations = [later - earlier for earlier, later in pairwise(ticks)]
        file = io.BytesIO()
        with pillow_unlimited(), Image.open(self._waiting) as pictures:
            pictures.save(file, "AVIF", save_all=True, duration=durations, **_QUALITY, **self._metadata())
        return file.getvalue()

    def _metadata(self) -> dict[str, bytes]:
        """EXIF, colour profile and XMP of an AVIF."""
        if self._info.codec != "avif":
            return {}
        with pillow_unlimited(), Image.open(self._info.path) as source:
            return {key: source.info[key] for key in ("exif", "icc_profile", "xmp") if key in source.info}
