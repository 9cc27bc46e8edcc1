"""The first pass: a source becomes a Scan, looked at from end to end, or in parts by several who work side by side.

What was seen (see :mod:`revisage.pipeline.scan_job`) comes in parts of a minute, whoever looked; here they are put
together in their order: shots, tracks and what goes on from part to part. So the same is found either way, to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage import faces, media, people, temporal
from revisage.core import (
    CancelToken,
    Face,
    Image,
    InputError,
    ProcessingError,
    Progress,
    ProgressCallback,
    RestoreConfig,
    Track,
    format_seconds,
)
from revisage.pipeline.restoration import ColourSpread, Networks
from revisage.pipeline.runners import PartRunner, ProcessRunner, Runner, worker_devices
from revisage.pipeline.scan import Fingerprint, Scan, ScannedTrack, ScanSettings
from revisage.pipeline.scan_job import OnFaces, PartFolder, ScanJob, ScanPart, look_at, parts_of, scan_parts

if TYPE_CHECKING:
    from revisage.faces import Tracker
    from revisage.media import Frame, MediaInfo
    from revisage.people import Analysis

__all__ = ["scan_frames", "scan_settings", "scan_source", "told_apart"]


class _PartsDifferError(Exception):
    """Parts do not give what reading the source from its beginning to its end does, or nobody can tell."""


def scan_settings(config: RestoreConfig, networks: Networks) -> ScanSettings:
    """What of a config a scan depends on."""
    return ScanSettings(
        detector="none" if config.aligned else config.detector,
        detector_hash="" if config.aligned else networks.detector.weight_hash,
        detection_threshold=config.detection_threshold,
        aligned=config.aligned,
        smooth=config.temporal != "off",
        deinterlace=config.deinterlace,
        start=config.start,
        end=config.end,
    )


def scan_source(
    path: Path,
    source_print: Fingerprint,
    config: RestoreConfig,
    networks: Networks,
    *,
    total: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    runner: Runner | None = None,
    kept: PartFolder | None = None,
    on_faces: OnFaces | None = None,
) -> Scan:
    """Read a source once and find shots and tracks.

    A long source is looked at in parts side by side, where there is somebody to do so. Where parts cannot be had from
    it (it has no index, key frames far apart, or is damaged), it is read from its beginning to its end. The scan is the
    same either way. Memory holds one frame per stage, a part of each who works, the pts, and the faces.

    Args:
        path: the source.
        source_print: its fingerprint.
        config: detector, span and so on are taken from here, and ``workers``.
        networks: holds the detector.
        total: frames expected; for the progress only.
        progress: told of each frame.
        cancel: looked at between frames.
        runner: who looks at parts, if it can; by default as many processes as ``config.workers`` says.
        kept: where parts are kept, and taken up that an interrupted run has left.
        on_faces: told which faces each frame shows that is looked at here.

    Raises:
        InputError: there is no frame in the span.
        ProcessingError: faces could be looked for in no frame.
        CancelledError: a stop was asked for.
    """
    with media.open_source(path) as source:
        info = source.info
        # Frames before the span are counted by reading them.
        has_parts = source.seeks and config.start is None
    meter = _Meter(path, total, progress)
    look = _Look(path, source_print, config, networks, info, cancel or CancelToken(), meter, runner, on_faces)
    scan = look.in_parts(kept) if has_parts else None
    if scan is None:
        meter.restart()
        scan = look.through()
    return _rejoined(scan, path, networks, cancel)


def _rejoined(scan: Scan, path: Path, networks: Networks, cancel: CancelToken | None) -> Scan:
    """A scan whose tracks go on where somebody who was out of view came back, as far as identity tells."""
    if scan.settings.aligned:
        return scan
    tracks = people.rejoined(scan.footage(path), lambda: networks.likeness_reader, cancel)
    return scan if tracks is None else scan.model_copy(update={"tracks": [ScannedTrack.of(track) for track in tracks]})


class _Meter:
    """Tells the progress of a scan."""

    def __init__(self, path: Path, total: int | None, progress: ProgressCallback | None) -> None:
        self._name, self._total, self._progress = path.name, total, progress
        self.restart()

    def restart(self) -> None:
        """Count from the first frame again."""
        self._frames = self._faces = 0

    def __call__(self, found: int) -> None:
        self.skip(1, found)

    def skip(self, frames: int, found: int) -> None:
        """Frames that were looked at, and the faces in them."""
        self._frames += frames
        self._faces += found
        if self._progress is not None:
            self._progress(Progress("scan", self._frames, self._total, self._faces, self._name))


class _Look:
    """One look at a source.

    Args:
        path, source_print: of the source.
        config, networks: what to look for, and with what.
        info: of the source.
        cancel: looked at between frames.
        tell: told of the faces of each frame.
        runner: who may look at parts, if it can.
        on_faces: told which faces each frame shows that is looked at here.
    """

    def __init__(
        self,
        path: Path,
        source_print: Fingerprint,
        config: RestoreConfig,
        networks: Networks,
        info: MediaInfo,
        cancel: CancelToken,
        tell: _Meter,
        runner: Runner | None,
        on_faces: OnFaces | None,
    ) -> None:
        self._path, self._print, self._config, self._networks = path, source_print, config, networks
        self._info, self._cancel, self._tell, self._on_faces = info, cancel, tell, on_faces
        self._threshold = 0.0 if config.aligned else networks.detector.threshold
        self._count = parts_of(info, config)
        self._has_runner = runner is not None
        self._elsewhere = runner if isinstance(runner, PartRunner) and self._count > 1 else None

    def _job(self, first: int, stop: int | None) -> ScanJob:
        return ScanJob(str(self._path.absolute()), self._info, self._config, first, stop)

    def _all_since(self, first: int) -> Iterator[ScanPart]:
        """The parts from one on, looked at by one alone: elsewhere, where that is for others to do."""
        job, named = self._job(first, None), str(self._path)
        if self._elsewhere is None:
            here = replace(job, source=named)
            yield from scan_parts(here, self._networks, self._cancel, self._tell, self._on_faces)
            return
        for part in self._elsewhere.scan(iter([job]), cancel=self._cancel, on_frame=self._tell):
            yield replace(part, warnings=tuple(text.replace(job.source, named, 1) for text in part.warnings))

    def through(self, kept: PartFolder | None = None) -> Scan:
        """Read it from beginning to end, and keep the parts that will serve another run."""
        shots = _Shots(self._threshold, self._config)
        for part in self._kept(self._all_since(0), kept):
            shots.add(part)
        return self._scan(shots)

    def in_parts(self, kept: PartFolder | None) -> Scan | None:
        """Take up the parts that are kept, and have the others looked at, side by side where that is of use.

        Returns:
            The scan; None where that may not give what :meth:`through` does.
        """
        several = self._several()
        if several is None and (kept is None or kept.load(0) is None):
            return self.through(kept)
        shots = _Shots(self._threshold, self._config)
        try:
            with ExitStack() as stack:
                folder = kept or PartFolder(Path(stack.enter_context(TemporaryDirectory(prefix="revisage-scan-"))))
                for part in self._rest(folder) if several is None else self._side_by_side(several, folder):
                    if not (part.is_sound and shots.goes_on_with(part)):
                        raise _PartsDifferError
                    shots.add(part)
        except (_PartsDifferError, ProcessingError):
            return None
        return None if shots.following is not None or self._lacks_frames(len(shots.pts)) else self._scan(shots)

    def _lacks_frames(self, found: int) -> bool:
        """Whether the source broke off before the end that it tells; of some frames the packet is never shown."""
        promised = self._info.frame_count or 0
        if self._config.end is not None or found >= promised:
            return False
        return len(media.stream_times(self._path).video.pts) < promised

    def _several(self) -> PartRunner | None:
        """Who looks at parts side by side; None where one alone reads them through."""
        if self._has_runner or self._count < 2:
            return self._elsewhere
        devices = worker_devices(self._config, self._count)
        return ProcessRunner(devices) if len(devices) > 1 else None

    def _kept(self, parts: Iterator[ScanPart], kept: PartFolder | None) -> Iterator[ScanPart]:
        for part in parts:
            if kept is not None and part.is_sound and part.following is not None:
                kept.save(part)
            yield part

    def _rest(self, kept: PartFolder) -> Iterator[ScanPart]:
        """The parts that are kept from the first on, and those behind them, looked at here."""
        number = 0
        while (part := kept.load(number)) is not None:
            self._pass_over(part)
            yield part
            if part.following is None:
                return
            number += 1
        yield from self._kept(self._all_since(number), kept)

    def _side_by_side(self, runner: PartRunner, folder: PartFolder) -> Iterator[ScanPart]:
        """All parts in order. Those that come early wait in the folder, and all are kept there."""
        count = self._count
        ready = set(self._passed_over(folder))
        jobs = (self._job(n, n + 1 if n + 1 < count else None) for n in range(count) if n not in ready)
        due = 0
        for part in runner.scan(jobs, cancel=self._cancel, on_frame=self._tell):
            if not part.is_sound:
                raise _PartsDifferError
            folder.save(part)
            ready.add(part.number)
            while due in ready:
                yield _loaded(folder, due)
                due += 1
        for number in sorted(number for number in ready if number >= due):
            yield _loaded(folder, number)

    def _passed_over(self, kept: PartFolder) -> Iterator[int]:
        """The numbers of the parts that are kept, which are told as looked at."""
        for number in range(self._count):
            part = kept.load(number)
            if part is not None:
                self._pass_over(part)
                yield number

    def _pass_over(self, part: ScanPart) -> None:
        self._tell.skip(len(part.pts), int((part.scores >= self._threshold).sum()))

    def _scan(self, shots: _Shots) -> Scan:
        if not shots.pts:
            raise InputError(f"{self._path}: no frame could be read {self._span()}")
        return shots.scan(self._print, scan_settings(self._config, self._networks))

    def _span(self) -> str:
        """Where frames were looked for, in words; where that was a part, how long the source is."""
        if self._config.start is None and self._config.end is None:
            return "in it"
        length = self._info.duration
        return f"between --start and --end{'' if length is None else f'; it lasts {format_seconds(length)}'}"


def _loaded(folder: PartFolder, number: int) -> ScanPart:
    """A part that was put there.

    Raises:
        _PartsDifferError: it is not there any more.
    """
    part = folder.load(number)
    if part is None:
        raise _PartsDifferError
    return part


def scan_frames(
    frames: Callable[[], Iterator[Frame]],
    source_print: Fingerprint,
    config: RestoreConfig,
    networks: Networks,
    cancel: CancelToken | None = None,
    tell: Callable[[int, int], None] = lambda _done, _faces: None,
) -> Scan:
    """The scan of at least one frame from anywhere; ``tell`` hears the frames and faces so far.

    Raises:
        CancelledError: stopped through ``cancel``.
    """
    done = found = 0

    def count(faces: int) -> None:
        nonlocal done, found
        done, found = done + 1, found + faces
        tell(done, found)

    shots = _Shots(0.0 if config.aligned else networks.detector.threshold, config)
    for part in look_at(frames, config, networks, cancel or CancelToken(), count):
        shots.add(part)
    return shots.scan(source_print, scan_settings(config, networks))


def told_apart(
    scan: Scan,
    path: Path,
    networks: Networks,
    *,
    held: Sequence[Frame] = (),
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    every: float | None = None,
    guide_frames: bool = False,
) -> tuple[Scan, Analysis]:
    """A scan with whom each of its tracks shows, and what else was found out about these people.

    Args:
        scan: of the source.
        path: of the source.
        networks: what tells people apart, those whose names are known, and guide photos.
        held: the source's frames, where they lie in memory.
        progress: told of each frame.
        cancel: looked at between frames.
        every: seconds between two looks at a face; None looks only as long as it takes to know whose it is.
        guide_frames: whether frames of the source itself are to guide others.

    Raises:
        ConfigError: there is nothing to read guide frames with.
        ModelError: there is nothing to tell people apart by.
        InputError: it is not clear who is who.
        CancelledError: a stop was asked for.
    """

    def tell(done: int) -> None:
        if progress is not None:
            progress(Progress("people", done, scan.frames, 0, path.name))

    found = people.find_people(
        scan.footage(path, held),
        networks.recogniser,
        known=networks.known_people,
        references=networks.references,
        guide_size=networks.guide_size if guide_frames and scan.frames > 1 else None,
        every=every,
        tell=tell,
        cancel=cancel,
    )
    return scan.with_people(found.labels), found


class _Shots:
    """Parts put together in their order, as shots and tracks.

    Attributes:
        pts: of all frames so far.
        following: pts of the frame that the next part begins with; None at the end.
    """

    def __init__(self, start_score: float, config: RestoreConfig) -> None:
        self._config = config
        self._start_score = start_score
        self._first: ScanPart | None = None
        self._last: ScanPart | None = None
        self._shown_last: Image | None = None
        self._ends_blank = False
        self._tracker: Tracker | None = None
        self._starts: list[int] = []
        self._tracks: list[ScannedTrack] = []
        self._spreads: list[ColourSpread] = []
        self._searches = 0
        self._problems: list[str] = []
        self.pts: list[int] = []
        self.following: int | None = None

    def goes_on_with(self, part: ScanPart) -> bool:
        """Whether a part begins with the frame that the one before it saw behind its last."""
        if self._last is None:
            return part.number == 0
        return self.following == (int(part.pts[0]) if len(part.pts) else part.following)

    def add(self, part: ScanPart) -> None:
        """Take the next part."""
        begins, spreads = self._begins_shot_at(part), iter(part.spreads)
        for at, (pts, cut, seen, looks) in enumerate(part.frames()):
            is_new_shot = (cut or at == begins) and not self._config.aligned
            if at == 0 or at == part.shown or cut:
                self._add_spread(next(spreads), is_new_shot)
            index = len(self.pts)
            self.pts.append(pts)
            if self._config.aligned:
                continue
            if is_new_shot or self._tracker is None:
                self._close_shot()
                self._starts.append(index)
                self._tracker = faces.Tracker(part.size_hw, self._start_score)
            self._tracker.follow(index, seen, looks)
        self._first = self._first or (part if len(part.pts) else None)
        self._last, self.following = part, part.following
        self._searches += part.searches
        self._problems += part.problems

    def _begins_shot_at(self, part: ScanPart) -> int:
        """The frame of a part that is shown first, if it is the first of a shot; otherwise -1."""
        before, blank = self._shown_last, self._ends_blank or part.shown > 0
        if not len(part.pts):
            return -1
        self._ends_blank = part.ends_blank
        if part.shown == len(part.pts):
            return -1
        self._shown_last = part.shown_last
        if before is None or not faces.begins_shot(before, part.shown_first, blank_between=blank):
            return -1
        return part.shown

    def _add_spread(self, counts: NDArray[np.int64], is_new_shot: bool) -> None:
        if is_new_shot or not self._spreads:
            self._spreads.append(ColourSpread())
        self._spreads[-1].counts += counts

    def _close_shot(self) -> None:
        for track in [] if self._tracker is None else self._tracker.finish():
            steady = track if self._config.temporal == "off" else temporal.smooth_track(track)
            self._tracks.append(ScannedTrack.of(replace(steady, id=len(self._tracks))))

    def scan(self, source_print: Fingerprint, settings: ScanSettings) -> Scan:
        """All that was found; at least one frame must have been added.

        Raises:
            ProcessingError: faces could be looked for in no frame.
        """
        assert self._first is not None
        assert self._last is not None
        warnings = list(self._last.warnings)
        if 0 < self._searches == len(self._problems):
            raise ProcessingError(f"{source_print.name}: faces could not be looked for: {self._problems[0]}")
        if self._problems:
            where = "a frame" if len(self._problems) == 1 else f"{len(self._problems)} frames"
            warnings.append(f"faces could not be looked for in {where}: {self._problems[0]}")
        self._close_shot()
        if self._config.aligned:
            self._starts = [0]
            self._tracks = [ScannedTrack.of(_whole_frames(self._first.size_hw, len(self.pts)))]
        return Scan(
            source=source_print,
            settings=settings,
            size_hw=self._first.size_hw,
            time_base=self._first.time_base,
            first=self._first.first,
            pts=self.pts,
            shots=list(itertools.pairwise([*self._starts, len(self.pts)])),
            tracks=self._tracks,
            colours=[list(spread.ends()) for spread in self._spreads],
            truncated=self._last.truncated,
            warnings=warnings,
        )


def _whole_frames(size_hw: tuple[int, int], count: int) -> Track:
    """The track of an input that is one aligned face in each frame."""
    height, width = size_hw
    scale = np.array([width / 512, height / 512])
    landmarks = (faces.ffhq_template(512) + 0.5) * scale - 0.5
    face = Face((0, 0, width, height), landmarks.astype(np.float32))
    return Track(0, 0, (face,) * count, (True,) * count)
