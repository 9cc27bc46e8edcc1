"""Where recursions over time begin anew: at fixed frames that follow from the scan's shots alone.

A recursion remembers all that was before, so its result would depend on where a segment begins. Each shot is therefore
cut into blocks. A block's recursion begins a few frames before it and ends with it, whatever segment the block is
in; segments begin at blocks and read those few frames too. Any split into segments then gives the same pixels.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BLOCK", "RUN_IN", "Block", "blocks_of", "usual_step"]

BLOCK = 32
"""Frames of a block at most: with two passes so many frames wait in memory."""

RUN_IN = 8
"""Frames before a block (and after it, with two passes) that its recursion reads first: 0.8 to the 8th is 0.17."""


@dataclass(frozen=True)
class Block:
    """Frames that share one recursion.

    Attributes:
        start, stop: frames of the scan (end excluded) whose result is taken from it.
        first, last: frames that it reads (end excluded).
    """

    start: int
    stop: int
    first: int
    last: int


def blocks_of(shots: Sequence[tuple[int, int]], start: int, stop: int, *, ahead: bool) -> tuple[Block, ...]:
    """The blocks of frames ``start`` to ``stop`` (excluded), which must not begin or end within a block.

    Args:
        shots: of the scan.
        start, stop: frames of the scan.
        ahead: whether blocks read frames after themselves too.
    """
    blocks = []
    for first, last in shots:
        edges = [*range(first, last, BLOCK), last]
        for begin, end in itertools.pairwise(edges):
            if start <= begin < stop:
                beyond = min(end + RUN_IN, last) if ahead else end
                blocks.append(Block(begin, end, max(begin - RUN_IN, first), beyond))
    return tuple(blocks)


def usual_step(pts: Sequence[int]) -> int:
    """The usual time between two frames of a scan, at least 1 (in its time base)."""
    steps = [after - before for before, after in itertools.pairwise(pts)]
    return max(1, statistics.median_low(steps)) if steps else 1
