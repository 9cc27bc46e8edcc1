"""The comparison of methods as one HTML page that needs nothing else: tables, curves, worst moments, a slider.

Curves are inline SVG, so that they follow the page's light or dark colours. A worst moment is where a method is at
its worst, or where methods differ most.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from revisage._version import __version__
from revisage.core import Image, InputError, Region
from revisage.evaluation.evaluator import resized
from revisage.evaluation.pairing import Pairs
from revisage.evaluation.results import (
    AREAS,
    EvaluateSettings,
    Evaluation,
    FileEvaluation,
    averaged,
    methods_of,
    rows,
    score_text,
)
from revisage.measures import MEASURES, Measure

__all__ = [
    "MomentPictures",
    "Spot",
    "comparison_page",
    "curves",
    "page_from",
    "read_pictures",
    "script_json",
    "worst_spots",
]


_JUDGES = ("ssim", "psnr", "vggd", "lpips", "tmse")
"""Measures that a moment is judged by: the first one that has values."""
_LONGEST = 512
"""Longer side of a picture in the page (px)."""
_AROUND = 0.35
"""What is shown around a face, as a part of its longer side."""


@dataclass(frozen=True)
class Spot:
    """A moment to look at: its place in :attr:`FileEvaluation.seconds`, and why."""

    place: int
    reason: str


@dataclass(frozen=True, eq=False)
class MomentPictures:
    """The same part of the same moment of every side: ``(h, w, 3) uint8 RGB`` by name."""

    seconds: float
    frame: int
    reason: str
    images: Mapping[str, Image]


def worst_spots(file: FileEvaluation) -> list[Spot]:
    """At most one moment per method, the worst, and the one where methods differ most; in order of time."""
    judge = _judge(file)
    if judge is None:
        return [Spot(0, "the only one measured")] if file.frames else []
    area, key = judge
    info = MEASURES[key]
    reasons: dict[int, list[str]] = {}
    series = {
        name: file.sides[name].area(area)[key].series for name in methods_of(file) if key in file.sides[name].area(area)
    }
    sign = 1 if info.better == "higher" else -1
    for name, values in series.items():
        known = [(sign * value, place) for place, value in enumerate(values) if value is not None]
        if known:
            reasons.setdefault(min(known)[1], []).append(
                f"lowest {info.title} of {name}" if sign > 0 else f"highest {info.title} of {name}"
            )
    spread = _widest(list(series.values()))
    if len(series) > 1 and spread is not None:
        reasons.setdefault(spread, []).append(f"methods differ most in {info.title}")
    return [Spot(place, "; ".join(texts)) for place, texts in sorted(reasons.items())]


def _judge(file: FileEvaluation) -> tuple[str, str] | None:
    """The area and measure to judge by: inside faces where there are any."""
    for area in ("faces", "whole"):
        for key in _JUDGES:
            scores = [file.sides[name].area(area).get(key) for name in methods_of(file)]
            if any(score is not None and any(value is not None for value in score.series) for score in scores):
                return area, key
    return None


def _widest(series: list[list[float | None]]) -> int | None:
    spreads = []
    for place, values in enumerate(zip(*series, strict=True)):
        known = [value for value in values if value is not None]
        if len(known) > 1:
            spreads.append((max(known) - min(known), -place))
    return -max(spreads)[1] if spreads else None


def read_pictures(file: FileEvaluation, settings: EvaluateSettings) -> list[MomentPictures]:
    """Pictures of the moments that :func:`worst_spots` names, of the largest face or of the whole frame.

    Raises:
        InputError: a file cannot be read any more.
    """
    spots = {file.frames[spot.place]: spot for spot in worst_spots(file)}
    if not spots:
        return []
    paths = {name: Path(side.path) for name, side in file.sides.items()}
    reference = paths.pop("reference")
    plain = settings.model_copy(update={"every": 1, "max_frames": max(spots) + 1})
    found = []
    for moment in Pairs(reference, paths, plain):
        spot = spots.get(moment.index)
        if spot is None:
            continue
        region = _region(file, spot.place)
        frames = {"reference": moment.reference, **moment.sides}
        images = {name: _part(frame.rgb(), file.size_hw, region) for name, frame in frames.items()}
        found.append(MomentPictures(file.seconds[spot.place], moment.index, spot.reason, images))
    return found


def _region(file: FileEvaluation, place: int) -> Region:
    height, width = file.size_hw
    faces = file.regions[place] if place < len(file.regions) else []
    if not faces:
        return Region(0, 0, width, height)
    face = max(faces, key=lambda one: (one.right - one.left) * (one.bottom - one.top))
    around = round(_AROUND * max(face.right - face.left, face.bottom - face.top))
    return Region(
        max(0, face.left - around),
        max(0, face.top - around),
        min(width, face.right + around),
        min(height, face.bottom + around),
    )


def _part(image: Image, size_hw: tuple[int, int], region: Region) -> Image:
    """A region of an image brought to the compared size, at most 512 px long."""
    part = resized(image, size_hw)[region.slices]
    factor = _LONGEST / max(part.shape[:2])
    if factor < 1:
        size_wh = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
        part = np.asarray(cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(part)


Series = Sequence[float | None]

_BETTER = {"higher": "higher is better", "lower": "lower is better", "reference": "near the reference is better"}
_MOST_FILES = 12
"""Pictures of more files than this would make the page too heavy to open."""
_MARKS = ("solid", "7 3", "10 3 2 3", "4 2", "14 4", "2 2 6 2")
"""Dashes, so that curves can be told apart without their colours."""
_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 34
"""Of a figure and the margins around its plot, in its own units."""


def page_from(template: str, parts: Mapping[str, str]) -> str:
    """A page of this package with its ``{{NAME}}`` places filled in, and the common style sheet as ``{{CSS}}``."""
    folder = resources.files("revisage.evaluation") / "data"
    text = (folder / template).read_text(encoding="utf-8")
    style = (folder / "page.css").read_text(encoding="utf-8")
    for name, value in {"CSS": style.rstrip(), **parts}.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def comparison_page(found: Evaluation, settings: EvaluateSettings) -> str:
    """The page of an evaluation of several methods. The files are read again for the pictures.

    Raises:
        InputError: a file cannot be read any more, or nothing was measured.
    """
    shown = averaged(found)
    if shown is None:
        raise InputError(f"nothing could be measured: {found.files[0].error if found.files else 'there is no file'}")
    files = [file for file in found.files if file.error is None]
    crops = {number: read_pictures(file, settings) for number, file in enumerate(files[:_MOST_FILES])}
    methods = methods_of(shown)
    several = len(files) > 1
    moments = {
        f"{number}-{place}": _moment(crop, files[number].name if several else "")
        for number in crops
        for place, crop in enumerate(crops[number])
    }
    return page_from(
        "compare.html",
        {
            "TITLE": escape(f"{', '.join(methods)} against {shown.name if not several else 'the reference'}"),
            "LEAD": escape(_lead(shown, files)),
            "WARNINGS": _list([text for file in found.files for text in [*file.warnings, *_error(file)]]),
            "BETTER": escape(_explained(shown)),
            "TABLES": _tables(shown),
            "NOTES": _list(_absent(files)),
            "SLIDER": _slider() if moments else "",
            "FILES": "".join(_file(number, file, crops.get(number, []), several) for number, file in enumerate(files)),
            "FOOT": escape(f"Measured by revisage {__version__}. Definitions: docs/measures.md."),
            "DATA": script_json(moments),
        },
    )


def _error(file: FileEvaluation) -> list[str]:
    return [] if file.error is None else [f"{file.name}: {file.error}"]


def _lead(shown: FileEvaluation, files: Sequence[FileEvaluation]) -> str:
    frames = sum(len(file.frames) for file in files)
    tracks = sum(file.tracks for file in files)
    things = f"{len(files)} files, " if len(files) > 1 else ""
    names = ", ".join(f"{name}: {shown.sides[name].path}" for name in methods_of(shown) if shown.sides[name].path)
    tail = f". {names}." if names else "."
    return f"{things}{frames} frame{'s' * (frames != 1)}, {tracks} face track{'s' * (tracks != 1)}{tail}"


def _explained(shown: FileEvaluation) -> str:
    if any(row.info.better == "reference" for row in rows(shown)):
        return "Where the last column says so, the value nearest to the reference's own is the best."
    return ""


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="small">{items}</ul>' if items else ""


def _tables(file: FileEvaluation) -> str:
    return "".join(f"<h3>{title}</h3>{table}" for area, title in AREAS if (table := _table(file, area, title)))


def _table(file: FileEvaluation, area: str, title: str) -> str:
    body = [row for row in rows(file) if row.area == area]
    if not body:
        return ""
    columns = [*[n for n in ("input",) if n in file.sides], *methods_of(file), "reference"]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = []
    for row in body:
        cells = []
        for name in columns:
            score = row.scores.get(name)
            note = f' title="{escape(score.note, quote=True)}"' if score is not None and score.note else ""
            best = ' class="best"' if name in row.best else ""
            star = "★ " if best else ""
            cells.append(f"<td{best}{note}>{star}{score_text(score, row.info)}</td>")
        name = f'<th scope="row">{_title(row.info)}</th>'
        lines.append(f'<tr>{name}{"".join(cells)}<td class="better">{_BETTER[row.info.better]}</td></tr>')
    label = escape(f"Measures: {title.lower()}", quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table><thead><tr>'
        f'<th scope="col">measure</th>{head}<td class="better"></td></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _title(info: Measure) -> str:
    return escape(info.title + (f" ({info.unit})" if info.unit else ""))


def _absent(files: Sequence[FileEvaluation]) -> Iterator[str]:
    """Which measures have no value, and why."""
    reasons: dict[str, list[str]] = {}
    for file in files:
        for name in methods_of(file):
            for area, _ in AREAS:
                for key, score in file.sides[name].area(area).items():
                    if score.value is None and not score.identical and score.note:
                        titles = reasons.setdefault(score.note, [])
                        titles += [MEASURES[key].title] if MEASURES[key].title not in titles else []
    for reason, titles in reasons.items():
        yield f"n/a: {', '.join(titles)}: {reason}"


def _file(number: int, file: FileEvaluation, crops: Sequence[MomentPictures], several: bool) -> str:
    """The curves and worst moments of one file; each file of several can be opened."""
    parts = []
    if several:
        parts.append(_tables(file))
    if plots := _plots(file):
        parts.append(
            f"<h3>Over time</h3>{_legend(file)}{plots}" if several else f"<h2>Over time</h2>{_legend(file)}{plots}"
        )
    if crops:
        heading = "h3" if several else "h2"
        pictures = [_moment_pictures(f"{number}-{place}", crop) for place, crop in enumerate(crops)]
        parts.append(f"<{heading}>Worst moments</{heading}>{''.join(pictures)}")
    if not several:
        return "".join(parts)
    open_ = " open" if number == 0 else ""
    return f"<details{open_}><summary>{escape(file.name)}</summary>{''.join(parts)}</details>"


def _styles(file: FileEvaluation) -> dict[str, int]:
    return {
        name: number
        for number, name in enumerate([*methods_of(file), *[n for n in ("input", "reference") if n in file.sides]])
    }


def _plots(file: FileEvaluation) -> str:
    if len(file.seconds) < 2:
        return ""
    styles = _styles(file)
    figures = []
    for area, where in AREAS:
        for key, info in MEASURES.items():
            series = {
                name: score.series
                for name in styles
                if (score := file.sides[name].area(area).get(key)) is not None
                and sum(value is not None for value in score.series) > 1
            }
            if any(name in series for name in methods_of(file)):
                title = f"{info.title}{f' ({info.unit})' if info.unit else ''}, {where.lower()}"
                figures.append(
                    f'<figure><figcaption>{escape(title)} <span class="quiet small">{_BETTER[info.better]}</span>'
                    f"</figcaption>{curves(title, file.seconds, series, styles)}</figure>"
                )
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def _legend(file: FileEvaluation) -> str:
    items = []
    for name, style in _styles(file).items():
        line = f'<svg viewBox="0 0 36 10" aria-hidden="true"><line x1="0" x2="36" y1="5" y2="5"{_dashes(style)}/></svg>'
        items.append(f'<li style="--own: var(--curve-{style % 6})">{line}{escape(name)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _moment_pictures(key: str, crop: MomentPictures) -> str:
    figures = "".join(
        f'<figure><img data-moment="{key}" alt="{escape(name, quote=True)}" src="{_data_uri(image)}">'
        f'<figcaption class="small">{escape(name)}</figcaption></figure>'
        for name, image in crop.images.items()
    )
    return f'<p class="small"><b>{_when(crop)}</b>: {escape(crop.reason)}</p><div class="moments">{figures}</div>'


def _when(crop: MomentPictures) -> str:
    return f"{crop.seconds:.2f} s, frame {crop.frame}"


def _moment(crop: MomentPictures, file: str) -> dict[str, str]:
    """What the slider says about a moment; its pictures are those of the page."""
    title = f"{file}: {_when(crop)}" if file else _when(crop)
    return {"title": title, "reason": crop.reason}


def _data_uri(image: Image) -> str:
    """A lossless WebP inside the page."""
    done, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert done
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _slider() -> str:
    selects = "".join(
        f'<label><span class="small">{label}</span><select name="{name}"></select></label>'
        for name, label in (("moment", "Moment"), ("left", "Left"), ("right", "Right"))
    )
    return (
        "<h2>Side by side</h2><noscript><p>The slider needs JavaScript; the pictures below do not.</p></noscript>"
        f'<div class="slider" id="slider" hidden><div class="choices">{selects}</div>'
        '<div class="pair"><img alt=""><img alt=""><span class="tag left"></span><span class="tag right"></span></div>'
        '<label><span class="small">Divider: drag it, or use the arrow keys</span>'
        '<input type="range" name="at" min="0" max="100" value="50"></label>'
        '<p class="small quiet reason"></p></div>'
    )


def curves(title: str, seconds: Sequence[float], series: Mapping[str, Series], styles: Mapping[str, int]) -> str:
    """An SVG figure of values over time, with axes; gaps where there is no value.

    Args:
        title: what is shown, for those who cannot see it.
        seconds: time of each value, rising.
        series: values by name, each as long as ``seconds``.
        styles: number of each name's colour (the page's ``--curve-N``) and dash.

    Raises:
        ValueError: a series has another length, or none has a value.
    """
    if any(len(values) != len(seconds) for values in series.values()):
        raise ValueError("each series needs one value per time")
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        raise ValueError("there is no value to draw")
    frame = _Frame.around(seconds, known)
    parts = [frame.grid()]
    parts += [frame.curve(name, seconds, values, styles[name]) for name, values in series.items()]
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


class _Frame:
    """The rectangle of a plot, and the ranges that it shows."""

    def __init__(self, times: tuple[float, float], ticks: list[float], digits: int) -> None:
        self._times, self._ticks, self._digits = times, ticks, digits

    @classmethod
    def around(cls, seconds: Sequence[float], values: Sequence[float]) -> _Frame:
        """The frame that holds all values between round numbers."""
        low, high = min(values), max(values)
        step = _round_step((high - low) / 4 or abs(high) / 4 or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        last = max(last, first + 1)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        end = seconds[-1] if seconds[-1] > seconds[0] else seconds[0] + 1
        return cls((seconds[0], end), [number * step for number in range(first, last + 1)], digits)

    def _x(self, time: float) -> float:
        start, end = self._times
        return _LEFT + (time - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._ticks[0], self._ticks[-1]
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> str:
        """Lines and numbers of both axes."""
        parts = []
        for tick in self._ticks:
            y = self._y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{self._digits}f}</text>')
        start, end = self._times
        step = _round_step((end - start) / 5)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9) + 1):
            x = self._x(number * step)
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{number * step:.{digits}f}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 2}" text-anchor="middle">seconds</text>')
        return "".join(parts)

    def curve(self, name: str, seconds: Sequence[float], values: Series, style: int) -> str:
        """One series as a line broken at gaps; values that stand alone are dots."""
        points = [(self._x(time), None if v is None else self._y(v)) for time, v in zip(seconds, values, strict=True)]
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append((x, y))
        sparse = sum(len(run) == 1 for run in runs) > len(runs) / 4
        if sparse:
            runs = [[point for run in runs for point in run]]
        parts = [_stroke(run, sparse) for run in runs if run]
        colour = f"--own: var(--curve-{style % 6})"
        return f'<g class="curve" style="{colour}"{_dashes(style)}><title>{escape(name)}</title>{"".join(parts)}</g>'


def _dashes(style: int) -> str:
    dash = _MARKS[style % len(_MARKS)]
    return "" if dash == "solid" else f' stroke-dasharray="{dash}"'


def _stroke(run: Sequence[tuple[float, float]], dotted: bool) -> str:
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in run) if dotted or len(run) == 1 else ""
    if len(run) == 1:
        return dots
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in run)}"/>{dots}'


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
