"""AVS: how far sound and picture moved against each other, measured on packets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from revisage.media import StreamTimes, stream_times

__all__ = ["sync_difference_ms"]


def sync_difference_ms(before: Path, after: Path, *, first: Fraction | None = None) -> float | None:
    """The largest change in ms of an audio packet's time against the video's first frame; None without audio.

    Packets are compared in order where a track kept their number, and with the ones of equal bytes where a part was
    cut out. Where they were encoded again, the start and end of the track, against the start and end of the video, are.

    Args:
        before, after: source and output.
        first: time in the source, in seconds, of the output's first frame; the source's own first when None.
    """
    old, new = stream_times(before), stream_times(after)
    pairs = list(zip(old.audio, new.audio, strict=False))
    if not pairs or not old.video.pts or not new.video.pts:
        return None
    if first is None:
        first = old.video.start
    changes = (_change(a, b, old.video.stop - first, new.video, first) for a, b in pairs)
    return round(max(float(change) for change in changes) * 1000, 3)


def _change(old: StreamTimes, new: StreamTimes, length: Fraction, video: StreamTimes, first: Fraction) -> Fraction:
    """Seconds; ``length`` is that of the source's video from ``first`` on, ``video`` the output's."""
    if not old.pts or not new.pts:
        return Fraction(0)
    skipped = _position(old.marks, new.marks)
    if skipped is not None:
        kept = old.pts[skipped : skipped + len(new.pts)]
        return max(abs((a - first) - (b - video.start)) for a, b in zip(kept, new.pts, strict=True))
    return max(
        abs((old.start - first) - (new.start - video.start)),
        abs((old.stop - first - length) - (new.stop - video.stop)),
    )


def _position(marks: list[int], part: list[int]) -> int | None:
    """Where ``part`` lies in ``marks``; None when it does not, 0 when both have the same length."""
    if len(marks) == len(part):
        return 0
    starts = (at for at, mark in enumerate(marks) if mark == part[0])
    return next((at for at in starts if marks[at : at + len(part)] == part), None)
