"""``revisage evaluate``: measure restorations against the undamaged original, compare them, and ask people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisage import evaluation, measures
from revisage.cli.options import (
    OUTPUT,
    JsonOption,
    OverwriteOption,
    QuietOption,
    option,
    plain_by_default,
    with_options,
)
from revisage.cli.show import counted, print_lines, print_table, progress_bar, warn
from revisage.core import check_file, write_text

if TYPE_CHECKING:
    from revisage.evaluation import EvaluateSettings, Evaluation, FileEvaluation, Preference, StudyScore

__all__ = ["evaluate_app"]

_Reference = Annotated[
    Path, typer.Option("--reference", metavar="CLEAN", help="The undamaged original; a folder, paired by name.")
]
_Input = Annotated[
    Path | None,
    typer.Option("--input", metavar="DEGRADED", help="What was restored, measured beside it.", show_default=False),
]


def _measuring(samples: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options about what is measured, on which frames, and what finds the faces: EvaluateSettings checks them."""
    told: dict[str, tuple[Any, Any, str | None, str]] = {
        "resize": (str | None, None, "restored|reference", "Which gives way where sizes differ; else an error."),
        "match": (str, "exact", "exact|nearest", "Frames pair by time: the same time, or the nearest."),
        "every": (int, 1, ">=1", "Measure each N-th frame."),
        "max_frames": (int | None, None, ">=1", "Stop after so many measured frames."),
        "samples": (int, samples, ">=0", "Frames that slow measures are taken on; 0 takes all."),
        "detector": (str, "compact", "NAME", "Finds the faces in the reference."),
        "weights": (Path | None, None, "DIR", "Look here for the weights of LPIPS, VGGD, identity."),
        "device": (str, "auto", "auto|cpu|cuda|mps", "Of the detector."),
    }
    faces_only = typer.Option(
        "--faces-only/--whole", help="Measure inside faces only, or whole frames only; by default both."
    )
    made = [option("faces_only", None, Annotated[bool | None, faces_only])]
    for name, (kind, default, metavar, text) in told.items():
        declared = typer.Option(metavar=metavar, help=text, show_default=default is not None)
        made.append(option(name, default, Annotated[kind, declared]))
    return with_options(lambda: made)


def _settings(faces_only: bool | None, **options: Any) -> dict[str, Any]:
    """Fields of EvaluateSettings."""
    return {"area": {None: "both", True: "faces", False: "whole"}[faces_only], **options}


_PLAIN = "files"
_BETTER = {"higher": "higher", "lower": "lower", "reference": "near the reference"}


