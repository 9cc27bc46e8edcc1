"""What an evaluation may be told, and what it found, as JSON without NaN or infinity; and several side by side.

Beside each other restorations of one thing have names, a best value of each measure, and a table.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revisage._version import __version__
from revisage.core import ConfigError
from revisage.measures import MEASURES, Measure

__all__ = [
    "AREAS",
    "EvaluateSettings",
    "Evaluation",
    "FaceRegion",
    "FileEvaluation",
    "Row",
    "Score",
    "Side",
    "averaged",
    "csv_text",
    "make_settings",
    "methods_of",
    "name_methods",
    "rows",
    "score_text",
]


_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


class EvaluateSettings(BaseModel):
    """How files are paired and which frames are measured.

    Attributes:
        area: where to measure.
        resize: which side gives way where sizes differ; None makes that an error.
        match: ``exact`` pairs frames of the same time and makes a missing one an error, ``nearest`` takes for each
            frame of the reference the one nearest in time.
        every: measure each N-th frame of the reference, and changes over time between frames this far apart.
        max_frames: stop after this many measured frames.
        samples: on how many frames the heavy measures are taken, spread evenly; 0 takes all.
        detector: finds the faces in the reference.
        weights: a folder to look for the weights of LPIPS, VGGD and identity in, before the model folder.
        device: of the detector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    area: Literal["both", "whole", "faces"] = "both"
    resize: Literal["restored", "reference"] | None = None
    match: Literal["exact", "nearest"] = "exact"
    every: int = Field(default=1, ge=1)
    max_frames: int | None = Field(default=None, ge=1)
    samples: int = Field(default=12, ge=0)
    detector: str = "compact"
    weights: Path | None = None
    device: str = "auto"

    @property
    def whole(self) -> bool:
        """Whether whole frames are measured."""
        return self.area != "faces"

    @property
    def faces(self) -> bool:
        """Whether faces are measured."""
        return self.area != "whole"


def make_settings(**options: Any) -> EvaluateSettings:
    """Settings from options; those that are None keep their default.

    Raises:
        ConfigError: an option is unknown or out of range, in one line.
    """
    try:
        settings = EvaluateSettings.model_validate(
            {name: value for name, value in options.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "-".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"--{name}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}") from None
    if settings.weights is not None and not settings.weights.is_dir():
        raise ConfigError(f"--weights: there is no folder {settings.weights}; name the one that holds the files")
    return settings


class Score(BaseModel):
    """One measure of one side, over the whole frame or inside the faces.

    Attributes:
        value: mean over the frames measured (NIQE: all frames pooled); None where there is no number.
        note: why there is none.
        frames: on how many frames the value rests.
        identical: frames that equal the reference's, whose PSNR is infinite; they are left out of the mean.
        worst: the worst frame's value, and ``worst_frame`` its place in :attr:`FileEvaluation.seconds`.
        series: one value for each entry of :attr:`FileEvaluation.seconds`; None where not measured or identical.
    """

    model_config = _RECORD

    value: float | None = None
    note: str | None = None
    frames: int = 0
    identical: int = 0
    worst: float | None = None
    worst_frame: int | None = None
    series: list[float | None] = []


class Side(BaseModel):
    """One of the files that were measured.

    Attributes:
        path: of the file.
        size_hw: of its frames before they were resized (px).
        frames: that it holds, as far as it was read.
        whole, faces: the scores by name of the measure (see :data:`revisage.measures.MEASURES`); those of
            the reference are only the ones that need none.
    """

    model_config = _RECORD

    path: str
    size_hw: tuple[int, int]
    frames: int = 0
    whole: dict[str, Score] = {}
    faces: dict[str, Score] = {}

    def area(self, name: str) -> dict[str, Score]:
        """The scores of ``whole`` or ``faces``."""
        return self.faces if name == "faces" else self.whole


class FaceRegion(BaseModel):
    """Where a face was measured, in px of the frames as they were compared; ends excluded."""

    model_config = _RECORD

    track: int
    left: int
    top: int
    right: int
    bottom: int


class FileEvaluation(BaseModel):
    """One reference and the files that were measured against it.

    Attributes:
        name: of the reference.
        kind: ``video``, ``animation`` or ``image``.
        size_hw: at which frames were compared (px).
        frames: number of each measured frame in the reference, from 0.
        seconds: its time from the first frame.
        regions: the faces in each measured frame.
        tracks: persons in the reference.
        sides: by name; ``reference`` is always there, ``restored`` and ``input`` where one restoration was measured,
            any other names where several were.
        warnings: what the reader of the numbers should know.
        error: why the file could not be measured (in a folder).
    """

    model_config = _RECORD

    name: str
    kind: str = "image"
    size_hw: tuple[int, int] = (0, 0)
    frames: list[int] = []
    seconds: list[float] = []
    regions: list[list[FaceRegion]] = []
    tracks: int = 0
    sides: dict[str, Side] = {}
    warnings: list[str] = []
    error: str | None = None


class Evaluation(BaseModel):
    """What :func:`revisage.evaluate` found.

    Attributes:
        revisage: version that measured.
        settings: of the evaluation.
        networks: for LPIPS, VGGD and identity the file and SHA-256 of the weights, or why there are none.
        files: one entry per reference.
        mean: for each side, area and measure the mean over the files that have a value.
        total_seconds: wall clock.
    """

    model_config = _RECORD

    revisage: str = __version__
    settings: dict[str, Any] = {}
    networks: dict[str, dict[str, Any]] = {}
    files: list[FileEvaluation] = []
    mean: dict[str, dict[str, dict[str, float]]] = {}
    total_seconds: float = 0.0

    def to_json(self) -> str:
        """This record as JSON, without NaN or infinity."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


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
