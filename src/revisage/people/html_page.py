"""An analysis as one HTML page that needs nothing else: a timeline, portraits, curves of pose and expression."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from html import escape

import cv2

from revisage.core import Crop, format_seconds
from revisage.people.analysis import Analysis, Person, Samples, per_second
from revisage.readers import EXPRESSIONS

__all__ = ["analysis_page", "timeline"]

_WIDTH, _LEFT = 960, 150
"""Of the drawings in px: whole width, what names take of it."""
_CURVE, _STACK = 110, 70
"""Height of a diagram of curves, and of one of expressions (px)."""
_PORTRAIT = 112
_MOST_POINTS, _MOST_BARS = 1500, 400
"""More than that shows no more at this width."""
_TICKS, _TIMES = 8, 4
"""Parts of the time below drawings, and below the timeline, which is read on narrow screens too."""
_COLOURS = ("#8a94a0", "#e0a100", "#3f78c9", "#c8372d", "#8353b5", "#5d8a2f", "#e3701b")
"""Of :data:`EXPRESSIONS`, distinct on light and dark."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --faint: #66727e; --line: #d4dbe1; --bar: #2f6fb0; --back: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --faint: #98a5b1; --line: #34404b; --bar: #6fb1f0; --back: #12171d } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem }
p { margin: .3rem 0 } .faint { color: var(--faint) }
.caution { border-left: 4px solid #c98a00; padding: .4rem .8rem; margin: 1rem 0 }
.faces img { width: 84px; height: 84px; border-radius: 6px; margin: .3rem .3rem .3rem 0 }
svg { width: 100%; height: auto; display: block; margin: .2rem 0 } svg text { font: 12px system-ui, sans-serif;
  fill: var(--faint) } .grid { stroke: var(--line); fill: none } .curve { fill: none; stroke-width: 1.4 }
.key { font-size: .85rem } .key i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .9em;
  border-radius: 2px }