evaluate_app = typer.Typer(
    cls=plain_by_default(_PLAIN),
    help="Measure a restoration against the undamaged original.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@evaluate_app.callback()
def _group() -> None:
    """Measure a restoration against the undamaged original."""


@evaluate_app.command(_PLAIN)
@_measuring(samples=12)
def evaluate(
    restored: Annotated[Path, typer.Argument(metavar="RESTORED", help="A video, GIF or photo; a folder of them.")],
    reference: _Reference,
    input: _Input = None,  # noqa: A002 - the name that users expect
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Measure a restoration against the undamaged original, on the whole frame and inside faces.

    Other commands: `evaluate compare` puts several restorations side by side, `evaluate study` makes a blind test.
    """
    from revisage.api import evaluate as run  # brings numpy

    with progress_bar(quiet) as progress:
        found = run(restored, reference, input=input, progress=progress, **_settings(**options))
    return _told(found, quiet, as_json)


def _told(found: Evaluation, quiet: bool, as_json: bool) -> int:
    """Print the result; the exit code says whether every file could be measured."""
    failed = [file for file in found.files if file.error]
    for file in found.files:
        for text in file.warnings:
            warn(f"warning: {text}")
    for file in failed:
        warn(f"error: {file.error}")
    if as_json:
        print_lines([found.to_json().rstrip()])
    elif not quiet:
        _print(found)
    return 1 if failed else 0


def _print(found: Evaluation) -> None:
    files = [file for file in found.files if file.error is None]
    if not files:
        return
    shown = _averaged(found, files) if len(files) > 1 else files[0]
    print_lines(_headline(found, files))
    for area, title in evaluation.AREAS:
        rows = list(_rows(shown, area))
        if rows:
            print_lines(["", title])
            names = [name for name in shown.sides if name != "reference"]
            print_table(("measure", *reversed(names), "reference", "better"), rows)
    print_lines(["", *_notes(files)])


def _headline(found: Evaluation, files: list[FileEvaluation]) -> Iterator[str]:
    frames = sum(len(file.frames) for file in files)
    names = files[0].name if len(files) == 1 else f"{len(files)} files, mean over files"
    tracks = sum(file.tracks for file in files)
    yield f"{names}: frames {frames}, face tracks {tracks}, {found.total_seconds:.1f} s"


def _averaged(found: Evaluation, files: list[FileEvaluation]) -> FileEvaluation:
    """A file whose scores are the means over all."""
    sides = {}
    for name in files[0].sides:
        whole, faces = (
            {key: evaluation.Score(value=value) for key, value in found.mean.get(name, {}).get(area, {}).items()}
            for area, _ in evaluation.AREAS
        )
        sides[name] = evaluation.Side(path="", size_hw=(0, 0), whole=whole, faces=faces)
    return evaluation.FileEvaluation(name="", sides=sides)


def _rows(file: FileEvaluation, area: str) -> Iterator[tuple[str, ...]]:
    others = [side.area(area) for name, side in reversed(file.sides.items()) if name != "reference"]
    reference = file.sides["reference"].area(area)
    for name, info in measures.MEASURES.items():
        scores = [scores.get(name) for scores in others]
        if any(score is not None and (score.value is not None or score.identical) for score in scores):
            unit = f" ({info.unit})" if info.unit else ""
            cells = [evaluation.score_text(score, info) for score in (*scores, reference.get(name))]
            yield (info.title + unit, *cells, _BETTER[info.better])


def _notes(files: list[FileEvaluation]) -> Iterator[str]:
    """One line for each reason why measures are absent."""
    reasons: dict[str, list[str]] = {}
    for file in files:
        for name, side in file.sides.items():
            for area, _ in evaluation.AREAS:
                for key, score in side.area(area).items():
                    if score.value is None and not score.identical and score.note and name != "reference":
                        titles = reasons.setdefault(score.note, [])
                        title = measures.MEASURES[key].title + (" inside faces" if area == "faces" else "")
                        if title not in titles:
                            titles.append(title)
    for reason, titles in reasons.items():
        whole = [title for title in titles if not title.endswith(" inside faces")]
        inside = [title.removesuffix(" inside faces") for title in titles if title.endswith(" inside faces")]
        inside = [title for title in inside if title not in whole]
        told = [", ".join(whole)] if whole else []
        told += [f"{', '.join(inside)} inside faces"] if inside else []
        yield f"n/a: {'; '.join(told)}: {reason}"


@evaluate_app.command("compare")
@_measuring(samples=24)
def compare(
    methods: Annotated[
        list[str],
        typer.Argument(metavar="METHOD...", help="Restored files or folders; NAME=PATH gives one a name."),
    ],
    reference: _Reference,
    input: _Input = None,  # noqa: A002 - the name that users expect
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page: tables, curves, worst moments.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Measure several restorations against one original, and show which is best at what."""
    written = [path for path in (html, csv) if path is not None]
    for path in written:
        check_file(path, overwrite=overwrite)
    settings = evaluation.make_settings(**_settings(**options))
    sides = {**({} if input is None else {"input": input}), **evaluation.name_methods(methods)}
    with progress_bar(quiet) as progress:
        found = evaluation.evaluate_sides(reference, sides, settings, progress=progress)
    _write(found, settings, html, csv, overwrite)
    return _told_methods(found, quiet, as_json, written)


def _write(found: Evaluation, settings: EvaluateSettings, html: Path | None, csv: Path | None, overwrite: bool) -> None:
    """The page and the table, where they are asked for."""
    if html is not None:
        write_text(html, evaluation.comparison_page(found, settings), overwrite=overwrite)
    if csv is not None:
        write_text(csv, evaluation.csv_text(found), overwrite=overwrite)


def _told_methods(found: Evaluation, quiet: bool, as_json: bool, written: list[Path]) -> int:
    """Print the result; the exit code says whether every file could be measured."""
    failed = [file for file in found.files if file.error is not None]
    for file in found.files:
        for text in [*file.warnings, *([] if file.error is None else [f"{file.name}: {file.error}"])]:
            warn(f"warning: {text}")
    shown = evaluation.averaged(found)
    if as_json:
        best: dict[str, dict[str, list[str]]] = {}
        for row in [] if shown is None else evaluation.rows(shown):
            best.setdefault(row.area, {})[row.info.name] = list(row.best)
        record = {"best": best, **found.model_dump(mode="json")}
        print_lines([json.dumps(record, indent=2, allow_nan=False)])
    elif not quiet:
        print_lines(map(str, written))
        if shown is not None:
            _print_methods(shown)
    return 1 if failed else 0


def _print_methods(shown: FileEvaluation) -> None:
    columns = [*[name for name in ("input",) if name in shown.sides], *evaluation.methods_of(shown), "reference"]
    table = list(evaluation.rows(shown))
    for area, title in evaluation.AREAS:
        lines = [
            (
                row.info.title + (f" ({row.info.unit})" if row.info.unit else ""),
                *(_marked(name in row.best, evaluation.score_text(row.scores.get(name), row.info)) for name in columns),
                _BETTER[row.info.better],
            )
            for row in table
            if row.area == area
        ]
        if lines:
            print_lines(["", f"{title} (* the best)"])
            print_table(("measure", *columns, "better"), lines)


def _marked(best: bool, text: str) -> str:
    return f"{text} *" if best else text


_MAKE = "make"


study_app = typer.Typer(
    cls=plain_by_default(_MAKE), help="Make a blind comparison for people, and score their answers."
)
evaluate_app.add_typer(study_app, name="study")


@study_app.callback()
def _study_group() -> None:
    """Make a blind comparison for people, and score their answers."""


@study_app.command(_MAKE)
def make(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR",
            help="A folder with one folder per method; or two or more files or folders, one per method (NAME=PATH).",
        ),
    ],
    output: Annotated[
        Path, typer.Option(*OUTPUT, metavar="OUT", help="Folder for the page; the key goes to OUT.key.json.")
    ] = Path("study"),
    seed: Annotated[int, typer.Option(help="Of the order, and of who is on which side.")] = 0,
    question: Annotated[
        str | None, typer.Option(help="What raters are asked.", show_default="Which of the two looks better?")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier study.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Make a page that shows two methods side by side without saying which is which.

    Give raters the folder OUT: they open index.html, which works without a network, and save their answers. Keep the
    key to yourself until `revisage evaluate study score RESULTS... --key OUT.key.json`.
    """
    key = evaluation.make_study(
        sources, output, seed=seed, question=question or evaluation.QUESTION, overwrite=overwrite
    )
    if not quiet:
        items = counted(len({trial.item for trial in key.trials}), "item")
        print_lines([str(output / "index.html"), str(evaluation.key_path(output))])
        print_lines([f"  {counted(len(key.trials), 'pair')}: {items}, {len(key.methods)} methods"])


@study_app.command()
def score(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Files that raters saved, JSON or CSV.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The key of the study.")],
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Say which method raters prefer, how sure that is, and how far they agree.

    The preference is the share of answers for a method among those that were not "equal", with Wilson's interval.
    """
    found = evaluation.score_study(
        evaluation.load_key(key), {path: evaluation.load_answers(path) for path in results}, confidence=confidence
    )
    if as_json:
        print_lines([json.dumps(found.model_dump(mode="json"), indent=2)])
        return
    print_table(
        ("method", "against", "preferred", _interval(found), "p", "wins", "losses", "equal"),
        map(_preference_row, found.preferences),
    )
    print_lines(["", "Items (wins / losses / equal)"])
    print_table(
        ("item", *(f"{entry.one} : {entry.other}" for entry in found.preferences)),
        _item_rows(found.preferences),
    )
    print_lines(["", *_remarks(found)])


def _interval(found: StudyScore) -> str:
    return f"{100 * found.confidence:g} % interval"


def _preference_row(entry: Preference) -> tuple[str, ...]:
    counts = (str(entry.wins), str(entry.losses), str(entry.ties))
    if entry.share is None or entry.low is None or entry.high is None or entry.p is None:
        return (entry.one, entry.other, "n/a", "", "", *counts)
    interval = f"{100 * entry.low:.1f} - {100 * entry.high:.1f} %"
    return (entry.one, entry.other, f"{100 * entry.share:.1f} %", interval, f"{entry.p:.4f}", *counts)


def _item_rows(preferences: list[Preference]) -> list[tuple[str, ...]]:
    items = sorted({item for entry in preferences for item in entry.items})
    return [(item, *(" / ".join(map(str, entry.items.get(item, ()))) for entry in preferences)) for item in items]


def _remarks(found: StudyScore) -> list[str]:
    answers = sum(found.raters.values())
    lines = [
        f"{len(found.raters)} raters, {answers} answers. Equal answers are counted apart and left out of the share."
    ]
    if found.agreement is not None:
        alpha = "not defined" if found.alpha is None else f"{found.alpha:.2f}"
        lines.append(
            f"Raters agree in {100 * found.agreement:.0f} % of pairs of answers; Krippendorff's alpha {alpha}."
        )
    else:
        lines.append("Agreement needs two raters or more.")
    if found.left_share is not None:
        lines.append(f"The left side was chosen in {100 * found.left_share:.0f} % of the decided answers.")
    return lines
