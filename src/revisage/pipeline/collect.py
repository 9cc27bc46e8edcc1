"""Faces for the store of consented ones: picked while segments are restored, kept when the output is complete.

A track is divided into as many stretches as frames are wanted, and the best face of each stretch is taken: several
looks of a person instead of neighbours, and the same ones however the work was cut up and whoever did it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage.core import Face, ProcessingError, RestoreConfig
from revisage.pipeline.plan import Segment
from revisage.pipeline.scan import Scan
from revisage.pipeline.stages import Crop, Item

if TYPE_CHECKING:
    from revisage.faces import AlignedFace
    from revisage.facestore import KeptTrack
    from revisage.pipeline.fingerprint import Fingerprint
    from revisage.pipeline.plan import PlannedFace
    from revisage.restorers import RestorerInfo

__all__ = ["PickTarget", "Picks", "check_store", "keep_faces", "pick_target"]


@dataclass(frozen=True)
class PickTarget:
    """Which faces of a segment may be picked, and where the picks go.

    Attributes:
        path: file for the picks.
        first: number of the segment's first frame in the source.
        slots: for each track, the stretch that each of its frames lies in, by place in the segment; frames in which
            the detector did not see the face are left out.
    """

    path: Path
    first: int
    slots: Mapping[int, Mapping[int, int]]


@dataclass(frozen=True)
class _Facts:
    """What is known of a pick besides its pixels; JSON values."""

    track: int
    slot: int
    worth: float
    frame: int
    pts: int
    time_base: str
    box: tuple[float, float, float, float]
    landmarks: list[list[float]]
    score: float
    strength: float
    native_px: float
    sharpness: float


@dataclass(frozen=True)
class _Pick:
    facts: _Facts
    before: Crop
    after: Crop


def pick_target(folder: Path, scan: Scan, segment: Segment, count: int) -> PickTarget | None:
    """What to pick from a segment when ``count`` faces of each track are wanted; None where nothing can be."""
    slots: dict[int, dict[int, int]] = {}
    for track in scan.tracks:
        frames = range(max(track.start, segment.start), min(track.stop, segment.stop))
        places = {
            index - segment.start: (index - track.start) * count // len(track.boxes)
            for index in frames
            if track.seen[index - track.start]
        }
        if places:
            slots[track.id] = places
    path = folder / f"picks-{segment.number:05d}.npz"
    return PickTarget(path, scan.first + segment.start, slots) if slots else None


class Picks:
    """Picks the best face of each stretch from the items of one segment.

    Whatever goes wrong here must not harm the restoration: it is noted, and :func:`keep_faces` raises it.
    """

    def __init__(self, target: PickTarget) -> None:
        self._target = target
        self._best: dict[tuple[int, int], _Pick] = {}
        self._place = 0
        self._problem = ""

    def write(self, item: Item) -> None:
        """Look at the faces of the next item."""
        place, self._place = self._place, self._place + 1
        if item.problem or self._problem:
            return
        try:
            for planned, aligned, restored in zip(item.planned, item.aligned, item.restored, strict=True):
                slot = self._target.slots.get(planned.track, {}).get(place)
                if slot is not None:
                    self._look(_facts(item, planned, aligned, self._target.first + place, slot), aligned.crop, restored)
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"

    def _look(self, facts: _Facts, before: Crop, after: Crop) -> None:
        key = facts.track, facts.slot
        if key not in self._best or facts.worth > self._best[key].facts.worth:
            self._best[key] = _Pick(facts, before, after)

    def save(self) -> None:
        """Write what was picked; without the file, :func:`keep_faces` raises."""
        picks = list(self._best.values())
        about = {"problem": self._problem, "facts": [asdict(pick.facts) for pick in picks]}
        crops = {f"before{n}": pick.before for n, pick in enumerate(picks)}
        crops |= {f"after{n}": pick.after for n, pick in enumerate(picks)}
        try:
            with self._target.path.open("wb") as stream:
                np.savez(stream, about=np.array(json.dumps(about)), **crops)  # type: ignore[arg-type]
        except OSError:
            self._target.path.unlink(missing_ok=True)


def _facts(item: Item, planned: PlannedFace, aligned: AlignedFace, number: int, slot: int) -> _Facts:
    from revisage.faces import crop_scale, frontality
    from revisage.facestore import CLEAN, sharpness

    face, sharp = planned.face, sharpness(aligned.crop)
    return _Facts(
        track=planned.track,
        slot=slot,
        worth=min(sharp, CLEAN[1]) * (0.5 + 0.5 * frontality(face.landmarks)) * planned.strength,
        frame=number,
        pts=item.frame.pts,
        time_base=str(item.frame.time_base),
        box=face.box,
        landmarks=[[float(x), float(y)] for x, y in face.landmarks],
        score=face.score,
        strength=planned.strength,
        native_px=round(aligned.size / crop_scale(aligned.affine), 1),
        sharpness=sharp,
    )


def check_store(config: RestoreConfig) -> None:
    """Refuse a face store that cannot be used, before any work is done.

    Raises:
        UserError: the folder is no store and cannot become one, its index cannot be reached, or an extra is missing.
    """
    if config.collect is None or config.dry_run:
        return
    from revisage.facestore import MARKER, check_place

    check_place(config.collect)
    if (config.collect / MARKER).exists():
        from revisage.facestore import FaceStore

        with FaceStore.create(config.collect):
            pass


def keep_faces(
    config: RestoreConfig, scan: Scan, source: Path, found: Fingerprint, files: Iterable[Path], info: RestorerInfo
) -> str:
    """Put the picks of a finished run into the store; returns a line about it for the report.

    Args:
        config: names the store and the consent.
        source, found: the file that was restored, and its fingerprint.
        files: where :class:`Picks` wrote.
        info: of the restorer.

    Raises:
        UserError: the store cannot be written.
        ProcessingError: picking had failed.
    """
    from revisage.facestore import Consent, FaceSource, FaceStore, MadeWith

    assert config.collect is not None
    assert config.consent is not None
    tracks = _tracks(scan, _merged(files))
    consent = Consent(config.consent.strip(), datetime.now(timezone.utc).date())
    settings = json.dumps(config.settings(), sort_keys=True).encode()
    made = MadeWith(info.name, info.sha256, hashlib.sha256(settings).hexdigest())
    with FaceStore.create(config.collect) as store:
        added = store.add(tracks, FaceSource(source.name, _sha256(source, found), found.size), consent, made)
    known = f"; {_count(added.known, 'face')} were there already" if added.known else ""
    people = f" of {_count(len(added.people), 'person')}" if added.people else ""
    return f"{_count(added.kept, 'face')}{people} kept in {config.collect}{known}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _merged(files: Iterable[Path]) -> list[_Pick]:
    """The best pick of each stretch over all segments, by track and time."""
    best: dict[tuple[int, int], _Pick] = {}
    for file in files:
        for pick in _read(file):
            key = pick.facts.track, pick.facts.slot
            if key not in best or pick.facts.worth > best[key].facts.worth:
                best[key] = pick
    return [best[key] for key in sorted(best)]


def _read(file: Path) -> list[_Pick]:
    try:
        with np.load(file, allow_pickle=False) as data:
            about: dict[str, Any] = json.loads(str(data["about"]))
            facts = [_Facts(**values) for values in about["facts"]]
            picks = [_Pick(entry, data[f"before{n}"], data[f"after{n}"]) for n, entry in enumerate(facts)]
    except (OSError, ValueError, KeyError) as error:
        raise ProcessingError(f"the faces picked in a segment were lost: {error}") from error
    if about["problem"]:
        raise ProcessingError(f"picking faces failed: {about['problem']}")
    return picks


def _tracks(scan: Scan, picks: list[_Pick]) -> list[KeptTrack]:
    from revisage.facestore import KeptFrame, KeptTrack, load_identity

    identity = load_identity()
    tracks = []
    for track in scan.tracks:
        own = [pick for pick in picks if pick.facts.track == track.id]
        if not own:
            continue
        frames = tuple(
            KeptFrame(
                frame=pick.facts.frame,
                pts=pick.facts.pts,
                time_base=pick.facts.time_base,
                face=Face(pick.facts.box, np.array(pick.facts.landmarks), pick.facts.score),
                strength=pick.facts.strength,
                native_px=pick.facts.native_px,
                sharpness=pick.facts.sharpness,
                before=pick.before,
                after=pick.after,
            )
            for pick in own
        )
        embedding = identity([pick.before for pick in own]) if identity is not None else None
        tracks.append(KeptTrack(track.id, scan.first + track.start, scan.first + track.stop, frames, embedding))
    return tracks


def _sha256(source: Path, found: Fingerprint) -> str:
    """Of the whole file, so that anybody can compare it; the fingerprint of a large one covers parts only."""
    from revisage.core import file_sha256

    return found.sha256 if found.hashed == "whole" else file_sha256(source)
