"""A part of a scan: what was seen in a minute of a source, as plain data, and looking for it.

Faces are looked for afresh at the beginning of each part, whoever does it, so a part follows from the source alone.
What goes on from part to part (whose a face is, whether a shot ends there) is settled when parts are put together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from revisage import faces, media
from revisage.core import CancelToken, Detail, Face, Image, RestoreConfig, written_beside
from revisage.pipeline.detail_looks import DetailLooks
from revisage.pipeline.restoration import ColourSpread, Networks, StageThreads, frames_ahead

if TYPE_CHECKING:
    from revisage.faces import Looks, ShotLook, VideoDetector
    from revisage.media import Frame, MediaInfo

__all__ = [
    "PART_SECONDS",
    "OnFaces",
    "PartFolder",
    "ScanJob",
    "ScanPart",
    "look_at",
    "part_number",
    "parts_of",
    "scan_parts",
]

OnFaces = Callable[[Sequence[Face]], None]
"""Told what was seen in each frame, weak faces too."""

PART_SECONDS = 60
"""Length of a part: what opening a source, decoding from the key frame before and two more searches cost is below a
tenth of it, and there are 360 in a film of six hours."""

_SMALL = 160
"""Longer side of the pictures that shots are told apart by (px)."""


@dataclass(frozen=True, eq=False)
class ScanPart:
    """What was seen in the ``N`` frames of a part, with ``M`` sightings of faces in them, in order.

    Attributes:
        number: of the part, from 0.
        first: number of the source's frames before it, where the source was read from its beginning.
        size_hw: of the upright frame (px).
        time_base: seconds per unit of ``pts``.
        pts: ``(N,) int64``.
        cuts: ``(N,) bool``, whether the frame is the first of a shot; never where nothing was shown before in the part.
        counts: ``(N,) int32``, sightings in the frame.
        boxes: ``(M, 4) float64``, x, y, width, height (px).
        landmarks: ``(M, 5, 2) float32`` (px).
        scores: ``(M,) float64``.
        looks: ``(M, 8, 6, 3) float32``, see :func:`revisage.faces.looks_of`.
        details: ``(M, 3) float64``, change, sharpness and damage of :class:`revisage.core.Detail`; NaN where nobody
            looked.
        spreads: ``(S, 3, 256) int64``, values of R, G and B counted; anew at ``shown`` and at each cut.
        shown: index of the first frame in the part that is not blank; ``N`` when all are.
        shown_first, shown_last: the first and the last of these, reduced: ``(h, w, 3) uint8 RGB``; 0 x 0 px where
            there is none.
        ends_blank: whether the last frame is blank.
        following: pts of the source's next frame; None at the end of what is scanned.
        searches: frames that were searched.
        problems: why searches failed.
        is_sound: whether no damage was met. Only then it is known to be what reading from the beginning gives.
        warnings, truncated: of the last part, where the source was read from its beginning to its end: damage met, and
            whether it broke off.
    """

    number: int
    first: int
    size_hw: tuple[int, int]
    time_base: Fraction
    pts: NDArray[np.int64]
    cuts: NDArray[np.bool_]
    counts: NDArray[np.int32]
    boxes: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float64]
    looks: Looks
    details: NDArray[np.float64]
    spreads: NDArray[np.int64]
    shown: int
    shown_first: Image
    shown_last: Image
    ends_blank: bool
    following: int | None
    searches: int
    problems: tuple[str, ...] = ()
    is_sound: bool = True
    warnings: tuple[str, ...] = ()
    truncated: bool = False

    def frames(self) -> Iterator[tuple[int, bool, list[Face], Looks]]:
        """Of each frame the pts, whether a shot begins with it, the faces and their looks."""
        stops = np.cumsum(self.counts)
        for pts, cut, start, stop in zip(self.pts, self.cuts, stops - self.counts, stops, strict=True):
            boxes, scores = self.boxes[start:stop].tolist(), self.scores[start:stop].tolist()
            details = self.details[start:stop].tolist()
            seen = [
                Face((x, y, width, height), points, score, _detail(measures))
                for (x, y, width, height), points, score, measures in zip(
                    boxes, self.landmarks[start:stop], scores, details, strict=True
                )
            ]
            yield int(pts), bool(cut), seen, self.looks[start:stop]


def part_number(info: MediaInfo, pts: int) -> int:
    """The part that a frame at a time belongs to."""
    return max(0, int((pts - info.start_pts) * info.time_base / PART_SECONDS))


def parts_of(info: MediaInfo, config: RestoreConfig) -> int:
    """How many parts a source has, as far as it tells its length; 1 when it does not."""
    length = info.duration or Fraction(0)
    if config.end is not None:
        length = min(length, config.end)
    return max(1, int(-(-length // PART_SECONDS)))


@dataclass(frozen=True)
class ScanJob:
    """Parts of a source to look at: plain data that can be pickled.

    Attributes:
        source: location of the file.
        info: of the file.
        config: detector, end and so on are taken from here.
        first: number of the first part.
        stop: number after the last one; None for all to the end.
    """

    source: str
    info: MediaInfo
    config: RestoreConfig
    first: int
    stop: int | None

    @property
    def frames(self) -> float:
        """About how many frames there are to look at."""
        stop = parts_of(self.info, self.config) if self.stop is None else self.stop
        return max(1, stop - self.first) * PART_SECONDS * float(self.info.average_rate or 25)

    def begin(self, number: int) -> int:
        """The earliest time of a part, in units of ``info.time_base``."""
        return self.info.start_pts + int(-(-number * PART_SECONDS // self.info.time_base))


@dataclass
class _Reading:
    """What is to be said of the source while it is read, and what once that has ended."""

    is_damaged: bool = False
    following: int | None = None
    truncated: bool = False
    warnings: tuple[str, ...] = ()

    def told(self, part: ScanPart) -> ScanPart:
        """A part with what is known of it now; behind the last one the reading has ended."""
        part = replace(part, is_sound=not self.is_damaged)
        if part.following is not None:
            return part
        return replace(part, following=self.following, warnings=self.warnings, truncated=self.truncated)


def scan_parts(
    job: ScanJob,
    networks: Networks,
    cancel: CancelToken,
    on_frame: Callable[[int], None],
    on_faces: OnFaces | None = None,
) -> Iterator[ScanPart]:
    """Look at parts of a source. One without frames is given where it was asked for by itself.

    Args:
        job: what to do.
        networks: holds the detector.
        cancel: looked at between frames.
        on_frame: told how many faces each frame shows.
        on_faces: told which.

    Raises:
        ProcessingError: the source cannot be read from there on.
        CancelledError: a stop was asked for.
    """
    reading, found = _Reading(), False

    def number(pts: int) -> int:
        return part_number(job.info, pts)

    frames = partial(_frames, job, reading)
    looked_at = look_at(
        frames, job.config, networks, cancel, on_frame, number, size_hw=job.info.size_hw, on_faces=on_faces
    )
    for part in looked_at:
        found = True
        yield reading.told(part)
    if not found:
        yield reading.told(_Sightings(job.first, job.info.size_hw, job.info.time_base, None, 0.0).part(None))


def _frames(job: ScanJob, reading: _Reading) -> Iterator[Frame]:
    """The frames of a job's parts, within the span of the config; the one behind them is only told the time of."""
    info, config = job.info, job.config
    origin = info.start_pts * info.time_base if job.first else None
    with media.open_source(job.source, deinterlace=config.deinterlace, info=info) as source:
        within = int(PART_SECONDS / info.time_base)
        frames = source.frames_since(job.begin(job.first), within=within) if job.first else source.frames()
        for frame in frames:
            reading.is_damaged = source.is_damaged
            time = frame.pts * info.time_base
            origin = time if origin is None else origin
            if config.end is not None and time - origin >= config.end:
                break
            if config.start is not None and time - origin < config.start:
                continue
            if job.stop is not None and part_number(info, frame.pts) >= job.stop:
                reading.following = frame.pts
                break
            yield frame
        reading.is_damaged = source.is_damaged
        reading.truncated, reading.warnings = source.truncated, tuple(source.warnings)


