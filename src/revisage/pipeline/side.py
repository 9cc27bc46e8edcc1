"""What a run writes beside its output: faces, frames and a labelled comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.core import OutputError, RestoreConfig, check_folder, publish
from revisage.media import side_by_side, write_picture
from revisage.pipeline.stages import Item

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["Pictures", "SideTargets", "check_side_folders", "compared", "publish_folder"]

FACE_FOLDERS = ("cropped_faces", "restored_faces", "cmp")
FRAME_FOLDERS = ("source", "target")

LABELS = ("Input", "Restored")


@dataclass(frozen=True)
class SideTargets:
    """Where the pictures of a run go until it is complete.

    Attributes:
        stem: of the input's name, the beginning of each picture's name.
        still: whether the input is one picture, whose frames need no number.
        faces: folder for ``cropped_faces/``, ``restored_faces/`` and ``cmp/``, or None.
        frames: folder for ``source/`` and ``target/``, or None.
    """

    stem: str
    still: bool
    faces: Path | None
    frames: Path | None


class Pictures:
    """Writes the pictures of one span.

    Args:
        targets: where to.
        first: number of the first frame in the source.
    """

    def __init__(self, targets: SideTargets, first: int) -> None:
        self._targets = targets
        self._index = first
        for folder in _folders(targets.faces, targets.frames):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, item: Item) -> None:
        """Write the faces and the frame of the next item."""
        targets = self._targets
        name = targets.stem if targets.still else f"{targets.stem}_frame{self._index:06d}"
        if targets.faces is not None and not item.problem:
            for number, (before, after) in enumerate(zip(item.aligned, item.restored, strict=True)):
                file = f"{name}_{number:02d}.png"
                pictures = (before.crop, after, np.hstack((before.crop, after)))
                for folder, picture in zip(FACE_FOLDERS, pictures, strict=True):
                    write_picture(targets.faces / folder / file, picture)
        if targets.frames is not None:
            write_picture(targets.frames / "source" / f"{name}.png", item.frame.rgb())
            write_picture(targets.frames / "target" / f"{name}.png", item.shown.rgb())
        self._index += 1


def compared(item: Item) -> Frame:
    """Input and output side by side, labelled, as a frame with the output's time and format."""
    return item.shown.with_rgb(_pair(item.frame, item.shown))


def _pair(before: Frame, after: Frame) -> NDArray[np.uint8]:
    source = before if before.size_hw == after.size_hw else before.resized(after.size_hw)
    return side_by_side(source.rgb(), after.rgb(), LABELS)


def check_side_folders(config: RestoreConfig) -> None:
    """Refuse folders that already hold pictures of a run, and files in their place.

    Raises:
        OutputError: one does and ``overwrite`` is off, or one is a file.
    """
    for folder in filter(None, (config.save_faces, config.save_frames)):
        check_folder(folder)
    for folder in [] if config.overwrite else _folders(config.save_faces, config.save_frames):
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} already holds pictures; use --overwrite, or name another folder")


def _folders(faces: Path | None, frames: Path | None) -> list[Path]:
    """The folders that pictures of faces and frames go to."""
    for_faces = [] if faces is None else [faces / name for name in FACE_FOLDERS]
    return for_faces + ([] if frames is None else [frames / name for name in FRAME_FOLDERS])


def publish_folder(finished: Path, target: Path) -> None:
    """Move all files below ``finished`` to the same place below ``target``.

    Raises:
        OutputError: one cannot be written there.
    """
    for file in sorted(finished.rglob("*")):
        if file.is_file():
            publish(file, target / file.relative_to(finished))
