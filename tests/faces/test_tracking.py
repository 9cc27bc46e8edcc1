from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.core.values import Face, Track
from revisage.faces.tracking import FaceFollower, Tracker, fade_weights, frontality, looks_of, turn_weights

SIZE_HW = (360, 640)
SHAPE = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.33, 0.8), (0.67, 0.8)])
RED, BLUE = (200, 60, 50), (50, 70, 190)


def face(x: float, y: float, size: float = 60.0, score: float = 0.9) -> Face:
    return Face((x, y, size, size), SHAPE * size + (x, y), score)


def picture(people: list[tuple[Face, tuple[int, int, int]]]) -> np.ndarray:
    """The frame at a quarter of its size: each person a block of their colour on grey."""
    small = np.full((90, 160, 3), 110, np.uint8)
    for person, colour in people:
        x, y, width, height = (int(v / 4) for v in person.box)
        small[max(y, 0) : y + 2 * height, max(x, 0) : x + width] = colour
    return small


def run(frames: list[list[tuple[Face, tuple[int, int, int]]]], start: int = 0, start_score: float = 0.5) -> list[Track]:
    tracker = Tracker(SIZE_HW, start_score)
    for index, people in enumerate(frames):
        tracker.add(start + index, [person for person, _ in people], picture(people))
    return tracker.finish()