def look_at(
    frames: Callable[[], Iterator[Frame]],
    config: RestoreConfig,
    networks: Networks,
    cancel: CancelToken,
    on_frame: Callable[[int], None],
    number: Callable[[int], int] = lambda _: 0,
    size_hw: tuple[int, int] = (0, 0),
    on_faces: OnFaces | None = None,
) -> Iterator[ScanPart]:
    """Parts of frames that are read, looked at and described in threads of their own.

    Args:
        frames: read in a thread.
        config: whether there is anything to look for.
        networks: holds the detector.
        cancel: looked at between frames.
        on_frame: told how many faces each frame shows.
        number: gives the part that a frame with this pts belongs to.
        size_hw: of the frames (px), where it is known: fewer of very large ones wait.
        on_faces: told which faces each frame shows.
    """
    threshold = 0.0 if config.aligned else networks.detector.threshold
    sightings: _Sightings | None = None
    with StageThreads(cancel) as threads:
        ahead = partial(threads.ahead, depth=frames_ahead(size_hw))
        decoded = ahead(lambda: _reduced_beside(frames()), name="scan-decode")
        seen = ahead(lambda: _detected(decoded, config, networks, number), name="scan-detect")
        for glimpse in seen:
            if sightings is None or sightings.number != glimpse.part:
                if sightings is not None:
                    yield sightings.part(glimpse.pts)
                sightings = _Sightings(glimpse.part, glimpse.size_hw, glimpse.time_base, glimpse.video, threshold)
            on_frame(sightings.add(glimpse))
            if on_faces is not None:
                on_faces(glimpse.faces)
    if sightings is not None:
        yield sightings.part(None)


