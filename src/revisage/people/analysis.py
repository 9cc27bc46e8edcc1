"""Analysis: who is in view when, and what their faces do. JSON, CSV and WebVTT of one record."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr

from revisage._version import __version__
from revisage.core import CancelToken, Crop
from revisage.people.grouping import group
from revisage.people.guide_frames import find_guide_frames
from revisage.people.guides import Guidance, Reference, guidance
from revisage.people.known_people import KnownPerson, matched
from revisage.people.observation import Footage, Sighting, TrackReading, observe
from revisage.readers import EXPRESSIONS, SAME_PERSON, Recogniser

__all__ = ["CAUTION", "Analysis", "Appearance", "Person", "Samples", "find_people", "per_second"]

_RECORD = ConfigDict(extra="forbid")

CAUTION = (
    "Expressions are what a small network, taught on posed photographs, makes of a face's shape in single frames. They "
    "do not say what somebody feels, means or is like, they err more for some people than for others, and nobody "
    "should be judged by them. Names are guesses from likeness: check them before you rely on them."
)


class Appearance(BaseModel):
    """Somebody in view without a break: seconds from the first frame, and the tracks (by their number in the scan)."""

    model_config = _RECORD

    start: float
    end: float
    tracks: list[int]


class Samples(BaseModel):
    """What was read of a person's face, with one entry per look.

    Attributes:
        seconds: when, from the first frame.
        size: longer side of the face's box (px).
        yaw, pitch, roll: of the head in degrees; yaw is below zero when the nose points to the right side of the
            picture, roll above zero when the head leans clockwise.
        eyes, mouth: how far open: height over width, about 0.3 for open eyes, 0 for closed lips.
        expressions: probabilities by name.
    """

    model_config = _RECORD

    seconds: list[float] = []
    size: list[float] = []
    yaw: list[float] = []
    pitch: list[float] = []
    roll: list[float] = []
    eyes: list[float] = []
    mouth: list[float] = []
    expressions: dict[str, list[float]] = {}


class Person(BaseModel):
    """One person over the whole source.

    Attributes:
        label: the name, or ``person 1`` and so on by the first appearance; what ``--only`` and ``--except`` take.
        name: as given with photos; None for whom nobody named.
        likeness: to the photos, -1 to 1; None without a name.
        seconds: in view in all.
        appearances: in order.
        tracks: all of their tracks.
        samples: readings in order of time; empty where the network tells identities only.
    """

    model_config = _RECORD

    label: str
    name: str | None = None
    likeness: float | None = None
    seconds: float
    appearances: list[Appearance]
    tracks: list[int]
    samples: Samples = Samples()

    _portraits: list[Crop] = PrivateAttr(default_factory=list)

    @property
    def portraits(self) -> list[Crop]:
        """``(256, 256, 3) uint8 RGB`` faces, the best of some appearances; not kept in JSON."""
        return self._portraits

    @portraits.setter
    def portraits(self, faces: list[Crop]) -> None:
        self._portraits = faces


class Analysis(BaseModel):
    """The people of a source, whoever is in view longest first.

    Attributes:
        made_by: version of revisage.
        source: name of the file.
        reader: name and SHA-256 of the network that read the faces.
        same_person: cosine from which faces counted as one person's.
        seconds, frames: length of what was looked at.
        shots: start and end of each in seconds.
        people: those found.
        caution: what this is not.
        notes: what there is to say about the names.
    """

    model_config = _RECORD

    version: int = 1
    made_by: str = __version__
    source: str
    reader: dict[str, str]
    same_person: float
    seconds: float
    frames: int
    shots: list[tuple[float, float]]
    people: list[Person]
    caution: str = CAUTION
    notes: list[str] = []

    _guidance: Guidance = PrivateAttr(default_factory=Guidance)

    @property
    def guidance(self) -> Guidance:
        """Which guide photo serves which track; not kept in JSON."""
        return self._guidance

    def renamed(self, names: Mapping[str, str]) -> Analysis:
        """This analysis with other names for the people of these labels; two of one name stay two."""
        people = [
            person.model_copy(update={"label": names[person.label], "name": names[person.label]})
            if person.label in names
            else person
            for person in self.people
        ]
        return self.model_copy(update={"people": people})

    @property
    def labels(self) -> dict[int, str]:
        """Of each track its person's label."""
        return {track: person.label for person in self.people for track in person.tracks}

    def to_json(self) -> str:
        """This analysis as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

    def to_csv(self) -> str:
        """One row for each person and second in which they are in view: means of what was read in it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = ("size", "yaw", "pitch", "roll", "eyes", "mouth")
        writer.writerow(["person", "second", "in_view", *columns, *EXPRESSIONS])
        for person in self.people:
            means = per_second(person.samples)
            for second, share in sorted(_seconds_in_view(person).items()):
                found = means.get(second, {})
                values = (found.get(name, "") for name in (*columns, *EXPRESSIONS))
                writer.writerow([person.label, second, round(share, 3), *values])
        return text.getvalue()

    def to_vtt(self) -> str:
        """A cue for each appearance, as players and subtitle editors read it (WebVTT)."""
        spans = sorted((a.start, a.end, person.label) for person in self.people for a in person.appearances)
        cues = [f"{_clock(start)} --> {_clock(end)}\n<v {_escaped(who)}>{_escaped(who)}" for start, end, who in spans]
        head = f"WEBVTT\n\nNOTE Who is in view, as revisage {self.made_by} guesses from likeness."
        return "\n\n".join([head, *cues]) + "\n"


