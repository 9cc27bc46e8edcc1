"""Who is who: names with photos, and the groups of tracks that show them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revisage import faces, media
from revisage.core import ConfigError, Face, Image, InputError
from revisage.readers import Recogniser

__all__ = ["Detect", "KnownPerson", "face_in_photo", "matched", "photos_by_name", "read_people"]

FloatArray = NDArray[np.float32]
Detect = Callable[[Image], Sequence[Face]]

_CROP = 256
_BESIDE = 0.5
"""A further face of at least this part of the largest one's size makes it unclear whom a photo is of."""
_TWO_PEOPLE = 0.3
"""Cosine below which two photos are surely not of one person: of 51 people neutral and smiling the least was 0.83, of
photos years apart it may be half of that, and of two people it is seldom above."""


@dataclass(frozen=True, eq=False)
class KnownPerson:
    """A name and how its bearer looks: ``(D,) float32`` of length one, the mean over the photos."""

    name: str
    identity: FloatArray


def photos_by_name(who: Sequence[str]) -> dict[str, list[Path]]:
    """The photos that each name is given.

    Args:
        who: ``NAME=photo.jpg``; several of one name are several photos of it.

    Raises:
        ConfigError: a text has another form, or a photo is given to two names.
    """
    found: dict[str, list[Path]] = {}
    names: dict[Path, str] = {}
    for text in who:
        name, equals, place = text.partition("=")
        name = " ".join(name.split())
        if not (name and equals and place.strip()):
            raise ConfigError(f"who cannot be {text!r}: write NAME=photo.jpg")
        path = Path(place.strip()).expanduser()
        if names.setdefault(path, name).casefold() != name.casefold():
            raise ConfigError(f"{path} is given to two people, {names[path]} and {name}: a photo shows one of them")
        known = next((other for other in found if other.casefold() == name.casefold()), name)
        if path not in found.setdefault(known, []):
            found[known].append(path)
    return found


def read_people(photos: Mapping[str, Sequence[Path]], detect: Detect, recogniser: Recogniser) -> list[KnownPerson]:
    """How the people look whose photos are given.

    Args:
        photos: of each name.
        detect: finds the faces of an image, the largest first.
        recogniser: tells identities.

    Raises:
        InputError: a photo cannot be read, or shows no face or several; or the photos of a name show two people.
    """
    people = []
    for name, paths in photos.items():
        identities = [recogniser.identities(_crop_of(path, detect)[None])[0] for path in paths]
        for (one, a), (other, b) in itertools.combinations(zip(paths, identities, strict=True), 2):
            if float(a @ b) < _TWO_PEOPLE:
                raise InputError(
                    f"{one} and {other} show two people (their likeness is {float(a @ b):.2f} of 1), and both are "
                    f"given as {name}: give each a name of its own"
                )
        mean = np.mean(identities, axis=0)
        people.append(KnownPerson(name, np.asarray(mean / np.linalg.norm(mean), np.float32)))
    return people


def face_in_photo(path: Path, detect: Detect) -> tuple[media.Frame, Face]:
    """The picture of a photo, and the one face in it; people small in the background do no harm.

    Raises:
        InputError: it cannot be read, is no photo, or shows no face or several.
    """
    with media.open_source(path) as source:
        if source.info.kind != "image" and source.info.frame_count != 1:
            raise InputError(f"{path} moves, and a photo is asked for: save the frame that shows the face best as PNG")
        frame = next(source.frames(0, 1), None)
    if frame is None:
        raise InputError(f"{path} holds no picture")
    found = list(detect(frame.rgb()))
    if not found:
        raise InputError(f"{path} shows no face that could be found: take a photo from the front")
    beside = sum(face.size >= _BESIDE * found[0].size for face in found) - 1
    if beside:
        raise InputError(f"{path} shows {beside + 1} faces: cut the one out that is meant")
    return frame, found[0]


def _crop_of(path: Path, detect: Detect) -> Image:
    """The crop of the one face in a photo, for a reader; see :func:`face_in_photo`."""
    return faces.align(*face_in_photo(path, detect), _CROP).crop


def matched(
    groups: Sequence[FloatArray],
    people: Sequence[KnownPerson],
    together: Sequence[tuple[int, int]],
    threshold: float,
) -> list[tuple[int, float] | None]:
    """Of each group of tracks the place in ``people`` of whoever it shows, with the likeness; None for nobody.

    The surest come first. Several groups may show one person, but not groups that are in view together.

    Args:
        groups: identity of each, of length one.
        people: with names.
        together: pairs of groups that cannot be one person.
        threshold: cosine from which a group shows a person.
    """
    found: list[tuple[int, float] | None] = [None] * len(groups)
    if not people:
        return found
    scores = np.stack(groups) @ np.stack([person.identity for person in people]).T if groups else np.zeros((0, 1))
    for place in np.argsort(-scores, axis=None, kind="stable"):
        group, person = (int(part) for part in np.unravel_index(place, scores.shape))
        if scores[group, person] < threshold:
            break
        rivals = {b if a == group else a for a, b in together if group in (a, b)}
        taken = any((other := found[rival]) is not None and other[0] == person for rival in rivals)
        if found[group] is None and not taken:
            found[group] = person, float(scores[group, person])
    return found
