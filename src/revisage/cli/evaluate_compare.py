"""``revisage evaluate compare``: several restorations beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revisage.cli.evaluate import BETTER, evaluate_app
from revisage.cli.evaluate_options import (
    DetectorOption,
    DeviceOption,
    EveryOption,
    FacesOnlyOption,
    InputOption,
    MatchOption,
    MaxFramesOption,
    ReferenceOption,
    ResizeOption,
    SamplesOption,
    WeightsOption,
    area_of,
)
from revisage.cli.shared import JsonOption, OverwriteOption, QuietOption
from revisage.cli.show import print_lines, print_table, progress_bar, warn

if TYPE_CHECKING:
    from revisage.evaluate import EvaluateSettings, Evaluation, FileEvaluation

__all__: list[str] = []


@evaluate_app.command("compare")
def compare(
    methods: Annotated[
        list[str],
        typer.Argument(metavar="METHOD...", help="Restored files or folders; NAME=PATH gives one a name."),
    ],
    reference: ReferenceOption,
    input: InputOption = None,  # noqa: A002 - the name that users expect
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page: tables, curves, worst moments.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV.", show_default=False)
    ] = None,
    faces_only: FacesOnlyOption = None,
    resize: ResizeOption = None,
    match: MatchOption = "exact",
    every: EveryOption = 1,
    max_frames: MaxFramesOption = None,
    samples: SamplesOption = 24,
    detector: DetectorOption = "compact",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> int:
    """Measure several restorations against one original, and show which is best at what."""
    from revisage.core import check_file
    from revisage.evaluate import evaluate_sides, make_settings, name_methods

    written = [path for path in (html, csv) if path is not None]
    for path in written:
        check_file(path, overwrite=overwrite)
    settings = make_settings(
        area=area_of(faces_only),
        resize=resize,
        match=match,
        every=every,
        max_frames=max_frames,
        samples=samples,
        detector=detector,
        weights=weights,
        device=device,
    )
    sides = {**({} if input is None else {"input": input}), **name_methods(methods)}
    with progress_bar(quiet) as progress:
        found = evaluate_sides(reference, sides, settings, progress=progress)
    _write(found, settings, html, csv, overwrite)
    return _told(found, quiet, as_json, written)


def _write(found: Evaluation, settings: EvaluateSettings, html: Path | None, csv: Path | None, overwrite: bool) -> None:
    """The page and the table, where they are asked for."""
    from revisage.core import write_text
    from revisage.evaluate import comparison_page, csv_text

    if html is not None:
        write_text(html, comparison_page(found, settings), overwrite=overwrite)
    if csv is not None:
        write_text(csv, csv_text(found), overwrite=overwrite)


def _told(found: Evaluation, quiet: bool, as_json: bool, written: list[Path]) -> int:
    """Print the result; the exit code says whether every file could be measured."""
    from revisage.evaluate import averaged, rows

    failed = [file for file in found.files if file.error is not None]
    for file in found.files:
        for text in [*file.warnings, *([] if file.error is None else [f"{file.name}: {file.error}"])]:
            warn(f"warning: {text}")
    shown = averaged(found)
    if as_json:
        best: dict[str, dict[str, list[str]]] = {}
        for row in [] if shown is None else rows(shown):
            best.setdefault(row.area, {})[row.info.name] = list(row.best)
        record = {"best": best, **found.model_dump(mode="json")}
        print_lines([json.dumps(record, indent=2, allow_nan=False)])
    elif not quiet:
        print_lines(map(str, written))
        if shown is not None:
            _print(shown)
    return 1 if failed else 0


def _print(shown: FileEvaluation) -> None:
    from revisage.evaluate import AREAS, methods_of, rows, score_text

    columns = [*[name for name in ("input",) if name in shown.sides], *methods_of(shown), "reference"]
    table = list(rows(shown))
    for area, title in AREAS:
        lines = [
            (
                row.info.title + (f" ({row.info.unit})" if row.info.unit else ""),
                *(_marked(name in row.best, score_text(row.scores.get(name), row.info)) for name in columns),
                BETTER[row.info.better],
            )
            for row in table
            if row.area == area
        ]
        if lines:
            print_lines(["", f"{title} (* the best)"])
            print_table(("measure", *columns, "better"), lines)


def _marked(best: bool, text: str) -> str:
    return f"{text} *" if best else text
