"""Guide photos: what is taken for one, and whose faces each serves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revisage import faces
from revisage.core import ConfigError, Crop, InputError
from revisage.people.grouping import group
from revisage.people.guide_shares import LIKE, Guide
from revisage.people.known_people import Detect, KnownPerson, face_in_photo, matched
from revisage.people.observation import TrackReading
from revisage.readers import SAME_PERSON, FaceReader, Recogniser

__all__ = ["Guidance", "Reference", "guidance", "read_references"]

FloatArray = NDArray[np.float32]

_LEAST_FACE = 100.0
"""Longer side of the face's box (px): smaller ones have no detail to give."""
_JUDGED = 256
"""Side of the crop (px) that is asked whether a photo is sharp; less where that would enlarge the face."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A guide photo and how its person looks: ``(D,) float32`` of length one."""

    guide: Guide
    identity: FloatArray


@dataclass(frozen=True, eq=False)
class Guidance:
    """Which guide serves whom.

    Attributes:
        guides: by track.
        refused: why a reference serves nobody, a line each.
    """

    guides: dict[int, Guide] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def read_references(photos: Sequence[Path], detect: Detect, recogniser: Recogniser, size: int) -> list[Reference]:
    """Guide photos as a restorer's crops.

    Args:
        photos: each of one person; several may be of the same.
        detect: finds the faces of an image, the largest first.
        recogniser: tells identities and reads landmarks.
        size: side of the restorer's crops (px).

    Raises:
        InputError: a photo cannot be read, moves, shows no face or several, or one that is small or blurred.
        ConfigError: the recogniser reads no landmarks.
    """
    if photos and recogniser.reader is None:
        raise ConfigError(
            f"reference needs a reader of landmarks, and {recogniser.name} tells people apart only: leave reader out"
        )
    return [_reference(path, detect, recogniser, size) for path in dict.fromkeys(photos)]


def _reference(path: Path, detect: Detect, recogniser: Recogniser, size: int) -> Reference:
    frame, face = face_in_photo(path, detect)
    if face.size < _LEAST_FACE:
        raise InputError(
            f"the face in {path} is {face.size:.0f} px large: a reference needs {_LEAST_FACE:.0f} px and more"
        )
    enlarged = max(1.0, faces.crop_scale(faces.crop_affine(face.landmarks, _JUDGED)))
    if faces.sharpness(faces.align(frame, face, round(_JUDGED / enlarged)).crop) == 0:
        raise InputError(f"the face in {path} is blurred: a reference gives detail, take a sharp photo")
    crop = faces.align(frame, face, size).crop
    _, readings = recogniser(crop[None])
    assert readings is not None
    guide = Guide(path.name, crop, readings.landmarks[0], readings.pose[0])
    return Reference(guide, readings.identity[0])


def guidance(
    readings: Sequence[TrackReading],
    clusters: Sequence[int],
    together: Sequence[tuple[int, int]],
    references: Sequence[Reference],
    reader: FaceReader,
) -> Guidance:
    """Give each track the guide of whom it shows, and of several that whose head is held most like its own.

    Args:
        readings: of the tracks.
        clusters: of each, the number of its person.
        together: pairs of clusters that are in view at the same time: two people.
        references: photos, of one person or several.
        reader: tells how heads are held.
    """
    persons = group(np.stack([each.identity for each in references]), (), SAME_PERSON, [1.0] * len(references))
    photos: dict[int, list[Reference]] = defaultdict(list)
    for person, reference in zip(persons, references, strict=True):
        photos[person].append(reference)
    known = [KnownPerson("", _mean([each.identity for each in photos[person]])) for person in sorted(photos)]
    looks: dict[int, list[TrackReading]] = defaultdict(list)
    for cluster, reading in zip(clusters, readings, strict=True):
        looks[cluster].append(reading)
    means = [_mean([reading.identity for reading in looks[cluster]]) for cluster in sorted(looks)]
    found = matched(means, known, together, LIKE)
    guides: dict[int, Guide] = {}
    for cluster, match in zip(sorted(looks), found, strict=True):
        if match is not None:
            own = [each.guide for each in photos[match[0]]]
            guides |= {reading.track: _nearest(own, reading.portrait, reader) for reading in looks[cluster]}
    served = {match[0] for match in found if match is not None}
    refused = [
        _refusal(reference, means) for person in sorted(photos) if person not in served for reference in photos[person]
    ]
    return Guidance(guides, refused)


def _mean(identities: Sequence[FloatArray]) -> FloatArray:
    total = np.sum(identities, axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def _nearest(guides: Sequence[Guide], portrait: Crop, reader: FaceReader) -> Guide:
    if len(guides) == 1:
        return guides[0]
    pose = reader(portrait[None]).pose[0]
    return min(guides, key=lambda guide: float(np.abs(guide.pose[:2] - pose[:2]).max()))


def _refusal(reference: Reference, means: Sequence[FloatArray]) -> str:
    likeness = max((float(mean @ reference.identity) for mean in means), default=0.0)
    return (
        f"nobody looks like {reference.guide.name} (likeness {likeness:.2f} of 1 at most, {LIKE:g} is asked): it "
        "guided nothing"
    )
