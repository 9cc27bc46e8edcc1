"""What is to be written for one file: checked before any work is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from revisage.core import ConfigError, OutputError, RestoreConfig
from revisage.media import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from revisage.media import EncodeOptions, MediaInfo

__all__ = ["Target", "make_target"]


@dataclass(frozen=True)
class Target:
    """The files of one run.

    Attributes:
        output: the restored file.
        by_segments: True for videos, False for animated images and stills, which are written in one pass.
        options: of its encoder.
        compare: file for the side-by-side and its encoder's options; options are None where one picture of a video
            is asked for.
    """

    output: Path
    by_segments: bool
    options: EncodeOptions
    compare: tuple[Path, EncodeOptions | None] | None

    @property
    def compare_file(self) -> tuple[Path, EncodeOptions] | None:
        """The comparison, where it is encoded as the output is."""
        if self.compare is None or self.compare[1] is None:
            return None
        return self.compare[0], self.compare[1]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the output's frames (px)."""
        if self.options.size_hw is None:
            raise AssertionError("a target always states its size")
        return self.options.size_hw


def make_target(source: Path, output: Path, info: MediaInfo, config: RestoreConfig) -> Target:
    """Check where a run writes and settle how it encodes.

    Raises:
        OutputError: a target cannot be written, exists, or is the input.
        ConfigError: the output's format cannot hold what the source is, or encoder options do not go together.
    """
    from revisage.media import EncodeOptions, check_output, scaled_size

    _check_distinct([output, config.compare, config.report])
    for side in (config.compare, config.report):
        if side is not None:
            _check_side(side, source, config)
    by_segments = output.suffix.lower() not in IMAGE_SUFFIXES
    size_hw = scaled_size(info.size_hw, config.upscale, even=by_segments)
    options = EncodeOptions(
        codec=config.codec,
        crf=config.crf,
        preset=config.preset,
        pixel_format=config.pixel_format,
        size_hw=size_hw,
    )
    check_output(output, info, options, overwrite=config.overwrite)
    return Target(output, by_segments, options, _comparison(config.compare, output, info, options))


def _comparison(
    path: Path | None, output: Path, info: MediaInfo, options: EncodeOptions
) -> tuple[Path, EncodeOptions | None] | None:
    from revisage.media import check_output

    if path is None:
        return None
    by_segments = output.suffix.lower() not in IMAGE_SUFFIXES
    height, width = options.size_hw or (info.height, info.width)
    if path.suffix.lower() != output.suffix.lower():
        # What was asked of the output's encoder may mean nothing to that of another container.
        options = replace(options, codec=None, crf=None, preset=None)
    wide = replace(options, size_hw=(height, 2 * width))
    picture = path.suffix.lower() in IMAGE_SUFFIXES
    if by_segments and picture:
        return path, None
    if picture != (not by_segments):
        raise ConfigError(f"{path}: the comparison of an image is an image; name it like the output, for example .png")
    if path.parent.is_dir():
        check_output(path, info, wide)
    return path, wide


def _check_side(path: Path, source: Path, config: RestoreConfig) -> None:
    """Refuse a side output that cannot be written; its folder is made when it is not there."""
    if not path.name or path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if path.resolve() == source.resolve():
        raise OutputError(f"{path} is the input; a source is never overwritten, name another file")
    if path.exists() and not config.overwrite:
        raise OutputError(f"{path} exists; use --overwrite to replace it")
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is read-only; name another")


def _check_distinct(paths: list[Path | None]) -> None:
    named = [path.resolve() for path in paths if path is not None]
    if len(set(named)) != len(named):
        raise OutputError(f"{named[0]}: output, comparison and report must be different files")
