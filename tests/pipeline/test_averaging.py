"""Faces averaged over time in the pipeline: the same pixels for any split, nothing across cuts, tracks and gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline_fakes import landmarks

import revisage
from revisage.core import Face, Region, RestoreConfig
from revisage.faces import AlignedFace, align, composite
from revisage.media import Frame, open_source
from revisage.pipeline import plan
from revisage.pipeline.restoration import (
    Block,
    FrameInWork,
    PlannedFace,
    StageClock,
    average_inputs,
    average_restored,
)
from revisage.temporal.flow import DisFlow
from sample_media import read_video

SIZE = 64
NOISE = np.random.default_rng(0).integers(60, 200, (40, SIZE, SIZE, 3), np.uint8)


def item(index: int, tracks: tuple[int, ...], inside: tuple[Block, ...], lapse: float = 1.0) -> FrameInWork:
    """A frame whose faces show noise that follows from the track and the index."""
    frame = Frame.from_array(np.zeros((SIZE, SIZE, 3), np.uint8), pts=index)
    face = Face((10, 10, 20, 20), landmarks(5, 5, 40))
    found = FrameInWork(frame, [PlannedFace(track, face, 1.0) for track in tracks], index=index, lapse=lapse)
    found.blocks = tuple(block for block in inside if block.first <= index < block.last)
    region = Region(0, 0, SIZE, SIZE)
    found.aligned = [
        AlignedFace(NOISE[(index + 7 * track) % 40], np.eye(2, 3), region, face.landmarks) for track in tracks
    ]
    return found


def averaged(items: list[FrameInWork], passes: int = 1) -> list[FrameInWork]:
    """Items through both stages, with a restorer between them that changes nothing."""
    clock = StageClock()

    def restored() -> list[FrameInWork]:
        done = list(average_inputs(items, DisFlow("fast"), passes, clock))
        for entry in done:
            entry.restored = [face.input for _, face in entry.faces]
        return done

    return list(average_restored(restored(), (SIZE, SIZE), clock))


def results(items: list[FrameInWork]) -> dict[int, list[np.ndarray]]:
    return {entry.index: entry.restored for entry in items}


def equal(a: dict[int, list[np.ndarray]], b: dict[int, list[np.ndarray]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(x, y) for key in a for x, y in zip(a[key], b[key], strict=True))


def blocks_of(shots: list[tuple[int, int]], start: int, stop: int, passes: int) -> tuple[Block, ...]:
    """Those of the shots that begin in some of their frames."""
    config = RestoreConfig(temporal_passes=passes)
    return tuple(block for shot in shots for block in plan.blocks_of(*shot, config) if start <= block.start < stop)


def whole(count: int) -> tuple[Block, ...]:
    return (Block(0, count, 0, count),)


@pytest.mark.parametrize("passes", [1, 2])
def test_order_and_number_of_frames_are_kept(passes: int) -> None:
    inside = blocks_of([(0, 50)], 0, 50, passes)
    done = averaged([item(index, (0,) if index % 9 else (), inside) for index in range(50)], passes)
    assert [entry.index for entry in done] == list(range(50))
    assert [len(entry.restored) for entry in done] == [int(bool(index % 9)) for index in range(50)]
    assert not any(entry.problem for entry in done)


@pytest.mark.parametrize("passes", [1, 2])
def test_blocks_are_the_same_alone_and_after_others(passes: int) -> None:
    def part(start: int, stop: int) -> dict[int, list[np.ndarray]]:
        inside = blocks_of([(0, 80)], start, stop, passes)
        read = range(inside[0].first, inside[-1].last)
        return results(averaged([item(index, (0, 1), inside) for index in read], passes))

    assert equal(part(0, 80), {**part(0, 32), **part(32, 64), **part(64, 80)})


@pytest.mark.parametrize("passes", [1, 2])
def test_a_cut_begins_anew(passes: int) -> None:
    inside = blocks_of([(0, 5), (5, 10)], 0, 10, passes)
    both = results(averaged([item(index, (int(index >= 5),), inside) for index in range(10)], passes))
    alone = results(averaged([item(index, (1,), inside[1:]) for index in range(5, 10)], passes))
    assert equal({index: both[index] for index in range(5, 10)}, alone)
    if passes == 1:
        assert np.array_equal(both[5][0], item(5, (1,), inside).aligned[0].crop)


def test_a_new_track_and_one_that_comes_back_begin_anew() -> None:
    tracks = [(0,), (0, 1), (0,), (0, 1), (1,)]
    done = averaged([item(index, ids, whole(5)) for index, ids in enumerate(tracks)])
    fresh = [item(index, ids, whole(5)) for index, ids in enumerate(tracks)]
    assert np.array_equal(done[1].restored[1], fresh[1].aligned[1].crop)
    assert np.array_equal(done[3].restored[1], fresh[3].aligned[1].crop)
    assert not np.array_equal(done[4].restored[0], fresh[4].aligned[0].crop)
    assert all(motion is not None for motion in (done[1].motions[0], done[2].motions[0]))


def test_order_of_faces_in_a_frame_does_not_matter() -> None:
    one = averaged([item(index, (0, 1), whole(6)) for index in range(6)])
    other = averaged([item(index, (0, 1) if index % 2 else (1, 0), whole(6)) for index in range(6)])
    assert np.array_equal(one[4].restored[0], other[4].restored[1])


@pytest.mark.parametrize("passes", [1, 2])
def test_a_face_of_one_frame_stays_as_it_is(passes: int) -> None:
    (done,) = averaged([item(3, (0,), (Block(3, 4, 3, 4),))], passes)
    assert np.array_equal(done.restored[0], item(3, (0,), ()).aligned[0].crop)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_frame_that_failed_is_passed_over(passes: int) -> None:
    items = [item(index, (0,), whole(8)) for index in range(8)]
    with items[4].kept_on_failure():
        raise ValueError
    done = averaged(items, passes)
    assert [bool(entry.problem) for entry in done] == [index == 4 for index in range(8)]
    assert np.array_equal(done[5].restored[0], items[5].aligned[0].input)
    assert done[5].motions == [None]


@pytest.mark.parametrize("passes", [1, 2])
def test_a_source_that_ends_early_loses_no_frame(passes: int) -> None:
    inside = blocks_of([(0, 60)], 0, 60, passes)
    assert len(averaged([item(index, (0,), inside) for index in range(37)], passes)) == 37


def test_faces_that_cannot_be_averaged_are_given_up() -> None:
    def broken(target: np.ndarray, source: np.ndarray) -> np.ndarray:
        raise RuntimeError("no flow")

    done = list(average_inputs([item(index, (0,), whole(3)) for index in range(3)], broken, 1, StageClock()))
    assert [entry.problem for entry in done] == [None, "RuntimeError: no flow", None]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "RUN_IN", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("passes", [1, 2])
def test_any_split_into_segments_gives_the_same_pixels(
    face_clip: Path, tiny_model: Path, tmp_path: Path, passes: int
) -> None:
    found = revisage.scan(face_clip)
    outputs = []
    for longest, count in ((4, 3), (8, 2), (250, 1)):
        path = tmp_path / f"{longest}.mkv"
        report = revisage.restore(
            face_clip,
            path,
            model=str(tiny_model),
            codec="ffv1",
            scan=found,
            temporal_passes=passes,
            fine="auto" if passes == 1 else "keep",
            batch=3,
            segment_frames=longest,
        )
        assert report.files[0].segments == count
        outputs.append(read_video(path))
    for other in outputs[1:]:
        assert all(t == u and np.array_equal(a, b) for (t, a), (u, b) in zip(outputs[0], other, strict=True))


def test_off_is_each_frame_by_itself_with_raw_landmarks(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = revisage.scan(face_clip, temporal="off")
    assert found.settings.smooth is False
    assert found.tracks[0].landmarks != revisage.scan(face_clip).tracks[0].landmarks
    revisage.restore(face_clip, tmp_path / "off.mkv", model=str(tiny_model), codec="ffv1", temporal="off", fine="keep")
    restorer = revisage.load_restorer(tiny_model)
    (track,) = found.tracks
    with open_source(face_clip) as source, open_source(tmp_path / "off.mkv") as output:
        for index, (frame, after) in enumerate(zip(source.frames(), output.frames(), strict=True)):
            face = align(frame, track.face(index), restorer.size)
            crop = restorer(face.crop[None])[0]
            assert np.array_equal(composite(frame, [(face, crop, track.weights[index])]).rgb(), after.rgb())
