"""Scan: what the first pass found in a source. A JSON file that the user may read and edit.

Faces of a track can be dropped by deleting the track, and a track's ``strength`` may be set (0 to 1, or null for the
run's own). Everything else belongs together and is checked.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from revisage._version import __version__
from revisage.core import (
    Detail,
    Face,
    InputError,
    ProcessingError,
    RestoreConfig,
    ScanMismatchError,
    Track,
    file_sha256,
    format_seconds,
    parse_json,
    write_text,
)
from revisage.people import Footage

if TYPE_CHECKING:
    from revisage.media import Frame, MediaInfo

__all__ = ["Fingerprint", "Scan", "ScanSettings", "ScannedTrack", "SourceWatch", "fingerprint", "load_scan"]

SCAN_VERSION = 1

_WHOLE = 64 * 2**20
"""Files up to this size (bytes) are hashed whole."""

_CHUNK, _CHUNKS = 2**20, 32
"""Of a larger file so many chunks of so many bytes are."""


def _fraction(value: object) -> object:
    return Fraction(value) if isinstance(value, (str, int)) else value


_Ratio = Annotated[Fraction, BeforeValidator(_fraction), PlainSerializer(str, return_type=str), Field(gt=0)]
_Seconds = Annotated[Fraction, BeforeValidator(_fraction), PlainSerializer(str, return_type=str), Field(ge=0)]
_Unit = Annotated[float, Field(ge=0, le=1)]
_Offset = Annotated[int, Field(ge=0)]
_Box = tuple[float, float, Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
_Points = Annotated[list[float], Field(min_length=10, max_length=10)]

_Ends = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=6, max_length=6)]

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fingerprint(BaseModel):
    """Size and hash of a file.

    Attributes:
        name: the file's name when it was taken; for messages, never compared.
        size: in bytes.
        sha256: of the whole content, or of parts of a large file.
        hashed: ``whole``, or ``parts``: 32 chunks of 1 MiB spread evenly from the first byte to the last.
    """

    model_config = _STRICT

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    hashed: Literal["whole", "parts"]

    def same_content(self, other: Fingerprint) -> bool:
        """Whether both were taken from the same bytes, whatever the file is called."""
        return (self.size, self.sha256, self.hashed) == (other.size, other.sha256, other.hashed)


class ScanSettings(BaseModel):
    """What a scan depends on besides the source; ``smooth``: whether landmarks are steadied along their tracks."""

    model_config = _STRICT

    detector: str
    detector_hash: str
    detection_threshold: float | None = None
    aligned: bool = False
    smooth: bool = True
    deinterlace: bool = False
    start: _Seconds | None = None
    end: _Seconds | None = None


_FOR_EACH_FRAME = ("boxes", "landmarks", "scores", "seen", "weights")


class ScannedTrack(BaseModel):
    """One person in one shot, as compact lists with one entry per frame.

    Attributes:
        id: unique within the scan.
        start: index of the first frame.
        strength: for the user to set: 0 to 1, or None for the run's own.
        person: whom it shows, a name or such as ``person 2``; None where nobody looked.
        boxes: x, y, width, height (px).
        landmarks: x, y of left eye, right eye, nose, left and right mouth corner (px).
        scores: the detector's confidence.
        seen: 1 where the detector saw the face, 0 where it was filled in.
        weights: 0 to 1, how far the restoration is faded in.
        details: of a large face, in some of its frames: place in the track, change and sharpness (see
            :class:`revisage.core.Detail`); empty where nobody looked.
        damages: of a small face, in some of its frames: place in the track and damage, 0 to 1.
    """

    model_config = _STRICT

    id: int = Field(ge=0)
    start: int = Field(ge=0)
    strength: _Unit | None = None
    person: Annotated[str, Field(min_length=1)] | None = None
    boxes: list[_Box] = Field(min_length=1)
    landmarks: list[_Points]
    scores: list[float]
    seen: list[Annotated[int, Field(ge=0, le=1)]]
    weights: list[_Unit]
    details: list[tuple[_Offset, float, float]] = []
    damages: list[tuple[_Offset, _Unit]] = []

    @model_validator(mode="after")
    def _as_long(self) -> ScannedTrack:
        lengths = {len(getattr(self, name)) for name in _FOR_EACH_FRAME}
        if len(lengths) != 1:
            raise ValueError(f"the lists of track {self.id} differ in length")
        return self

    @property
    def stop(self) -> int:
        """Index after the last frame."""
        return self.start + len(self.boxes)

    def within(self, first: int, stop: int) -> ScannedTrack | None:
        """What lies in frames ``first`` to ``stop`` (excluded) of the scan, counted from ``first``; None if nothing."""
        begin, end = max(first, self.start) - self.start, min(stop, self.stop) - self.start
        if begin >= end:
            return None
        lists = {name: getattr(self, name)[begin:end] for name in _FOR_EACH_FRAME}
        return ScannedTrack(
            id=self.id,
            start=self.start + begin - first,
            strength=self.strength,
            person=self.person,
            details=[
                (place - begin, change, sharpness) for place, change, sharpness in self.details if begin <= place < end
            ],
            damages=[(place - begin, damage) for place, damage in self.damages if begin <= place < end],
            **lists,
        )

    @classmethod
    def of(cls, track: Track) -> ScannedTrack:
        """A track in numbers short enough for a file: 1/100 px, 1/1000 of a score or weight."""
        looked_at = [(place, face.detail) for place, face in enumerate(track.faces) if face.detail is not None]
        return cls(
            id=track.id,
            start=track.start,
            strength=track.strength,
            boxes=[_box(face) for face in track.faces],
            landmarks=[[round(float(v), 2) for v in face.landmarks.ravel()] for face in track.faces],
            scores=[round(face.score, 3) for face in track.faces],
            seen=[int(seen) for seen in track.seen],
            weights=[round(weight, 3) for weight in track.weights],
            details=[
                (place, round(detail.change, 3), round(detail.sharpness, 4))
                for place, detail in looked_at
                if detail.change is not None and detail.sharpness is not None
            ],
            damages=[(place, round(detail.damage, 3)) for place, detail in looked_at if detail.damage is not None],
        )

    @cached_property
    def detail(self) -> dict[int, Detail]:
        """What was measured of fine detail, by the place in the track."""
        large = {place: Detail(change, sharpness) for place, change, sharpness in self.details}
        small = {place: replace(large.get(place, Detail()), damage=damage) for place, damage in self.damages}
        return large | small

    def face(self, index: int) -> Face:
        """The face at a frame of the scan.

        Raises:
            IndexError: the frame lies outside the track.
        """
        if not self.start <= index < self.stop:
            raise IndexError(f"track {self.id} has no frame {index}")
        at = index - self.start
        points = np.array(self.landmarks[at], dtype=np.float32).reshape(5, 2)
        return Face(self.boxes[at], points, self.scores[at], self.detail.get(at))

    def value(self) -> Track:
        """This track as the value that ``faces`` and ``temporal`` work with."""
        return Track(
            id=self.id,
            start=self.start,
            faces=tuple(self.face(index) for index in range(self.start, self.stop)),
            seen=tuple(map(bool, self.seen)),
            weights=tuple(self.weights),
            strength=self.strength,
        )


class Scan(BaseModel):
    """What the first pass found: times, shots and tracks of one source.

    Frames are counted from 0 in presentation order, from the first frame of the span that was scanned.

    Attributes:
        version: of this format.
        made_by: version of revisage.
        source: fingerprint of the file.
        settings: what the scan was made with.
        size_hw: of the upright frame (px).
        time_base: seconds per unit of ``pts``.
        first: number of the source's frames before the span.
        pts: of each frame.
        shots: start and stop (excluded) of each shot; together they cover all frames.
        tracks: the faces found.
        colours: of each shot the darkest R, G and B and the lightest ones; empty in scans by older versions.
        truncated: whether the source broke off before its end.
        warnings: damage met while reading.
    """

    model_config = _STRICT

    version: Literal[1] = 1
    made_by: str = __version__
    source: Fingerprint
    settings: ScanSettings
    size_hw: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    time_base: _Ratio
    first: int = Field(0, ge=0)
    pts: list[int] = Field(min_length=1)
    shots: list[tuple[int, int]] = Field(min_length=1)
    tracks: list[ScannedTrack]
    colours: list[_Ends] = []
    truncated: bool = False
    warnings: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> Scan:
        frames = len(self.pts)
        if any(later <= earlier for earlier, later in itertools.pairwise(self.pts)):
            raise ValueError("pts must rise from frame to frame")
        edges = [0, *(stop for _, stop in self.shots)]
        if [start for start, _ in self.shots] != edges[:-1] or edges[-1] != frames:
            raise ValueError(f"the shots must follow one another and cover the {frames} frames")
        if any(stop <= start for start, stop in self.shots):
            raise ValueError("a shot must hold at least one frame")
        if self.colours and len(self.colours) != len(self.shots):
            raise ValueError("the colours must be those of each shot, or be left out")
        if len({track.id for track in self.tracks}) != len(self.tracks):
            raise ValueError("two tracks have the same id")
        for track in self.tracks:
            if track.stop > edges[bisect.bisect_right(edges, track.start, hi=len(edges) - 1)]:
                raise ValueError(f"track {track.id} does not lie within one shot")
        return self

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def faces(self) -> int:
        """Number of faces over all frames."""
        return sum(len(track.boxes) for track in self.tracks)

    def to_json(self) -> str:
        """This scan as JSON, one line per shot list and track, so that a person can find and delete a track."""
        head = self.model_dump(mode="json", exclude={"tracks"})
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        tracks = ",\n".join(f"    {json.dumps(track.model_dump(mode='json'))}" for track in self.tracks)
        lines.append(f'  "tracks": [\n{tracks}\n  ]' if tracks else '  "tracks": []')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the scan; the file appears when it is complete.

        Raises:
            OutputError: the file exists and ``overwrite`` is off, or it cannot be written.
        """
        write_text(path, self.to_json(), overwrite=overwrite)

    def footage(self, path: Path, held: Sequence[Frame] = ()) -> Footage:
        """The source at ``path``, or frames in memory, and what was found in it, for who looks for people."""
        return Footage(
            path=path,
            first=self.first,
            pts=self.pts,
            time_base=self.time_base,
            shots=self.shots,
            tracks=[track.value() for track in self.tracks],
            deinterlace=self.settings.deinterlace,
            held=held,
        )

    def with_people(self, labels: Mapping[int, str]) -> Scan:
        """This scan with whom each track shows, by the track's id."""
        tracks = [track.model_copy(update={"person": labels.get(track.id)}) for track in self.tracks]
        return self.model_copy(update={"tracks": tracks})

    def within(self, start: Fraction | None, end: Fraction | None, *, origin: Fraction) -> Scan:
        """The part of this scan between two times.

        Args:
            start, end: seconds since ``origin``, the end excluded; None for the scan's own.
            origin: when the source's first frame is shown (s).

        Raises:
            InputError: no frame of the scan lies there.
        """
        times = [pts * self.time_base - origin for pts in self.pts]
        first = 0 if start is None else bisect.bisect_left(times, start)
        stop = self.frames if end is None else bisect.bisect_left(times, end)
        if first >= stop:
            lies = " to ".join(format_seconds(times[index]) for index in (0, -1))
            raise InputError(
                f"no frame of the scan lies between --start and --end: it is of {lies} of {self.source.name}"
            )
        met = [index for index, (begin, after) in enumerate(self.shots) if begin < stop and first < after]
        shots = [(max(self.shots[index][0], first) - first, min(self.shots[index][1], stop) - first) for index in met]
        return self.model_copy(
            update={
                "settings": self.settings.model_copy(
                    update={
                        "start": self.settings.start if start is None else start,
                        "end": self.settings.end if end is None else end,
                    }
                ),
                "first": self.first + first,
                "pts": self.pts[first:stop],
                "shots": shots,
                "tracks": [part for track in self.tracks if (part := track.within(first, stop)) is not None],
                "colours": [self.colours[index] for index in met] if self.colours else [],
            }
        )

    def asked(self, config: RestoreConfig, info: MediaInfo, found: Fingerprint) -> Scan:
        """What of this scan lies between the start and the end that a config asks for.

        Args:
            info, found: of the source.

        Raises:
            ScanMismatchError: the scan was made from another source.
            InputError: no frame of the scan lies there.
        """
        self.require_source(found)
        if config.start is None and config.end is None:
            return self
        return self.within(config.start, config.end, origin=info.start_pts * info.time_base)

    def require_source(self, found: Fingerprint) -> None:
        """Check that this scan was made from the file whose fingerprint is ``found``.

        Raises:
            ScanMismatchError: it was made from another one.
        """
        if not self.source.same_content(found):
            raise ScanMismatchError(
                f"the scan was made from another file: expected {self.source.name} ({self.source.size} bytes, "
                f"sha256 {self.source.sha256[:12]}…), got {found.name} ({found.size} bytes, {found.sha256[:12]}…)"
            )