@dataclass(frozen=True)
class _SmallPicture:
    """The small picture of a frame that shots and looks are told apart by, and what shots are."""

    picture: Image
    look: ShotLook

    @classmethod
    def of(cls, frame: Frame) -> _SmallPicture:
        picture = _reduced(frame)
        return cls(picture, faces.shot_look(picture))


def _reduced_beside(frames: Iterator[Frame]) -> Iterator[tuple[Frame, _SmallPicture | None]]:
    """Each frame and its small picture; None where it shows what the one before does. It is made where frames are
    decoded, which takes less time than looking for faces."""
    before: Frame | None = None
    for frame in frames:
        again = before is not None and frame.shows_same(before)
        yield frame, None if again else _SmallPicture.of(frame)
        before = frame


@dataclass(frozen=True)
class _Glimpse:
    """What the first pass keeps of a frame; ``video``: what looked for faces in this part."""

    part: int
    index: int
    pts: int
    time_base: Fraction
    size_hw: tuple[int, int]
    small: Image
    cut: bool
    blank: bool
    video: VideoDetector | None
    faces: tuple[Face, ...] = ()


def _detected(
    frames: Iterator[tuple[Frame, _SmallPicture | None]],
    config: RestoreConfig,
    networks: Networks,
    number: Callable[[int], int],
) -> Iterator[_Glimpse]:
    looking: _PartInSight | None = None
    for frame, small in frames:
        part = number(frame.pts)
        if looking is None or looking.part != part:
            if looking is not None:
                yield from looking.close()
            video = None if config.aligned else faces.VideoDetector(networks.detector)
            looking = _PartInSight(part, video, DetailLooks(networks))
        yield from looking.add(frame, small)
    if looking is not None:
        yield from looking.close()


