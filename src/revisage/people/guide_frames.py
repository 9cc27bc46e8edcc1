"""Guide frames: the finest, best-posed frame of each track, which lends its detail to those that are less fine.

Footage is not equally good throughout: a face comes nearer, stands still after a fast turn, or is coded with more bits
after a cut. No photo is needed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from revisage.core import CancelToken
from revisage.people.guide_shares import LIKE, Guide, fineness
from revisage.people.observation import Footage, SeenFace, TrackReading, good_looks, seen_faces
from revisage.readers import FaceReader

__all__ = ["find_guide_frames"]


def find_guide_frames(
    footage: Footage,
    readings: Sequence[TrackReading],
    reader: FaceReader,
    size: int,
    *,
    tell: Callable[[int], None] = lambda _: None,
    cancel: CancelToken | None = None,
) -> dict[int, Guide]:
    """Read the source once more and take of each track the frame that shows most of the face.

    Args:
        footage: source and tracks.
        readings: of the tracks: a frame that shows somebody else guides nothing.
        reader: reads the chosen frames.
        size: side of the restorer's crops (px).
        tell: told the number of frames that were passed.
        cancel: looked at between frames.

    Returns:
        The guides by track.

    Raises:
        ProcessingError: the source is not what it was when the faces were found.
        CancelledError: a stop was asked for.
    """
    best: dict[int, tuple[float, float, SeenFace]] = {}
    for seen in seen_faces(footage, good_looks(footage), size, tell, cancel or CancelToken()):
        fine = fineness(seen.crop)
        value = fine * seen.look.worth
        if value > best.get(seen.look.track.id, (0.0, fine, seen))[0]:
            best[seen.look.track.id] = value, fine, seen
    guides = {}
    for reading in readings:
        if reading.track in best:
            _, fine, seen = best[reading.track]
            read = reader(seen.crop[None])
            if float(read.identity[0] @ reading.identity) >= LIKE:
                name = f"frame {seen.look.index}"
                guides[reading.track] = Guide(name, seen.crop, read.landmarks[0], read.pose[0], fine)
    return guides
