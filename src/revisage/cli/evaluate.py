"""``revisage evaluate``: measure a restoration against the undamaged original."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from revisage.cli.shared import JsonOption, QuietOption, plain_by_default
from revisage.cli.show import print_lines, print_table, progress_bar, warn

if TYPE_CHECKING:
    from revisage.evaluate import Evaluation, FileEvaluation

__all__ = ["BETTER", "evaluate_app"]

_PLAIN = "files"
_AREAS = (("whole", "Whole frame"), ("faces", "Inside faces"))
BETTER = {"higher": "higher", "lower": "lower", "reference": "near the reference"}


evaluate_app = typer.Typer(
    cls=plain_by_default(_PLAIN),
    help="Measure a restoration against the undamaged original.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@evaluate_app.callback()
def _group() -> None:
    """Measure a restoration against the undamaged original."""


@evaluate_app.command(_PLAIN)
def evaluate(
    restored: Annotated[Path, typer.Argument(metavar="RESTORED", help="A video, GIF or photo; a folder of them.")],
    reference: ReferenceOption,
    input: InputOption = None,  # noqa: A002 - the name that users expect
    faces_only: FacesOnlyOption = None,
    resize: ResizeOption = None,
    match: MatchOption = "exact",
    every: EveryOption = 1,
    max_frames: MaxFramesOption = None,
    samples: SamplesOption = 12,
    detector: DetectorOption = "compact",
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> int:
    """Measure a restoration against the undamaged original, on the whole frame and inside faces.

    Other commands: `evaluate compare` puts several restorations side by side, `evaluate study` makes a blind test.
    """
    from revisage.api import evaluate as run

    with progress_bar(quiet) as progress:
        found = run(
            restored,
            reference,
            input=input,
            progress=progress,
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
    for area, title in _AREAS:
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
    from revisage.evaluate import FileEvaluation, Score, Side

    sides = {}
    for name in files[0].sides:
        whole, faces = (
            {key: Score(value=value) for key, value in found.mean.get(name, {}).get(area, {}).items()}
            for area, _ in _AREAS
        )
        sides[name] = Side(path="", size_hw=(0, 0), whole=whole, faces=faces)
    return FileEvaluation(name="", sides=sides)


def _rows(file: FileEvaluation, area: str) -> Iterator[tuple[str, ...]]:
    from revisage.evaluate import score_text
    from revisage.measures import MEASURES

    others = [side.area(area) for name, side in reversed(file.sides.items()) if name != "reference"]
    reference = file.sides["reference"].area(area)
    for name, info in MEASURES.items():
        scores = [scores.get(name) for scores in others]
        if any(score is not None and (score.value is not None or score.identical) for score in scores):
            unit = f" ({info.unit})" if info.unit else ""
            cells = [score_text(score, info) for score in (*scores, reference.get(name))]
            yield (info.title + unit, *cells, BETTER[info.better])


def _notes(files: list[FileEvaluation]) -> Iterator[str]:
    """One line for each reason why measures are absent."""
    from revisage.measures import MEASURES

    reasons: dict[str, list[str]] = {}
    for file in files:
        for name, side in file.sides.items():
            for area, _ in _AREAS:
                for key, score in side.area(area).items():
                    if score.value is None and not score.identical and score.note and name != "reference":
                        titles = reasons.setdefault(score.note, [])
                        title = MEASURES[key].title + (" inside faces" if area == "faces" else "")
                        if title not in titles:
                            titles.append(title)
    for reason, titles in reasons.items():
        whole = [title for title in titles if not title.endswith(" inside faces")]
        inside = [title.removesuffix(" inside faces") for title in titles if title.endswith(" inside faces")]
        inside = [title for title in inside if title not in whole]
        told = [", ".join(whole)] if whole else []
        told += [f"{', '.join(inside)} inside faces"] if inside else []
        yield f"n/a: {'; '.join(told)}: {reason}"
