"""Names with photos: what is taken, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_people import COLOURS, SIDE, face_at, recogniser

from revisage.core import ConfigError, Face, InputError
from revisage.people import photos_by_name, read_people
from sample_media import plain_frames, write_video


def photo(folder: Path, colour: str, name: str = "") -> Path:
    path = folder / f"{name or colour}.png"
    picture = np.full((120, 120, 3), COLOURS[colour], np.uint8)
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


def one_face(_image: np.ndarray) -> list[Face]:
    return [face_at(30)]


def test_a_name_may_have_several_photos() -> None:
    found = photos_by_name(["Ann=a.jpg", " Bob B. = b.jpg", "ann=c.jpg", "Ann=a.jpg"])
    assert found == {"Ann": [Path("a.jpg"), Path("c.jpg")], "Bob B.": [Path("b.jpg")]}


@pytest.mark.parametrize("text", ["Ann", "=a.jpg", "Ann=", " = "])
def test_what_is_no_name_and_photo_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write NAME=photo\.jpg"):
        photos_by_name([text])


def test_a_photo_is_of_one_person() -> None:
    with pytest.raises(ConfigError, match="given to two people, Ann and Bob"):
        photos_by_name(["Ann=a.jpg", "Bob=a.jpg"])


def test_people_look_like_the_mean_of_their_photos(tmp_path: Path) -> None:
    (ann,) = read_people({"Ann": [photo(tmp_path, "red")]}, one_face, recogniser())
    assert ann.name == "Ann"
    assert ann.identity @ np.array([0.9, -0.3, -0.3]) > 0.9


def test_photos_without_or_with_two_faces_are_refused(tmp_path: Path) -> None:
    path = photo(tmp_path, "red")
    with pytest.raises(InputError, match="shows no face"):
        read_people({"Ann": [path]}, lambda _: [], recogniser())
    with pytest.raises(InputError, match="shows 2 faces"):
        read_people({"Ann": [path]}, lambda _: [face_at(10), face_at(50)], recogniser())


def test_a_small_face_in_the_background_does_no_harm(tmp_path: Path) -> None:
    small = Face((90, 5, SIDE / 3, SIDE / 3), face_at(90).landmarks)
    people = read_people({"Ann": [photo(tmp_path, "red")]}, lambda _: [face_at(30), small], recogniser())
    assert len(people) == 1


def test_two_people_for_one_name_are_refused(tmp_path: Path) -> None:
    paths = [photo(tmp_path, "red"), photo(tmp_path, "green")]
    with pytest.raises(InputError, match="show two people"):
        read_people({"Ann": paths}, one_face, recogniser())


def test_a_photo_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_people({"Ann": [tmp_path / "none.jpg"]}, one_face, recogniser())


def test_a_film_is_no_photo(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mkv", plain_frames(3))
    with pytest.raises(InputError, match=r"film\.mkv moves, and a photo is asked for: save the frame"):
        read_people({"Ann": [path]}, one_face, recogniser())
