"""The first pass: a source becomes a Scan. Decoding runs in a thread of its own, detection beside it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
)
from revisage.pipeline.restoration import ColourSpread, Networks, StageThreads
from revisage.pipeline.scan import Fingerprint, Scan, ScannedTrack, ScanSettings

if TYPE_CHECKING:
    from revisage.faces import Tracker, VideoDetector
    from revisage.media import Frame, Source
    from revisage.people import Analysis

__all__ = ["scan_frames", "scan_settings", "scan_source", "told_apart"]

_SMALL = 160
"""Longer side of the pictures that shots are told apart by (px)."""

_AHEAD = 4
"""Frames that wait between two stages: they even out the pace, more would only take memory."""


@dataclass(frozen=True)
class _Glimpse:
    """What the first pass keeps of a frame."""

    index: int
    pts: int
    time_base: Fraction
    size_hw: tuple[int, int]
    small: Image
    cut: bool
    faces: Sequence[Face] = ()


@dataclass
class _Ending:
    """What a source can only say once it has been read."""

    truncated: bool = False
    warnings: list[str] = field(default_factory=list)


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
) -> Scan:
    """Read a source once and find shots and tracks.

    Memory holds one frame per stage, the pts, and the faces.

    Args:
        path: the source.
        source_print: its fingerprint.
        config: detector, span and so on are taken from here.
        networks: holds the detector.
        total: frames expected; for the progress only.
        progress: told of each frame.
        cancel: looked at between frames.

    Raises:
        InputError: there is no frame in the span.
        CancelledError: a stop was asked for.
    """
    ending = _Ending()

    def tell(done: int, found: int) -> None:
        if progress is not None:
            progress(Progress("scan", done, total, found, path.name))

    glimpses = _seen(lambda: _decoded(path, config, ending), config, networks, cancel or CancelToken(), tell)
    if not glimpses.pts:
        span = "between --start and --end" if config.start or config.end else "in it"
        raise InputError(f"{path}: no frame could be read {span}")
    found = glimpses.scan(source_print, scan_settings(config, networks), ending)
    return _rejoined(found, path, networks, cancel)


def _rejoined(scan: Scan, path: Path, networks: Networks, cancel: CancelToken | None) -> Scan:
    """A scan whose tracks go on where somebody who was out of view came back, as far as identity tells."""
    if scan.settings.aligned:
        return scan
    tracks = people.rejoined(scan.footage(path), lambda: networks.likeness_reader, cancel)
    return scan if tracks is None else scan.model_copy(update={"tracks": [ScannedTrack.of(track) for track in tracks]})


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
    glimpses = _seen(frames, config, networks, cancel or CancelToken(), tell)
    return glimpses.scan(source_print, scan_settings(config, networks), _Ending())


def told_apart(
    scan: Scan,
    path: Path,
    networks: Networks,
    *,
    held: Sequence[Frame] = (),
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    every: float | None = None,
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

    Raises:
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
        every=every,
        tell=tell,
        cancel=cancel,
    )
    return scan.with_people(found.labels), found


def _seen(
    frames: Callable[[], Iterator[Frame]],
    config: RestoreConfig,
    networks: Networks,
    cancel: CancelToken,
    tell: Callable[[int, int], None],
) -> _Glimpses:
    video = None if config.aligned else faces.VideoDetector(networks.detector)
    glimpses = _Glimpses(0.0 if video is None else networks.detector.threshold, config, video)
    with StageThreads(cancel) as threads:
        decoded = threads.ahead(frames, depth=_AHEAD, name="scan-decode")
        for glimpse in threads.ahead(lambda: _detected(decoded, video), depth=_AHEAD, name="scan-detect"):
            glimpses.add(glimpse)
            tell(len(glimpses.pts), glimpses.faces)
    return glimpses


def _decoded(path: Path, config: RestoreConfig, ending: _Ending) -> Iterator[Frame]:
    with media.open_source(path, deinterlace=config.deinterlace) as source:
        try:
            yield from _in_span(source, config)
        finally:
            ending.truncated, ending.warnings = source.truncated, list(source.warnings)


def _in_span(source: Source, config: RestoreConfig) -> Iterator[Frame]:
    """Frames from ``start`` on and before ``end``, counted from the source's first frame."""
    origin: Fraction | None = None
    for frame in source.frames():
        time = frame.pts * frame.time_base
        if origin is None:
            origin = time
        if config.end is not None and time - origin >= config.end:
            return
        if config.start is None or time - origin >= config.start:
            yield frame