def test_looks_are_lab_of_srgb() -> None:
    known = {
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (3, 3, 3): (0.8225, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }
    for colour, lab in known.items():
        looks = looks_of([face(100, 100)], np.full((90, 160, 3), colour, np.uint8), SIZE_HW)
        assert looks.shape == (1, 8, 6, 3) and looks.dtype == np.float32
        np.testing.assert_allclose(looks[0, 4, 3] / (2.55, 1, 1), lab, atol=0.03)
    assert looks_of([], np.zeros((90, 160, 3), np.uint8), SIZE_HW).shape == (0, 8, 6, 3)


def test_one_moving_face_is_one_track() -> None:
    tracks = run([[(face(20 + 12 * i, 100), RED)] for i in range(40)], start=100)
    assert len(tracks) == 1
    assert (tracks[0].id, tracks[0].start, tracks[0].stop) == (0, 100, 140)
    assert all(tracks[0].seen) and set(tracks[0].weights) == {1.0}


def test_crossing_faces_keep_their_tracks() -> None:
    frames = [
        [(face(50 + 10 * i, 100), RED), (face(550 - 10 * i, 110), BLUE)][:: 1 if i % 2 else -1] for i in range(50)
    ]
    # In the middle one covers the other.
    for index in (24, 25, 26):
        frames[index] = [item for item in frames[index] if item[1] == RED]
    tracks = run(frames)
    assert len(tracks) == 2
    assert tracks[0].faces[-1].box[0] == 540 and tracks[1].faces[-1].box[0] == 60
    assert tracks[1].seen[24:27] == (False, False, False)


def test_short_gap_is_filled_on_the_line() -> None:
    frames = [[(face(20 + 5 * i, 100), RED)] for i in range(30)]
    for index in range(12, 17):
        frames[index] = []
    (track,) = run(frames)
    assert track.seen == tuple(not 12 <= i < 17 for i in range(30))
    np.testing.assert_allclose([f.box[0] for f in track.faces], 20 + 5 * np.arange(30))
    np.testing.assert_allclose(track.faces[14].landmarks, face(90, 100).landmarks, atol=1e-4)
    assert set(track.weights) == {1.0}


def test_long_gap_joins_the_same_looks_only() -> None:
    before = [[(face(200, 100), RED)]] * 20
    nobody: list = [[]] * 25
    (track,) = run([*before, *nobody, *[[(face(210, 100), RED)]] * 20])
    assert min(track.weights[20:45]) == 0.0 and track.weights[10] == track.weights[-1] == 1.0
    two = run([*before, *nobody, *[[(face(210, 100), BLUE)]] * 20])
    assert [(t.id, t.start, t.stop) for t in two] == [(0, 0, 20), (1, 45, 65)]


def test_weak_faces_carry_on_but_do_not_begin() -> None:
    (track,) = run([[(face(100, 100, score=0.8 if i in (3, 4) else 0.3), RED)] for i in range(12)])
    assert (track.start, track.stop) == (3, 12)
    assert run([[(face(100, 100, score=0.3), RED)] for _ in range(12)]) == []


def test_a_false_alarm_is_dropped_in_a_long_shot_only() -> None:
    flash: list = [[]] * 20
    flash[9] = [(face(100, 100, score=0.6), RED)]
    assert run(flash) == []
    flash[9] = [(face(100, 100, score=0.95), RED)]
    assert len(run(flash)) == 1
    for length in (1, 5):
        assert len(run([[(face(100, 100, score=0.55), RED)], *[[]] * (length - 1)])) == 1


@pytest.mark.parametrize(("clear_looks", "tracks"), [(1, 0), (2, 1)])
def test_one_clear_look_of_several_may_be_an_error(clear_looks: int, tracks: int) -> None:
    scores = [0.56, 0.57, 0.56, *[0.9] * clear_looks]
    assert len(run([*[[(face(100, 100, score=score), RED)] for score in scores], *[[]] * 10])) == tracks


@pytest.mark.parametrize(("strong_frames", "tracks"), [(0, 0), (4, 0), (15, 1)])
def test_a_face_that_stays_weak_in_a_long_shot_is_a_false_alarm(strong_frames: int, tracks: int) -> None:
    scores = [0.68] * strong_frames + [0.52] * (40 - strong_frames)
    assert len(run([[(face(100, 100, score=score), RED)] for score in scores])) == tracks


def test_fades_within_the_shot_not_at_its_ends() -> None:
    frames: list = [[]] * 60
    for index in range(15, 60):
        frames[index] = [(face(100, 100), RED)]
    (track,) = run(frames)
    rise = track.weights[:8]
    assert 0 < rise[0] < 0.3 and list(rise) == sorted(rise)
    assert set(track.weights[6:]) == {1.0}


@given(
    seen=st.lists(st.booleans(), min_size=1, max_size=60),
    begins=st.booleans(),
    ends=st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=80)
def test_weights_never_jump(seen: list[bool], begins: bool, ends: bool) -> None:
    seen[0] = seen[-1] = True
    weights = fade_weights(seen, begins_shot=begins, ends_shot=ends)
    padded = [*([] if begins else [0.0]), *weights, *([] if ends else [0.0])]
    assert len(weights) == len(seen)
    assert all(abs(a - b) <= 0.2 for a, b in itertools.pairwise(padded))


def test_profiles_fade() -> None:
    turned = SHAPE.copy()
    turned[:2, 0] = (0.45, 0.5)
    assert frontality(SHAPE) == 1.0
    assert frontality(turned) < 0.05
    assert frontality(SHAPE @ np.array([[0.6, -0.8], [0.8, 0.6]])) == 1.0
    half = SHAPE.copy()
    half[:2, 0] = (0.42, 0.58)
    assert 0.2 < frontality(half) < 0.9
    assert frontality(half, 45) == 0.0
    assert frontality(half, 90) > frontality(half)
    weights = turn_weights([SHAPE] * 20 + [turned] * 20, 77)
    assert weights[0] == 1.0
    assert weights[-1] < 0.05
    assert max(before - after for before, after in itertools.pairwise(weights)) < 0.2


def test_the_order_of_detections_does_not_matter() -> None:
    generator = np.random.default_rng(5)
    people = [
        [(face(60 + 120 * k + 3 * i, 80 + 20 * k), (40 * k, 90, 200 - 40 * k)) for k in range(5)] for i in range(20)
    ]
    shuffled = [[frame[k] for k in generator.permutation(5)] for frame in people]
    assert run(people) == run(shuffled)


def test_fifty_faces() -> None:
    people = [[(face(12 * (k % 50) + (i % 3), 8 + 60 * (k // 50), 11.0), RED) for k in range(50)] for i in range(10)]
    tracks = run(people)
    assert len(tracks) == 50 and [t.id for t in tracks] == list(range(50))


def test_frames_must_follow_each_other() -> None:
    tracker = Tracker(SIZE_HW)
    tracker.add(5, [], picture([]))
    with pytest.raises(ValueError, match="expected frame 6"):
        tracker.add(8, [], picture([]))
    assert Tracker(SIZE_HW).finish() == []


def test_a_follower_says_at_once_whose_the_faces_are() -> None:
    follower = FaceFollower(SIZE_HW, 0.5)
    for index in range(40):
        people = [(face(20 + 5 * index, 100), RED), (face(500 - 5 * index, 220, score=0.3 if index else 0.9), BLUE)]
        if 10 <= index < 16:
            people = people[1:]
        followed = follower.add(index, [person for person, _ in people[::-1]], picture(people))
        known = {person.box: number for number, (person, _) in enumerate(people, start=2 - len(people))}
        assert {now.face.box: now.number for now in followed} == known


def test_a_follower_forgets_who_has_been_away_for_long() -> None:
    follower = FaceFollower(SIZE_HW, 0.5)
    here = [(face(100, 100), RED)]
    for index in range(20):
        follower.add(index, [here[0][0]], picture(here))
    for index in range(20, 200):
        assert follower.add(index, [], picture([])) == []
    assert follower._paths == []
    assert [now.number for now in follower.add(200, [here[0][0]], picture(here))] == [1]