class _PartInSight:
    """Says what is seen of each frame of a part, some frames later: where faces are follows from the frames around too.

    Frames that show what the one before does are not looked at: their faces are the same.
    """

    def __init__(self, part: int, video: VideoDetector | None, looks: DetailLooks) -> None:
        self.part = part
        self._video = video
        self._looks = looks
        self._new_shot = faces.ShotDetector()
        # At what is shown first a shot may begin, which is known when the part before is: faces are looked for as if.
        self._awaits_picture = part > 0
        self._waiting: deque[tuple[Frame, list[_Glimpse]]] = deque()
        self._before: _Glimpse | None = None

    def add(self, frame: Frame, small: _SmallPicture | None) -> Iterator[_Glimpse]:
        """Take the next frame, and its small picture where it shows another one than the frame before."""
        if small is None and self._before is not None:
            again = replace(self._before, index=frame.index, pts=frame.pts, cut=False)
            if self._waiting:
                self._waiting[-1][1].append(again)
            else:
                yield again
            return
        glimpse = self._glimpse(frame, small or _SmallPicture.of(frame))
        anew = glimpse.cut or (self._awaits_picture and not glimpse.blank)
        self._awaits_picture = self._awaits_picture and glimpse.blank
        self._waiting.append((frame, [glimpse]))
        for found in [[]] if self._video is None else self._video.add(frame, cut=anew):
            settled = self._settled(found)
            glimpse = settled[-1]
            yield from settled
        self._before = glimpse

    def close(self) -> Iterator[_Glimpse]:
        """What still waits; no frame follows."""
        for found in [] if self._video is None else self._video.close_shot():
            yield from self._settled(found)

    def _settled(self, found: list[Face]) -> list[_Glimpse]:
        frame, glimpses = self._waiting.popleft()
        first, *again = [replace(each, faces=tuple(found)) for each in glimpses]
        return [replace(first, faces=tuple(self._looks.seen(frame, found, anew=first.cut))), *again]

    def _glimpse(self, frame: Frame, small: _SmallPicture) -> _Glimpse:
        cut = self._new_shot(small.look)
        return _Glimpse(
            self.part,
            frame.index,
            frame.pts,
            frame.time_base,
            frame.size_hw,
            small.picture,
            cut,
            self._new_shot.last_is_blank,
            self._video,
        )


def _reduced(frame: Frame) -> Image:
    """The small picture of a frame that shots and looks are told apart by."""
    height, width = frame.size_hw
    scale = min(1.0, _SMALL / max(height, width))
    return frame.rgb(size_hw=(max(1, round(height * scale)), max(1, round(width * scale))))


def _no_picture() -> Image:
    return np.zeros((0, 0, 3), np.uint8)


