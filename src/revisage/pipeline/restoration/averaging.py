"""The stages that average faces over time: what the restorer is shown, and what it made of it.

Averaging before the restorer is what counts most: it sees several frames' worth of evidence, so that it restores more
and invents less. What it still invents anew in each frame is averaged behind it.

The whole restored face is averaged, not its difference to the input alone: a difference that is averaged no longer
takes away the noise of the frame that it is added to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop
from revisage.faces import crop_scale
from revisage.pipeline.restoration.frame_stages import Block, FrameInWork, StageClock
from revisage.temporal import (
    INPUT_SHARE,
    RESTORED_SHARE,
    FlowEstimator,
    Motion,
    Recursion,
    Sharpness,
    motions,
    onward_motion,
    reduced,
)

__all__ = ["average_inputs", "average_restored"]

_Moved = tuple[Motion, Motion | None]
"""What brings the face of the frame before onto this one, and this one onto the frame before where that is wanted."""


def average_inputs(
    items: Iterable[FrameInWork], estimate: FlowEstimator, passes: int, clock: StageClock
) -> Iterator[FrameInWork]:
    """Average the aligned crops of each track over time, for the restorer to see.

    Frames that are read only for recursions to begin with go in and do not come out.

    Args:
        items: aligned, with their blocks.
        estimate: finds the flow.
        passes: 1 averages over the past; 2 over what that gives from the future back as well, which shifts nothing in
            time. Then a block of frames waits in memory.
        clock: counts the time as ``follow``.
    """
    past = _Past(_Follow(estimate, both=passes > 1))
    return _forward(items, past, clock) if passes == 1 else _both_ways(items, past, clock)


class _Follow:
    """Finds the motion of each track from frame to frame, back to the frame before too if ``both`` are wanted."""

    def __init__(self, estimate: FlowEstimator, *, both: bool) -> None:
        self._estimate = estimate
        self._both = both
        self._before: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, item: FrameInWork) -> list[_Moved | None]:
        """For each face of the next frame its motion; None where the frame before does not have it."""
        # Forgotten first: should this frame fail, the next one has none before it.
        before, self._before = self._before, {}
        now = {planned.track: reduced(face.base) for planned, face in item.faces}
        moved = [self._moved(before.get(p.track), now[p.track], face.size) for p, face in item.faces]
        self._before = now
        return moved

    def _moved(self, before: NDArray[np.uint8] | None, now: NDArray[np.uint8], size: int) -> _Moved | None:
        if before is None:
            return None
        if self._both:
            return motions(self._estimate, before, now, size)
        return onward_motion(self._estimate, before, now, size), None


class _Running:
    """The recursions of all tracks in one block; those of tracks that are not in the next frame end."""

    def __init__(self) -> None:
        self._recursions: dict[int, Recursion] = {}

    def __call__(self, item: FrameInWork, moved: list[Motion | None], crops: list[Crop], lapse: float) -> list[Crop]:
        before, self._recursions = self._recursions, {}
        steady = []
        for (planned, _), motion, crop in zip(item.faces, moved, crops, strict=True):
            recursion = before.get(planned.track) or Recursion(INPUT_SHARE)
            self._recursions[planned.track] = recursion
            steady.append(recursion(crop, motion, lapse))
        return steady


@dataclass
class _Entry:
    """A frame, how its faces moved, and their averages over the past in each block that reads it."""

    item: FrameInWork
    moved: list[_Moved | None] = field(default_factory=list)
    steady: dict[Block, list[Crop]] = field(default_factory=dict)

    @property
    def onward(self) -> list[Motion | None]:
        """What brings the faces of the frame before onto this one."""
        return [None if both is None else both[0] for both in self.moved]


class _Past:
    """Averages over the past, in all blocks that are open."""

    def __init__(self, follow: _Follow) -> None:
        self._follow = follow
        self._running: dict[Block, _Running] = {}

    def __call__(self, item: FrameInWork) -> _Entry:
        """The next frame; nothing but the item where its faces cannot be averaged and are given up."""
        entry = _Entry(item)
        self._running = {block: self._running.get(block) or _Running() for block in item.blocks}
        with item.kept_on_failure():
            entry.moved = self._follow(item)
            crops = [face.base for _, face in item.faces]
            entry.steady = {b: run(item, entry.onward, crops, item.lapse) for b, run in self._running.items()}
        return _Entry(item) if item.problem else entry


def _forward(items: Iterable[FrameInWork], past: _Past, clock: StageClock) -> Iterator[FrameInWork]:
    for item in items:
        with clock("follow"):
            entry = past(item)
        if item.block is not None:
            _show(entry, entry.steady.get(item.block, []))
            yield item


def _both_ways(items: Iterable[FrameInWork], past: _Past, clock: StageClock) -> Iterator[FrameInWork]:
    waiting: dict[Block, list[_Entry]] = {}
    for item in items:
        with clock("follow"):
            entry = past(item)
        for block in item.blocks:
            waiting.setdefault(block, []).append(entry)
        for block in [block for block in waiting if block.last == item.index + 1]:
            yield from _backward(waiting.pop(block), block, clock)
    for block, entries in waiting.items():
        yield from _backward(entries, block, clock)


def _backward(entries: list[_Entry], block: Block, clock: StageClock) -> list[FrameInWork]:
    """The frames of a block, averaged from the future back."""
    running = _Running()
    done: list[FrameInWork] = []
    later: _Entry | None = None
    for entry in reversed(entries):
        with clock("follow"):
            back, lapse = _back(later)
            motion = [back.get(planned.track) for planned, _ in entry.item.faces]
            steady = running(entry.item, motion, entry.steady.get(block, []), lapse)
        if entry.item.block == block:
            _show(entry, steady)
            done.append(entry.item)
        later = entry
    return done[::-1]


def _back(later: _Entry | None) -> tuple[dict[int, Motion], float]:
    """By track, what brings the faces of a frame onto the frame before, and the time between the two."""
    if later is None:
        return {}, 1.0
    pairs = zip(later.item.faces, later.moved, strict=True)
    return {planned.track: moved[1] for (planned, _), moved in pairs if moved and moved[1]}, later.item.lapse


def _show(entry: _Entry, steady: list[Crop]) -> None:
    item = entry.item
    if not item.problem:
        item.aligned = [replace(face, steady=crop) for face, crop in zip(item.aligned, steady, strict=True)]
        item.motions = entry.onward


class _Shown:
    """What averages the restored faces of one track in one block."""

    def __init__(self, block: Block | None) -> None:
        self.block = block
        self._recursion, self._sharpness = Recursion(RESTORED_SHARE), Sharpness()

    def __call__(self, crop: Crop, motion: Motion | None, lapse: float, scale: float) -> Crop:
        return self._sharpness(self._recursion(crop, motion, lapse), crop, scale)


def average_restored(
    items: Iterable[FrameInWork], size_hw: tuple[int, int], clock: StageClock
) -> Iterator[FrameInWork]:
    """Average the restored crops of each track over time, as sharp as they were; begins anew at each block.

    Args:
        items: restored, with the motions that :func:`average_inputs` found.
        size_hw: of the output's frames (px).
        clock: counts the time as ``steady``.
    """
    running: dict[int, _Shown] = {}
    for item in items:
        with clock("steady"), item.kept_on_failure():
            before, running = running, {}
            enlarged = size_hw[0] / item.frame.size_hw[0]
            for number, ((planned, face), motion) in enumerate(zip(item.faces, item.motions, strict=True)):
                shown = before.get(planned.track)
                if shown is None or motion is None or shown.block != item.block:
                    shown, motion = _Shown(item.block), None
                running[planned.track] = shown
                scale = crop_scale(face.affine) / enlarged
                item.restored[number] = shown(item.restored[number], motion, item.lapse, scale)
        yield item