def _detected(frames: Iterator[Frame], video: VideoDetector | None) -> Iterator[_Glimpse]:
    """What is seen of each frame, some frames later: where faces are follows from the frames around as well.

    Frames that show what the one before does are not looked at: their faces are the same.
    """
    new_shot = faces.ShotDetector()
    waiting: deque[list[_Glimpse]] = deque()
    before: tuple[Frame, _Glimpse] | None = None
    for frame in frames:
        if before is not None and frame.shows_same(before[0]):
            again = replace(before[1], index=frame.index, pts=frame.pts, cut=False)
            if waiting:
                waiting[-1].append(again)
            else:
                yield again
            continue
        small = _reduced(frame)
        glimpse = _Glimpse(frame.index, frame.pts, frame.time_base, frame.size_hw, small, new_shot(small))
        waiting.append([glimpse])
        for found in [[]] if video is None else video.add(frame, cut=glimpse.cut):
            settled = [replace(each, faces=found) for each in waiting.popleft()]
            glimpse = settled[-1]
            yield from settled
        before = frame, glimpse
    for found in [] if video is None else video.close_shot():
        yield from (replace(each, faces=found) for each in waiting.popleft())


def _reduced(frame: Frame) -> Image:
    """The small picture of a frame that shots and looks are told apart by."""
    height, width = frame.size_hw
    scale = min(1.0, _SMALL / max(height, width))
    return frame.rgb(size_hw=(max(1, round(height * scale)), max(1, round(width * scale))))


class _Glimpses:
    """What was seen of all frames, as shots and tracks."""

    def __init__(self, start_score: float, config: RestoreConfig, video: VideoDetector | None) -> None:
        self._config = config
        self._video = video
        self._start_score = start_score
        self._first: _Glimpse | None = None
        self._tracker: Tracker | None = None
        self._starts: list[int] = []
        self._tracks: list[ScannedTrack] = []
        self._spreads: list[ColourSpread] = []
        self.pts: list[int] = []
        self.faces = 0

    def add(self, glimpse: _Glimpse) -> None:
        """Take the next frame."""
        index = len(self.pts)
        self.pts.append(glimpse.pts)
        self.faces += sum(face.score >= self._start_score for face in glimpse.faces)
        if self._first is None:
            self._first = glimpse
        if not self._spreads or (glimpse.cut and not self._config.aligned):
            self._spreads.append(ColourSpread())
        self._spreads[-1].add(glimpse.small)
        if self._config.aligned:
            return
        if glimpse.cut or self._tracker is None:
            self._close_shot()
            self._starts.append(index)
            self._tracker = faces.Tracker(glimpse.size_hw, self._start_score)
        self._tracker.add(index, glimpse.faces, glimpse.small)

    def _close_shot(self) -> None:
        for track in [] if self._tracker is None else self._tracker.finish():
            steady = track if self._config.temporal == "off" else temporal.smooth_track(track)
            self._tracks.append(ScannedTrack.of(replace(steady, id=len(self._tracks))))

    def scan(self, source_print: Fingerprint, settings: ScanSettings, ending: _Ending) -> Scan:
        """All that was found; at least one frame must have been added.

        Raises:
            ProcessingError: faces could be looked for in no frame.
        """
        assert self._first is not None
        problems = [] if self._video is None else self._video.problems
        if self._video is not None and self._video.is_blind:
            raise ProcessingError(f"{source_print.name}: faces could not be looked for: {problems[0]}")
        if problems:
            where = "a frame" if len(problems) == 1 else f"{len(problems)} frames"
            ending.warnings.append(f"faces could not be looked for in {where}: {problems[0]}")
        self._close_shot()
        if self._config.aligned:
            self._starts = [0]
            self._tracks = [ScannedTrack.of(_whole_frames(self._first.size_hw, len(self.pts)))]
        return Scan(
            source=source_print,
            settings=settings,
            size_hw=self._first.size_hw,
            time_base=self._first.time_base,
            first=self._first.index,
            pts=self.pts,
            shots=list(itertools.pairwise([*self._starts, len(self.pts)])),
            tracks=self._tracks,
            colours=[list(spread.ends()) for spread in self._spreads],
            truncated=ending.truncated,
            warnings=ending.warnings,
        )


def _whole_frames(size_hw: tuple[int, int], count: int) -> Track:
    """The track of an input that is one aligned face in each frame."""
    height, width = size_hw
    scale = np.array([width / 512, height / 512])
    landmarks = (faces.ffhq_template(512) + 0.5) * scale - 0.5
    face = Face((0, 0, width, height), landmarks.astype(np.float32))
    return Track(0, 0, (face,) * count, (True,) * count)
