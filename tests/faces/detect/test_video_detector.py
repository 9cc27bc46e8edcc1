"""Faces of a video: found by few searches, followed between them, seen from their first frame on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from revisage.core import Face, Image, Region
from revisage.faces import FaceDetector, VideoDetector, load_detector
from revisage.faces.detect.candidates import ImagePicture, Picture, as_picture
from revisage.faces.detect.detector import nearest_faces
from revisage.faces.detect.followed_view import FollowedView
from revisage.faces.detect.searched_view import small_view
from revisage.media import Frame
from sample_media import face_frames

PLAIN = np.full((270, 480, 3), 120, np.uint8)


class Counting(FaceDetector):
    """The embedded detector; remembers how many whole frames it searched, and which parts of others."""

    def __init__(self) -> None:
        found = load_detector("compact", device="cpu")
        super().__init__(found.name, found._finder, found.weight_hash)
        self.searched = 0
        self.parts: list[Region] = []

    def candidates(self, picture: Image | Picture, *, turned: bool = False, within: Region | None = None) -> list[Face]:
        # Turned faces are searched in smaller crops.
        self.searched += within is None and as_picture(picture).size_hw == PLAIN.shape[:2]
        self.parts += [] if within is None else [within]
        return super().candidates(picture, turned=turned, within=within)


@pytest.fixture
def detector() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A picture of ``PLAIN``'s size with one face."""
    (image,) = face_frames(1)
    return np.ascontiguousarray(image[:270, :480])


def moved(face: np.ndarray, by: int) -> np.ndarray:
    return np.roll(face, by, axis=1)


def faces_of(detector: FaceDetector, images: Sequence[np.ndarray], cuts: Sequence[int] = ()) -> list[list[Face]]:
    video = VideoDetector(detector)
    found = []
    for index, image in enumerate(images):
        found += video.add(Frame.from_array(image, index=index), cut=index in cuts)
    found += video.close_shot()
    assert len(found) == len(images)
    return [[face for face in seen if face.score >= detector.threshold] for seen in found]


def away(a: Face, b: Face) -> float:
    """How far landmarks differ, in parts of the face's size."""
    return float(np.hypot(*(a.landmarks - b.landmarks).T).mean()) / b.size


@pytest.mark.parametrize(("step", "searches"), [(0, 1), (1, 3), (6, 3)])
def test_a_face_is_followed_as_well_as_it_is_found(
    detector: Counting, face: np.ndarray, step: int, searches: int
) -> None:
    images = [moved(face, step * index) for index in range(17)]
    each = [detector(image) for image in images]
    detector.searched = 0
    found = faces_of(detector, images)
    assert detector.searched == searches  # the ninth and the seventeenth where the whole moves, and wraps round
    for (here,), (expected,) in zip(found, each, strict=True):
        assert away(here, expected) < 0.015


def test_a_face_is_seen_from_the_frame_on_in_which_it_comes(detector: Counting, face: np.ndarray) -> None:
    found = faces_of(detector, [PLAIN] * 3 + [face] * 9)
    assert [len(seen) for seen in found] == [0] * 3 + [1] * 9


def test_a_face_is_seen_to_the_frame_in_which_it_goes(detector: Counting, face: np.ndarray) -> None:
    found = faces_of(detector, [face] * 5 + [PLAIN] * 9)
    assert [len(seen) for seen in found] == [1] * 5 + [0] * 9


def test_a_face_that_jumps_is_found_again(detector: Counting, face: np.ndarray) -> None:
    """Farther than it is looked for: the frame in which it is lost is searched."""
    images = [face] * 4 + [moved(face, 200)] * 5
    found = faces_of(detector, images)
    for (here,), image in zip(found, images, strict=True):
        assert away(here, detector(image)[0]) < 0.015


def test_a_face_that_is_not_looked_for_is_not_taken_for_the_one_beside_it(face: np.ndarray) -> None:
    class Mistaken(Counting):
        """Sees another face beside each, which moves on."""

        def candidates(
            self, picture: Image | Picture, *, turned: bool = False, within: Region | None = None
        ) -> list[Face]:
            found = super().candidates(picture, turned=turned, within=within)
            away = 0.7 if isinstance(picture, Frame) and picture.index == 0 else 0.9
            (one,) = found
            x, y, width, height = one.box
            marks = one.landmarks + np.float32([away * one.size, 0])
            return [one, Face((x + away * one.size, y, width, height), marks, 0.8)]

    for seen in faces_of(Mistaken(), [face] * 9):
        for number, one in enumerate(seen):
            assert all(away(one, other) > 0.5 for other in seen[:number])


