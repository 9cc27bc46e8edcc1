"""Source: one way to read frames from videos, animations and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from revisage.core import InputError
from revisage.media.frame import Frame
from revisage.media.info import MediaInfo

__all__ = ["Source", "open_source", "picture_type"]

_SIGNATURES = (
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"BM", "bmp"),
)


class Source(Protocol):
    """Frames of one file; a context manager.

    Attributes:
        info: what the file holds.
        warnings: damage met while reading, one line each.
        truncated: data ended or broke before the container said so.
    """

    info: MediaInfo
    warnings: list[str]
    truncated: bool

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """Frames in order of presentation.

        Args:
            first: number of the first frame wanted, counted from 0.
            stop: number after the last frame wanted; None for all.
            first_pts: pts of frame ``first``, as met when the source was read from its start. With it a video
                is not decoded from its start.

        Raises:
            InputError: nothing can be read.
        """

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(path: Path | str, *, deinterlace: bool = False, info: MediaInfo | None = None) -> Source:
    """Open a video, an animation or a picture for reading.

    Args:
        path: of the file.
        deinterlace: turn interlaced pictures into progressive ones, one frame for one frame.
        info: of the same file, from an earlier opening, to save the look into it.

    Raises:
        InputError: no such file, a folder, an empty file, or nothing in it that has frames.
    """
    path = Path(path)
    _check_file(path)
    picture = picture_type(path)
    if picture in ("gif", "png", "webp"):
        from revisage.media.animation import open_animation

        return open_animation(path)
    if picture is not None:
        from revisage.media.still import open_still

        return open_still(path)
    from revisage.media.video_source import VideoSource

    return VideoSource(path, deinterlace=deinterlace, info=info)


def picture_type(path: Path) -> str | None:
    """``gif``, ``png``, ``webp``, ``jpeg``, ``tiff`` or ``bmp`` by the file's first bytes; None for anything else."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from None
    if size == 0:
        raise InputError(f"{path} is empty")
