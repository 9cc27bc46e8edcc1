"""What can be read and what can be written, whatever kind it is: the room of that kind does it.

One file, or the media files of a folder or a pattern; and all that can be known to go wrong before any work is done.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from revisage.core import InputError, OutputError, check_file
from revisage.media import animation, still, video
from revisage.media.formats import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Format,
    format_of,
    format_of_content,
    sniff_file,
    written_suffix,
)
from revisage.media.interface import EncodeOptions, Extent, MediaInfo, Sink, Source
from revisage.media.locations import as_path, is_address, local_copy

__all__ = [
    "Collection",
    "check_output",
    "default_output",
    "find_media",
    "format_notes",
    "is_collection",
    "natural_key",
    "open_image_sink",
    "open_source",
    "output_name",
    "probe",
    "read_extent",
    "start_notes",
    "visible_below",
]


_MEDIA = IMAGE_SUFFIXES | VIDEO_SUFFIXES
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Collection:
    """Inputs in natural order, all below ``base``; and the other files there, whose endings no format has."""

    base: Path
    files: tuple[Path, ...]
    skipped: tuple[Path, ...] = ()

    def outputs(self, folder: Path, *, suffix: str = "", ext: str | None = None) -> dict[Path, Path]:
        """For each input its output below ``folder``, with the same relative path.

        What cannot be written in its own format takes the ending of the nearest that can (see
        :func:`~revisage.media.output_name`), after its own where another input or output has that name.

        Raises:
            OutputError: the folder is the inputs' own, so that each would be its own output.
        """
        if folder.resolve() == self.base.resolve():
            raise OutputError(f"{folder}: the output folder is the input's; name another folder")
        outputs: dict[Path, Path] = {}
        for file in self.files:
            name = output_name(file, suffix=suffix, ext=ext)
            # By parts: a path here and an address know nothing of each other.
            target = folder.joinpath(*file.parts[len(self.base.parts) : -1], name)
            if target in outputs.values() or (name != file.name and file.with_name(name) in self.files):
                target = target.with_name(f"{file.name}{Path(name).suffix}")
            outputs[file] = target
        return outputs


def is_collection(source: str | Path) -> bool:
    """Whether ``source`` names a folder or a glob pattern and no single file."""
    path = as_path(source)
    return path.is_dir() or (glob.has_magic(str(source)) and not path.exists())


def find_media(source: str | Path, *, recursive: bool = False, leave_out: Path | None = None) -> Collection:
    """The media files that ``source`` stands for: one file, a folder's own files, or a glob pattern's matches.

    Hidden files and files whose extension no format of ours has are left out.

    Args:
        source: a file, a folder or a pattern.
        recursive: search a folder below its first level too, but for hidden folders.
        leave_out: a folder whose files are none of them, wherever it lies.

    Raises:
        InputError: no such file, or no media file in the folder or among the matches.
    """
    path = as_path(source)
    if leave_out is not None and leave_out.resolve() == (path if path.is_dir() else path.parent).resolve():
        leave_out = None  # the inputs' own folder: what is said of it is said when outputs are named
    if path.is_dir():
        found, skipped = _media_files(visible_below(path) if recursive else path.iterdir(), leave_out)
        if not found:
            raise InputError(f"{path}: no video or image in this folder; name a file, or a pattern such as {path}/**/*")
        return Collection(path, found, skipped)
    if path.exists():
        return Collection(path.parent, (path,))
    if not is_collection(source):
        raise InputError(f"{path}: no such file or folder")
    base, pattern = _split_pattern(path)
    found, skipped = _media_files(base.glob(pattern), leave_out) if base.is_dir() else ((), ())
    if not found:
        raise InputError(f"{source}: no video or image matches this pattern")
    return Collection(base, found, skipped)


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sorting key that puts ``frame2`` before ``frame10`` and does not look at case."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in _DIGITS.split(text) if part)


def visible_below(folder: Path) -> Iterator[Path]:
    """All that a folder's tree holds, but for what is hidden: work folders among it, or left by what was killed."""
    for path in folder.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _media_files(paths: Iterable[Path], leave_out: Path | None = None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The media among visible files by their endings, and the rest, each in natural order."""
    out = leave_out.resolve() if leave_out is not None else None
    visible = (path for path in paths if not path.name.startswith(".") and path.is_file())
    files = {path for path in visible if out is None or out not in path.resolve().parents}
    ordered = sorted(files, key=lambda path: ([natural_key(part) for part in path.parts], str(path)))
    media = tuple(path for path in ordered if path.suffix.lower() in _MEDIA)
    return media, tuple(path for path in ordered if path.suffix.lower() not in _MEDIA)


def _split_pattern(path: Path) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest."""
    first = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base = path
    for _ in path.parts[first:]:
        base = base.parent
    return base, "/".join(path.parts[first:])


def open_source(path: Path | str, *, deinterlace: bool = False, info: MediaInfo | None = None) -> Source:
    """Open a video, an animation or a picture for reading, by its content.

    Args:
        path: of the file, or its address.
        deinterlace: turn interlaced pictures into progressive ones, one frame for one frame.
        info: of the same file, from an earlier opening, to save the look into it.

    Raises:
        InputError: no such file, a folder, an empty file, or nothing in it that has frames.
    """
    path = as_path(path)
    _check_file(path)
    found = format_of_content(path)
    if found is None or found.is_video:
        return video.VideoSource(path, deinterlace=deinterlace, info=info)
    path = local_copy(path) if is_address(path) else path
    moving = animation.animation_format(path) if "animation" in found.kinds else None
    return still.StillSource(path) if moving is None else animation.AnimationSource(path, moving)


def probe(path: Path | str) -> MediaInfo:
    """What a video, an animation or a picture holds.

    Raises:
        InputError: no such file, or nothing in it that has frames.
    """
    with open_source(path) as source:
        return source.info


def read_extent(path: Path) -> Extent:
    """How large and how long a file says it is.

    Raises:
        InputError: it cannot be made sense of, or says that it is too large to be real.
    """
    found = format_of_content(path)
    if found is None or found.is_video:
        return video.video_extent(path)
    moving = animation.animation_format(path) if "animation" in found.kinds else None
    return still.still_extent(path) if moving is None else animation.animation_extent(path, moving)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from None
    except Exception as error:
        if isinstance(error, InputError) or not is_address(path):
            raise
        # Stores have errors of their own, for lacking rights and the like, which are of no common kind.
        raise InputError(f"{path} cannot be opened: {' '.join(str(error).split())}") from None
    if size == 0:
        raise InputError(f"{path} is empty")


def default_output(source: Path, *, suffix: str = "_restored", ext: str | None = None) -> Path:
    """``NAME_restored.EXT`` beside the input, see :func:`output_name`."""
    return source.with_name(output_name(source, suffix=suffix, ext=ext))


def output_name(source: Path, *, suffix: str = "", ext: str | None = None) -> str:
    """The source's name, with the ending of the nearest format where the source's own cannot be written, and with that
    of what it holds where it is a photo that is named like a video or an animation, or the reverse.

    Args:
        source: a media file.
        suffix: added to the name before its ending.
        ext: the ending, instead of the source's.
    """
    name = _with_own_ending(source) if ext is None else source.with_suffix(f".{ext.removeprefix('.')}").name
    return Path(name).with_stem(f"{source.stem}{suffix}").name


def _with_own_ending(source: Path) -> str:
    held = _misnamed(source)
    own = held or format_of(source.suffix)
    suffix = source.suffix if held is None else held.suffixes[0]
    if own is not None and own.writer is not None:
        return source.with_suffix(suffix).name
    try:
        return source.with_suffix(written_suffix(suffix, probe(source))).name
    except InputError:
        return source.name  # said when it is the source's turn


def _misnamed(source: Path) -> Format | None:
    """The format of a file that is named as what it is not: a photo like a video or an animation, or the reverse."""
    named = format_of(source.suffix)
    if named is None or is_address(source):
        return None
    try:
        held = sniff_file(source)
    except InputError:
        return None  # said when it is the source's turn, if it is one that can be read at all
    return None if held.kind in named.kinds else format_of(f".{held.format}")


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


def start_notes(info: MediaInfo) -> list[str]:
    """What there is to say where a source's first pictures cannot be shown though that may be no damage."""
    if info.unshown is None:
        return []
    seconds = f"{float(info.unshown):.2f} s"
    return [f"at least the first {seconds} of the picture cannot be shown: the recording was cut there, or is damaged"]


def format_notes(source: Path, output: Path) -> list[str]:
    """What there is to say where an output has another format than the source's name tells."""
    own, made, held = format_of(source.suffix), format_of(output.suffix), _misnamed(source)
    if held is not None and made is not None:
        return [f"{source.name} holds {held.name.upper()}, whatever its name says; the result is {made.name.upper()}"]
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
