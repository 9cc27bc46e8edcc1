"""Who stands in a frame, told from the past alone: by a detector that says what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from revisage.core import Face, make_config
from revisage.media import Frame
from revisage.pipeline import PlannedFace
from revisage.streams.followed_faces import FollowedFaces

POINTS = np.array([(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)], np.float32)


def face(x: float, y: float = 60, score: float = 0.9) -> Face:
    return Face((x, y, 100, 120), POINTS + np.array((x, y), np.float32), score)


class Detector:
    """Sees the faces that are set, wherever it looks."""

    threshold = 0.5

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)
        self.searches = 0

    def candidates(self, picture: Any) -> list[Face]:
        self.searches += 1
        return self.faces

    def is_turned(self, picture: Any, found: Face) -> bool:
        return False

    def near(self, picture: Any, expected: Sequence[Face]) -> list[Face | None]:
        def nearest(one: Face) -> Face | None:
            fitting = [seen for seen in self.faces if abs(seen.centre[0] - one.centre[0]) < 80]
            return min(fitting, key=lambda seen: abs(seen.centre[0] - one.centre[0]), default=None)

        return [nearest(one) for one in expected]


class Stage:
    """Frames of one picture, or of another once a shot has begun, through a follower."""

    def __init__(self, detector: Detector, **options: Any) -> None:
        self.detector = detector
        self.follower = FollowedFaces(make_config(**options), detector)  # type: ignore[arg-type]
        self._picture = np.full((360, 640, 3), (20, 30, 120), np.uint8)
        self._picture[:, 200:420] = (90, 200, 40)
        self._number = 0

    def cut(self) -> None:
        self._picture = np.full((360, 640, 3), (240, 180, 40), np.uint8)
        self._picture[150:260] = (120, 20, 20)

    def next(self, most: int | None = None) -> list[PlannedFace]:
        frame = Frame.from_array(self._picture, pts=self._number)
        self._number += 1
        self.follower.starts_shot(frame)
        self.follower.look(frame)
        return self.follower.follow(frame, most=most)


def test_a_clear_face_at_the_start_of_a_shot_is_there_at_once_and_a_later_one_comes_slowly() -> None:
    stage = Stage(Detector(face(100)))
    assert [planned.strength for planned in stage.next()] == [1.0]
    stage.detector.faces.append(face(400))
    later = [[planned.strength for planned in stage.next() if planned.track == 1] for _ in range(20)]
    seen = [strengths[0] for strengths in later if strengths]
    assert seen[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_face_that_is_gone_fades_and_is_forgotten() -> None:
    stage = Stage(Detector(face(100)))
    for _ in range(4):
        stage.next()
    stage.detector.faces.clear()
    strengths = [[planned.strength for planned in stage.next()] for _ in range(12)]
    assert strengths[:5] == [[0.8], [0.6], [0.4], [0.2], []]
    assert not stage.follower._people


def test_people_keep_their_numbers_and_shots_have_others() -> None:
    stage = Stage(Detector(face(100), face(400)))
    assert {planned.track for planned in stage.next()} == {0, 1}
    stage.detector.faces = [face(410), face(110)]
    assert {planned.track: planned.face.box[0] > 300 for planned in stage.next()} == {0: False, 1: True}
    stage.cut()
    assert {planned.track for planned in stage.next()} == {2, 3}


def test_with_time_for_one_the_larger_is_kept_and_they_do_not_take_turns() -> None:
    small = Face((400, 60, 90, 110), POINTS * 0.9 + np.array((400, 60), np.float32), 0.9)
    stage = Stage(Detector(face(100), small))
    for _ in range(8):
        stage.next(most=1)
    assert [planned.track for planned in stage.next(most=1)] == [0]
    larger = Face((400, 60, 110, 130), POINTS * 1.1 + np.array((400, 60), np.float32), 0.9)
    stage.detector.faces[1] = larger
    for _ in range(8):
        planned = stage.next(most=1)
    assert [one.track for one in planned] == [0]


def test_the_face_nearest_to_the_centre() -> None:
    stage = Stage(Detector(face(20), face(270)), only_center_face=True)
    for _ in range(8):
        planned = stage.next()
    assert [round(one.face.box[0]) for one in planned] == [270]


def test_frames_are_searched_now_and_then() -> None:
    stage = Stage(Detector(face(100)))
    for _ in range(33):
        stage.next()
    assert stage.detector.searches <= 6
