"""What the page says, in the words of a person: lengths, faces, measures."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

__all__ = ["a_while", "bytes_of", "measures_in_words", "seconds_of", "what_it_is"]

_KINDS = {"video": "Video", "animation": "Animation", "image": "Photo"}


def a_while(seconds: float) -> str:
    """A length of time as one would say it: ``about 2 minutes``."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"about {round(seconds)} seconds" if seconds < 20 else f"about {5 * round(seconds / 5)} seconds"
    minutes = seconds / 60
    if minutes < 90:
        return f"about {round(minutes)} minutes"
    return f"about {minutes / 60:.1f} hours"


def seconds_of(info: Mapping[str, Any]) -> float:
    """The length of a medium as ``probe`` tells it, a fraction as text; 0 when it has none."""
    return float(Fraction(info.get("duration") or 0))


def bytes_of(size: int) -> str:
    """A file's size: ``12.3 MB``."""
    if size < 1_000_000:
        return f"{max(1, round(size / 1000))} kB"
    return f"{size / 1_000_000:.1f} MB" if size < 1_000_000_000 else f"{size / 1_000_000_000:.2f} GB"


def what_it_is(kind: str, width: int, height: int, seconds: float | None, frames: int | None) -> str:
    """A file in one line: ``Video, 1280 x 720, 9.4 s, 282 frames``."""
    parts = [_KINDS.get(kind, kind), f"{width} × {height}"]
    if kind != "image":
        if seconds:
            parts.append(f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d} min")
        if frames:
            parts.append(f"{frames} frames")
    return ", ".join(parts)


def measures_in_words(measures: dict[str, Any], *, faces: int, frames: int, seconds: float) -> list[tuple[str, str]]:
    """(sentence, number) pairs from the measures of a report; what was not measured is left out."""
    rows = [(f"{faces} faces restored in {frames} frames", f"{seconds:.1f} s")]
    rows += [row for row in (_rate(measures), _change(measures), _sync(measures), _quality(measures)) if row]
    fpa = measures.get("fpa")
    if fpa is not None:
        rows.append(("Eyes, nose and mouth are where they were before", f"{100 * fpa:.0f} %"))
    return rows


def _rate(measures: dict[str, Any]) -> tuple[str, str] | None:
    ratio = measures.get("frr")
    if ratio is None:
        return None
    return ("The speed of the film is unchanged" if ratio == "1" else "The frame rate changed", f"ratio {ratio}")


def _change(measures: dict[str, Any]) -> tuple[str, str] | None:
    part = measures.get("fei_measured")
    if part is None:
        return None
    return ("Of a full restoration the faces got", f"{100 * part:.0f} %")


def _sync(measures: dict[str, Any]) -> tuple[str, str] | None:
    shift = measures.get("avs_ms")
    if shift is None:
        return None
    told = "Sound and picture are as much in step as before" if shift <= 1 else "Sound and picture moved apart"
    return (told, f"{shift:.2f} ms")


def _quality(measures: dict[str, Any]) -> tuple[str, str] | None:
    before, after = measures.get("niqe_before"), measures.get("niqe_after")
    if before is None or after is None:
        return None
    told = "The faces look more natural" if after < before else "The faces look no more natural than before"
    return (f"{told} (NIQE, lower is better)", f"{before:.2f} → {after:.2f}")
