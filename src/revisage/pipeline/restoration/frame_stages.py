"""What a frame goes through: align, follow, restore in batches, steady, composite. No file is touched here.

The stages are generators over frames, pure in their input, and keep order. :func:`restore_frames` runs each in a thread
of its own.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from revisage.core import CancelledError, CancelToken, Crop, Face, Levels, UserError
from revisage.faces import BY_FRAME
from revisage.pipeline.restoration.trace import Trace
from revisage.temporal import LastRestored, carried

if TYPE_CHECKING:
    from revisage.faces import AlignedFace, FineChoice
    from revisage.media import Frame
    from revisage.people import Guide
    from revisage.temporal import Flow, Motion

__all__ = [
    "Block",
    "FrameInWork",
    "PlannedFace",
    "StageClock",
    "StageThreads",
    "align_faces",
    "frames_ahead",
    "mend_frames",
    "plan_frames",
    "restore_faces",
    "show_faces",
]

T = TypeVar("T")

_HELD_BYTES = 256 * 2**20
"""Frames that wait for a full batch, or between two stages, take at most about this much memory (bytes), counted as
RGB."""

_AHEAD = 4
"""Frames that each stage may run ahead of the next: they even out the pace, more would only take memory."""

_POLL = 0.05
"""Seconds between looks at the stop flags while a queue is full or empty."""

_PATIENCE = 5.0
"""Seconds that threads get to close their files at the end, and a tenth of it when the user wants to stop."""

_END = object()


@dataclass(frozen=True)
class Block:
    """Frames that share one recursion over time.

    Attributes:
        start, stop: frames of the scan (end excluded) whose result is taken from it.
        first, last: frames that it reads (end excluded).
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class PlannedFace:
    """A face to restore in one frame, how strongly (above 0, at most 1), and by which guide photo, if any.

    ``fine``: what is done with its fine detail.
    """

    track: int
    face: Face
    strength: float
    guide: Guide | None = None
    fine: FineChoice = BY_FRAME


@dataclass
class FrameInWork:
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
        levels: that take fading and a cast off the frame; None where they are left.
        begins_shot: whether it is the first frame of a shot.
        is_neighbour: whether it is only read for what it tells of the frames beside it.
        mended: the frame without what is wrong with the whole of it; None where nothing is done about that.
        carried: faces that took over what was restored in a frame before.
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
    levels: Levels | None = None
    begins_shot: bool = False
    is_neighbour: bool = False
    mended: Frame | None = None
    carried: int = 0

    @property
    def block(self) -> Block | None:
        """The block that the frame's result is taken from; None for a frame that is read for others only."""
        return next((block for block in self.blocks if block.start <= self.index < block.stop), None)

    @property
    def base(self) -> Frame:
        """The frame that is worked on: as decoded, or mended."""
        return self.frame if self.mended is None else self.mended

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

    @contextmanager
    def kept_on_failure(self) -> Iterator[None]:
        """Keep the frame as it was, and its faces given up, where the block fails by no fault of the user's."""
        try:
            yield
        except (UserError, CancelledError):
            raise
        except Exception as error:
            self.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"


class StageClock:
    """Adds up seconds of work by stage, in a dictionary that is handed in. Each stage is timed by one thread only.

    Args:
        seconds: to add to.
        trace: notes each piece of work, too.
    """

    def __init__(self, seconds: dict[str, float] | None = None, trace: Trace | None = None) -> None:
        self.seconds: dict[str, float] = {} if seconds is None else seconds
        self._trace = trace

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + ended - started
            if self._trace is not None:
                self._trace.note(stage, started, ended)

    def timed(self, stage: str, items: Iterable[Frame]) -> Iterator[Frame]:
        """``items``, with the time that each takes to come counted for ``stage``."""
        source = iter(items)
        while True:
            with self(stage):
                item = next(source, None)
            if item is None:
                return
            yield item


