"""The stages that a frame goes through: align, restore in batches, composite. Each is a generator over items.

They are pure in their input and keep order; :mod:`revisage.pipeline.segment` runs each in a thread of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.core import CancelledError, UserError
from revisage.pipeline.blocks import Block
from revisage.pipeline.plan import PlannedFace

if TYPE_CHECKING:
    from revisage.faces import AlignedFace
    from revisage.media import Frame
    from revisage.restorers import FaceRestorer
    from revisage.temporal import Motion

__all__ = ["Crop", "Item", "StageClock", "align_faces", "restore_faces", "show_faces"]

Crop = NDArray[np.uint8]

_HELD_BYTES = 256 * 2**20
"""Frames that wait for a full batch take at most about this much memory (bytes), counted as RGB."""


@dataclass
class Item:
    """A frame on its way through the stages.

    Attributes:
        frame: as decoded.
        planned: faces to restore in it.
        aligned, restored: their crops before and after; equally long once restored.
        result: the frame to encode.
        problem: why the restoration failed and the frame is kept as it was.
        index: number of the frame in the scan.
        blocks: those that read the frame; none where faces are not averaged over time.
        lapse: time since the frame before, in parts of the usual time between two, at least 1.
        motions: of each face since the frame before; None where it was not there.
    """

    frame: Frame
    planned: Sequence[PlannedFace]
    aligned: list[AlignedFace] = field(default_factory=list)
    restored: list[Crop] = field(default_factory=list)
    result: Frame | None = None
    problem: str | None = None
    index: int = 0
    blocks: tuple[Block, ...] = ()
    lapse: float = 1.0
    motions: list[Motion | None] = field(default_factory=list)

    @property
    def block(self) -> Block | None:
        """The block that the frame's result is taken from; None for a frame that is read for others only."""
        return next((block for block in self.blocks if block.start <= self.index < block.stop), None)

    @property
    def faces(self) -> list[tuple[PlannedFace, AlignedFace]]:
        """The planned faces and their crops; none once they were given up."""
        return [] if self.problem else list(zip(self.planned, self.aligned, strict=True))

    @property
    def shown(self) -> Frame:
        """The frame to encode."""
        if self.result is None:
            raise AssertionError("the frame has not been through all stages")
        return self.result

    @property
    def waiting(self) -> int:
        """Crops that are not restored yet."""
        return 0 if self.problem else len(self.aligned) - len(self.restored)

    def fail(self, error: Exception) -> None:
        """Give this frame's faces up."""
        self.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"


class StageClock:
    """Seconds of work by stage. Each stage is timed by one thread only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def timed(self, stage: str, items: Iterable[Frame]) -> Iterator[Frame]:
        """``items``, with the time that each takes to come counted for ``stage``."""
        source = iter(items)
        while True:
            with self(stage):
                item = next(source, None)
            if item is None:
                return
            yield item


def align_faces(
    items: Iterable[Item], align: Callable[[Frame, PlannedFace], AlignedFace], clock: StageClock
) -> Iterator[Item]:
    """Cut the planned faces out of each frame."""
    for item in items:
        with clock("align"):
            try:
                item.aligned = [align(item.frame, planned) for planned in item.planned]
            except (UserError, CancelledError):
                raise
            except Exception as error:
                item.fail(error)
        yield item


def restore_faces(
    items: Iterable[Item], restorer: FaceRestorer | None, batch: int, clock: StageClock
) -> Iterator[Item]:
    """Restore the crops of several frames at a time, ``batch`` at once.

    Which crops share a batch follows from the frames alone; blocks share none, so that batches are the same wherever a
    segment begins. Frames that wait for a batch to fill are bounded in
    number and in memory; frames without faces in front of the queue pass at once.
    """
    queue: deque[Item] = deque()
    for item in items:
        if item.block is not None and item.block.start == item.index:
            yield from _emptied(queue, restorer, batch, clock)
        queue.append(item)
        most = _most_held(item.frame, batch)
        while queue and (sum(entry.waiting for entry in queue) >= batch or len(queue) > most):
            _restore_batch(queue, restorer, batch, clock)
            yield from _done(queue)
        yield from _done(queue)
    yield from _emptied(queue, restorer, batch, clock)


def _emptied(queue: deque[Item], restorer: FaceRestorer | None, batch: int, clock: StageClock) -> Iterator[Item]:
    """Restore all that waits."""
    while queue:
        if queue[0].waiting:
            _restore_batch(queue, restorer, batch, clock)
        yield from _done(queue)


def _done(queue: deque[Item]) -> Iterator[Item]:
    """Take the items in front of the queue that wait for nothing."""
    while queue and not queue[0].waiting:
        yield queue.popleft()


def _most_held(frame: Frame, batch: int) -> int:
    height, width = frame.size_hw
    return max(1, min(4 * batch, _HELD_BYTES // (height * width * 3)))


def _restore_batch(queue: deque[Item], restorer: FaceRestorer | None, batch: int, clock: StageClock) -> None:
    """Restore the first ``batch`` crops that wait in the queue."""
    if restorer is None:
        raise AssertionError("faces were planned, but no restorer was loaded")
    wanted: list[tuple[Item, AlignedFace]] = []
    for item in queue:
        if item.waiting:
            wanted += [(item, face) for face in item.aligned[len(item.restored) :]]
    wanted = wanted[:batch]
    if not wanted:
        return
    with clock("restore"):
        try:
            crops = list(restorer(np.stack([face.input for _, face in wanted])))
        except (UserError, CancelledError):
            raise
        except Exception:
            _restore_singly(wanted, restorer)
            return
    for (item, _), crop in zip(wanted, crops, strict=True):
        item.restored.append(crop)


def _restore_singly(wanted: list[tuple[Item, AlignedFace]], restorer: FaceRestorer) -> None:
    """After a batch failed: one crop at a time, so that only the frames at fault are given up."""
    for item, face in wanted:
        if item.problem:
            continue
        try:
            item.restored.append(restorer(face.input[None])[0])
        except (UserError, CancelledError):
            raise
        except Exception as error:
            item.fail(error)


def show_faces(
    items: Iterable[Item], canvas: Callable[[Frame], Frame], show: Callable[[Frame, Item], Frame], clock: StageClock
) -> Iterator[Item]:
    """Bring each frame to the output's size (``canvas``) and put its restored faces into it (``show``)."""
    for item in items:
        with clock("resize"):
            base = canvas(item.frame)
        item.result = base
        if item.restored and not item.problem:
            with clock("composite"):
                try:
                    item.result = show(base, item)
                except (UserError, CancelledError):
                    raise
                except Exception as error:
                    item.fail(error)
        yield item