def test_nothing_is_followed_across_a_cut(detector: Counting, face: np.ndarray) -> None:
    """The last frame of a shot and the first of the next are searched."""
    found = faces_of(detector, [PLAIN, PLAIN, face, PLAIN, face], cuts=[3])
    assert [len(seen) for seen in found] == [0, 0, 1, 0, 1]
    assert detector.searched == 4


def test_what_was_searched_in_vain_is_not_searched_again(detector: Counting) -> None:
    light = np.linspace(0.9, 1.1, 25)  # a lamp that brightens changes every pixel and brings nothing into view
    assert not any(faces_of(detector, [np.clip(PLAIN * gain, 0, 255).astype(np.uint8) for gain in light]))
    assert detector.searched == 1
    assert not detector.parts


def test_only_the_part_that_shows_something_new_is_searched(detector: Counting) -> None:
    images = [PLAIN.copy() for _ in range(25)]
    for image in images[9:]:
        image[60:140, 30:80] = (40, 90, 40)
    assert not any(faces_of(detector, images))
    assert detector.searched == 1
    (part,) = detector.parts
    assert part.left <= 30 < 80 <= part.right < 240
    assert part.top <= 60 < 140 <= part.bottom


def test_a_face_that_comes_where_nothing_was_is_seen_as_by_a_search_of_the_whole(
    detector: Counting, face: np.ndarray
) -> None:
    found = faces_of(detector, [PLAIN] * 20 + [face] * 9)
    assert [len(seen) for seen in found] == [0] * 20 + [1] * 9
    (expected,) = detector(face)
    assert max(away(here, expected) for (here,) in found[20:]) < 0.015


def test_a_face_that_comes_slowly_is_not_overlooked(detector: Counting, face: np.ndarray) -> None:
    """It differs by two levels at most from frame to frame; the first searches find it before it stands out."""
    shares = np.linspace(0, 1, 97)
    images = [np.round(PLAIN + share * (face.astype(float) - PLAIN)).astype(np.uint8) for share in shares]
    found = faces_of(detector, images)
    assert all(found[32:])


@pytest.mark.parametrize("light", [0.2, 1.0])
def test_a_face_that_comes_in_the_dark_is_not_overlooked(detector: Counting, face: np.ndarray, light: float) -> None:
    images = [np.round(image * light).astype(np.uint8) for image in [PLAIN] * 9 + [face] * 9]
    assert detector(images[-1])
    assert [len(seen) for seen in faces_of(detector, images)] == [0] * 9 + [1] * 9


def test_a_lying_face_that_comes_between_two_searches_for_such_is_found(detector: Counting, face: np.ndarray) -> None:
    lying = PLAIN.copy()
    lying[:, 100:370] = np.rot90(face[:, :270])
    found = faces_of(detector, [PLAIN] * 9 + [lying] * 60)
    assert found[-1]
    assert abs(found[-1][0].roll) > np.pi / 4


def test_a_part_is_searched_as_the_whole_is(detector: Counting, face: np.ndarray) -> None:
    (whole,) = detector(face)
    x, y, width, height = whole.box
    left, top = max(0, int(x - width / 2)), max(0, int(y - height / 2))
    part = Region(left, top, min(480, int(x + 1.5 * width)), min(270, int(y + 1.5 * height)))
    (here,) = (found for found in detector.candidates(face, within=part) if found.score >= detector.threshold)
    assert away(here, whole) < 0.02
    elsewhere = Region(0, 0, 64, 64) if x > 100 else Region(416, 0, 480, 64)
    assert not detector.candidates(face, within=elsewhere)


