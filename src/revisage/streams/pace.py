"""When there is time for what: a frame is shown in time or not at all, and restoring takes what is left over.

Nothing here looks at pictures, and all of it takes its time from a clock that is handed in.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["LATENCY", "Clock", "Latencies", "Pace", "StreamTally", "SystemClock"]

LATENCY = 0.12
"""Seconds from the capture of a frame until it is out, at most, unless told otherwise."""

_RATE = 24.0
"""Frames a second that must come out where at least as many go in."""

_AIM = 0.6
"""The part of the time allowed that frames are to take: above it restoring gives way."""

_MEMORY = 0.15
"""Share of a new cost in the one remembered."""

_LONGER, _SHORTER, _FIRST_REST, _LONGEST_REST = 1.6, 0.97, 0.02, 1.0
"""Rests between restorations grow at once when frames come late (seconds), and shrink slowly when they do not."""

_FACES_SHARE = 0.7
"""The part of the time between two frames that faces may take on the way of a frame."""

_SEARCH_FOUND, _SEARCH_NONE = 0.5, 0.1
"""Seconds between searches of whole frames while faces are followed, and while there are none or one was lost."""

_MS = 1000


class Clock(Protocol):
    """Tells the time. Another one may be handed in wherever time decides."""

    def now(self) -> float:
        """Seconds from any origin; they never fall."""

    def sleep(self, seconds: float) -> None:
        """Wait so long."""


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """See :meth:`Clock.now`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See :meth:`Clock.sleep`."""
        time.sleep(max(0.0, seconds))


class Latencies:
    """How long frames took, counted in milliseconds: it takes the same memory however long a stream lasts."""

    def __init__(self, longest: float = 10.0) -> None:
        self._counts = [0] * (int(longest * _MS) + 1)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[min(max(0, round(seconds * _MS)), len(self._counts) - 1)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float | None:
        """The latency (s) that so many per cent of the frames did not exceed; None without any."""
        if not self.count:
            return None
        below = 0
        for milliseconds, count in enumerate(self._counts):
            below += count
            if below >= self.count * percent / 100:
                return milliseconds / _MS
        return (len(self._counts) - 1) / _MS


@dataclass
class StreamTally:
    """What became of the frames of a stream.

    Attributes:
        taken: frames that came in.
        dropped: of these, those that could not have been shown in time, or came while another was at work.
        shown: frames that went out.
        with_faces: of these, those with a face to restore.
        restored: runs of the restorer.
        failed: what could not be searched or restored; ``problem`` is the first reason.
        latencies: of the frames that went out.
    """

    taken: int = 0
    dropped: int = 0
    shown: int = 0
    with_faces: int = 0
    restored: int = 0
    failed: int = 0
    problem: str | None = None
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def share_restored(self) -> float:
        """Runs of the restorer for each frame with a face, at most 1; the other frames carry what it made."""
        return min(1.0, self.restored / self.with_faces) if self.with_faces else 0.0


class Pace:
    """Decides what there is time for. All times are seconds of one clock.

    Args:
        latency: from the moment a frame was captured until it is out, at most.
    """

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self._frame_cost = 0.0
        self._face_cost = 0.0
        self._output_cost = 0.0
        self._faces_of_last = 0
        self._interval = 1 / _RATE
        self._last_captured: float | None = None
        self._rest = 0.0
        self._restored_until = float("-inf")
        self._searched = float("-inf")
        self._recent: deque[float] = deque(maxlen=25)

    @property
    def cost(self) -> float:
        """What the next frame will probably take until it is out, with as many faces as the last one."""
        return self._frame_cost + self._face_cost * self._faces_of_last + self._output_cost

    def admits(self, captured: float, now: float) -> bool:
        """Whether a frame can still be out in time."""
        return now - captured + self.cost <= self.latency

    def affordable_faces(self) -> int:
        """How many faces can be worked on in a frame without falling behind the frames that come; at least one."""
        if self._face_cost <= 0:
            return 1 if not self._faces_of_last else self._faces_of_last + 1
        share = _FACES_SHARE * max(self._interval, 1 / _RATE) - self._frame_cost - self._output_cost
        return max(1, int(share / self._face_cost))

    def may_search(self, now: float, *, settled: bool) -> bool:
        """Whether it is time to search a whole frame. settled: faces are known, and none was lost."""
        return now - self._searched >= (_SEARCH_FOUND if settled else _SEARCH_NONE)

    def may_restore(self, now: float) -> bool:
        """Whether the rest since the last restoration is over."""
        return now - self._restored_until >= self._rest

    def note_search(self, now: float) -> None:
        """A search began."""
        self._searched = now

    def note_restored(self, now: float) -> None:
        """A restoration ended."""
        self._restored_until = now

    def note_frame(self, captured: float, began: float, ended: float, *, faces: int, on_faces: float) -> None:
        """A frame was finished; of the time it took, so much went to its faces."""
        self._frame_cost += _MEMORY * (ended - began - on_faces - self._frame_cost)
        if faces:
            self._face_cost += _MEMORY * (on_faces / faces - self._face_cost)
        if self._last_captured is not None and captured > self._last_captured:
            self._interval += _MEMORY * (min(1.0, captured - self._last_captured) - self._interval)
        self._last_captured = captured
        self._faces_of_last = faces
        late = ended - captured + self._output_cost > _AIM * self.latency or self._is_slow(ended)
        self._give_way() if late else self._take_back()

    def note_output(self, spent: float) -> None:
        """So long it took from there until a frame was out."""
        self._output_cost += _MEMORY * (spent - self._output_cost)

    def note_dropped(self) -> None:
        """A frame was dropped."""
        self._give_way()
        # Else one slow frame, of which the cost was learned, could keep all others out.
        self._frame_cost *= 1 - _MEMORY
        self._face_cost *= 1 - _MEMORY

    def _is_slow(self, ended: float) -> bool:
        """Whether fewer frames went out in the last second than must, though enough came in."""
        self._recent.append(ended)
        spent = ended - self._recent[0]
        full = len(self._recent) == self._recent.maxlen
        return full and self._interval < 1 / _RATE and spent > (len(self._recent) - 1) / _RATE

    def _give_way(self) -> None:
        self._rest = min(_LONGEST_REST, max(_FIRST_REST, self._rest * _LONGER))

    def _take_back(self) -> None:
        self._rest = 0.0 if self._rest < _FIRST_REST / 2 else self._rest * _SHORTER
