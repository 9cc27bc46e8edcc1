"""Everything that can be known to go wrong with an output before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from revisage.core import InputError, OutputError
from revisage.media.formats import IMAGE_SUFFIXES, format_of, written_suffix
from revisage.media.info import MediaInfo, probe
from revisage.media.sink import EncodeOptions

__all__ = ["check_output", "default_output", "format_notes", "output_name"]


def check_output(output: Path, info: MediaInfo, options: EncodeOptions, *, overwrite: bool = True) -> None:
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


def default_output(source: Path) -> Path:
    """``NAME_restored.EXT`` beside the input, see :func:`output_name`."""
    return source.with_name(output_name(source)).with_stem(f"{source.stem}_restored")


def output_name(source: Path) -> str:
    """The source's name, with the ending of the nearest format where the source's own cannot be written."""
    own = format_of(source.suffix)
    if own is not None and own.writer is not None:
        return source.name
    try:
        return source.with_suffix(written_suffix(source.suffix, probe(source))).name
    except InputError:
        return source.name  # said when it is the source's turn


def format_notes(source: Path, output: Path) -> list[str]:
    """What there is to say where an output has another format because the source's cannot be written."""
    own, made = format_of(source.suffix), format_of(output.suffix)
    if own is None or own.writer is not None or made is None:
        return []
    return [
        f"{own.name.upper()} cannot be written; the result is {made.name.upper()}, the nearest that holds the streams"
    ]


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
