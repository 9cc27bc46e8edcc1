"""Segments follow from the scan alone; choices hold for whole tracks."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_fakes import landmarks, scan, track

from revisage.core.config import RestoreConfig
from revisage.pipeline.plan import BLOCK, RUN_IN, busiest_frame, make_plan, planned_faces, usual_step, whole

DEFAULT = RestoreConfig()
SMOOTH = RestoreConfig(temporal="smooth")


@given(lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6), longest=st.integers(1, 300))
def test_segments_cover_all_frames_and_cross_cuts_between_short_shots_only(lengths: list[int], longest: int) -> None:
    edges = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    shots = list(itertools.pairwise(edges))
    plan = make_plan(scan(edges[-1], shots=shots), SMOOTH, longest=longest)
    assert [s.start for s in plan.segments] == [0, *(s.stop for s in plan.segments)][:-1]
    assert plan.segments[-1].stop == edges[-1]
    assert all(0 < s.frames <= longest for s in plan.segments)
    for s in plan.segments:
        inside = [shot for shot in shots if shot[0] < s.stop and s.start < shot[1]]
        assert len(inside) == 1 or all(stop - start < 25 for start, stop in inside)
        assert len(inside) == 1 or (s.start, s.stop) == (inside[0][0], inside[-1][1])
    assert [s.number for s in plan.segments] == list(range(len(plan.segments)))
    assert [s.first_pts for s in plan.segments] == [40 * s.start for s in plan.segments]


@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6),
    longest=st.integers(1, 300),
    passes=st.integers(1, 2),
)
def test_recursions_begin_at_the_same_frames_whatever_the_segments_are(
    lengths: list[int], longest: int, passes: int
) -> None:
    edges = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    found = scan(edges[-1], shots=list(itertools.pairwise(edges)))
    config = RestoreConfig(temporal_passes=passes)
    segments = make_plan(found, config, longest=longest).segments
    assert tuple(block for s in segments for block in s.blocks) == whole(found, config).blocks
    for s in segments:
        assert 0 < s.frames <= max(longest, BLOCK)
        assert [b.start for b in s.blocks] == [s.start, *(b.stop for b in s.blocks)][:-1]
        assert s.blocks[-1].stop == s.stop
        first, last = (next(shot for shot in found.shots if shot[0] <= n < shot[1]) for n in (s.start, s.stop - 1))
        assert s.read == range(max(first[0], s.start - RUN_IN), min(last[1], s.stop + RUN_IN * (passes - 1)))
        assert s.first_pts == 40 * s.read.start


def test_frames_around_a_segment_have_their_faces() -> None:
    found = scan(100, tracks=[track(0, 0, 100)])
    segments = make_plan(found, RestoreConfig(temporal_passes=2), longest=32).segments
    plan = make_plan(found, DEFAULT)
    assert [len(planned_faces(found, plan, s)) for s in segments] == [40, 48, 44, 12]
    assert all(faces[0].track == 0 for s in segments for faces in planned_faces(found, plan, s))


@pytest.mark.parametrize(("pts", "step"), [([0], 1), ([0, 40, 80, 160], 40), ([5, 5, 5], 1), ([0, 33, 67, 100], 33)])
def test_the_usual_step_between_frames(pts: list[int], step: int) -> None:
    assert usual_step(pts) == step


def test_a_long_shot_is_cut_evenly() -> None:
    plan = make_plan(scan(260), SMOOTH, longest=250)
    assert [s.frames for s in plan.segments] == [130, 130]
    assert [s.frames for s in make_plan(scan(260), DEFAULT, longest=250).segments] == [128, 132]


def test_the_plan_is_the_same_for_any_number_of_workers() -> None:
    found = scan(900, tracks=[track(0, 0, 900)])
    assert make_plan(found, RestoreConfig(workers=7)) == make_plan(found, DEFAULT)


def test_faces_are_planned_where_they_are() -> None:
    found = scan(50, shots=[(0, 20), (20, 50)], tracks=[track(4, 5, 10), track(9, 20, 30, strength=0.5)])
    plan = make_plan(found, DEFAULT)
    first, second = (planned_faces(found, plan, segment) for segment in plan.segments)
    assert [len(faces) for faces in first] == [0] * 5 + [1] * 10 + [0] * 5
    assert all(faces[0].track == 9 and faces[0].strength == 0.5 for faces in second)
    assert plan.faces == 40
    assert planned_faces(found, plan, whole(found)) == first + second


def test_strength_0_plans_nothing_and_a_track_overrides_it() -> None:
    found = scan(10, tracks=[track(0, 0, 10), track(1, 0, 10, left=200, strength=0.3)])
    plan = make_plan(found, RestoreConfig(strength=0))
    assert plan.faces == 10
    assert {face.track for faces in planned_faces(found, plan, whole(found)) for face in faces} == {1}


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (RestoreConfig(min_face=50), {0, 1}),
        (RestoreConfig(min_face=16, max_face=50), {2}),
        (RestoreConfig(max_faces=1), {1}),
        (RestoreConfig(max_faces=2), {0, 1}),
        (RestoreConfig(only_center_face=True), {0}),
    ],
)
def test_whole_tracks_are_chosen(config: RestoreConfig, kept: set[int]) -> None:
    tracks = [
        track(0, 0, 10, size=60, left=130),
        track(1, 0, 10, size=80, left=10),
        track(2, 0, 10, size=30, left=250),
    ]
    found = scan(10, tracks=tracks)
    plan = make_plan(found, config)
    assert {face.track for faces in planned_faces(found, plan, whole(found)) for face in faces} == kept


def test_max_faces_counts_those_in_view_together() -> None:
    found = scan(30, tracks=[track(0, 0, 10, size=60), track(1, 10, 10, size=50), track(2, 15, 15, size=40)])
    plan = make_plan(found, RestoreConfig(max_faces=1))
    assert {t for t, weights in plan.weights.items() if any(weights)} == {0, 1}


def test_faces_beyond_the_most_are_counted() -> None:
    found = scan(10, tracks=[track(0, 0, 10, size=60), track(1, 0, 5, size=50, left=150), track(2, 0, 7, size=8)])
    assert make_plan(found, RestoreConfig(max_faces=1)).beyond == 5
    assert make_plan(found, RestoreConfig(only_center_face=True)).beyond == 0
    assert make_plan(found, DEFAULT).beyond == 0


def test_a_face_that_leaves_the_frame_fades_out() -> None:
    size, left = 60, [100, 0, -40, -50, -60, -70, -80, -200]
    leaving = track(0, 0, len(left)).model_copy(
        update={"landmarks": [[float(v) for v in landmarks(x, 60, 2 * size).ravel()] for x in left]}
    )
    weights = make_plan(scan(len(left), tracks=[leaving]), DEFAULT).weights[0]
    assert weights[:2] == [1.0, 1.0]
    assert weights == sorted(weights, reverse=True)
    assert any(0 < weight < 1 for weight in weights)
    assert weights[-2:] == [0.0, 0.0]


def test_many_cuts_cost_no_squares() -> None:
    """Of 4,000 frames that are a cut each nothing is looked through as a whole for each, and few segments are made."""
    count = 4000
    started = time.process_time()
    found = scan(
        count, shots=[(index, index + 1) for index in range(count)], tracks=[track(n, n, 1) for n in range(count)]
    )
    plan = make_plan(found, DEFAULT)
    planned = [planned_faces(found, plan, segment) for segment in plan.segments]
    assert time.process_time() - started < 10
    assert len(plan.segments) == 16
    assert [faces[0].track for frames in planned for faces in frames] == list(range(count))


def test_a_face_that_shrinks_below_the_limit_fades_out() -> None:
    sizes = [30, 30, 30, 30, 30, 20, 18, 17, 10]
    shrinking = track(0, 0, 9).model_copy(update={"boxes": [(10.0, 10.0, 5.0, float(s)) for s in sizes]})
    weights = make_plan(scan(9, tracks=[shrinking]), RestoreConfig(min_face=20)).weights[0]
    assert weights[:6] == [1.0] * 6
    assert weights[5] > weights[6] > weights[7] > 0
    assert weights[8] == 0


def test_the_picture_of_a_video_shows_the_largest_restored_face() -> None:
    found = scan(30, tracks=[track(0, 3, 10, size=40), track(1, 20, 5, size=70, strength=0.1)])
    assert busiest_frame(found, make_plan(found, DEFAULT)) == 3
    assert busiest_frame(scan(30), make_plan(scan(30), DEFAULT)) == 15


def copied(plan: object) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in plan.segments if s.copied]  # type: ignore[attr-defined]


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    begin=st.integers(0, 300),
    length=st.integers(1, 300),
    group=st.integers(1, 60),
    passes=st.integers(1, 2),
)
def test_what_is_copied_holds_no_face_and_changes_no_recursion(
    lengths: list[int], begin: int, length: int, group: int, passes: int
) -> None:
    edges = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    shots = list(itertools.pairwise(edges))
    start, stop = next(shot for shot in shots if begin % edges[-1] < shot[1])
    start = max(start, begin % edges[-1])
    stop = min(stop, start + length)
    found = scan(edges[-1], shots=shots, tracks=[track(0, start, stop - start)])
    config = RestoreConfig(temporal_passes=passes)
    groups = list(itertools.pairwise([*range(0, edges[-1], group), edges[-1]]))
    plan = make_plan(found, config, groups=lambda: groups)
    whole_blocks = make_plan(found, config)
    assert [s.start for s in plan.segments] == [0, *(s.stop for s in plan.segments)][:-1]
    assert plan.segments[-1].stop == edges[-1]
    assert [s.number for s in plan.segments] == list(range(len(plan.segments)))
    assert not any(a < stop and start < b for a, b in copied(plan))
    starts = {block.start for s in whole_blocks.segments for block in s.blocks}
    spans = copied(plan)
    for s in plan.segments:
        if s.copied:
            assert not s.blocks
            continue
        assert [b.start for b in s.blocks] == [s.start, *(b.stop for b in s.blocks)][:-1]
        assert all(block.start in starts or any(b == block.start for _, b in spans) for block in s.blocks)
        assert not any(a < s.read.stop and s.read.start < b for a, b in spans)


def test_groups_in_a_row_are_copied_together_and_few_frames_are_not_worth_an_encoder() -> None:
    found = scan(200, tracks=[track(0, 100, 20)])
    groups = [(n, n + 10) for n in range(0, 200, 10)]
    assert copied(make_plan(found, DEFAULT, groups=lambda: groups)) == [(0, 100), (120, 200)]
    crowded = scan(200, tracks=[track(0, 20, 60), track(1, 100, 100)])
    assert copied(make_plan(crowded, DEFAULT, groups=lambda: groups)) == []
    assert copied(make_plan(scan(8), DEFAULT, groups=lambda: [(0, 8)])) == [(0, 8)]


def test_groups_are_asked_for_only_where_there_is_something_to_copy() -> None:
    def refuse() -> list[tuple[int, int]]:
        raise AssertionError("the packets were read")

    assert make_plan(scan(100, tracks=[track(0, 0, 100)]), DEFAULT, groups=refuse).segments
