"""The stage that looks for what is before faces: hands, hair, letters. That is left as it is, and a face mostly hidden.

A reader says so of each crop, as it is averaged over time. Where nothing is before a face, and it moves as it did, only
one frame in a few is read; where something is, each is, and what is said is averaged along the motion.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop, ProcessingError
from revisage.faces import DOUBTFUL_COVER, AlignedFace, ffhq_template, landmark_mask, with_cover
from revisage.pipeline.restoration.frame_stages import Block, FrameInWork, PlannedFace, StageClock
from revisage.readers import FaceReader, believed_cover
from revisage.temporal import Motion, mixed_cells, moved_cells

__all__ = ["read_cells", "spare_covered"]

_EVERY = 3
"""A face with nothing before it is read in one of so many frames."""

_DOUBTED, _DOUBTFUL = 0.3, 0.08
"""Where more than the second part of a face has a motion that is trusted by less than the first, something may have
come before it: it is read."""

_FACE = 0.1
"""Cells that a restoration shows by more than this part count."""

_PAST = 0.5
"""Share of the past in what is said of a cell, where the motion is trusted."""

_Cells = NDArray[np.float32]


def spare_covered(
    items: Iterable[FrameInWork], reader: Callable[[], FaceReader | None], most: float, clock: StageClock
) -> Iterator[FrameInWork]:
    """Note of each face what is before it, and weaken those that are mostly hidden; what is left of none is given up.

    Faces of which nothing is changed are not read.

    Args:
        items: aligned, with motions where faces are averaged over time; each block begins anew.
        reader: gives what tells cover, once there is a face; without one nothing is spared.
        most: part of a face, 0 to 1, from which it is left as it is.
        clock: counts the time as ``read``.
    """
    before: dict[int, _Followed] = {}
    for item in items:
        with clock("read"), item.kept_on_failure():
            found = reader() if item.faces else None
            before = {} if found is None else _spared(item, before, found, most)
        yield item


@dataclass
class _Followed:
    """What is before a face, from frame to frame: probabilities of its cells, and frames since they were read."""

    block: Block | None
    cells: _Cells
    since: int = 0

    @property
    def is_calm(self) -> bool:
        return bool(self.cells[_place(len(self.cells))].max() < DOUBTFUL_COVER)


@functools.lru_cache(maxsize=2)
def _place(count: int) -> NDArray[np.bool_]:
    """The cells of a crop that show a face, where it is aligned well."""
    return landmark_mask(ffhq_template(count), count) > _FACE


def _spared(item: FrameInWork, before: dict[int, _Followed], reader: FaceReader, most: float) -> dict[int, _Followed]:
    faces, motions = item.faces, item.motions or [None] * len(item.faces)
    pasts = [_past(before.get(p.track), motion, item.block) for (p, _), motion in zip(faces, motions, strict=True)]
    due = [number for number, past in enumerate(pasts) if past is None or past.since >= _EVERY or not past.is_calm]
    due = sorted({*due, *(n for n, motion in enumerate(motions) if motion is not None and _is_doubtful(motion))})
    due = [number for number in due if not faces[number][1].is_left]
    crops = [faces[number][1].input for number in due]
    read = dict(zip(due, read_cells(np.stack(crops), reader) if crops else (), strict=True))
    now: dict[int, _Followed] = {}
    for number, (planned, _) in enumerate(faces):
        followed = _joined(pasts[number], read.get(number), motions[number], item.block)
        if followed is not None:
            now[planned.track] = followed
    _show(item, now, most)
    return now


def _past(past: _Followed | None, motion: Motion | None, block: Block | None) -> _Followed | None:
    """What was known of a face, brought onto this frame; None where a block or the face begins."""
    if past is None or motion is None or block is None or past.block != block:
        return None
    return replace(past, cells=moved_cells(past.cells, motion), since=past.since + 1)


def _is_doubtful(motion: Motion) -> bool:
    size = len(motion.trust)
    face = motion.trust[size // 4 : size * 15 // 16 : 4, size // 4 : size * 3 // 4 : 4]
    return bool((face < _DOUBTED).mean() > _DOUBTFUL)


def read_cells(crops: Crop, reader: FaceReader) -> list[NDArray[np.float32] | None]:
    """What is before each of ``(N, size, size, 3) uint8 RGB`` crops, probabilities of cells; None where that is not to
    be told."""
    try:
        cover = believed_cover(reader(crops), crops.shape[1])
    except ProcessingError:  # a face that cannot be read is restored all the same
        cover = None
    return [None] * len(crops) if cover is None else list(cover)


def _joined(
    past: _Followed | None, read: _Cells | None, motion: Motion | None, block: Block | None
) -> _Followed | None:
    if read is None:
        return past
    if past is None or motion is None:
        return _Followed(block, read)
    return _Followed(block, mixed_cells(past.cells, read, motion, _PAST))


def _show(item: FrameInWork, now: dict[int, _Followed], most: float) -> None:
    """Put what is known into the faces of an item, without those that are hidden."""
    kept: list[tuple[PlannedFace, AlignedFace, Motion | None]] = []
    for number, (planned, face) in enumerate(item.faces):
        followed = now.get(planned.track)
        face, left = with_cover(face, None if followed is None else followed.cells, most)
        if left < 1:
            planned = replace(planned, strength=round(planned.strength * left, 4))
        if planned.strength > 0:
            kept.append((planned, face, item.motions[number] if item.motions else None))
    item.planned = tuple(planned for planned, _, _ in kept)
    item.aligned = [face for _, face, _ in kept]
    item.motions = [motion for _, _, motion in kept] if item.motions else []