def plan_frames(
    frames: Iterable[Frame], planner: Callable[[Frame], FrameInWork], ready: Callable[[], object], clock: StageClock
) -> Iterator[FrameInWork]:
    """Frames with what is planned for them; ``ready`` is called where there is a face, outside of what may fail.

    ``frames`` is closed at the end: its files by the thread that read them.
    """
    try:
        for frame in clock.timed("decode", frames):
            item = planner(frame)
            if item.planned:
                ready()
            yield item
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


def mend_frames(
    items: Iterable[FrameInWork], mend: Callable[[FrameInWork], Frame], clock: StageClock
) -> Iterator[FrameInWork]:
    """Take off each frame what is wrong with the whole of it; ``mend`` gives it without."""
    for item in items:
        with clock("mend"), item.kept_on_failure():
            item.mended = mend(item)
        yield item


def align_faces(
    items: Iterable[FrameInWork], align: Callable[[Frame, PlannedFace], AlignedFace], clock: StageClock
) -> Iterator[FrameInWork]:
    """Cut the planned faces out of each frame."""
    for item in items:
        with clock("align"), item.kept_on_failure():
            item.aligned = [align(item.base, planned) for planned in item.planned]
        yield item


def restore_faces(
    items: Iterable[FrameInWork],
    restorer: Callable[[Crop], Crop],
    batch: Callable[[], int],
    clock: StageClock,
    carry: int = 0,
) -> Iterator[FrameInWork]:
    """Restore the crops of several frames at a time, as many at once as ``batch`` says once there is a face.

    A restorer that takes one after the other is given one after the other: frames that waited for a batch to fill
    would come out in a rush, which the stages behind it cannot share with it.

    Which crops share a batch, and which take over what was restored before (``carry`` in a row at most, where motions
    are known), follows from the frames alone; blocks share neither, so that both are the same wherever a segment
    begins. Frames that wait for a batch to fill are bounded in number and in memory; frames without faces in front of
    the queue pass at once.
    """
    waiting = _Batches(restorer, batch, clock, carry)
    for item in items:
        if item.block is not None and item.block.start == item.index:
            yield from waiting.emptied()
        yield from waiting.added(item)
    yield from waiting.emptied()


@dataclass
class _Shown:
    """A crop that the restorer is shown, and what it makes of it; ``last`` follows it from frame to frame."""

    crop: Crop
    restored: Crop | None = None
    last: LastRestored | None = None


@dataclass(frozen=True)
class _Place:
    """A face of a frame, and what is restored of it: along a flow, or as it is where the crops are equal."""

    item: FrameInWork
    crop: Crop
    shown: _Shown
    flow: Flow | None = None


