"""Make a set of GIFs from videos: clean ones, damaged ones, their pictures, and a manifest that pairs them.

    OUT/manifest.json
    OUT/raw_videos/NAME.EXT                         the sources
    OUT/gifs/clean/CLIP.gif                         the references
    OUT/gifs/{noisy,blurry,low_res}/CLIP.gif        the same clips, damaged
    OUT/frames/input/KIND/CLIP/00000.png            pictures of the damaged GIFs
    OUT/output_gifs/KIND/CLIP.gif                   restored
    OUT/frames/enhanced/KIND/CLIP/00000.png         their pictures

A clip has the same name everywhere. What is already there is not made again, so that a run that was stopped goes on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from revisage.core import (
    CancelToken,
    InputError,
    OutputError,
    Progress,
    ProgressCallback,
    RestoreConfig,
    file_sha256,
    output_error,
)
from revisage.datasets.gif_choose import choose_windows
from revisage.datasets.gif_cut import FRAMES, GIFS, ClipCutter
from revisage.datasets.gif_files import keep_source, write_pictures
from revisage.datasets.gif_manifest import (
    MANIFEST,
    DamagedGif,
    GifClip,
    GifSet,
    GifSetOptions,
    GifSource,
    load_gif_set,
)
from revisage.media import find_media, open_source
from revisage.pipeline import Networks, fingerprint, scan_source

__all__ = ["make_gif_set", "restore_gif_set"]

RAW, RESTORED = "raw_videos", "output_gifs"


def make_gif_set(
    videos: Path | str,
    folder: Path,
    options: GifSetOptions,
    config: RestoreConfig,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> GifSet:
    """Cut lively faces out of videos and write them clean and damaged.

    Args:
        videos: a file, a folder or a pattern of videos (or animations).
        folder: of the set; one that was begun with the same options is gone on with.
        options: what the set is made of.
        config: detector, device and engine are taken from here.
        overwrite: begin anew where the folder holds a set.
        progress: told of each frame that is looked at.
        cancel: looked at between frames.

    Raises:
        InputError: there is no video.
        OutputError: the folder holds something else, a set made with other options, or cannot be written.
        CancelledError: stopped; files that are there are complete.
    """
    sources = find_media(videos).files
    made = _opened(folder, options, overwrite)
    networks = Networks(config)
    for path in sources:
        sha256 = file_sha256(path)
        if all(source.sha256 != sha256 for source in made.sources):
            made = _with_source(made, folder, path, sha256, networks, progress, cancel or CancelToken())
            made.save(folder)
    return made


def _opened(folder: Path, options: GifSetOptions, overwrite: bool) -> GifSet:
    """The set that the folder holds, or a new one in it."""
    if overwrite and (folder / MANIFEST).exists():
        for name in (GIFS, FRAMES, RESTORED):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / MANIFEST).unlink(missing_ok=True)
    if (folder / MANIFEST).exists():
        found = load_gif_set(folder)
        if found.options != options:
            raise OutputError(f"{folder} holds a set made with other options; use --overwrite, or name another folder")
        return found
    if folder.is_file():
        raise OutputError(f"{folder} is a file; name a folder for the set")
    if folder.is_dir() and any(path.name != RAW and not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputError(f"{folder} holds something other than a set of GIFs; name another folder")
    made = GifSet(options=options)
    try:
        (folder / RAW).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    made.save(folder)
    return made


def _with_source(
    made: GifSet,
    folder: Path,
    path: Path,
    sha256: str,
    networks: Networks,
    progress: ProgressCallback | None,
    cancel: CancelToken,
) -> GifSet:
    """The set with one more video looked at; one that cannot be used is listed with the reason."""
    name = f"{_free_stem(path, made)}{path.suffix}"
    clips: list[GifClip] = []
    try:
        with open_source(path) as source:
            info = source.info
        if info.kind == "image":
            return made
        scan = scan_source(
            path,
            fingerprint(path),
            networks.config,
            networks,
            total=info.frame_count,
            progress=progress,
            cancel=cancel,
        )
        windows, note = choose_windows(path, scan, made.options, cancel=cancel)
        if windows:
            keep_source(path, folder / RAW / name)
            cutter = ClipCutter(folder, made.options, f"{RAW}/{name}", sha256, info, scan)
            clips = list(cutter.clips(path, windows, cancel))
    except InputError as error:
        note = str(error)
    listed = GifSource(file=f"{RAW}/{name}", sha256=sha256, bytes=path.stat().st_size, clips=len(clips), note=note)
    if progress is not None:
        progress(Progress("finish", len(clips), len(clips), 0, path.name))
    return made.model_copy(update={"sources": [*made.sources, listed], "clips": [*made.clips, *clips]})


def _free_stem(path: Path, made: GifSet) -> str:
    """The file's name without extension, numbered where another video of the set has it."""
    taken = {Path(source.file).stem.casefold() for source in made.sources}
    stem, number = path.stem, 2
    while stem.casefold() in taken:
        stem, number = f"{path.stem}-{number}", number + 1
    return stem


def restore_gif_set(
    folder: Path,
    config: RestoreConfig,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> GifSet:
    """Restore the damaged GIFs of a set into ``output_gifs/``, and write the pictures of the results.

    Args:
        folder: of the set.
        config: of the restoration.
        progress: told of each frame.
        cancel: looked at between frames.

    Raises:
        InputError: the folder holds no set.
        OutputError: it was restored with other options before, or cannot be written.
        UserError, ProcessingError: see :func:`revisage.restore`.
        CancelledError: stopped; files that are there are complete.
    """
    made = load_gif_set(folder)
    settings = config.settings()
    if made.restoration not in (None, settings):
        raise OutputError(f"{folder} was restored with other options; use --overwrite, or name another folder")
    made = made.model_copy(update={"restoration": settings})
    networks = Networks(config)
    for place, clip in enumerate(made.clips):
        copies = [_restored(folder, clip, copy, config, networks, progress, cancel) for copy in clip.damaged]
        if copies != clip.damaged:
            clips = [*made.clips]
            clips[place] = clip.model_copy(update={"damaged": copies})
            made = made.model_copy(update={"clips": clips})
            made.save(folder)
    return made


def _restored(
    folder: Path,
    clip: GifClip,
    copy: DamagedGif,
    config: RestoreConfig,
    networks: Networks,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> DamagedGif:
    """A damaged GIF with its restoration, which is made unless it is there."""
    from revisage.pipeline import restore_file

    output, pictures = f"{RESTORED}/{copy.kind}/{clip.name}.gif", f"{FRAMES}/enhanced/{copy.kind}/{clip.name}"
    if not (folder / output).exists():
        try:
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(folder / output, error) from error
        restore_file(folder / copy.file, folder / output, config, networks, progress=progress, cancel=cancel)
    if not (folder / pictures).exists():
        write_pictures(folder / output, folder / pictures)
    return copy.model_copy(update={"restored": output, "restored_frames": pictures})
