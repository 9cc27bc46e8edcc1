"""``revisage dataset``: make, check and describe sets of faces, GIFs and videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisage import core, datasets, media
from revisage.cli.options import (
    OUTPUT,
    JsonOption,
    OutputOption,
    OverwriteOption,
    QuietOption,
    StoreArgument,
    one_output,
    with_config_options,
)
from revisage.cli.show import print_lines, print_table, progress_bar, warn
from revisage.core import ConfigError, InputError, Progress

if TYPE_CHECKING:
    from revisage.datasets import AlignReport, Classification, DatasetReport, GifSet

__all__ = ["dataset_app", "from_store"]

dataset_app = typer.Typer(help="Make, check and describe data sets.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(*OUTPUT, metavar="DIR", help="Folder for the results.")]

_NAMED = 5
"""Lines of each kind that the table names; the rest is counted."""


@dataset_app.callback()
def _group() -> None:
    """Make, check and describe data sets."""


@dataset_app.command("align")
def align(
    inputs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Photos, videos and GIFs, or folders.")],
    folder: Folder,
    size: Annotated[int, typer.Option(help="Side of the crops, px.")] = 512,
    per_person: Annotated[int, typer.Option(help="At most this many crops of one person.")] = 20,
    min_native: Annotated[
        int | None, typer.Option(help="Least px of the source across a crop.", show_default="half of the size")
    ] = None,
    min_sharpness: Annotated[float, typer.Option(help="Least sharpness, as the index states it.")] = 0.0,
    max_yaw: Annotated[float, typer.Option(help="Leave out heads turned further, degrees.")] = 55.0,
    identity: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights (ArcFace or MobileFaceNet) that tell people apart across files.",
            show_default="arcface-r18 where it is installed",
        ),
    ] = None,
    detector: Annotated[str, typer.Option(help="Face detector.")] = "compact",
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the sources, for the index.")] = "",
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw the crops, person by person, for looking them over; 80 on a page."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut aligned faces (FFHQ framing) out of photos, videos and GIFs: the best frames of each person.

    DIR/index.csv lists them with source, time, native size, sharpness, yaw, score and person; training takes it as a
    list.
    """
    if sheet is not None:
        datasets.check_sheet(sheet, overwrite=overwrite)
    options = datasets.make_align_options(
        size=size,
        per_person=per_person,
        min_native=min_native,
        min_sharpness=min_sharpness,
        max_yaw=max_yaw,
        identity=identity,
        detector=detector,
        licence=licence,
    )
    with progress_bar(quiet) as progress:
        report = datasets.align_files(inputs, folder, options, overwrite=overwrite, progress=progress)
    pages = [] if sheet is None else datasets.write_sheet(report.crops, folder, sheet)
    for problem in report.failed.values():
        warn(f"warning: {problem}")
    if as_json:
        print_lines([json.dumps({**asdict(report), "sheets": [str(page) for page in pages]}, indent=2)])
    elif not quiet:
        print_lines(_align_lines(folder, report, pages))


def _align_lines(folder: Path, report: AlignReport, pages: list[Path]) -> Iterator[str]:
    people = len({crop.person for crop in report.crops})
    known = "told apart by identity" if report.known_people else "one for each track"
    yield str(folder / "index.csv")
    yield from map(str, pages)
    yield f"  crops kept: {len(report.crops)}, of faces seen: {report.looked_at}"
    yield f"  people: {people} ({known})"
    yield from (f"  left out: {count} {reason}" for reason, count in report.dropped.most_common())


@dataset_app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of faces, a CSV list, or a .tar shard.")],
    size: Annotated[int, typer.Option(min=1, help="Images below this side are of no use, px.")] = 256,
    detector: Annotated[str, typer.Option(help="What looks for faces.")] = "compact",
    faces: Annotated[bool, typer.Option("--faces/--no-faces", help="Look for faces.")] = True,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> int:
    """Tell what a set of training faces holds: sizes, licences, repeats, and what is wrong with which file.

    Leaves with 2 when nothing in it can be used.
    """
    with progress_bar(quiet) as progress:

        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress("check", done, total, 0, path.name))

        report = datasets.check_dataset(path, size=size, detector=detector if faces else None, progress=tell)
    if as_json:
        print_lines([json.dumps(report.to_json(), indent=2)])
    else:
        print_table(("what", "images", "which"), _check_rows(report))
    if not report.usable:
        warn(f"error: {path}: none of {report.images} images can be used at {size} px")
        return 2
    return 0


def _check_rows(report: DatasetReport) -> Iterator[tuple[str, int, str]]:
    yield "listed", report.images, ""
    yield "usable", report.usable, ""
    yield from (("size", count, size) for size, count in report.sizes.items())
    yield from (("licence", count, licence) for licence, count in report.licences.items())
    yield from (("from", count, place) for place, count in report.lists.items())
    problems: tuple[tuple[str, Iterable[str]], ...] = (
        ("unreadable", [f"{name} {reason}" for name, reason in report.unreadable.items()]),
        ("too small", report.small),
        ("not square", report.not_square),
        ("the same pixels", [" = ".join(group) for group in report.duplicates]),
        ("look the same", [" ~ ".join(group) for group in report.near_duplicates]),
        ("no face found", report.no_face),
        ("face out of place", [f"{name} ({error:g})" for name, error in report.misaligned.items()]),
    )
    for what, names in problems:
        yield from _named(what, list(names))


