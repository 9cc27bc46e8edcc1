"""Guide photos: what is refused in one line, and whom each serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_people import COLOURS, SIDE, film, identities, recogniser

from revisage.core import ConfigError, Face, InputError
from revisage.faces import ffhq_template
from revisage.media import Frame
from revisage.people import Footage, Guide, Reference, find_people, read_references, wanted_detail
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


def with_fine_frames(footage: Footage, *fine: int) -> Footage:
    """The same, with all other frames blurred."""
    held = []
    for index, frame in enumerate(footage.held):
        picture = frame.rgb() if index in fine else cv2.GaussianBlur(frame.rgb(), (0, 0), 0.4)
        held.append(Frame.from_array(picture, pts=index, time_base=Fraction(1, 10), index=index))
    return replace(footage, held=held)


def test_the_finest_frame_of_a_track_guides_it_where_no_photo_does() -> None:
    footage = with_fine_frames(film([["red"], ["green"]]), 3, 7)
    found = find_people(footage, recogniser(), references=[reference("green", "g.jpg")], guide_size=256).guidance
    assert {track: guide.name for track, guide in found.guides.items()} == {0: "frame 3", 1: "g.jpg"}
    assert (found.guides[0].crop.shape, found.refused) == ((256, 256, 3), [])


def test_a_frame_gives_only_to_faces_that_are_less_fine_and_a_photo_to_all() -> None:
    (track,) = find_people(with_fine_frames(film([["red"]]), 3), recogniser(), guide_size=256).guidance.guides.values()
    blurred = cv2.GaussianBlur(track.crop, (0, 0), 3)
    assert (wanted_detail(track, track.crop), wanted_detail(track, blurred)) == (0, 1)
    assert wanted_detail(replace(track, fineness=None), track.crop) == 1


def test_a_frame_that_shows_somebody_else_guides_nothing() -> None:
    footage = with_fine_frames(film([["red"]] * 6 + [["green"]]))
    tracks = [replace(footage.tracks[0], faces=footage.tracks[0].faces * 7, seen=(True,) * 35, weights=())]
    footage = with_fine_frames(replace(film([["red"]] * 6 + [["green"]]), tracks=tracks), 31)
    assert find_people(footage, recogniser(), guide_size=256).guidance.guides == {}
