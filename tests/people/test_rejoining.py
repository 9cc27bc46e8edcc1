"""Who was out of view and comes back is one track, somebody else another; where nobody can be told, as tracked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from colour_people import face_at, film, recogniser

from revisage.core import Track
from revisage.faces import track_of
from revisage.people import Footage, rejoined

LENGTH = 60


def footage(*stays: tuple[str, int, int], tracks: Sequence[Sequence[int]], left: float = 10) -> Footage:
    """A shot of 60 frames in which people of these colours stand in one place for some frames, and tracks of them.

    Each track is of the stays that it lists by number.
    """
    colours = ["shadow"] * LENGTH
    for name, start, stop in stays:
        colours[start:stop] = [name] * (stop - start)
    whole = film([[name] for name in colours], frames=1)
    found: list[Track] = []
    for number, of in enumerate(tracks):
        frames = [index for stay in of for index in range(*stays[stay][1:])]
        found.append(track_of(number, {index: face_at(left) for index in frames}, (0, LENGTH)))
    return replace(whole, shots=[(0, LENGTH)], tracks=found)


def spans(tracks: Sequence[Track] | None) -> list[tuple[int, int]] | None:
    return None if tracks is None else [(track.start, track.start + len(track.faces)) for track in tracks]


def test_who_comes_back_is_one_track() -> None:
    shown = footage(("red", 0, 15), ("red", 40, 60), tracks=[[0], [1]])
    tracks = rejoined(shown, recogniser)
    assert spans(tracks) == [(0, 60)]
    assert tracks is not None
    [track] = tracks
    assert track.seen == (True,) * 15 + (False,) * 25 + (True,) * 20
    assert track.weights[27] == 0
    assert track.weights[0] == track.weights[-1] == 1


def test_somebody_else_is_another_track() -> None:
    assert rejoined(footage(("red", 0, 15), ("green", 40, 60), tracks=[[0], [1]]), recogniser) is None
    tracks = rejoined(footage(("red", 0, 15), ("green", 40, 60), tracks=[[0, 1]]), recogniser)
    assert spans(tracks) == [(0, 15), (40, 60)]


def test_people_are_joined_with_themselves() -> None:
    stays = ("red", 0, 12), ("green", 14, 26), ("green", 36, 46), ("red", 48, 60)
    tracks = rejoined(footage(*stays, tracks=[[0], [1], [2], [3]]), recogniser)
    assert spans(tracks) == [(0, 60), (14, 46)]


def test_where_nobody_can_be_told_tracks_stay_as_they_are() -> None:
    shadows = ("shadow", 0, 15), ("shadow", 40, 60)
    assert rejoined(footage(*shadows, tracks=[[0, 1]]), recogniser) is None
    assert rejoined(footage(*shadows, tracks=[[0], [1]]), recogniser) is None
    assert rejoined(footage(("red", 0, 15), ("red", 40, 60), tracks=[[0], [1]]), lambda: None) is None


def test_nothing_is_read_where_nobody_was_away() -> None:
    def unwanted() -> None:
        pytest.fail("a reader was asked for")

    assert rejoined(footage(("red", 0, 20), ("red", 24, 60), tracks=[[0, 1]]), unwanted) is None


def test_what_the_user_set_stays() -> None:
    shown = footage(("red", 0, 15), ("red", 40, 60), tracks=[[0], [1]])
    shown = replace(shown, tracks=[replace(shown.tracks[0], strength=0.5), shown.tracks[1]])
    tracks = rejoined(shown, recogniser)
    assert tracks is not None
    assert [track.strength for track in tracks] == [0.5]
