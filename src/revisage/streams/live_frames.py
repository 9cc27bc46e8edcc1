"""A source, restored, as an iterator of frames that are there in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from revisage.core import Image, RestoreConfig
from revisage.streams.capture import Capture
from revisage.streams.live_restorer import LiveRestorer
from revisage.streams.pace import LATENCY, Clock

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.pipeline import Networks
    from revisage.streams.pace import StreamTally

__all__ = ["LiveFrame", "LiveSession"]


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of a live source, restored.

    Attributes:
        frame: restored, in its native samples.
        source: the frame as it was captured.
        captured: when, in seconds of the session's clock.
        latency: seconds from there until it was restored.
    """

    frame: Frame
    source: Frame
    captured: float
    latency: float

    @cached_property
    def image(self) -> Image:
        """``(H, W, 3) uint8 RGB``, restored."""
        return self.frame.rgb()

    @cached_property
    def before(self) -> Image:
        """``(H, W, 3) uint8 RGB``, as captured, at the size of :attr:`image`."""
        return self.source.resized(self.frame.size_hw).rgb()


class LiveSession:
    """Takes frames from a source and restores them, until the source ends or it is stopped.

    Args:
        source: a camera's number or name, a file, an address, or ``-``; see :func:`revisage.streams.find_place`.
        config: as for files.
        latency: seconds from capture until whoever takes the frames is done with each, at most.
        size_hw, rate: that a camera is asked for.
        networks: loaded for that config.
        clock: tells the time.
        on_state: told ``"lost"`` when the source is, and ``"back"``.

    Raises:
        UserError: there is no such source, an option is not for streams, or a model is not there.
    """

    def __init__(
        self,
        source: str | int | Path,
        config: RestoreConfig,
        *,
        latency: float = LATENCY,
        size_hw: tuple[int, int] | None = None,
        rate: int | None = None,
        networks: Networks | None = None,
        clock: Clock | None = None,
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._capture = Capture(source, size_hw=size_hw, rate=rate, clock=clock, on_state=on_state)
        self.restorer = LiveRestorer(config, latency=latency, networks=networks, clock=clock)

    @property
    def tally(self) -> StreamTally:
        """What became of the frames so far."""
        return self.restorer.tally

    @property
    def dropped(self) -> int:
        """Captured frames that were not shown."""
        return self._capture.dropped + self.tally.dropped

    @property
    def captured(self) -> int:
        """Frames that came in."""
        return self._capture.dropped + self.tally.taken

    def stop(self) -> None:
        """End it, from any thread."""
        self._capture.stop()

    def frames(self) -> Iterator[LiveFrame]:
        """Frames as they are ready; the time that the caller takes with each counts as its latency too.

        Raises:
            UserError: the source cannot be read.
        """
        clock = self.restorer.clock
        try:
            for captured in self._capture.frames():
                shown = self.restorer.push(captured.frame, captured.at, is_out=False)
                if shown is None:
                    continue
                ready = clock.now()
                yield LiveFrame(shown, captured.frame, captured.at, ready - captured.at)
                self.restorer.note_out(captured.at, clock.now() - ready)
        finally:
            self.restorer.close()