class _Batches:
    """Frames in order, until the crops of those in front are restored.

    A crop equal to the one before of its track is not restored again: duplicated frames, and what stands still in a
    recording of a screen or in a GIF. Nor is one that has hardly changed; see :mod:`revisage.temporal.carrying`.
    """

    def __init__(
        self, restorer: Callable[[Crop], Crop], batch: Callable[[], int], clock: StageClock, carry: int
    ) -> None:
        self._restorer, self._asked_batch, self._clock, self._carry = restorer, batch, clock, carry
        self._due = 1
        self._queue: deque[FrameInWork] = deque()
        self._places: deque[_Place] = deque()
        self._latest: dict[int, _Shown] = {}

    def added(self, item: FrameInWork) -> Iterator[FrameInWork]:
        """Take one more; gives those that are done."""
        self._queue.append(item)
        with item.kept_on_failure():
            self._places.extend(self._placed(item))
        while self._is_full(item.frame.size_hw):
            self._restore()
            # The first frame does not wait until a batch is full: somebody may be looking on, and the encoder begins.
            self._due = min(2 * self._due, self._batch)
            yield from self._done()
        yield from self._done()

    def _is_full(self, size_hw: tuple[int, int]) -> bool:
        """Whether enough crops wait for the restorer, or as many frames of that size as may."""
        new = self._new()
        if not new or len(new) >= self._due:
            return bool(new)
        return len(self._queue) > max(1, min(4 * self._batch, _HELD_BYTES // (size_hw[0] * size_hw[1] * 3)))

    @functools.cached_property
    def _batch(self) -> int:
        return self._asked_batch()

    def emptied(self) -> Iterator[FrameInWork]:
        """Restore and give all that waits."""
        while self._queue:
            self._restore()
            yield from self._done()
        self._latest.clear()

    def _done(self) -> Iterator[FrameInWork]:
        while self._places and self._places[0].shown.restored is not None:
            place = self._places.popleft()
            place.item.restored.append(self._result(place))
        while self._queue and not self._queue[0].waiting:
            yield self._queue.popleft()

    def _result(self, place: _Place) -> Crop:
        """What is shown of a face, once its crop or the one that it carries on is restored."""
        shown = place.shown
        assert shown.restored is not None
        if place.flow is None:
            return shown.restored
        with self._clock("carry"):
            return carried(shown.restored, shown.crop, place.crop, place.flow)

    def _placed(self, item: FrameInWork) -> list[_Place]:
        """Where the faces of a frame come from. Where nothing of a restoration would be shown a crop stays as it is."""
        places: list[_Place] = []
        before, self._latest = self._latest, {}
        for (planned, face), motion in zip(item.faces, item.motions or [None] * len(item.aligned), strict=True):
            crop, shown, flow = face.input, before.get(planned.track), None
            if not face.shows_restored:
                places.append(_Place(item, crop, _Shown(crop, crop)))
                continue
            if shown is None or not np.array_equal(shown.crop, crop):
                flow = None if shown is None else self._flow(shown, face, motion)
                if shown is None or flow is None:
                    shown = _Shown(crop)
            elif shown.last is not None:
                shown.last = LastRestored(crop)
            self._latest[planned.track] = shown
            places.append(_Place(item, crop, shown, flow))
        item.carried = sum(place.flow is not None for place in places)
        return places

    def _flow(self, shown: _Shown, face: AlignedFace, motion: Motion | None) -> Flow | None:
        """What brings the crop restored last onto a face; None where the face is restored itself."""
        if self._carry == 0 or motion is None:
            return None
        with self._clock("carry"):
            shown.last = shown.last or LastRestored(shown.crop)
            return shown.last.onto(face.input, face.landmarks, motion) if shown.last.carried < self._carry else None

    def _new(self) -> list[_Shown]:
        """The crops that wait for the restorer, in order."""
        return list({id(place.shown): place.shown for place in self._places if place.shown.restored is None}.values())

    def _restore(self) -> None:
        """Restore the first ``batch`` crops that wait."""
        new = self._new()[: self._batch]
        if not new:
            return
        with self._clock("restore"):
            try:
                crops = list(self._restorer(np.stack([shown.crop for shown in new])))
            except (UserError, CancelledError):
                raise
            except Exception:
                self._restore_singly(new)
                return
        for shown, crop in zip(new, crops, strict=True):
            shown.restored = crop

    def _restore_singly(self, new: list[_Shown]) -> None:
        """After a batch failed: one crop at a time, so that only the frames at fault are given up."""
        for shown in new:
            own = [place for place in self._places if place.shown is shown and place.flow is None]
            if not own:
                continue
            with own[0].item.kept_on_failure():
                shown.restored = self._restorer(shown.crop[None])[0]
            if shown.restored is None:
                for place in own:
                    place.item.problem = own[0].item.problem
                self._places = deque(self._by_itself(place, shown) for place in self._places if not place.item.problem)
        self._latest.clear()

    @staticmethod
    def _by_itself(place: _Place, lost: _Shown) -> _Place:
        """A place that is restored for its own sake where it would have carried on what could not be restored."""
        if place.shown is not lost:
            return place
        place.item.carried -= 1
        return replace(place, shown=_Shown(place.crop), flow=None)


def show_faces(
    items: Iterable[FrameInWork],
    canvas: Callable[[Frame], Frame],
    show: Callable[[Frame, FrameInWork], Frame],
    clock: StageClock,
) -> Iterator[FrameInWork]:
    """Bring each frame to the output's size (``canvas``) and put its restored faces into it (``show``)."""
    for item in items:
        with clock("resize"):
            item.result = canvas(item.base)
        if item.restored and not item.problem:
            with clock("composite"), item.kept_on_failure():
                item.result = show(item.result, item)
        yield item


def frames_ahead(size_hw: tuple[int, int]) -> int:
    """How many frames of a size (px) each stage may run ahead of the next: fewer of very large ones."""
    height, width = size_hw
    return max(1, min(_AHEAD, _HELD_BYTES // max(1, height * width * 3)))


class StageThreads:
    """A chain of threads that live as long as a ``with`` block.

    Leaving the block, by success or error, stops and joins them. They are daemons: a network in the middle of a batch
    cannot be interrupted, and delays nobody who cancels.

    Args:
        cancel: looked at while a queue is full or empty.
        trace: notes how many items wait in each queue.
    """

    def __init__(self, cancel: CancelToken, trace: Trace | None = None) -> None:
        self._cancel = cancel
        self._trace = trace
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> StageThreads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        hurry = self._cancel.cancelled or _stopped_by_hand(error)
        deadline = time.monotonic() + (_PATIENCE / 10 if hurry else _PATIENCE)
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def ahead(self, items: Callable[[], Iterable[T]], *, depth: int, name: str) -> Iterator[T]:
        """Yield what ``items()`` yields, produced by a thread at most ``depth`` items ahead.

        ``items`` is called, iterated and closed in that thread. What it raises is raised here, with its traceback,
        after the items before it.

        Raises:
            CancelledError: a stop was asked for.
        """
        channel: queue.Queue[object] = queue.Queue(maxsize=depth)
        failure: list[BaseException] = []
        thread = threading.Thread(
            target=self._produce, args=(items, channel, failure), name=f"revisage-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return self._consume(channel, failure, f"after {name}")

    def _produce(
        self, items: Callable[[], Iterable[Any]], channel: queue.Queue[object], failure: list[BaseException]
    ) -> None:
        source: Any = None
        try:
            source = iter(items())
            for item in source:
                if not self._put(channel, item):
                    break
        except BaseException as error:
            failure.append(error)
        finally:
            self._close(source, failure)
            self._put(channel, _END)

    def _put(self, channel: queue.Queue[object], item: object) -> bool:
        while not (self._stop.is_set() or self._cancel.cancelled):
            try:
                channel.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False

    def _consume(self, channel: queue.Queue[object], failure: list[BaseException], name: str) -> Iterator[Any]:
        while (item := self._take(channel)) is not _END:
            if self._trace is not None:
                self._trace.count(name, channel.qsize())
            yield cast(Any, item)
        if failure:
            raise failure[0]

    def _take(self, channel: queue.Queue[object]) -> object:
        # A get() without a timeout outlives a producer that was told to stop, and on Windows Ctrl-C too.
        while not self._stop.is_set():
            self._cancel.check()
            try:
                return channel.get(timeout=_POLL)
            except queue.Empty:
                continue
        return _END

    @staticmethod
    def _close(source: Any, failure: list[BaseException]) -> None:
        """Close a generator in the thread that ran it, so that files are closed by the thread that read them."""
        close = getattr(source, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            failure.append(error)


def _stopped_by_hand(error: BaseException | None) -> bool:
    """Whether Ctrl-C ended a block, or whoever took the items of a generator that holds the block."""
    return isinstance(error, KeyboardInterrupt) or isinstance(getattr(error, "__context__", None), KeyboardInterrupt)
