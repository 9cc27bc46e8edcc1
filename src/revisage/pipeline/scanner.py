"""The first pass: a source becomes a Scan. Decoding runs in a thread of its own, detection beside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.core import CancelToken, Face, InputError, Progress, ProgressCallback, RestoreConfig, Track
from revisage.pipeline.fingerprint import Fingerprint
from revisage.pipeline.networks import Networks
from revisage.pipeline.scan import Scan, ScannedTrack, ScanSettings
from revisage.pipeline.threads import Stages

if TYPE_CHECKING:
    from revisage.faces import FaceDetector, Tracker
    from revisage.media import Frame, Source

__all__ = ["scan_frames", "scan_image", "scan_settings", "scan_source"]

_SMALL = 160
"""Longer side of the pictures that shots are told apart by (px)."""

_AHEAD = 4


@dataclass(frozen=True)
class _Look:
    """What the first pass keeps of a frame."""

    index: int
    pts: int
    time_base: Fraction
    size_hw: tuple[int, int]
    small: NDArray[np.uint8]
    faces: list[Face]


class _End:
    """What a source can only say once it has been read."""

    def __init__(self) -> None:
        self.truncated = False
        self.warnings: list[str] = []


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
    end = _End()

    def tell(done: int, faces: int) -> None:
        if progress is not None:
            progress(Progress("scan", done, total, faces, path.name))

    book = _read(lambda: _decoded(path, config, end), config, networks, cancel or CancelToken(), tell)
    if not book.pts:
        span = "between --start and --end" if config.start or config.end else "in it"
        raise InputError(f"{path}: no frame could be read {span}")
    return book.scan(source_print, scan_settings(config, networks), end)


def scan_image(frame: Frame, source_print: Fingerprint, config: RestoreConfig, networks: Networks) -> Scan:
    """The scan of one frame that is in memory."""
    return scan_frames(lambda: iter([frame]), source_print, config, networks, CancelToken(), lambda _done, _faces: None)


def scan_frames(
    frames: Callable[[], Iterator[Frame]],
    source_print: Fingerprint,
    config: RestoreConfig,
    networks: Networks,
    cancel: CancelToken,
    tell: Callable[[int, int], None],
) -> Scan:
    """The scan of at least one frame from anywhere; ``tell`` hears the frames and faces so far.

    Raises:
        CancelledError: stopped through ``cancel``.
    """
    book = _read(frames, config, networks, cancel, tell)
    return book.scan(source_print, scan_settings(config, networks), _End())


def _read(
    frames: Callable[[], Iterator[Frame]],
    config: RestoreConfig,
    networks: Networks,
    cancel: CancelToken,
    tell: Callable[[int, int], None],
) -> _Book:
    detector = None if config.aligned else networks.detector
    book = _Book(
        0.0 if detector is None else detector.threshold, aligned=config.aligned, smooth=config.temporal != "off"
    )
    with Stages(cancel) as stages:
        decoded = stages.ahead(frames, depth=_AHEAD, name="scan-decode")
        looks = stages.ahead(lambda: _detected(decoded, detector), depth=_AHEAD, name="scan-detect")
        for look in looks:
            book.add(look)
            tell(len(book.pts), book.faces)
    return book


def _decoded(path: Path, config: RestoreConfig, end: _End) -> Iterator[Frame]:
    from revisage.media import open_source

    with open_source(path, deinterlace=config.deinterlace) as source:
        try:
            yield from _in_span(source, config)
        finally:
            end.truncated = source.truncated
            end.warnings = list(source.warnings)


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


def _detected(frames: Iterator[Frame], detector: FaceDetector | None) -> Iterator[_Look]:
    for frame in frames:
        height, width = frame.size_hw
        scale = min(1.0, _SMALL / max(height, width))
        small_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        faces = [] if detector is None else detector.candidates(frame.rgb())
        small = frame.rgb(size_hw=small_hw)
        yield _Look(frame.index, frame.pts, frame.time_base, frame.size_hw, small, faces)


class _Book:
    """Collects looks into shots and tracks."""

    def __init__(self, start_score: float, *, aligned: bool, smooth: bool) -> None:
        from revisage.faces import ShotDetector

        self._aligned = aligned
        self._smooth = smooth
        self._start_score = start_score
        self._new_shot = ShotDetector()
        self._first: _Look | None = None
        self._tracker: Tracker | None = None
        self._starts: list[int] = []
        self._tracks: list[ScannedTrack] = []
        self.pts: list[int] = []
        self.faces = 0

    def add(self, look: _Look) -> None:
        """Take the next frame."""
        from revisage.faces import Tracker

        index = len(self.pts)
        self.pts.append(look.pts)
        self.faces += sum(face.score >= self._start_score for face in look.faces)
        if self._first is None:
            self._first = look
        if self._aligned:
            return
        if self._new_shot(look.small) or self._tracker is None:
            self._close_shot()
            self._starts.append(index)
            self._tracker = Tracker(look.size_hw, self._start_score)
        self._tracker.add(index, look.faces, look.small)

    def _close_shot(self) -> None:
        from revisage.temporal import smooth_track

        if self._tracker is not None:
            for track in self._tracker.finish():
                steady = smooth_track(track) if self._smooth else track
                self._tracks.append(ScannedTrack.of(replace(steady, id=len(self._tracks))))

    def scan(self, source_print: Fingerprint, settings: ScanSettings, end: _End) -> Scan:
        """All that was found; at least one frame must have been added."""
        assert self._first is not None
        self._close_shot()
        if self._aligned:
            self._starts = [0]
            self._tracks = [ScannedTrack.of(_whole_frames(self._first.size_hw, len(self.pts)))]
        edges = [*self._starts, len(self.pts)]
        return Scan(
            source=source_print,
            settings=settings,
            size_hw=self._first.size_hw,
            time_base=self._first.time_base,
            first=self._first.index,
            pts=self.pts,
            shots=list(itertools.pairwise(edges)),
            tracks=self._tracks,
            truncated=end.truncated,
            warnings=end.warnings,
        )


def _whole_frames(size_hw: tuple[int, int], count: int) -> Track:
    """The track of an input that is one aligned face in each frame."""
    from revisage.faces import ffhq_template

    height, width = size_hw
    scale = np.array([width / 512, height / 512])
    landmarks = (ffhq_template(512) + 0.5) * scale - 0.5
    face = Face((0, 0, width, height), landmarks.astype(np.float32))
    return Track(0, 0, (face,) * count, (True,) * count)
