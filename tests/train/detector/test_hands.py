"""Drawn hands: where they are, of what colour, and that they follow from their numbers."""

from __future__ import annotations

import numpy as np

from revisage.train.detector.hands import draw_hand, scenes_of_hands
from revisage.train.detector.scenes import LabelledImage

NO_FACES = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, bool)
GREEN = LabelledImage(np.full((120, 160, 3), (20, 200, 40), np.uint8), *NO_FACES)


def test_a_hand_is_drawn_about_its_palm_in_its_colour() -> None:
    skin = np.array([200.0, 150.0, 120.0])
    for seed in range(30):
        image = np.zeros((200, 200, 3), np.uint8)
        draw_hand(image, np.array([100.0, 100.0]), 30.0, np.random.default_rng(seed), skin=skin)
        assert image[95:105, 95:105].min() > 0, "no palm"
        fingers_and_palm = image[60:140, 60:140].any(axis=2).mean()
        assert 0.2 < fingers_and_palm < 0.98
        assert image[100, 100, 0] > image[100, 100, 2], "not of its colour"


def test_a_hand_beyond_the_border_changes_nothing() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    draw_hand(image, np.array([5000.0, 5000.0]), 20.0, np.random.default_rng(0))
    assert not image.any()


def test_scenes_of_hands_have_no_faces_and_follow_from_their_numbers() -> None:
    first, again = (list(scenes_of_hands([GREEN], 6, seed=1, size=128)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.image.shape == (128, 128, 3)
        assert not len(one.boxes)
    assert not np.array_equal(first[0].image, first[1].image)
