"""Clusters of identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.people import group


def around(directions: list[int], spread: float, seed: int = 0) -> np.ndarray:
    """Vectors of length one near axes of a space of 16 dimensions."""
    random = np.random.default_rng(seed)
    vectors = np.eye(16)[directions] + spread * random.normal(size=(len(directions), 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_those_alike_are_one_and_numbered_by_their_first() -> None:
    assert group(around([3, 1, 3, 1, 7], 0.05), [], 0.5) == [0, 1, 0, 1, 2]


def test_whoever_is_there_together_is_not_one() -> None:
    assert group(around([2, 2, 2], 0.01), [(0, 1)], 0.5)[0] != group(around([2, 2, 2], 0.01), [(0, 1)], 0.5)[1]


def test_what_cannot_be_one_stays_apart_through_others() -> None:
    """0 and 2 are in one frame; 1 is alike to both, and goes to one of them."""
    found = group(around([2] * 3, 0.02), [(0, 2)], 0.5)
    assert found[0] != found[2]
    assert found[1] in (found[0], found[2])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_decides_about_nothing(directions: list[int], random: object) -> None:
    order = list(range(len(directions)))
    random.shuffle(order)  # type: ignore[attr-defined]
    vectors = around(directions, 0.05)
    plain = group(vectors, [], 0.5)
    mixed = group(vectors[order], [], 0.5)
    for a in range(len(order)):
        for b in range(len(order)):
            assert (plain[order[a]] == plain[order[b]]) == (mixed[a] == mixed[b])


def test_clear_faces_must_be_more_alike() -> None:
    pair = np.array([[1, 0], [0.55, np.sqrt(1 - 0.55**2)]], np.float32)
    assert group(pair, [], 0.45, [0.5, 0.9]) == [0, 0]
    assert group(pair, [], 0.45, [0.9, 0.9]) == [0, 1]


def seen_badly(count: int) -> np.ndarray:
    """Two people as alike as 0.66, ``count`` views of each: 0.75 within each, 0.5 between."""
    clear = np.array([[1, 0], [0.66, np.sqrt(1 - 0.66**2)]]).repeat(count, axis=0)
    return np.hstack([np.sqrt(0.75) * clear, np.sqrt(0.25) * np.eye(2 * count)]).astype(np.float32)


def test_groups_that_agree_within_are_not_joined_by_a_likeness_that_single_views_would_be() -> None:
    assert group(seen_badly(1), [], 0.45) == [0, 0]
    assert group(seen_badly(4), [], 0.45) == [0] * 4 + [1] * 4


def test_one_persons_views_are_joined_however_many_they_are() -> None:
    views = np.hstack([np.full((12, 1), np.sqrt(0.5)), np.sqrt(0.5) * np.eye(12)]).astype(np.float32)
    assert group(views, [], 0.45) == [0] * 12


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_and_one(count: int) -> None:
    assert group(np.ones((count, 1), np.float32), [], 0.5) == [0] * count