"""


_TIMELINE_STYLE = """
.whoiswhen { display: grid; grid-template-columns: minmax(4.5rem, 20%) 1fr; gap: .3rem .6rem; align-items: center }
.whoiswhen .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.whoiswhen .track { position: relative; height: 1rem; border-radius: 3px; background: rgba(128, 128, 128, .18) }
.whoiswhen .track i { position: absolute; top: 0; bottom: 0; min-width: 2px; border-radius: 3px; background: #3f7fc4 }
.whoiswhen .track b { position: absolute; top: 0; bottom: 0; width: 1px; background: rgba(128, 128, 128, .55) }
.whoiswhen .times { display: flex; justify-content: space-between; font-size: .8rem; opacity: .75 }
"""


def timeline(analysis: Analysis) -> str:
    """Who is in view when, as a piece of HTML with its style: a row for each person, a line at each cut, the time
    below. It is as wide as its place."""
    rows = "".join(_row(person, analysis) for person in analysis.people)
    moments = (format_seconds(analysis.seconds * number / _TIMES) for number in range(_TIMES + 1))
    times = "".join(f"<span>{moment}</span>" for moment in moments)
    return (
        f'<div class="whoiswhen" role="group" aria-label="Who is in view when">'
        f'{rows}<span></span><span class="times">{times}</span></div><style>{_TIMELINE_STYLE}</style>'
    )


def _row(person: Person, analysis: Analysis) -> str:
    whole = max(analysis.seconds, 1e-6)
    marks = [f'<b style="left:{100 * start / whole:.2f}%"></b>' for start, _ in analysis.shots[1:]]
    for one in person.appearances:
        says = f"{person.label}: {format_seconds(one.start)} to {format_seconds(one.end)}"
        left, width = 100 * one.start / whole, 100 * (one.end - one.start) / whole
        marks.append(f'<i style="left:{left:.2f}%;width:{width:.2f}%" title="{escape(says)}"></i>')
    told = ", ".join(f"{format_seconds(one.start)} to {format_seconds(one.end)}" for one in person.appearances)
    return (
        f'<span class="name">{escape(person.label)}</span>'
        f'<span class="track" role="img" aria-label="{escape(person.label)}: {escape(told)}">{"".join(marks)}</span>'
    )


def analysis_page(analysis: Analysis) -> str:
    """The page as HTML; it loads nothing from anywhere."""
    title = f"People in {escape(analysis.source)}"
    count = len(analysis.people)
    counts = f"{_counted(len(analysis.shots), 'shot', 'shots')}, {_counted(count, 'person', 'people')}"
    about = (
        f"{format_seconds(analysis.seconds)}, {counts}. Read by {escape(analysis.reader['name'])}; faces count as one "
        f"person's from a likeness of {analysis.same_person:g}. revisage {escape(analysis.made_by)}."
    )
    body = [
        f"<h1>{title}</h1>",
        f'<p class="faint">{about}</p>',
        *(f"<p>{escape(note)}.</p>" for note in analysis.notes),
        f'<p class="caution">{escape(analysis.caution)}</p>',
        timeline(analysis) if analysis.people else "<p>No face was found.</p>",
        *itertools.chain.from_iterable(_about(person, analysis) for person in analysis.people),
    ]
    head = (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style>"
    )
    return "\n".join([head, *body]) + "\n"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _x(seconds: float, analysis: Analysis) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - 4) * seconds / max(analysis.seconds, 1e-6), 1)


def _ticks(height: int, analysis: Analysis) -> str:
    """Times below a drawing."""
    parts = []
    for number in range(_TICKS + 1):
        seconds = analysis.seconds * number / _TICKS
        x = _x(seconds, analysis)
        anchor = "end" if number == _TICKS else "middle"
        parts.append(f'<text x="{x}" y="{height + 14}" text-anchor="{anchor}">{format_seconds(seconds)}</text>')
    return "".join(parts)


def _svg(height: int, inside: str, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height + 18}" role="img" aria-label="{escape(label)}">{inside}</svg>'


def _about(person: Person, analysis: Analysis) -> Iterator[str]:
    likeness = "" if person.likeness is None else f", likeness to the photos {person.likeness:.2f}"
    yield f"<h2>{escape(person.label)}</h2>"
    times = _counted(len(person.appearances), "time", "times")
    yield f'<p class="faint">{person.seconds:.1f} s in view, {times}{likeness}</p>'
    if person.portraits:
        yield f'<p class="faces">{"".join(_picture(face, person.label) for face in person.portraits)}</p>'
    samples = person.samples
    if not samples.seconds:
        return
    poses = (("yaw", "#2f6fb0"), ("pitch", "#c8372d"), ("roll", "#5d8a2f"))
    yield _key("Head, degrees", [(name, colour) for name, colour in poses])
    yield _curves([(getattr(samples, name), colour) for name, colour in poses], person, (-60.0, 60.0), analysis)
    yield _key("Opening, height over width", [("eyes", "#2f6fb0"), ("mouth", "#c8372d")])
    yield _curves([(samples.eyes, "#2f6fb0"), (samples.mouth, "#c8372d")], person, (0.0, 0.8), analysis)
    yield _key("Expressions, means of each second", list(zip(EXPRESSIONS, _COLOURS, strict=True)))
    yield _expressions(samples, analysis)


def _picture(face: Crop, label: str) -> str:
    small = cv2.resize(face, (_PORTRAIT, _PORTRAIT), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    code = base64.b64encode(data.tobytes()).decode("ascii")
    return f'<img alt="{escape(label)}" src="data:image/jpeg;base64,{code}">'


def _key(title: str, entries: Sequence[tuple[str, str]]) -> str:
    marks = "".join(f'<i style="background:{colour}"></i>{name}' for name, colour in entries)
    return f'<p class="key faint">{title}:{marks}</p>'


def _curves(
    lines: Sequence[tuple[Sequence[float], str]], person: Person, limits: tuple[float, float], analysis: Analysis
) -> str:
    """Lines over time, broken where the person is out of view. What is beyond the limits is drawn at them."""
    low, high = limits

    def y(value: float) -> float:
        return round(_CURVE * (1 - (min(max(value, low), high) - low) / (high - low)), 1)

    marks = (low, (low + high) / 2, high)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 4}" y1="{y(mark)}" y2="{y(mark)}"/>'
        f'<text x="{_LEFT - 6}" y="{max(10.0, y(mark) + 4)}" text-anchor="end">{mark:g}</text>'
        for mark in marks
    )
    seconds, pieces = person.samples.seconds, list(_pieces(person))
    paths = "".join(
        f'<polyline class="curve" stroke="{colour}" points="'
        + " ".join(f"{_x(seconds[place], analysis)},{y(values[place])}" for place in piece)
        + '"/>'
        for values, colour in lines
        for piece in pieces
    )
    return _svg(_CURVE, grid + paths + _ticks(_CURVE, analysis), "curves over time")


def _pieces(person: Person) -> Iterator[list[int]]:
    """Places of the samples of each appearance, thinned out."""
    seconds = person.samples.seconds
    thin = max(1, len(seconds) // _MOST_POINTS)
    for one in person.appearances:
        places = [place for place, moment in enumerate(seconds) if one.start - 1e-3 <= moment < one.end]
        yield places[::thin]


def _expressions(samples: Samples, analysis: Analysis) -> str:
    width = max(1.0, analysis.seconds / _MOST_BARS)
    bars = []
    for number, means in sorted(per_second(samples, width).items()):
        start, end = _x(number * width, analysis), _x(min((number + 1) * width, analysis.seconds), analysis)
        total, top = sum(means[name] for name in EXPRESSIONS) or 1.0, 0.0
        says = ", ".join(f"{name} {100 * means[name]:.0f} %" for name in EXPRESSIONS if means[name] >= 0.05)
        parts = []
        for name, colour in zip(EXPRESSIONS, _COLOURS, strict=True):
            part = _STACK * means[name] / total
            parts.append(
                f'<rect x="{start}" y="{top:.1f}" width="{max(0.5, end - start - 0.5):.1f}" height="{part:.1f}" '
                f'fill="{colour}"/>'
            )
            top += part
        bars.append(f"<g><title>{number * width:.0f} s: {says}</title>{''.join(parts)}</g>")
    return _svg(_STACK, "".join(bars) + _ticks(_STACK, analysis), "expressions of each second")
