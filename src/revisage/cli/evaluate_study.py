"""``revisage evaluate study``: make a blind comparison for people, and score their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revisage.cli.evaluate import evaluate_app
from revisage.cli.shared import JsonOption, QuietOption, plain_by_default
from revisage.cli.show import counted, print_lines, print_table

if TYPE_CHECKING:
    from revisage.evaluate import Preference, StudyScore

__all__: list[str] = []

_MAKE = "make"


study_app = typer.Typer(
    cls=plain_by_default(_MAKE), help="Make a blind comparison for people, and score their answers."
)
evaluate_app.add_typer(study_app, name="study")


@study_app.callback()
def _group() -> None:
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
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the page; the key goes to OUT.key.json.")
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
    from revisage.evaluate import QUESTION, key_path, make_study

    key = make_study(sources, output, seed=seed, question=question or QUESTION, overwrite=overwrite)
    if not quiet:
        items = counted(len({trial.item for trial in key.trials}), "item")
        print_lines([str(output / "index.html"), str(key_path(output))])
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
    from revisage.evaluate import load_answers, load_key, score_study

    found = score_study(load_key(key), {path: load_answers(path) for path in results}, confidence=confidence)
    if as_json:
        print_lines([json.dumps(found.model_dump(mode="json"), indent=2)])
        return
    print_table(
        ("method", "against", "preferred", _interval(found), "p", "wins", "losses", "equal"),
        map(_row, found.preferences),
    )
    print_lines(["", "Items (wins / losses / equal)"])
    print_table(
        ("item", *(f"{entry.one} : {entry.other}" for entry in found.preferences)),
        _item_rows(found.preferences),
    )
    print_lines(["", *_remarks(found)])


def _interval(found: StudyScore) -> str:
    return f"{100 * found.confidence:g} % interval"


def _row(entry: Preference) -> tuple[str, ...]:
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