def per_second(samples: Samples, width: float = 1.0) -> dict[int, dict[str, float]]:
    """Means of the samples in each second, or in each stretch of ``width`` seconds, by its number."""
    places = defaultdict(list)
    for place, seconds in enumerate(samples.seconds):
        places[int(seconds // width)].append(place)
    columns = {name: getattr(samples, name) for name in ("size", "yaw", "pitch", "roll", "eyes", "mouth")}
    columns |= samples.expressions
    return {
        second: {name: round(float(np.mean([values[place] for place in found])), 3) for name, values in columns.items()}
        for second, found in places.items()
    }


def _seconds_in_view(person: Person) -> dict[int, float]:
    """Of each second in which somebody is in view the part of it."""
    shares: dict[int, float] = defaultdict(float)
    for appearance in person.appearances:
        for second in range(int(appearance.start), math.ceil(appearance.end)):
            shares[second] += min(appearance.end, second + 1) - max(appearance.start, second)
    return {second: min(1.0, share) for second, share in shares.items() if share > 0}


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds * 1000))
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _escaped(text: str) -> str:
    """For WebVTT, whose cues know no other special characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def find_people(
    footage: Footage,
    recogniser: Recogniser,
    *,
    known: Sequence[KnownPerson] = (),
    references: Sequence[Reference] = (),
    guide_size: int | None = None,
    every: float | None = 0.2,
    threshold: float = SAME_PERSON,
    tell: Any = lambda _: None,
    cancel: CancelToken | None = None,
) -> Analysis:
    """Who is in view when.

    Args:
        footage: a source and the faces that were found in it.
        recogniser: tells identities, and what else there is to read.
        known: people with names.
        references: guide photos.
        guide_size: side of the crops (px) of guide frames, of which each track that no photo serves has one; None
            where they are not wanted, and the source is not read once more for them.
        every: seconds between two looks at a face; None takes no samples.
        threshold: see :data:`revisage.readers.SAME_PERSON`.
        tell: told the number of frames that were passed.
        cancel: looked at between frames.

    Raises:
        ProcessingError: the source is not what it was when the faces were found.
        CancelledError: a stop was asked for.
    """
    readings = observe(footage, recogniser, every=every, tell=tell, cancel=cancel)
    together = list(_together(footage))
    identities = np.stack([reading.identity for reading in readings]) if readings else np.zeros((0, 1), np.float32)
    clusters = group(identities, together, threshold, [reading.worth for reading in readings])
    apart = sorted({(clusters[a], clusters[b]) for a, b in together if clusters[a] != clusters[b]})
    people = _people(footage, readings, clusters, apart, known, threshold)
    lacking = {person.name for person in known} - {person.name for person in people}
    analysis = Analysis(
        source=footage.path.name,
        reader={"name": recogniser.name, "sha256": recogniser.sha256},
        same_person=threshold,
        seconds=round(footage.seconds(len(footage.pts)), 3),
        frames=len(footage.pts),
        shots=[(round(footage.seconds(a), 3), round(footage.seconds(b), 3)) for a, b in footage.shots],
        people=people,
        notes=[f"nobody looks like {name}" for name in sorted(lacking)],
    )
    if references and recogniser.reader is not None:
        analysis._guidance = guidance(readings, clusters, apart, references, recogniser.reader)
    if guide_size is not None and recogniser.reader is not None:
        frames = find_guide_frames(footage, readings, recogniser.reader, guide_size, tell=tell, cancel=cancel)
        analysis._guidance = replace(analysis.guidance, guides=frames | analysis.guidance.guides)
    return analysis


def _together(footage: Footage) -> Iterator[tuple[int, int]]:
    """Pairs of tracks, by their places, that have a frame in common."""
    order = sorted(range(len(footage.tracks)), key=lambda place: footage.tracks[place].start)
    for rank, one in enumerate(order):
        for other in order[rank + 1 :]:
            if footage.tracks[other].start >= footage.tracks[one].stop:
                break
            yield one, other


def _people(
    footage: Footage,
    readings: Sequence[TrackReading],
    clusters: Sequence[int],
    apart: Sequence[tuple[int, int]],
    known: Sequence[KnownPerson],
    threshold: float,
) -> list[Person]:
    """The people of the clusters; those that one name belongs to are one."""
    members: dict[int, list[int]] = defaultdict(list)
    for place, cluster in enumerate(clusters):
        members[cluster].append(place)
    means = [_unit(sum(readings[place].identity for place in members[cluster])) for cluster in sorted(members)]
    names = matched(means, known, apart, threshold)
    joined: dict[Any, list[int]] = defaultdict(list)
    for cluster in sorted(members):
        name = names[cluster]
        joined[("number", cluster) if name is None else ("name", name[0])].append(cluster)
    people = []
    for key, parts in joined.items():
        named = key[0] == "name"
        places = [place for cluster in parts for place in members[cluster]]
        person = _person(footage, [readings[place] for place in places], [footage.tracks[place] for place in places])
        if named:
            person.name = person.label = known[key[1]].name
            person.likeness = round(max(found[1] for part in parts if (found := names[part])), 3)
        people.append(person)
    taken = {person.name for person in people}
    unnamed = sorted((person for person in people if person.name is None), key=lambda who: who.appearances[0].start)
    numbers = (number for number in range(1, 10**6) if f"person {number}" not in taken)
    for person, number in zip(unnamed, numbers, strict=False):
        person.label = f"person {number}"
    return sorted(people, key=lambda who: (-who.seconds, who.appearances[0].start))


def _unit(vector: Any) -> Any:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _person(footage: Footage, readings: Sequence[TrackReading], tracks: Sequence[Any]) -> Person:
    spans = sorted((track.start, track.stop, track.id) for track in tracks)
    appearances: list[Appearance] = []
    last = -1
    for start, stop, track in spans:
        if appearances and start <= last:
            appearances[-1].tracks.append(track)
            appearances[-1].end = round(footage.seconds(max(stop, last)), 3)
        else:
            begin, end = footage.seconds(start), footage.seconds(stop)
            appearances.append(Appearance(start=round(begin, 3), end=round(end, 3), tracks=[track]))
        last = max(stop, last)
    sightings = sorted((each for reading in readings for each in reading.sightings), key=lambda each: each.seconds)
    person = Person(
        label="",
        seconds=round(sum(appearance.end - appearance.start for appearance in appearances), 3),
        appearances=appearances,
        tracks=sorted(track.id for track in tracks),
        samples=_samples(sightings),
    )
    best = sorted(readings, key=lambda reading: -reading.worth)
    person._portraits = [reading.portrait for reading in best[:6]]
    return person


def _samples(sightings: Sequence[Sighting]) -> Samples:
    if not sightings:
        return Samples()
    expressions: Mapping[str, list[float]] = {
        name: [round(float(each.expression[place]), 3) for each in sightings] for place, name in enumerate(EXPRESSIONS)
    }
    return Samples(
        seconds=[round(each.seconds, 3) for each in sightings],
        size=[round(each.size, 1) for each in sightings],
        yaw=[round(each.pose[0], 1) for each in sightings],
        pitch=[round(each.pose[1], 1) for each in sightings],
        roll=[round(each.pose[2], 1) for each in sightings],
        eyes=[round(each.eyes, 3) for each in sightings],
        mouth=[round(each.mouth, 3) for each in sightings],
        expressions=dict(expressions),
    )
