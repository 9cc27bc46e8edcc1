"""One stream of frames: pushed in one by one, restored, out in time or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from revisage import faces, media, pipeline, temporal
from revisage.core import ConfigError, Crop, Face, RestoreConfig, UserError
from revisage.streams.carried_detail import CarriedFace
from revisage.streams.followed_faces import FollowedFaces
from revisage.streams.pace import LATENCY, Clock, Pace, StreamTally, SystemClock
from revisage.streams.side_work import SideThread, SideWork, SideWorkAtOnce

if TYPE_CHECKING:
    from revisage.faces import AlignedFace
    from revisage.media import Frame
    from revisage.pipeline import Networks, PlannedFace

__all__ = ["LiveRestorer", "check_config"]

_LONGEST_LAPSE = 4.0


def check_config(config: RestoreConfig) -> None:
    """Refuse what a stream cannot do.

    Raises:
        ConfigError: an option looks ahead, or takes longer than any stream can wait.
    """
    if config.temporal_passes > 1:
        raise ConfigError("temporal_passes 2 averages over frames ahead, which a stream does not have; leave it at 1")
    if config.background not in ("none", "lanczos"):
        raise ConfigError(f"background {config.background} takes seconds a frame; a stream has none or lanczos")
    if config.aligned:
        raise ConfigError("aligned is for files of faces cut out beforehand; a stream finds its faces itself")


class LiveRestorer:
    """Restores the frames of one stream. :meth:`push` is called with each frame as it comes.

    A frame never waits for the restorer. That runs beside the frames, one face at a time, as often as there is time,
    and what it adds is carried along to the frames between (see :mod:`revisage.streams.carried_detail`). Whole frames
    are searched beside them too; on the way of a frame known faces are followed only.

    Args:
        config: as for files; those of its fields that are about files do nothing.
        latency: seconds from capture to output, at most. Frames that cannot keep to it are dropped.
        restore_every: restore each so manieth frame, at once, and drop none: nothing then depends on time, and the
            same frames give the same pixels. None restores as often as there is time.
        networks: loaded for that config, to save loading them again.
        clock: tells the time.
        side_work: does what frames do not wait for.

    Raises:
        UserError: an option is not for streams, or a model is not there.
    """

    def __init__(
        self,
        config: RestoreConfig,
        *,
        latency: float = LATENCY,
        restore_every: int | None = None,
        networks: Networks | None = None,
        clock: Clock | None = None,
        side_work: SideWork | None = None,
    ) -> None:
        check_config(config)
        if not 0 < latency <= 10:
            raise ConfigError(f"latency lies above 0 and at most at 10 seconds, got {latency:g}")
        if restore_every is not None and restore_every < 1:
            raise ConfigError(f"restore_every is a number of frames, at least 1, got {restore_every}")
        self.tally = StreamTally()
        self.strength = config.strength
        self._config = config.model_copy(update={"strength": 1.0})
        self._networks = (networks or pipeline.Networks(config)).uncalibrated
        self._restorer = self._networks.restorer
        self._reader = self._networks.cover_reader if config.hidden == "spare" else None
        self._judges = self._networks.uses_detail and config.fine == "auto" and config.upscale == 1
        self._every = restore_every
        self._clock: Clock = clock or SystemClock()
        self._pace = Pace(latency)
        self._side = side_work or (SideWorkAtOnce() if restore_every else SideThread())
        self._faces = FollowedFaces(self._config, self._networks.detector)
        self._carried: dict[int, CarriedFace] = {}
        self._searched_last = False
        self._number = 0
        self._step = 0.0
        self._lapse = 1.0
        self._last_time: float | None = None
        self._busy = threading.Lock()
        self._warm_up()

    def _warm_up(self) -> None:
        """Take a face through all steps: the first run of a network, and of OpenCV's colours, is longer than any
        frame may take."""
        size = self._restorer.size
        picture = np.zeros((size, size, 3), np.uint8)
        frame = media.Frame.from_array(picture)
        points = faces.ffhq_template(size).astype(np.float32)
        face = Face((size / 4, size / 4, size / 2, size / 2), points)
        faces.FaceFollower((size, size)).add(0, [face], picture)
        carried, smoother = CarriedFace(self._flow, averages=self._config.recurrent), temporal.LandmarkSmoother()
        for number in range(3):
            aligned = faces.align(frame, smoother(face), size)
            carried.step(number, aligned)
            shown = carried.now
            if shown is not None and number == 0:
                carried.take(shown, *self._restored(frame, aligned, shown.crop))
        made = carried.picture(1.0, 1.0)
        faces.composite(frame, [] if made is None else [made])

    def close(self) -> None:
        """No more frames come."""
        self._side.close()

    @property
    def networks(self) -> Networks:
        """Those that it runs."""
        return self._networks

    @property
    def clock(self) -> Clock:
        """The clock of ``captured``."""
        return self._clock

    def push(self, frame: Frame, captured: float | None = None, *, is_out: bool = True) -> Frame | None:
        """The next frame, with its faces restored.

        Args:
            frame: as it was captured.
            captured: when, by the stream's clock; now if None.
            is_out: the frame is out when this returns; else :meth:`note_out` says when it is.

        Returns:
            A new frame; the same one where it has no face. None for a frame that is dropped: it cannot be out in time,
            or another thread's is still at work.

        Raises:
            UserError: a model cannot be loaded.
        """
        began = self._clock.now()
        captured = began if captured is None else captured
        self.tally.taken += 1
        if not self._busy.acquire(blocking=False):
            self.tally.dropped += 1
            return None
        try:
            if self._every is None and not self._pace.admits(captured, began):
                self.tally.dropped += 1
                self._pace.note_dropped()
                return None
            shown, count, spent = self._shown(frame)
            ended = self._clock.now()
            self._pace.note_frame(captured, began, ended, faces=count, on_faces=spent)
            self.tally.shown += 1
            self.tally.with_faces += count > 0
            if is_out:
                self.note_out(captured, 0.0)
            return shown
        finally:
            self._busy.release()

    def note_out(self, captured: float, spent: float) -> None:
        """A frame is out, ``spent`` seconds after :meth:`push` gave it."""
        self.tally.latencies.add(self._clock.now() - captured)
        self._pace.note_output(spent)

    def _shown(self, frame: Frame) -> tuple[Frame, int, float]:
        """The frame restored, how many faces were worked on, and the seconds that they took."""
        self._collect()
        self._number += 1
        self._tell_time(frame)
        if self._faces.starts_shot(frame):
            self._carried = {}
        if self._every is not None:
            self._run(lambda: self._faces.look(frame), lambda _: None)
            self._collect()
        began = self._clock.now()
        planned = self._faces.follow(frame, most=None if self._every else self._pace.affordable_faces())
        self._step_faces(frame, planned)
        self._begin_side_work(frame)
        shown = self._composited(frame, planned)
        return shown, len(planned), self._clock.now() - began

    def _tell_time(self, frame: Frame) -> None:
        """How long after the frame before this one comes, in parts of the usual time between two."""
        now = float(frame.pts * frame.time_base)
        step = 0.0 if self._last_time is None else now - self._last_time
        self._last_time = now
        if step > 0:
            self._step = step if self._step == 0 else self._step + 0.1 * (step - self._step)
            self._lapse = float(np.clip(step / self._step, 1.0, _LONGEST_LAPSE))

    def _step_faces(self, frame: Frame, planned: list[PlannedFace]) -> None:
        """Cut the faces out, and bring what is carried to this frame. Those that are gone are forgotten."""
        before, self._carried = self._carried, {}
        for entry in planned:
            aligned = faces.align(frame, entry.face, self._restorer.size)
            face = before.get(entry.track) or CarriedFace(self._flow, averages=self._config.recurrent)
            self._carried[entry.track] = face
            face.step(self._number, aligned, self._lapse)

    def _flow(self) -> Any:
        return self._networks.flow

    def _begin_side_work(self, frame: Frame) -> None:
        """Restore the face that has waited longest, or search the frame, where there is time."""
        if self._every is not None:
            for track in list(self._carried):
                if self._carried[track].restored_at is None or self._number % self._every == 0:
                    self._restore(frame, track)
                    self._collect()
            return
        if not self._side.is_free:
            return
        now = self._clock.now()
        restores = bool(self._carried) and self._pace.may_restore(now)
        searches = self._pace.may_search(now, settled=self._faces.settled)
        # Taken in turns: where a search takes long, the next one is due when it ends.
        if searches and not (restores and self._searched_last):
            self._searched_last = True
            self._pace.note_search(now)
            self._run(lambda: self._faces.search(frame), self._faces.offer)
        elif restores:
            self._searched_last = False
            self._restore(frame, min(self._carried, key=lambda track: self._carried[track].restored_at or 0))

    def _restore(self, frame: Frame, track: int) -> None:
        shown, aligned = self._carried[track].now, self._carried[track].aligned
        assert shown is not None and aligned is not None

        def take(made: tuple[Crop, NDArray[np.float32] | None, float]) -> None:
            self._pace.note_restored(self._clock.now())
            self.tally.restored += 1
            if track in self._carried:
                self._carried[track].take(shown, *made)

        self._run(lambda: self._restored(frame, aligned, shown.crop), take)

    def _restored(
        self, frame: Frame, aligned: AlignedFace, crop: Crop
    ) -> tuple[Crop, NDArray[np.float32] | None, float]:
        """A face's crop restored, how likely something is before each cell, and how much of that the face needs."""
        needed = faces.crop_share(frame, aligned) if self._judges else 1.0
        cells = None if self._reader is None else pipeline.read_cells(crop[None], self._reader)[0]
        return self._restorer(crop[None])[0], cells, needed

    def _run(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._side.start(work, then)

    def _collect(self) -> None:
        """Take the result of the work beside the frames, if there is one. What fails leaves frames as they are."""
        outcome = self._side.finished()
        if outcome is None:
            return
        if outcome.error is None:
            outcome.then(outcome.result)
        elif isinstance(outcome.error, UserError):
            raise outcome.error
        else:
            self.tally.failed += 1
            reason = " ".join(str(outcome.error).split())
            self.tally.problem = self.tally.problem or f"{type(outcome.error).__name__}: {reason}"

    def _composited(self, frame: Frame, planned: list[PlannedFace]) -> Frame:
        size_hw = media.scaled_size(frame.size_hw, self._config.upscale, even=False)
        factors = (size_hw[1] / frame.size_hw[1], size_hw[0] / frame.size_hw[0])
        shown: list[tuple[AlignedFace, Crop, float]] = []
        for entry in planned:
            made = self._carried[entry.track].picture(self._lapse, factors[0])
            if made is not None:
                aligned, crop, part = made
                cells = self._carried[entry.track].cells
                aligned, left = faces.with_cover(aligned, cells, self._config.max_hidden)
                shown.append((aligned, crop, entry.strength * part * left * self.strength))
        return faces.composite(frame.resized(size_hw), shown, factors)
