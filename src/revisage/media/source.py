"""Source: one way to read frames from videos, animations and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from revisage.core import InputError
from revisage.media.formats import format_of_content
from revisage.media.frame import Frame
from revisage.media.info import MediaInfo

__all__ = ["Source", "open_source"]


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
    found = format_of_content(path)
    if found is not None and "animation" in found.kinds:
        from revisage.media.animation import open_animation

        return open_animation(path)
    if found is not None and not found.is_video:
        from revisage.media.still import open_still

        return open_still(path)
    from revisage.media.video_source import VideoSource

    return VideoSource(path, deinterlace=deinterlace, info=info)


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
