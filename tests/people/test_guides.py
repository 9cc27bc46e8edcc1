"""Guide photos: what is refused in one line, and whom each serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_people import COLOURS, SIDE, film, identities, recogniser

from revisage.core import ConfigError, Face, InputError
from revisage.faces import ffhq_template
from revisage.people import Guide, Reference, find_people, read_references
from sample_media import plain_frames, write_video


def face(side: float, left: float = 20) -> Face:
    return Face((left, 20, side, side), (ffhq_template(int(side)) + np.array([left, 20])).astype(np.float32), 0.9)


def photo(path: Path, *, blurred: float = 0.0) -> Path:
    grain = np.random.default_rng(1).normal(size=(240, 240)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), blurred) if blurred else grain
    cv2.imwrite(str(path), np.clip(128 + 50 * grain / grain.std(), 0, 255).astype(np.uint8))
    return path


def read(path: Path, *found: Face, reads: bool = True) -> Sequence[Reference]:
    return read_references([path], lambda _: list(found), recogniser(reads=reads), 128)


def reference(colour: str, name: str, yaw: float = 0.0) -> Reference:
    crop = np.full((256, 256, 3), COLOURS[colour], np.uint8)
    pose = np.array([yaw, 0, 0], np.float32)
    return Reference(Guide(name, crop, np.zeros((68, 2), np.float32), pose), identities(crop[None])[0])


def test_a_sharp_photo_of_one_face_is_taken(tmp_path: Path) -> None:
    path = photo(tmp_path / "ann.png")
    (found,) = read_references([path, path], lambda _: [face(150)], recogniser(), 128)
    assert (found.guide.name, found.guide.crop.shape, found.guide.landmarks.shape) == (
        "ann.png",
        (128, 128, 3),
        (68, 2),
    )


def test_what_is_no_guide_is_refused_in_one_line(tmp_path: Path) -> None:
    sharp = photo(tmp_path / "sharp.png")
    with pytest.raises(InputError, match="shows no face"):
        read(sharp)
    with pytest.raises(InputError, match="shows 2 faces"):
        read(sharp, face(110), face(100, 100))
    with pytest.raises(InputError, match=r"sharp\.png is 60 px large: a reference needs 100 px"):
        read(sharp, face(SIDE))
    with pytest.raises(InputError, match=r"blurred\.png is blurred"):
        read(photo(tmp_path / "blurred.png", blurred=4), face(150))
    with pytest.raises(ConfigError, match="colours tells people apart only"):
        read(sharp, face(150), reads=False)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.png", face(150))
    with pytest.raises(InputError, match=r"film\.mkv moves, and a photo is asked for"):
        read(write_video(tmp_path / "film.mkv", plain_frames(3)), face(150))


def test_each_reference_serves_whoever_looks_like_it() -> None:
    photos = [reference("red", "ann.jpg"), reference("blue", "bob.jpg")]
    found = find_people(film([["red", "green"], ["red"]]), recogniser(), references=photos).guidance
    assert {track: guide.name for track, guide in found.guides.items()} == {0: "ann.jpg", 2: "ann.jpg"}
    assert [line.partition(" (")[0] for line in found.refused] == ["nobody looks like bob.jpg"]


def test_of_several_photos_the_one_that_is_held_most_alike_serves() -> None:
    photos = [reference("red", "left.jpg", -40), reference("red", "right.jpg", 15), reference("red", "far.jpg", 50)]
    found = find_people(film([["red"]]), recogniser(), references=photos).guidance
    assert {track: guide.name for track, guide in found.guides.items()} == {0: "right.jpg"}
    assert found.refused == []
