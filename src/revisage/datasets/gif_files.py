"""The files of a set of GIFs: written beside their names and renamed, and left alone where they are already there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import OutputError, Region, output_error, publish
from revisage.media import Frame, MediaInfo, open_image_sink, open_source

__all__ = ["CutFrame", "keep_source", "reduced_hw", "write_gif", "write_pictures"]

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class CutFrame:
    """A frame of a clip: ``(h, w, 3) uint8 RGB`` at the source's own pixels, its time and how long it is shown."""

    rgb: Image
    pts: int
    time_base: Fraction
    duration: int


def keep_source(source: Path, target: Path) -> None:
    """Put a video into the set: as a further name of the same file where the disk can, else as a copy.

    Raises:
        OutputError: it cannot be written.
    """
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(target, error) from error


def reduced_hw(region: Region, longest: int) -> tuple[int, int]:
    """Height and width of a region whose longer side is at most ``longest`` px."""
    height, width = region.size_hw
    factor = min(1.0, longest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def write_gif(path: Path, images: Sequence[Image], frames: Sequence[CutFrame], info: MediaInfo) -> None:
    """Write a GIF that loops for ever, with the times of ``frames`` and the pixels of ``images``.

    Args:
        path: of the file, replaced when the new one is complete.
        images: ``(h, w, 3) uint8 RGB``, all of one size.
        frames: as many; their times are taken.
        info: of the source.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f".{path.stem}.part.gif")
    # Whatever it was cut from, the clip has pictures and times of its own.
    sink = open_image_sink(partial, replace(info, kind="video"))
    try:
        for index, (image, cut) in enumerate(zip(images, frames, strict=True)):
            sink.write(
                Frame.from_array(image, pts=cut.pts, time_base=cut.time_base, duration=cut.duration, index=index)
            )
        sink.close()
    except BaseException:
        sink.abort()
        raise
    publish(partial, path)


def write_pictures(gif: Path, folder: Path) -> None:
    """Write what a viewer of a GIF sees as ``00000.png``, ``00001.png``, …; the folder appears when it is complete.

    Raises:
        InputError: the GIF cannot be read.
        OutputError: the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with open_source(gif) as source:
            for frame in source.frames():
                _write_png(partial / f"{frame.index:05d}.png", frame.rgb())
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_png(path: Path, rgb: Image) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"{path}: the picture cannot be encoded")
    path.write_bytes(data.tobytes())
