"""AVS: how far sound and picture moved against each other, measured on packets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from revisage.media.packets import StreamTimes, stream_times

__all__ = ["sync_difference_ms"]


def sync_difference_ms(before: Path, after: Path) -> float | None:
    """The largest change in ms of an audio packet's time against the video's first frame; None without audio.

    Packets are compared in order where a track kept their number; where it did not (a part was cut out, or the audio
    had to be re-encoded) the start and end of the track, against the start and end of the video, are.
    """
    old, new = stream_times(before), stream_times(after)
    pairs = list(zip(old.audio, new.audio, strict=False))
    if not pairs or not old.video.pts or not new.video.pts:
        return None
    return round(max(float(_difference(old.video, a, new.video, b)) for a, b in pairs) * 1000, 3)


def _difference(video: StreamTimes, audio: StreamTimes, video2: StreamTimes, audio2: StreamTimes) -> Fraction:
    """Seconds."""
    if not audio.pts or not audio2.pts:
        return Fraction(0)
    if len(audio.pts) == len(audio2.pts):
        moved = [
            abs((old - video.start) - (new - video2.start)) for old, new in zip(audio.pts, audio2.pts, strict=True)
        ]
        return max(moved)
    return max(
        abs((audio.start - video.start) - (audio2.start - video2.start)),
        abs((audio.stop - video.stop) - (audio2.stop - video2.stop)),
    )
