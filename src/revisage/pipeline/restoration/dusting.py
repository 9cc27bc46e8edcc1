"""The stage that takes spots of dust off frames, by the frames beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from revisage.core import Image
from revisage.pipeline.restoration.frame_stages import FrameInWork, StageClock
from revisage.temporal import DisFlow, spot_changes

__all__ = ["dusted_frames"]


@dataclass(frozen=True, eq=False)
class _Seen:
    """An item with its picture as it was decoded: what is done to one frame changes nothing for the next."""

    item: FrameInWork
    picture: Image


def dusted_frames(items: Iterable[FrameInWork], clock: StageClock) -> Iterator[FrameInWork]:
    """Take spots off each frame that has a neighbour of its shot on both sides; one frame waits for the next.

    Frames that are read only as neighbours go in and do not come out.
    """
    estimate = DisFlow("fast")
    before: _Seen | None = None
    now: _Seen | None = None
    for item in chain(items, [None]):
        with clock("dust"):
            after = None if item is None else _Seen(item, item.frame.rgb())
            if now is not None and not now.item.is_neighbour:
                _dust(before, now, after, estimate)
        if now is not None and not now.item.is_neighbour:
            yield now.item
        before, now = now, after


def _dust(before: _Seen | None, now: _Seen, after: _Seen | None, estimate: DisFlow) -> None:
    if before is None or after is None or now.item.begins_shot or after.item.begins_shot:
        return
    with now.item.kept_on_failure():
        changes = spot_changes(before.picture, now.picture, after.picture, estimate)
        if changes:
            now.item.mended = now.item.frame.add_all_rgb(changes)
