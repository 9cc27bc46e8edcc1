"""A job at work: its file and folder, its progress, the reasons to stop it, and the heartbeat that keeps its lease."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import sqlalchemy as sa

from revisage import media, pipeline
from revisage.core import CancelToken, InputError, OutputError, ProcessingError, Progress, RestoreConfig, make_config
from revisage.service.jobs import (
    JobProgress,
    JobStore,
    Kind,
    Lease,
    Leases,
    OutOfTimeError,
    Stage,
    error_code,
    photo_of,
)
from revisage.service.settings import ServiceSettings, check_medium
from revisage.service.work.work_copy import bring_work, drop_unfinished

if TYPE_CHECKING:
    from revisage.media import MediaInfo
    from revisage.pipeline import Networks

__all__ = ["Heart", "InterruptedWorkError", "JobToken", "Loaded", "Meter", "Outcome", "Reason", "Task", "out_of_time"]

Reason = Literal["cancelled", "lost", "ending", "time"]

_LOG = logging.getLogger("revisage.service")
_BEAT = 0.5
_GRACE = 20.0
"""Seconds that work gets to stop by itself; what hangs longer in a decoder is ended with its process."""

_WINDOW = 10.0
_SETTLED = 1.0
"""Seconds that a speed is taken over: at most, and at least."""
_SPANS = {"scan": (0.0, 0.25), "people": (0.25, 0.3), "restore": (0.25, 0.95), "finish": (0.95, 1.0)}
_ANALYSIS_SPANS = {"scan": (0.0, 0.6), "people": (0.6, 1.0)}
_RESTORE_PER_SCAN, _PEOPLE_PER_SCAN = 3.0, 0.5
"""A frame takes about so much longer to restore, or to tell people apart in, than to scan: the first guess, while
nothing of that is done yet."""

EXIT_HUNG = 75


class InterruptedWorkError(ProcessingError):
    """The work was stopped for a reason of the service's; what is finished of it is kept for another attempt."""


