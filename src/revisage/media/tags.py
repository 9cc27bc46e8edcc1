"""Tags and chapters: which are the source's own, and which of them an output lost."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from revisage.media.video_probe import open_container

__all__ = ["kept_chapters", "kept_tags", "lost_tags"]

_OF_THE_FILE = frozenset(
    [
        "encoder",
        "major_brand",
        "minor_version",
        "compatible_brands",
        "duration",
        "vendor_id",
        "handler_name",
        "software",
    ]
)
_OF_THE_FILE_STARTS = ("_statistics", "bps", "number_of_", "duration-", "variant_bitrate")


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that speak of the work; those that describe the old file are left out."""
    return {key: value for key, value in tags.items() if _is_kept(key.lower())}


def _is_kept(key: str) -> bool:
    return key not in _OF_THE_FILE and not key.startswith(_OF_THE_FILE_STARTS)


def kept_chapters(source: Any, start: Fraction | None, end: Fraction | None, shift: Fraction) -> list[dict[str, Any]]:
    """The source's chapters within a span, moved by ``shift`` seconds."""
    kept = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        first, last = chapter["start"] * base, chapter["end"] * base
        if (end is not None and first >= end) or (start is not None and last <= start):
            continue
        first = max(first, start or first) - shift
        last = min(last, end if end is not None else last) - shift
        kept.append({**chapter, "start": round(first / base), "end": round(last / base), "time_base": base})
    return kept


def lost_tags(source_path: Path, output: Path) -> list[str]:
    """A note on each tag, and on the chapters, that the output's container did not take."""
    with open_container(source_path) as source, open_container(output) as written:
        there = {key.lower() for key in written.metadata}
        lost = sorted(key for key in kept_tags(source.metadata) if key.lower() not in there)
        notes = [f"this container cannot hold the tag{'s' if len(lost) > 1 else ''} {', '.join(lost)}"] if lost else []
        shapes = [one.streams.video[0].sample_aspect_ratio or 1 for one in (source, written)]
        if shapes[0] != shapes[1]:
            notes.append(f"this container cannot hold the pixels' aspect ratio {shapes[0]} with this codec")
        if source.chapters() and not written.chapters():
            notes.append("this container cannot hold chapters")
    return notes