def beside(face: np.ndarray, known: Face, left: int, size: float = 1.0) -> np.ndarray:
    """The picture with the surroundings of its face once more, reduced, ``left`` px from its left border; cut there."""
    x, y, width, height = (round(value) for value in known.box)
    part = face[max(0, y - height // 4) : y + height + height // 4, x - width // 4 : x + width + width // 4]
    part = cv2.resize(part, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    canvas = face.copy()
    shown = part[:, max(0, -left) :][:, : max(0, 480 - left)]
    canvas[100 : 100 + len(part), max(0, left) : max(0, left) + shown.shape[1]] = shown
    return canvas


def test_somebody_who_appears_beside_a_known_face_is_seen_from_the_frame_on(
    detector: Counting, face: np.ndarray
) -> None:
    (known,) = detector(face)
    other = beside(face, known, 20 if known.centre[0] > 240 else 380, 0.5)
    assert len(detector(other)) == 2
    for still in (1, 9, 17):
        found = faces_of(detector, [face] * still + [other] * 10)
        assert [len(seen) for seen in found] == [1] * still + [2] * 10


def test_somebody_who_comes_slowly_beside_a_known_face_is_seen_a_second_late_at_most(
    detector: Counting, face: np.ndarray
) -> None:
    (known,) = detector(face)
    images = [beside(face, known, index // 2 - 60, 0.5) for index in range(121)]
    every = [len(detector(image)) for image in images]
    found = [len(seen) for seen in faces_of(detector, images)]
    assert every[-1] == found[-1] == 2
    assert found.index(2) - every.index(2) < 24


def test_a_moved_picture_shows_nothing_new_but_at_its_border(face: np.ndarray) -> None:
    view, wide = FollowedView(), np.tile(face, (1, 2, 1))
    news = []
    for left in (0, 6, 12):
        view.look(small_view(ImagePicture(np.ascontiguousarray(wide[:, left : left + 480]))))
        news.append(view.news((270, 480), []))
    assert news[0] == [Region(0, 0, 480, 270)]
    borders = [part for parts in news[1:] for part in parts]
    assert borders
    assert all(0 == part.left < part.right < 200 or 280 < part.left < part.right == 480 for part in borders)


def test_what_appears_is_new_but_where_a_face_is_known(face: np.ndarray) -> None:
    view, patched = FollowedView(), face.copy()
    patched[60:140, 200:260] = (40, 90, 40)
    view.searched(small_view(ImagePicture(face)))
    view.look(small_view(ImagePicture(patched)))
    (part,) = view.news((270, 480), [])
    assert part.left <= 200 < 260 <= part.right
    assert part.top <= 60 < 140 <= part.bottom
    assert part.size_hw != (270, 480)
    assert not view.news((270, 480), [Face((160, 20, 140, 160), np.zeros((5, 2)))])


def test_a_detector_that_cannot_follow_searches_every_frame(face: np.ndarray) -> None:
    class Thorough(Counting):
        can_follow = False  # type: ignore[assignment]

    detector = Thorough()
    assert [len(seen) for seen in faces_of(detector, [face] * 6)] == [1] * 6
    assert detector.searched == 6


def test_a_face_is_looked_for_near_its_place_alone(detector: Counting, face: np.ndarray) -> None:
    (here,) = detector(face)
    x, y, width, height = here.box
    beside = Face((x + 0.5 * width, y, width, height), here.landmarks, here.score)
    elsewhere = Face(((x + 240) % 400, y, width, height), here.landmarks, here.score)
    near, none = detector.near(face, [beside, elsewhere])
    assert near is not None
    assert away(near, here) < 0.02
    assert none is None
    assert detector.near(PLAIN, [here]) == [None]
    assert detector.near(face, []) == []


def test_faces_of_several_pictures_are_looked_for_as_in_each_by_itself(detector: Counting, face: np.ndarray) -> None:
    (here,) = detector(face)
    pictures = [
        as_picture(picture) for picture in (face, PLAIN, moved(face, 3), face[:, : round(here.centre[0])], face)
    ]
    lying = replace(here, landmarks=here.landmarks[:, ::-1].copy())
    expected = [[here], [here], [here, lying], [here], []]
    seen = detector.near_each(pictures, expected)
    assert [len(faces) for faces in seen] == [1, 1, 2, 1, 0]
    assert seen[0][0] is not None
    for picture, wanted, faces in zip(pictures, expected, seen, strict=True):
        for one, other in zip(detector.near(picture, wanted), faces, strict=True):
            assert (one and one.box, one and one.score) == (other and other.box, other and other.score)
            assert one is None or other is None or np.array_equal(one.landmarks, other.landmarks)


def test_of_a_face_that_surely_stands_no_other_turn_is_searched(face: np.ndarray) -> None:
    class Every(Counting):
        def candidates(
            self, picture: Image | Picture, *, turned: bool = False, within: Region | None = None
        ) -> list[Face]:
            self.searched += 1
            return FaceDetector.candidates(self, picture, turned=turned, within=within)

    detector = Every()
    (standing,) = detector(face)
    assert detector.searched == 1
    assert not detector.is_turned(face, standing)
    assert detector.searched == 2
    # Standing on its head, taken for an upright face in its place.
    middle = standing.landmarks.mean(axis=0)
    place = np.array(face.shape[1::-1]) - 1 - middle
    assert detector.is_turned(face[::-1, ::-1].copy(), standing.moved(standing.landmarks - middle + place))


def test_each_face_is_given_to_one_that_expects_it() -> None:
    def at(x: float, size: float = 10) -> Face:
        return Face((x, 0, size, size), np.zeros((5, 2)))

    assert nearest_faces([at(0), at(4)], [at(3)]) == [None, at(3)]
    assert nearest_faces([at(0), at(4)], [at(3), at(1)]) == [at(1), at(3)]
    assert nearest_faces([at(0)], [at(0, 20), at(30)]) == [None]


def test_pictures_of_a_few_pixels_are_searched() -> None:
    for size_hw in itertools.product((1, 2, 3), (1, 2, 300)):
        assert small_view(ImagePicture(np.full((*size_hw, 3), 90, np.uint8))).shape[2] == 3
