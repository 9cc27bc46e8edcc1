"""What can be written: all that can be known to go wrong before any work is done, and the sink of an image."""

from __future__ import annotations

from pathlib import Path

from revisage.core import OutputError, check_file
from revisage.media import animation, still, video
from revisage.media.formats import IMAGE_SUFFIXES, Format, format_of
from revisage.media.interface import EncodeOptions, MediaInfo, Sink, Source

__all__ = ["check_output", "format_notes", "open_image_sink"]


def check_output(
    output: Path, info: MediaInfo, options: EncodeOptions, *, overwrite: bool = True, writes: bool = True
) -> None:
    """Refuse an output that cannot be written.

    Args:
        output: where the result is to go.
        info: of the source.
        options: how it is to be encoded.
        overwrite: whether a file that is already there may be replaced.
        writes: whether it will be written at all; otherwise a folder will do that is read-only or to be made.

    Raises:
        OutputExistsError: it exists and ``overwrite`` is off.
        OutputError: no such folder, a read-only one, the source itself, a container that is unknown or refuses the
            codec, or what else the source holds.
        ConfigError: an unknown codec or pixel format, or settings that the encoder does not have.
    """
    check_file(output, overwrite=overwrite, source=info.path, make_folder=not writes, writes=writes)
    if output.suffix.lower() in IMAGE_SUFFIXES:
        _image_format(output, info)
    else:
        resolved = video.resolve_options(info, output, options)
        video.try_encoder(info, output, resolved)
        video.try_assembly(info, output, options)


def format_notes(source: Path, output: Path) -> list[str]:
    """What there is to say where an output has another format because the source's cannot be written."""
    own, made = format_of(source.suffix), format_of(output.suffix)
    if own is None or own.writer is not None or made is None:
        return []
    what = "a bare stream" if own.name in ("h264", "m2v") else own.name.upper()
    return [f"{what} cannot be written; the result is {made.name.upper()}"]


def open_image_sink(path: Path, source: Source | MediaInfo) -> Sink:
    """A sink that writes the whole of an animation or a photo to ``path``, in the format of its extension.

    ``.png``, ``.webp`` and ``.avif`` are animated unless the source is one picture. Sizes follow from the frames.

    Args:
        path: to be written; replaced if it is there.
        source: of the frames, or what :func:`~revisage.media.probe` said of it. Its file must stay where it is
            until the sink is closed: metadata and untouched pictures are copied from it.

    Raises:
        OutputError: no image format has this extension, or it cannot hold what the source has; or the path cannot be
            written.
        DiskFullError: no space is left.
    """
    info = source if isinstance(source, MediaInfo) else source.info
    asked = _image_format(path, info)
    if not _is_animated(asked, info):
        return still.StillSink(path, info, asked.name)
    if asked.name == "gif":
        return animation.GifSink(path, info)
    if asked.name == "avif":
        return animation.AvifSink(path, info)
    return animation.WebpSink(path, info) if asked.name == "webp" else animation.ApngSink(path, info)


def _image_format(path: Path, info: MediaInfo) -> Format:
    """The format of an image's name.

    Raises:
        OutputError: no image format has this extension, or it cannot hold what the source has.
    """
    asked = format_of(path.suffix)
    if asked is None or asked.is_video:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"{path}: no image format has the extension '{path.suffix}'; use one of {known}")
    if asked.writer is None:
        ways = " or ".join(f".{name}" for name in asked.successors)
        raise OutputError(f"{path}: {asked.name.upper()} files are read but not written; name a {ways} file")
    if "animation" not in asked.kinds and not _is_single(info):
        raise OutputError(
            f"{path}: {asked.name.upper()} holds one picture; name a .gif, .png, .webp, .avif or video file"
        )
    return asked


def _is_single(info: MediaInfo) -> bool:
    return info.kind == "image" or info.frame_count == 1


def _is_animated(asked: Format, info: MediaInfo) -> bool:
    """Whether an output is written as an animation: all that moves, what was one, and what nothing else can be."""
    if "animation" not in asked.kinds:
        return False
    was_one = info.kind == "animation" and info.codec == ("apng" if asked.name == "png" else asked.name)
    return was_one or not _is_single(info) or "image" not in asked.kinds