def fingerprint(path: Path) -> Fingerprint:
    """The fingerprint of a file. Reads at most 64 MiB, so that a film on a slow disk costs a second, not minutes."""
    size = path.stat().st_size
    if size <= _WHOLE:
        return Fingerprint(name=path.name, size=size, sha256=file_sha256(path), hashed="whole")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for number in range(_CHUNKS):
            stream.seek(number * (size - _CHUNK) // (_CHUNKS - 1))
            digest.update(stream.read(_CHUNK))
    return Fingerprint(name=path.name, size=size, sha256=digest.hexdigest(), hashed="parts")


class SourceWatch:
    """Notices when a file is no longer the one that was looked at first.

    Size, time and place on the disk are looked at each time; the content only where one of them has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)
        self.print = fingerprint(path)

    def check(self) -> None:
        """Look again.

        Raises:
            InputError: the file is gone.
            ProcessingError: its content has changed.
        """
        try:
            state = _state(self._path)
            if state == self._state:
                return
            now = fingerprint(self._path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{self._path} can no longer be read: {reason}; bring it back") from error
        if not now.same_content(self.print):
            raise ProcessingError(f"{self._path} changed while it was restored; let it rest, or restore a copy")
        self._state = state


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def load_scan(path: Path) -> Scan:
    """Read a scan file and check it.

    Raises:
        ScanMismatchError: it is missing, no JSON, of another version, or a value in it is not allowed.
    """
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScanMismatchError(f"no such scan file: {path}") from None
    except (OSError, ValueError) as error:
        raise ScanMismatchError(f"{path} is not a scan file: {_one_line(str(error))}") from None
    if not isinstance(data, dict) or "version" not in data or "tracks" not in data:
        raise ScanMismatchError(f"{path} is not a scan file; make one with: revisage scan INPUT -o scan.json")
    if data["version"] != SCAN_VERSION:
        raise ScanMismatchError(
            f"{path} has format {data['version']!r}, this revisage reads {SCAN_VERSION}; scan the source again"
        )
    try:
        return Scan(**data)
    except (ValidationError, TypeError) as error:
        raise ScanMismatchError(f"{path} is damaged: {_problem(error)}") from None


def _box(face: Face) -> tuple[float, float, float, float]:
    x, y, width, height = (round(v, 2) for v in face.box)
    return x, y, max(width, 0.01), max(height, 0.01)


def _problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return _one_line(str(error))
    first = error.errors(include_url=False)[0]
    place = _place(first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def _place(loc: Sequence[Any]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(parts).lstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())
