"""Several restorations of one thing beside each other: names for them, the best value of each measure, a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from revisage.core import ConfigError
from revisage.evaluate.evaluation import Evaluation, FileEvaluation, Score, Side
from revisage.measures import MEASURES, Measure

__all__ = ["AREAS", "Row", "averaged", "csv_text", "methods_of", "name_methods", "rows", "score_text"]

AREAS = (("whole", "Whole frame"), ("faces", "Inside faces"))
_KEPT = ("reference", "input")


@dataclass(frozen=True)
class Row:
    """One measure of all sides.

    Attributes:
        area: ``whole`` or ``faces``.
        info: of the measure.
        scores: by side, ``reference`` and ``input`` among them where they have one.
        best: the methods whose value, as it is shown, is the best; empty where fewer than two have one.
    """

    area: str
    info: Measure
    scores: Mapping[str, Score]
    best: tuple[str, ...]


def name_methods(words: Sequence[str]) -> dict[str, Path]:
    """Files or folders by name: ``NAME=PATH`` as given, else the shortest part of the path that tells them apart.

    Raises:
        ConfigError: two have the same name, or one is called ``reference`` or ``input``.
    """
    given = [_split(word) for word in words]
    unnamed = [path for name, path in given if name is None]
    short = dict(zip(unnamed, _short_names(unnamed), strict=True))
    named: dict[str, Path] = {}
    for name, path in given:
        label = short[path] if name is None else name
        if label in named:
            raise ConfigError(f"two methods are called '{label}'; name them: NAME={path}")
        if label in _KEPT:
            raise ConfigError(f"a method cannot be called '{label}'; name it: NAME={path}")
        named[label] = path
    return named


def _split(word: str) -> tuple[str | None, Path]:
    name, equals, rest = word.partition("=")
    if equals and name and rest and not Path(word).exists():
        return name, Path(rest)
    return None, Path(word)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Stems; where those repeat, names; then with as many folders as it takes."""
    candidates = [[path.stem for path in paths], [path.name for path in paths]]
    candidates += [["/".join(path.parts[-depth:]) for path in paths] for depth in (2, 3, 4)]
    for names in candidates:
        if len(set(names)) == len(names) and not set(names) & set(_KEPT):
            return names
    return [str(path) for path in paths]


def methods_of(file: FileEvaluation) -> list[str]:
    """The names of the methods, without the reference and the input."""
    return [name for name in file.sides if name not in _KEPT]


def averaged(found: Evaluation) -> FileEvaluation | None:
    """What to show for all files: the only one, or one whose scores are means over those that could be measured."""
    files = [file for file in found.files if file.error is None]
    if len(files) < 2:
        return files[0] if files else None
    sides = {name: Side(path="", size_hw=(0, 0)) for name in files[0].sides}
    for name, side in sides.items():
        means = found.mean.get(name, {})
        side.whole, side.faces = (
            {key: Score(value=value) for key, value in means.get(area, {}).items()} for area, _ in AREAS
        )
    return FileEvaluation(name=f"mean of {len(files)} files", sides=sides, tracks=sum(file.tracks for file in files))


def rows(file: FileEvaluation) -> Iterator[Row]:
    """The measures that at least one method has a value of, or that its frames are identical in."""
    names = methods_of(file)
    for area, _ in AREAS:
        for key, info in MEASURES.items():
            scores = {name: side.area(area)[key] for name, side in file.sides.items() if key in side.area(area)}
            if any(name in scores and (scores[name].value is not None or scores[name].identical) for name in names):
                yield Row(area, info, scores, _best(info, scores, names))


def _best(info: Measure, scores: Mapping[str, Score], names: Sequence[str]) -> tuple[str, ...]:
    values = {name: scores[name].value for name in names if name in scores}
    known = {name: round(value, info.digits) for name, value in values.items() if value is not None}
    if info.name == "psnr":
        # Frames equal to the reference have no finite PSNR; a method with nothing else cannot be beaten.
        perfect = tuple(n for n in names if n in scores and scores[n].identical and scores[n].value is None)
        if perfect:
            return perfect if len(names) > 1 else ()
    if len(known) < 2:
        return ()
    if info.better == "reference":
        own = scores["reference"].value if "reference" in scores else None
        if own is None:
            return ()
        cost = {name: round(abs(value - own), info.digits) for name, value in known.items()}
    else:
        sign = -1 if info.better == "higher" else 1
        cost = {name: sign * value for name, value in known.items()}
    least = min(cost.values())
    return tuple(name for name, value in cost.items() if value == least)


def score_text(score: Score | None, info: Measure) -> str:
    """A value for people: with the digits that count, ``identical``, ``n/a``, or nothing."""
    if score is None:
        return ""
    if score.value is None:
        return "identical" if score.identical else "n/a"
    return f"{score.value:.{info.digits}f}"


def csv_text(found: Evaluation) -> str:
    """One line per file, area and measure, a column per side; with several files their means come first."""
    whole = averaged(found)
    if whole is None:
        return ""
    files = [file for file in found.files if file.error is None]
    shown = [whole, *files] if len(files) > 1 else files
    sides = list(whole.sides)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "area", "measure", "unit", "better", *sides, "best"])
    for file in shown:
        for row in rows(file):
            values = [_number(row.scores.get(side)) for side in sides]
            head = [file.name, row.area, row.info.name, row.info.unit, row.info.better]
            writer.writerow([*head, *values, ";".join(row.best)])
    return text.getvalue()


def _number(score: Score | None) -> str:
    if score is None or score.value is None:
        return "identical" if score is not None and score.identical else ""
    return f"{score.value:.6g}"
