"""Frozen values check themselves."""

from __future__ import annotations

import numpy as np
import pytest

from revisage.core.values import Face, Region, Shot, Track

LANDMARKS = np.arange(10, dtype=np.float32).reshape(5, 2)


def face(x: float = 1.0) -> Face:
    return Face((x, 2, 30, 40), LANDMARKS, 0.9)


def test_face_holds_a_read_only_copy() -> None:
    mine = LANDMARKS.copy()
    seen = Face((0, 0, 1, 1), mine)
    mine[:] = 0
    assert seen.landmarks[4, 1] == 9
    with pytest.raises(ValueError, match="read-only"):
        seen.landmarks[0, 0] = 1


@pytest.mark.parametrize(
    ("box", "landmarks", "score", "word"),
    [
        ((0, 0, 1), LANDMARKS, 1, "box must be"),
        ((0, 0, 0, 5), LANDMARKS, 1, "positive"),
        ((float("nan"), 0, 1, 1), LANDMARKS, 1, "finite"),
        ((0, 0, 1, 1), LANDMARKS[:4], 1, r"\(5, 2\)"),
        ((0, 0, 1, 1), LANDMARKS * np.nan, 1, "finite"),
        ((0, 0, 1, 1), LANDMARKS, float("inf"), "finite"),
    ],
)
def test_face_refuses(box: tuple, landmarks: np.ndarray, score: float, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Face(box, landmarks, score)


def test_faces_are_compared_by_value() -> None:
    assert face() == face()
    assert face() != face(2.0)
    assert face() != face().moved(LANDMARKS + 1)
    assert len({face(), face()}) == 1
    assert (face().size, face().centre) == (40, (16, 22))


def test_track_gives_the_face_of_a_frame() -> None:
    track = Track(0, 10, (face(1), face(2)), (True, False))
    assert (track.stop, track.weights) == (12, (1.0, 1.0))
    assert track.at(11) == face(2)
    assert track.at(9) is None
    assert track.at(12) is None


@pytest.mark.parametrize(
    "values",
    [
        {"faces": ()},
        {"seen": (True, True)},
        {"weights": (1.5,)},
        {"strength": -0.1},
        {"start": -1},
    ],
)
def test_track_refuses(values: dict) -> None:
    arguments = {"id": 0, "start": 0, "faces": (face(),), "seen": (True,), **values}
    with pytest.raises(ValueError, match=r"track|weights|faces|strength"):
        Track(**arguments)


def test_region_and_shot_refuse_the_empty() -> None:
    with pytest.raises(ValueError, match="region"):
        Region(3, 0, 3, 5)
    with pytest.raises(ValueError, match="shot"):
        Shot(4, 4)
    region = Region(1, 2, 4, 8)
    assert np.zeros((10, 10))[region.slices].shape == region.size_hw == (6, 3)