class JobToken(CancelToken):
    """A cancel token that knows why. Only a cancelled job's finished segments are thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: Reason | None = None

    def stop(self, reason: Reason) -> None:
        """Ask the work to stop at the next frame; the first reason counts."""
        if self.reason is None:
            self.reason = reason
        self.cancel()

    def check(self) -> None:
        """Raise CancelledError, or InterruptedWorkError for any other reason than that."""
        if self.cancelled and self.reason != "cancelled":
            raise InterruptedWorkError("the work was interrupted")
        super().check()


class Meter:
    """Turns what the pipeline tells into the progress of a job. Read and written by different threads.

    Args:
        kind: of the job.
    """

    def __init__(self, kind: Kind = "restore") -> None:
        self.now = JobProgress(stage="scan")
        self._spans = _ANALYSIS_SPANS if kind == "analyze" else _SPANS
        self._after_scan = _PEOPLE_PER_SCAN if kind == "analyze" else _RESTORE_PER_SCAN
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, moment: Progress) -> None:
        """Take what the pipeline tells."""
        at = time.monotonic()
        last = self._seen[-1][1] if self._seen else 0
        if moment.stage != self.now.stage or not 0 <= moment.done - last <= 1:
            self._seen.clear()  # a new stage, or segments that were taken over: no speed follows from that
        self._seen.append((at, moment.done))
        while at - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        fps = self._speed()
        fraction = max(self.now.fraction, _fraction(moment, self._spans))
        left = None if fps is None else _seconds_left(moment, fps, self._after_scan)
        self.now = JobProgress(fraction, cast(Stage, moment.stage), moment.done, moment.total, moment.faces, fps, left)

    def _speed(self) -> float | None:
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        long_enough = after > before and last - first >= _SETTLED
        return round((after - before) / (last - first), 2) if long_enough else None


def _fraction(moment: Progress, spans: Mapping[str, tuple[float, float]]) -> float:
    start, end = spans.get(moment.stage, (0.0, 1.0))
    part = min(1.0, moment.done / moment.total) if moment.total else 0.0
    return round(start + part * (end - start), 4)


def _seconds_left(moment: Progress, fps: float, after_scan: float) -> float | None:
    if not moment.total:
        return None
    left = max(0, moment.total - moment.done) / fps
    more = moment.total / fps * after_scan if moment.stage == "scan" else 0.0
    return round(left + more, 1)


class Heart:
    """Keeps the lease of a job while a ``with`` block works on it, and stops the work when it is to stop.

    Args:
        leases: of this worker.
        lease: of the job.
        token: looked at by the work.
        meter: told by the work.
        ending: set when this process is to end.
        limit: seconds after which the work is stopped.
        settings: how long a lease is.
    """

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        token: JobToken,
        meter: Meter,
        *,
        ending: threading.Event,
        limit: float,
        settings: ServiceSettings,
    ) -> None:
        self._leases, self._lease, self._token, self._meter = leases, lease, token, meter
        self._ending, self._limit = ending, limit
        self._third = settings.lease_seconds / 3
        self._held_until = time.monotonic() + settings.lease_seconds
        self._lease_seconds = settings.lease_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="revisage-heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        began = renewed = time.monotonic()
        told: JobProgress | None = None
        asked: float | None = None
        while not self._over.wait(_BEAT):
            now = time.monotonic()
            progress = self._meter.now
            if progress != told or now - renewed >= self._third:
                self._renew(progress if progress != told else None)
                told, renewed = progress, now
            if now - began > self._limit:
                self._token.stop("time")
            if self._ending.is_set():
                self._token.stop("ending")
            if self._token.cancelled:
                asked = asked or now
                if now - asked > _GRACE:
                    self._end_process()

    def _renew(self, progress: JobProgress | None) -> None:
        try:
            beat = self._leases.renew(self._lease, progress)
        except sa.exc.SQLAlchemyError:
            _LOG.warning("job %s: the job store does not answer", self._lease.job.id)
            if time.monotonic() > self._held_until:
                self._token.stop("lost")
            return
        self._held_until = time.monotonic() + self._lease_seconds
        if not beat.held:
            self._token.stop("lost")
        elif beat.cancel:
            self._token.stop("cancelled")

    def _end_process(self) -> None:
        """The work does not stop: say what became of the job, and end this process with everything in it."""
        _LOG.warning("job %s: does not stop (%s); ending this worker", self._lease.job.id, self._token.reason)
        try:
            if self._token.reason == "cancelled":
                self._leases.cancelled(self._lease)
            elif self._token.reason == "time":
                self._leases.failed(self._lease, *out_of_time(self._limit))
        finally:
            os._exit(EXIT_HUNG)


def out_of_time(limit: float) -> tuple[str, str]:
    """Message and code of a job that took too long."""
    error = OutOfTimeError(f"the work took longer than {limit:g} s, the most that is allowed")
    return str(error), error_code(error)


_KEPT = 2


class Loaded:
    """Networks that stay loaded from job to job: those of the last two kinds of config."""

    def __init__(self) -> None:
        self._networks: OrderedDict[str, Networks] = OrderedDict()

    def networks(self, config: RestoreConfig) -> Networks:
        """Networks for a config."""
        wanted = config.about("networks")
        key = json.dumps(wanted, sort_keys=True)
        if key not in self._networks:
            self._networks[key] = pipeline.Networks(make_config(wanted))
        self._networks.move_to_end(key)
        while len(self._networks) > _KEPT:
            self._networks.popitem(last=False)
        return self._networks[key]

    def warm_up(self) -> None:
        """Load what the default config needs, so that the first who waits does not wait for that."""
        networks = self.networks(make_config())
        _ = networks.detector, networks.restorer


@dataclass
class Outcome:
    """What came of a job: values for its row, and the files that they name."""

    result: dict[str, Any]
    files: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Of the files, in bytes."""
        return sum(path.stat().st_size for path in self.files)


