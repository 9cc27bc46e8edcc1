"""A live session on a display: what is drawn over its frames, and what the keys do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from revisage.core import Image

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.streams.live_frames import LiveFrame, LiveSession

__all__ = ["Action", "Display", "View", "figures", "show_session", "split_view"]

Action = Literal["split", "overlay", "stronger", "weaker", "quit"]

_STEP = 0.1
_RECENT = 30
"""Frames over which the rate and the latency on the picture are averaged."""


class Display(Protocol):
    """Takes the frames of a live session."""

    def show(self, frame: Frame) -> None:
        """Show one frame.

        Raises:
            BrokenPipeError: whoever looked has gone.
            OutputError: it cannot be shown or written.
        """

    def actions(self) -> list[Action]:
        """What the user asked for since the last call."""

    def close(self) -> None:
        """The session has ended well."""

    def abort(self) -> None:
        """It has not: leave nothing half-finished. Does nothing after :meth:`close`."""


@dataclass
class View:
    """How frames are shown; keys change it.

    Attributes:
        split: the left half as it was captured.
        overlay: figures in a corner.
    """

    split: bool = False
    overlay: bool = False
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def drawn(self, live: LiveFrame, session: LiveSession) -> Frame:
        """The frame with what is to be drawn over it; itself where that is nothing."""
        self._recent.append((live.captured + live.latency, live.latency))
        if not (self.split or self.overlay):
            return live.frame
        picture = live.image
        if self.split:
            picture = split_view(live.before, picture)
        if self.overlay:
            picture = _labelled(picture, self._said(session))
        return live.frame.with_rgb(picture)

    def _said(self, session: LiveSession) -> str:
        spent = self._recent[-1][0] - self._recent[0][0]
        rate = (len(self._recent) - 1) / spent if spent > 0 else 0.0
        latency = sum(entry[1] for entry in self._recent) / len(self._recent)
        share, strength = session.tally.share_restored, session.restorer.strength
        return f"{rate:.0f} fps   {1000 * latency:.0f} ms   {share:.0%} restored   strength {strength:.1f}"

    def act(self, action: Action, session: LiveSession) -> None:
        """Do what a key asks for."""
        if action == "quit":
            session.stop()
        elif action == "split":
            self.split = not self.split
        elif action == "overlay":
            self.overlay = not self.overlay
        else:
            step = _STEP if action == "stronger" else -_STEP
            session.restorer.strength = round(min(1.0, max(0.0, session.restorer.strength + step)), 2)


def show_session(session: LiveSession, display: Display, view: View) -> None:
    """Show a session until it ends, is stopped, or whoever looks has gone. Ctrl-C is a way to end it too.

    Raises:
        UserError: the source cannot be read, or a frame cannot be shown.
    """
    try:
        for live in session.frames():
            display.show(view.drawn(live, session))
            for action in display.actions():
                view.act(action, session)
    except KeyboardInterrupt:
        session.stop()
    except BaseException:
        session.stop()
        display.abort()
        raise
    display.close()


def figures(session: LiveSession, seconds: float) -> dict[str, Any]:
    """What became of a session of so many seconds, as JSON values; latencies in ms."""
    tally = session.tally
    milliseconds = {}
    for percent in (50, 95, 99):
        found = tally.latencies.percentile(percent)
        milliseconds[f"p{percent}"] = None if found is None else round(1000 * found)
    return {
        "frames": session.captured,
        "shown": tally.shown,
        "dropped": session.dropped,
        "frames_per_second": round(tally.shown / seconds, 1) if seconds > 0 else 0.0,
        "latency_ms": milliseconds,
        "restorations": tally.restored,
        "share_restored": round(tally.share_restored, 3),
        "failed": tally.failed,
        "problem": tally.problem,
    }


def split_view(before: Image, after: Image) -> Image:
    """The left half of one picture and the right half of another, with a line between."""
    middle = after.shape[1] // 2
    joined = np.concatenate((before[:, :middle], after[:, middle:]), axis=1)
    joined[:, max(0, middle - 1) : middle + 1] = 255
    return joined


def _labelled(picture: Image, text: str) -> Image:
    """A copy with a line of text in the lower left corner, on a dark strip."""
    size = max(11, picture.shape[0] // 28)
    font = ImageFont.load_default(size)
    pad = size // 2
    height = min(picture.shape[0], size + 2 * pad)
    width = min(picture.shape[1], round(font.getlength(text)) + 2 * pad)
    strip = PillowImage.fromarray(np.ascontiguousarray(picture[-height:, :width] // 3))
    ImageDraw.Draw(strip).text((pad, height // 2), text, font=font, fill=(255, 255, 255), anchor="lm")
    labelled = picture.copy()
    labelled[-height:, :width] = np.asarray(strip)
    return labelled
