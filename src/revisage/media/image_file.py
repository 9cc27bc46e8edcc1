"""The file of a picture: not larger than can be true when it is read; removed on abort when it is written."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image

from revisage.core import InputError, output_error

__all__ = ["DAMAGED", "MAX_ANIMATED_PIXELS", "MAX_PIXELS", "ImageFile", "check_pixels", "pillow_unlimited", "written"]


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what the system, or FFmpeg, says about a file being written into our errors.

    Raises:
        DiskFullError: no space is left.
        OutputError: anything else.
    """
    try:
        yield
    except OSError as error:  # FFmpeg's errors are such, too
        raise output_error(path, error) from None


_PIECE = 1 << 20


class ImageFile:
    """A file open for writing that can be patched at places and taken back.

    Raises:
        DiskFullError, OutputError: from each method, when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with written(path):
            self._file = path.open("w+b")
        self._closed = False

    def write(self, data: bytes) -> None:
        """Append."""
        with written(self.path):
            self._file.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def patch(self, offset: int, data: bytes) -> None:
        """Replace bytes written before."""
        with written(self.path):
            end = self._file.tell()
            self._file.seek(offset)
            self._file.write(data)
            self._file.seek(end)

    def holds_what(self, other: Path) -> bool:
        """Whether all that was written is what another file holds."""
        with written(self.path):
            end = self._file.tell()
            self._file.seek(0)
            with other.open("rb") as file:
                same = end == other.stat().st_size and all(
                    piece == self._file.read(len(piece)) for piece in iter(lambda: file.read(_PIECE), b"")
                )
            self._file.seek(end)
        return same

    def cut(self, start: int, stop: int) -> None:
        """Take bytes out that were written before; what was written behind them closes up."""
        with written(self.path):
            end = self._file.tell()
            for at in range(stop, end, _PIECE):
                self._file.seek(at)
                piece = self._file.read(min(_PIECE, end - at))
                self._file.seek(at - stop + start)
                self._file.write(piece)
            self._file.seek(end - stop + start)
            self._file.truncate()

    def close(self) -> None:
        """Finish the file."""
        self._closed = True
        with written(self.path):
            self._file.close()

    def abort(self) -> None:
        """Close and remove the file, unless it was finished."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):  # a full disk fails again on close; the file goes anyway
            self._file.close()
        self.path.unlink(missing_ok=True)


MAX_PIXELS = 1 << 28
"""Pictures of more pixels (268 million, 16384 x 16384) are refused before anything is decoded."""


MAX_ANIMATED_PIXELS = 1 << 24
"""Pictures of an animation of more pixels (17 million, 4096 x 4096) are refused: a few bytes promise such a canvas, and
up to seventy for each of its pixels are held while it is restored. Photos of that size are real, animations are not."""


def check_pixels(path: Path, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse a picture whose header asks for more than ``most`` pixels.

    Raises:
        InputError: it does.
    """
    if width * height > most:
        raise InputError(
            f"{path}: its header says {width} x {height} px, more than the limit of {most:,} px; "
            "the file is damaged or not meant to be opened"
        )


DAMAGED = (
    *(OSError, SyntaxError, ValueError, MemoryError, RuntimeError, EOFError, LookupError, TypeError),
    *(ArithmeticError, struct.error, zlib.error),
)
"""What Pillow and the decoders behind it raise about damaged files; each format has its own habits."""


@contextmanager
def pillow_unlimited() -> Iterator[None]:
    """Leave the check of sizes to :func:`check_pixels`: Pillow's own limit is lower, and it warns from 89 million px.

    Only the header may be read, or pixels whose number was checked, inside. Pillow's warnings about damaged metadata
    are dropped: what cannot be read is not carried over, and damaged pixels are errors.
    """
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