class Task:
    """One attempt at a job, with its own work folder.

    The work folder's name holds the attempt's number. It is the earlier attempt's folder, renamed: what a worker that
    lost its lease still tries to write has lost its path.

    Attributes:
        source: the file to work on: a path, or the address of a video in a store.
        stored_work: where what is finished is kept for workers of other machines; None where there is no store.
        names: paths that must not be shown, and what to show for them.
    """

    def __init__(self, store: JobStore, lease: Lease, token: JobToken, meter: Meter, loaded: Loaded) -> None:
        self.store, self.lease, self.token, self.meter = store, lease, token, meter
        self.job = lease.job
        self.source = store.input_path(lease.job.input)
        self.folder = store.folder.job_folder(lease.job.id)
        self.work = self.folder / f"work-{lease.attempt}"
        self.names = {
            self.source: lease.job.input.name,
            self.source.parent: "…",
            self.folder: "…",
            store.folder.base: "…",
        }
        place = store.folder.stored_job(lease.job.id)
        self.stored_work = None if place is None else place / "work"
        self._loaded = loaded

    @cached_property
    def config(self) -> RestoreConfig:
        """The job's config, with what the service decides, and the places of the photos that came with it.

        Raises:
            InputError: a photo is no longer there.
        """
        who = tuple(f"{name}={self._photo(photo)}" for name, photo in map(photo_of, self.job.config.get("who", ())))
        return make_config({**self.job.config, **({"who": who} if who else {})}, overwrite=True)

    def _photo(self, name: str) -> Path:
        """Where a photo lies that came with this job, or with the one that this is a preview of."""
        params = self.job.params
        stored = params.get("photos", {}).get(name)
        try:
            path = self.store.folder.result_path(params.get("photos_of", self.job.id), stored or "")
        except OutputError:
            path = None
        if path is None or not path.is_file():
            raise InputError(f"the photo {name} is no longer there; send it again")
        self.names = {path: name, **self.names}
        return path

    @cached_property
    def networks(self) -> Networks:
        """Networks for the job's config."""
        return self._loaded.networks(self.config).knowing(self.config.who)

    @cached_property
    def info(self) -> MediaInfo:
        """What the source holds.

        Raises:
            InputError: nothing that can be restored, or more than is allowed.
        """
        info = media.probe(self.source)
        check_medium(info, self.store.settings)
        return info

    @property
    def frames(self) -> int | None:
        """About how many frames the job is about; None when nothing tells."""
        info, config = self.info, self.config
        if info.kind == "image":
            return 1
        if info.duration is None or info.average_rate is None:
            return info.frame_count
        whole = config.start is None and config.end is None
        if whole and info.frame_count is not None:
            return info.frame_count
        end = info.duration if config.end is None else min(config.end, info.duration)
        return max(1, round((end - (config.start or 0)) * info.average_rate))

    def open(self) -> None:
        """Make the work folder, or take over what an earlier attempt left."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(self.folder.glob("work-*"), key=_attempt, reverse=True):
            if old == self.work:
                continue
            if self.work.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(self.work)
                drop_unfinished(self.work)
        self.work.mkdir(exist_ok=True, mode=0o700)
        bring_work(self.work, self.stored_work)
        if media.is_address(self.source) and self.job.input.kind != "video":
            self._bring_source()

    def _bring_source(self) -> None:
        """Fetch a picture or an animation, which is read as a whole; of a video only what is needed is read."""
        here = self.work / f"input.{self.job.input.format}"
        try:
            media.fetch(self.source, here)
        except OSError as error:
            raise InputError(f"{self.source}: cannot be read") from error
        self.source = here
        self.names = {here: self.job.input.name, self.work: "…", **self.names}

    def named(self, name: str, suffix: str) -> Path:
        """A result's path: no other attempt writes there."""
        return self.folder / f"{name}-{self.lease.attempt}{suffix}"

    def tidy(self) -> None:
        """Delete the work folder; where the results lie in a store, all that is here of the job."""
        shutil.rmtree(self.work, ignore_errors=True)
        if self.stored_work is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.store.folder.discard_work(self.job.id)


def _attempt(path: Path) -> int:
    number = path.name.removeprefix("work-")
    return int(number) if number.isdecimal() else -1
