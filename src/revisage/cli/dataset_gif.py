"""``revisage dataset gif`` and ``dataset classify``: make sets of GIFs; tell which damage a file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisage.cli.dataset import dataset_app
from revisage.cli.options import with_config_options
from revisage.cli.shared import JsonOption, QuietOption
from revisage.cli.show import print_lines, print_table, progress_bar, warn

if TYPE_CHECKING:
    from revisage.datasets import Classification, GifSet

__all__: list[str] = []

_FIELDS = ("model", "strength", "detector", "detection_threshold", "device", "engine", "precision")


@dataset_app.command("gif")
@with_config_options(_FIELDS)
def gif(
    videos: Annotated[str, typer.Argument(metavar="RAW_VIDEOS", help="A video; a folder or pattern of them.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the set; made, or gone on with.")],
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    kinds: Annotated[str, typer.Option(metavar="KIND,...", help="noisy, blurry, low_res, compressed.")] = (
        "noisy,blurry,low_res"
    ),
    per_video: Annotated[int, typer.Option(help="At most this many clips from one video, the liveliest.")] = 4,
    min_seconds: Annotated[float, typer.Option(help="Length of the shortest clip.")] = 1.0,
    max_seconds: Annotated[float, typer.Option(help="Length of the longest clip.")] = 4.0,
    min_face: Annotated[int, typer.Option(help="Pass over faces below this (longer box side, px).")] = 64,
    max_side: Annotated[int, typer.Option(help="Longest side of a GIF (px).")] = 320,
    fps: Annotated[float, typer.Option(help="At most this many frames a second; times stay true.")] = 15.0,
    max_megabytes: Annotated[float, typer.Option(help="Reduce clean GIFs that are larger.")] = 4.0,
    liveliness: Annotated[float, typer.Option(help="Pass over faces that move less: 0 takes all.")] = 0.03,
    restore: Annotated[bool, typer.Option("--restore", help="Restore the damaged GIFs into output_gifs/.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin the set in OUT anew.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Cut GIFs of lively faces out of videos, damage copies of them, and list which belong together.

    OUT holds raw_videos/, gifs/clean/ (the references), gifs/KIND/, frames/input/ and, with --restore, output_gifs/ and
    frames/enhanced/; manifest.json says what each was cut from and how it was damaged.
    """
    from revisage.core import make_config
    from revisage.datasets import make_gif_options, make_gif_set, restore_gif_set

    wanted = make_gif_options(
        seed=seed,
        kinds=tuple(word.strip().replace("-", "_") for word in kinds.split(",")),
        per_video=per_video,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        min_face=min_face,
        max_side=max_side,
        fps=fps,
        max_megabytes=max_megabytes,
        liveliness=liveliness,
    )
    config = make_config(None, **options)
    with progress_bar(quiet) as progress:
        made = make_gif_set(videos, folder, wanted, config, overwrite=overwrite, progress=progress)
        if restore:
            made = restore_gif_set(folder, config, progress=progress)
    return _told(folder, made, quiet, as_json)


def _told(folder: Path, made: GifSet, quiet: bool, as_json: bool) -> int:
    """Print what was made; the exit code says whether there is a clip at all."""
    for source in made.sources:
        if source.note:
            warn(f"warning: {source.file.rpartition('/')[2]}: no clip; {source.note}")
    if as_json:
        print_lines([json.dumps(made.model_dump(mode="json"), indent=2)])
    elif not quiet:
        _print_set(folder, made)
    if not made.clips:
        warn(f"error: {folder}: no clip was cut; name other videos, or lower --liveliness and --min-face")
    return 0 if made.clips else 1


def _print_set(folder: Path, made: GifSet) -> None:
    rows = [
        (
            clip.name,
            f"{clip.start_seconds:.2f} - {clip.end_seconds:.2f} s",
            f"{clip.width} x {clip.height}",
            clip.frame_count,
            f"{max(clip.faces[0].box[2:]):.0f} px",
            f"{clip.liveliness:.3f}",
            sum(copy.restored is not None for copy in clip.damaged),
        )
        for clip in made.clips
    ]
    print_lines([str(folder / "manifest.json")])
    print_table(("clip", "span", "size", "frames", "face", "liveliness", "restored"), rows)


@dataset_app.command("classify")
def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="GIFs, videos, photos; folders or patterns.")],
    as_json: JsonOption = False,
) -> int:
    """Tell which damage files have: noisy, blurry, low_res, compressed, or none (clean).

    Measured in the faces of four frames where there are faces of 64 px or more, else in the whole frame.
    """
    from revisage.core import InputError
    from revisage.datasets import classify as tell
    from revisage.media import find_media

    def told(path: Path) -> Classification | None:
        try:
            return tell(path)
        except InputError as error:
            warn(f"error: {error}")
            return None

    paths = [path for name in files for path in find_media(name).files]
    found = [entry for entry in map(told, paths) if entry is not None]
    if as_json:
        print_lines([json.dumps({"files": [entry.to_json() for entry in found]}, indent=2)])
    elif found:
        print_table(
            ("file", "category", "score", "noise", "blur", "resolution", "blocks", "measured"),
            [_row(entry) for entry in found],
        )
    return 2 if len(found) < len(paths) else 0


def _row(entry: Classification) -> tuple[Any, ...]:
    return (
        Path(entry.file).name,
        entry.category,
        f"{entry.scores[entry.category]:.2f}",
        f"{entry.noise:.1f}",
        f"{entry.blur:.2f} px",
        "-" if entry.resolution is None else f"{100 * entry.resolution:.0f} %",
        f"{entry.blockiness:.2f}",
        f"{entry.samples} {'faces' if entry.measured == 'faces' else 'frames'}",
    )
