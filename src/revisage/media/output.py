"""Everything that can be known to go wrong with an output before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from revisage.core import OutputError
from revisage.media.collection import IMAGE_SUFFIXES
from revisage.media.info import MediaInfo
from revisage.media.sink import EncodeOptions

__all__ = ["output_problem"]


def output_problem(output: Path, info: MediaInfo, options: EncodeOptions, *, overwrite: bool = True) -> None:
    """Refuse an output that cannot be written.

    Args:
        output: where the result is to go.
        info: of the source.
        options: how it is to be encoded.
        overwrite: whether a file that is already there may be replaced.

    Raises:
        OutputError: no such folder, a read-only one, the source itself, a file that is already there, a container
            that is unknown or cannot hold the codec.
        ConfigError: an unknown codec or pixel format, or settings that the encoder does not have.
    """
    _check_place(output, info, overwrite)
    if output.suffix.lower() in IMAGE_SUFFIXES:
        from revisage.media.image_sink import image_format

        image_format(output, info)
    else:
        from revisage.media.encoders import resolve_options
        from revisage.media.trial import try_encoder

        try_encoder(info, output, resolve_options(info, output, options))


def _check_place(output: Path, info: MediaInfo, overwrite: bool) -> None:
    folder = output.parent
    if not output.name or output.is_dir():
        raise OutputError(f"{output} is a folder; name a file")
    if not folder.is_dir():
        raise OutputError(f"{output}: there is no folder {folder}; make it first, or name another")
    if _is_same_file(output, info.path):
        raise OutputError(f"{output} is the input; a source is never overwritten, name another output")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite to replace it")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{output}: the folder {folder} is read-only; name another")


def _is_same_file(output: Path, source: Path) -> bool:
    if output.resolve() == source.resolve():
        return True
    return output.exists() and source.exists() and output.samefile(source)
