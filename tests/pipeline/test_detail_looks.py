"""Faces are looked at now and then while a source is scanned, and what is done with them holds along a track."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from pipeline_fakes import landmarks, scan, track

from revisage.core import Detail, Face, RestoreConfig, make_config
from revisage.faces import BY_FRAME
from revisage.media import Frame
from revisage.pipeline import Networks
from revisage.pipeline.detail_looks import DetailLooks
from revisage.pipeline.plan import make_plan, planned_faces


def frame(index: int) -> Frame:
    picture = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    return Frame.from_array(picture, pts=index, time_base=Fraction(1, 25), duration=1, index=index)


def face(left: float, score: float = 0.9, size: float = 300) -> Face:
    return Face((left, 50, size / 2, size / 2), landmarks(left, 20, size), score)


def looks(net: object, *, uses_detail: bool = True) -> DetailLooks:
    networks = SimpleNamespace(uses_detail=uses_detail, fine=net, detector=SimpleNamespace(threshold=0.5))
    return DetailLooks(networks)  # type: ignore[arg-type]


def when_looked_at(found: DetailLooks, frames: list[list[Face]], cuts: tuple[int, ...] = ()) -> list[int]:
    seen = [found.seen(frame(index), faces, anew=index in cuts) for index, faces in enumerate(frames)]
    return [index for index, faces in enumerate(seen) if any(each.detail for each in faces)]


def test_a_face_is_looked_at_when_seen_again_and_each_half_second() -> None:
    moving = [[face(20 + 5 * index), face(300, score=0.3)] for index in range(20)]
    assert when_looked_at(looks(np.zeros_like), moving) == [1, 13]
    assert when_looked_at(looks(np.zeros_like), moving, cuts=(0, 6)) == [1, 7, 19]
    assert when_looked_at(looks(np.zeros_like), [[face(20)], [], [face(20)], [face(20)]]) == [3]


@pytest.mark.parametrize("size", [100, 300])
def test_nothing_is_looked_at_where_nothing_would_come_of_it(size: float) -> None:
    still = [[face(20, size=size)]] * 3
    assert when_looked_at(looks(np.zeros_like, uses_detail=False), still) == []
    assert when_looked_at(looks(np.zeros_like), still) == [1]


def test_small_faces_are_looked_at_without_the_net() -> None:
    def refuses(picture: np.ndarray) -> np.ndarray:
        raise AssertionError("a small face needs no net")

    found = looks(refuses)
    found.seen(frame(0), [face(20, size=100)], anew=True)
    (small,) = found.seen(frame(1), [face(20, size=100)], anew=False)
    assert small.detail == Detail(damage=1.0)


def test_a_look_that_fails_leaves_the_face_as_it_is() -> None:
    def fails(picture: np.ndarray) -> np.ndarray:
        raise RuntimeError("no luck")

    assert when_looked_at(looks(fails), [[face(20)]] * 3) == []


def test_a_face_that_wavers_about_the_limits_is_treated_alike_in_each_segment() -> None:
    wavering = [(1 + 12 * place, 1.7 if place % 2 else 1.2, 0.74) for place in range(9)]
    nearer = [(5, 0.25), (13, 0.5)]
    known = track(0, 0, 100).model_copy(update={"details": wavering, "damages": nearer})
    unknown = track(1, 0, 100, left=200)
    found = scan(tracks=[known, unknown])
    plan = make_plan(found, RestoreConfig(), longest=32)
    planned = [faces for segment in plan.segments for faces in planned_faces(found, plan, segment)]
    assert len(plan.segments) > 2
    assert len({faces[0].fine for faces in planned}) == 1
    assert {faces[1].fine for faces in planned} == {BY_FRAME}
    assert known.face(5).detail == Detail(damage=0.25)
    assert known.face(13).detail == Detail(1.7, 0.74, 0.5)
    again = type(known).of(known.value())
    assert (again.details, again.damages) == (wavering, nearer)


@pytest.mark.parametrize(
    ("options", "judged"),
    [
        ({}, True),
        ({"look": "natural"}, True),
        ({"model": "compact-natural"}, True),
        ({"fine": "keep"}, False),
        ({"model": "gfpgan-1.4"}, False),
    ],
)
def test_faces_are_judged_for_both_looks_of_the_embedded_restorer(options: dict[str, str], judged: bool) -> None:
    assert Networks(make_config(options)).uses_detail is judged