@dataclass
class _Sightings:
    """A part while its frames come in."""

    number: int
    size_hw: tuple[int, int]
    time_base: Fraction
    video: VideoDetector | None
    threshold: float
    first: int = 0
    pts: list[int] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    faces: list[tuple[Face, ...]] = field(default_factory=list)
    looks: list[Looks] = field(default_factory=list)
    spreads: list[ColourSpread] = field(default_factory=list)
    shown: int | None = None
    shown_first: Image = field(default_factory=_no_picture)
    shown_last: Image = field(default_factory=_no_picture)
    ends_blank: bool = False

    def add(self, glimpse: _Glimpse) -> int:
        """Take the next frame; returns how many faces it surely shows."""
        index = len(self.pts)
        if not index:
            self.first = glimpse.index
        is_first_shown = self.shown is None and not glimpse.blank
        if is_first_shown:
            self.shown, self.shown_first = index, glimpse.small
        if not glimpse.blank:
            self.shown_last = glimpse.small
        if not self.spreads or glimpse.cut or is_first_shown:
            self.spreads.append(ColourSpread())
        self.spreads[-1].add(glimpse.small)
        self.ends_blank = glimpse.blank
        self.pts.append(glimpse.pts)
        self.cuts.append(glimpse.cut)
        self.faces.append(glimpse.faces)
        self.looks.append(faces.looks_of(glimpse.faces, glimpse.small, self.size_hw))
        return sum(face.score >= self.threshold for face in glimpse.faces)

    def part(self, following: int | None) -> ScanPart:
        """All of it; ``following``: pts of the frame behind, if there is one."""
        seen = [face for found in self.faces for face in found]
        return ScanPart(
            number=self.number,
            first=self.first,
            size_hw=self.size_hw,
            time_base=self.time_base,
            pts=np.array(self.pts, np.int64),
            cuts=np.array(self.cuts, np.bool_),
            counts=np.array([len(found) for found in self.faces], np.int32),
            boxes=np.array([face.box for face in seen], np.float64).reshape(-1, 4),
            landmarks=np.array([face.landmarks for face in seen], np.float32).reshape(-1, 5, 2),
            scores=np.array([face.score for face in seen], np.float64),
            details=np.array([_numbers(face.detail) for face in seen], np.float64).reshape(-1, 3),
            looks=np.concatenate([*self.looks, np.empty((0, 8, 6, 3), np.float32)]),
            spreads=np.array([spread.counts for spread in self.spreads], np.int64).reshape(-1, 3, 256),
            shown=len(self.pts) if self.shown is None else self.shown,
            shown_first=self.shown_first,
            shown_last=self.shown_last,
            ends_blank=self.ends_blank,
            following=following,
            searches=0 if self.video is None else self.video.searches,
            problems=() if self.video is None else tuple(self.video.problems),
        )


def _numbers(detail: Detail | None) -> list[float]:
    measures = astuple(detail or Detail())
    return [math.nan if measure is None else measure for measure in measures]


def _detail(numbers: Sequence[float]) -> Detail | None:
    """What :func:`_numbers` gave."""
    measures = [None if math.isnan(number) else number for number in numbers]
    return None if measures == [None] * len(measures) else Detail(*measures)


class PartFolder:
    """Parts on a disk, each in a file of its own.

    Args:
        path: of the folder, which is made when there is something to keep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _file(self, number: int) -> Path:
        return self._path / f"part-{number:05d}.npz"

    def save(self, part: ScanPart) -> None:
        """Keep a part; its file appears when it is complete."""
        self._path.mkdir(exist_ok=True)
        arrays: dict[str, Any] = {name: np.array(value) for name, value in _plain(part).items()}
        with written_beside(self._file(part.number)) as partial:
            np.savez(partial, **arrays)

    @property
    def count(self) -> int:
        """How many parts are kept, sound or not."""
        return sum(1 for _ in self._path.glob("part-*.npz"))

    def empty(self) -> None:
        """Delete the parts. The folder stays: it says that there were some."""
        for file in self._path.glob("part-*"):
            file.unlink(missing_ok=True)

    def load(self, number: int) -> ScanPart | None:
        """A part that was kept; None when there is none that is sound."""
        try:
            with np.load(self._file(number), allow_pickle=False) as held:
                return _of_plain({name: held[name] for name in held.files})
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None


def _plain(part: ScanPart) -> dict[str, Any]:
    """A part as arrays and numbers."""
    values = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    following = [] if part.following is None else [part.following]
    return {**values, "time_base": [part.time_base.numerator, part.time_base.denominator], "following": following}


def _of_plain(values: dict[str, NDArray[Any]]) -> ScanPart:
    """What :func:`_plain` gave, read from a file."""
    numbers = {name: int(values[name]) for name in ("number", "first", "shown", "searches")}
    texts = {name: tuple(map(str, values[name])) for name in ("problems", "warnings")}
    flags = {name: bool(values[name]) for name in ("ends_blank", "is_sound", "truncated")}
    height, width = map(int, values["size_hw"])
    following = int(values["following"][0]) if values["following"].size else None
    ratio = Fraction(*map(int, values["time_base"]))
    plain: dict[str, Any] = {**values, **numbers, **texts, **flags}
    return ScanPart(**{**plain, "size_hw": (height, width), "time_base": ratio, "following": following})