def _named(what: str, names: list[str]) -> Iterator[tuple[str, int, str]]:
    """One row for a kind of problem and one for each of its first files."""
    if names:
        yield what, len(names), names[0]
        yield from (("", 1, name) for name in names[1:_NAMED])
    if len(names) > _NAMED:
        yield "", len(names) - _NAMED, "more (--json names all)"


@dataset_app.command("degrade")
def degrade(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, videos, GIFs; folders or patterns.")
    ],
    folder: Folder,
    preset: Annotated[str, typer.Option(metavar="NAME", help="One of training's: paper, film, webcam ...")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pixels.")] = 0,
    scale: Annotated[
        float | None,
        typer.Option(help="Lose detail as if this many times smaller.", show_default="what the preset draws"),
    ] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="The inputs are aligned faces (FFHQ framing).")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> int:
    """Damage files as training does, for tests and measures; DIR/degraded.json names each one's reference.

    Pictures become PNGs; videos and GIFs keep their format, times, sound and length.
    """
    with progress_bar(quiet) as progress:
        made = datasets.degrade_files(
            inputs,
            folder,
            preset=preset,
            seed=seed,
            scale=scale,
            aligned=aligned,
            overwrite=overwrite,
            progress=progress,
        )
    for problem in made.failed.values():
        warn(f"error: {problem}")
    if as_json:
        print_lines([made.model_dump_json(indent=2)])
    elif not quiet:
        print_lines([str(folder / datasets.MANIFEST)])
        print_table(("file", "frames", "of"), [(entry.file, entry.frames, entry.source) for entry in made.files])
    return 1 if made.failed else 0


_GIF_FIELDS = ("model", "strength", "detector", "detection_threshold", "device", "engine", "precision")


@dataset_app.command("gif")
@with_config_options(lambda: _GIF_FIELDS)
def gif(
    videos: Annotated[str, typer.Argument(metavar="RAW_VIDEOS", help="A video; a folder or pattern of them.")],
    folder: Annotated[
        str | None,
        typer.Argument(metavar="OUT", help="Folder of the set; made, or gone on with.", show_default=False),
    ] = None,
    named_output: OutputOption = None,
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
    target = _folder_of_set(one_output(folder, named_output))
    wanted = datasets.make_gif_options(
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
    config = core.make_config(None, **options)
    with progress_bar(quiet) as progress:
        made = datasets.make_gif_set(videos, target, wanted, config, overwrite=overwrite, progress=progress)
        if restore:
            made = datasets.restore_gif_set(target, config, progress=progress)
    return _told_set(target, made, quiet, as_json)


def _folder_of_set(output: str | None) -> Path:
    if output is None:
        raise ConfigError("where the set goes is not said; name a folder behind RAW_VIDEOS, or by --output")
    return Path(output)


def _told_set(folder: Path, made: GifSet, quiet: bool, as_json: bool) -> int:
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

    def told(path: Path) -> Classification | None:
        try:
            return datasets.classify(path)
        except InputError as error:
            warn(f"error: {error}")
            return None

    paths = [path for name in files for path in media.find_media(name).files]
    found = [entry for entry in map(told, paths) if entry is not None]
    if as_json:
        print_lines([json.dumps({"files": [entry.to_json() for entry in found]}, indent=2)])
    elif found:
        print_table(
            ("file", "category", "score", "noise", "blur", "resolution", "blocks", "measured"),
            [_damage_row(entry) for entry in found],
        )
    return 2 if len(found) < len(paths) else 0


def _damage_row(entry: Classification) -> tuple[Any, ...]:
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


@dataset_app.command("from-store")
def from_store(
    store: StoreArgument,
    output: Annotated[Path, typer.Option(*OUTPUT, metavar="DIR", help="Folder of the training set.")],
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="Only faces kept from that day on (UTC), such as 2026-01-31."),
    ] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="PERSON", help="Only this person's, by number or label.")
    ] = None,
    min_sharpness: Annotated[
        float, typer.Option("--min-sharpness", min=0, help="What a clean target must have; photos have 0.54 and more.")
    ] = 0.54,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier training set.")] = False,
) -> None:
    """Write the clean faces of a store as a training set, with their consents."""
    made = datasets.training_set_from_store(
        store,
        output,
        since=None if since is None else _day(since),
        person=person,
        min_sharpness=min_sharpness,
        overwrite=overwrite,
    )
    print_lines([str(made.list), f"  {made.images} faces of {made.people} persons"])
    print_lines(f"  left out: {count} {reason}" for reason, count in made.left_out.items())


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since cannot be '{text}'; write a day such as 2026-01-31") from None
