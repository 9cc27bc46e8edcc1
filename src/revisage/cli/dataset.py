"""``revisage dataset``: make, check and describe sets of faces, GIFs and videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revisage.cli.shared import JsonOption, OverwriteOption, QuietOption
from revisage.cli.show import print_lines, print_table, progress_bar, warn

if TYPE_CHECKING:
    from revisage.datasets import AlignReport, DatasetReport

__all__ = ["dataset_app"]

dataset_app = typer.Typer(help="Make, check and describe data sets.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]

# Lines of each kind that the table names; the rest is counted.
_NAMED = 5


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
    from revisage.datasets import align_files, check_sheet, make_align_options, write_sheet

    if sheet is not None:
        check_sheet(sheet, overwrite=overwrite)
    options = make_align_options(
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
        report = align_files(inputs, folder, options, overwrite=overwrite, progress=progress)
    pages = [] if sheet is None else write_sheet(report.crops, folder, sheet)
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
    from revisage.core import Progress
    from revisage.datasets import check_dataset

    with progress_bar(quiet) as progress:

        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress("check", done, total, 0, path.name))

        report = check_dataset(path, size=size, detector=detector if faces else None, progress=tell)
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
    preset: Annotated[str, typer.Option(metavar="NAME", help="paper, mild, video, gif, archive, webcam ...")],
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
    from revisage.datasets import MANIFEST, degrade_files

    with progress_bar(quiet) as progress:
        made = degrade_files(
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
        print_lines([str(folder / MANIFEST)])
        print_table(("file", "frames", "of"), [(entry.file, entry.frames, entry.source) for entry in made.files])
    return 1 if made.failed else 0
