"""The stages keep order, batch over frames, and lose no frame to a failure."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_fakes import Brightener, landmarks

from revisage.core.errors import ModelError
from revisage.core.values import Face
from revisage.media import Frame
from revisage.pipeline.restoration import (
    Block,
    FrameInWork,
    PlannedFace,
    StageClock,
    align_faces,
    frame_stages,
    restore_faces,
    show_faces,
)
from revisage.temporal import Motion


def face(track: int = 0) -> PlannedFace:
    return PlannedFace(track, Face((10, 10, 20, 20), landmarks(5, 5, 40)), 1.0)


def frames(counts: Iterable[int]) -> list[FrameInWork]:
    return [
        FrameInWork(
            Frame.from_array(np.full((48, 64, 3), number % 250, np.uint8), pts=number),
            [face(track) for track in range(count)],
        )
        for number, count in enumerate(counts)
    ]


def cut(frame: Frame, planned: PlannedFace) -> Any:
    crop = np.full((64, 64, 3), frame.rgb()[0, 0, 0], np.uint8)
    return SimpleNamespace(crop=crop, input=crop, shows_restored=True)


def run(items: list[FrameInWork], restorer: Any, batch: int = 4, **kwargs: Any) -> list[FrameInWork]:
    clock = StageClock()
    aligned = align_faces(items, kwargs.get("align", cut), clock)
    restored = restore_faces(aligned, restorer, lambda: batch, clock)
    show = kwargs.get("show", lambda base, _item: base.with_rgb(base.rgb() + 1))
    return list(show_faces(restored, lambda frame: frame, show, clock))


@given(counts=st.lists(st.integers(0, 6), max_size=25), batch=st.integers(1, 9))
def test_every_frame_comes_out_in_order_with_its_own_faces(counts: list[int], batch: int) -> None:
    sizes: list[int] = []

    class Recorder(Brightener):
        def __call__(self, crops: np.ndarray) -> np.ndarray:
            sizes.append(len(crops))
            return super().__call__(crops)

    done = run(frames(counts), Recorder(), batch)
    assert [item.frame.pts for item in done] == list(range(len(counts)))
    for number, (item, count) in enumerate(zip(done, counts, strict=True)):
        assert len(item.restored) == count
        assert all((crop == number % 250 + 40).all() for crop in item.restored)
        assert (item.shown.rgb() == number % 250 + (count > 0)).all()
    assert sum(sizes) == sum(counts)
    assert all(size <= batch for size in sizes)


def test_what_would_not_be_shown_is_not_restored() -> None:
    def odd_ones(frame: Frame, planned: PlannedFace) -> Any:
        made = cut(frame, planned)
        made.shows_restored = frame.pts % 2 == 1
        return made

    restorer = Brightener()
    done = run(frames([1] * 8), restorer, 4, align=odd_ones)
    assert [int(item.restored[0][0, 0, 0]) for item in done] == [0, 41, 2, 43, 4, 45, 6, 47]
    calls = restorer.calls
    assert run(frames([2, 0, 2]), restorer, 4, align=odd_ones)[0].restored[1].max() == 0
    assert restorer.calls == calls


def test_the_first_frame_waits_for_no_other_and_batches_grow_full() -> None:
    restorer = Brightener()
    clock = StageClock()
    restored = restore_faces(align_faces(frames([1] * 31), cut, clock), restorer, lambda: 8, clock)
    calls = [restorer.calls for _ in restored]
    assert calls == [1, *[2] * 2, *[3] * 4, *[4] * 8, *[5] * 8, *[6] * 8]


def test_equal_crops_in_a_row_are_restored_once() -> None:
    """Each track by itself; what a batch holds is new."""

    class Recorder(Brightener):
        shown: list[int]

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            self.shown = [*getattr(self, "shown", []), *crops[:, 0, 0, 0].tolist()]
            return super().__call__(crops)

    def level(frame: Frame, planned: PlannedFace) -> Any:
        number = int(frame.rgb()[0, 0, 0])
        value = 100 if planned.track else (0, 0, 0, 7, 7, 0, 0, 9)[number]
        crop = np.full((64, 64, 3), value, np.uint8)
        return SimpleNamespace(crop=crop, input=crop, shows_restored=True)

    restorer = Recorder()
    done = run(frames([2] * 8), restorer, align=level)
    assert restorer.shown == [0, 100, 7, 0, 9]
    assert [[int(crop[0, 0, 0]) for crop in item.restored] for item in done] == [
        [value + 40, 140] for value in (0, 0, 0, 7, 7, 0, 0, 9)
    ]


def test_frames_without_faces_do_not_wait() -> None:
    passed = []

    def source() -> Iterable[FrameInWork]:
        for item in frames([0, 0, 1, 0, 1]):
            passed.append(item.frame.pts)
            yield item

    stream = restore_faces(align_faces(source(), cut, StageClock()), Brightener(), lambda: 4, StageClock())
    assert next(iter(stream)).frame.pts == 0
    assert passed == [0]


def test_few_frames_wait_for_a_batch_however_few_faces_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_stages, "_HELD_BYTES", 3 * 48 * 64 * 3)
    taken = []

    def source() -> Iterable[FrameInWork]:
        for item in frames([1, 1] + [0] * 50):
            taken.append(item)
            yield item

    stream = restore_faces(align_faces(source(), cut, StageClock()), Brightener(), lambda: 8, StageClock())
    assert [next(stream).restored and len(taken) for _ in range(2)] == [1, 5]


def test_a_failing_batch_costs_only_the_frames_at_fault() -> None:
    done = run(frames([1, 2, 1, 1]), Brightener(fails_at=1), 8)
    assert [bool(item.problem) for item in done] == [False, True, False, False]
    assert done[1].problem == "RuntimeError: no luck with this one"
    assert (done[1].shown.rgb() == 1).all()
    assert (done[2].shown.rgb() == 3).all()


@pytest.mark.parametrize("stage", ["align", "show"])
def test_a_frame_that_cannot_be_aligned_or_composited_is_kept(stage: str) -> None:
    def refuse(frame: Frame, other: Any) -> Any:
        if frame.rgb()[0, 0, 0] == 1:
            raise ValueError("impossible")
        return cut(frame, other) if stage == "align" else frame.with_rgb(frame.rgb() + 1)

    done = run(frames([1, 1, 1]), Brightener(), 2, **{stage: refuse})
    assert [item.problem for item in done] == [None, "ValueError: impossible", None]
    assert [int(item.shown.rgb()[0, 0, 0]) for item in done] == [1, 1, 3]


def test_a_users_mistake_is_no_failed_frame() -> None:
    def restorer(crops: np.ndarray) -> np.ndarray:
        raise ModelError("damaged")

    with pytest.raises(ModelError):
        run(frames([1]), restorer)


def test_time_is_counted_by_stage() -> None:
    clock = StageClock()
    with clock("one"), clock("two"):
        pass
    with clock("one"):
        pass
    assert set(clock.seconds) == {"one", "two"}
    assert clock.seconds["one"] >= clock.seconds["two"] >= 0


def steady(count: int, *, start: int = 0, blocks: int = 32, sigma: float = 0.5) -> list[FrameInWork]:
    """A face that stands still but for a little noise, with blocks of recursions and no motion between frames."""
    rng = np.random.default_rng(5)
    face_ = cv2.GaussianBlur(rng.uniform(0, 255, (64, 64, 3)).astype(np.float32), (0, 0), 3) * 6 - 640
    noise = [rng.normal(0, sigma, face_.shape) for _ in range(start + count)]
    items = frames([1] * (start + count))
    still = Motion(np.zeros((64, 64, 2), np.float32), np.ones((64, 64), np.float32))
    for index, item in enumerate(items):
        first = index // blocks * blocks
        item.index, item.blocks, item.motions = index, (Block(first, first + blocks, first, first + blocks),), [still]
        crop = np.clip(np.rint(face_ + noise[index]), 0, 200).astype(np.uint8)
        item.aligned = [SimpleNamespace(crop=crop, input=crop, shows_restored=True, landmarks=landmarks(0, 0, 64))]
    return items[start:]


class Inverter:
    """A restorer that remembers what it was shown, and fails on crops that it is told to."""

    def __init__(self, refused: set[bytes] = frozenset()) -> None:
        self.shown: list[bytes] = []
        self._refused = refused

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        if any(crop.tobytes() in self._refused for crop in crops):
            raise RuntimeError("not this one")
        self.shown += [crop.tobytes() for crop in crops]
        return 255 - crops


def restored(items: list[FrameInWork], restorer: Any, carry: int, batch: int = 4) -> list[FrameInWork]:
    return list(restore_faces(items, restorer, lambda: batch, StageClock(), carry))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_face_that_hardly_changes_is_restored_every_so_often(batch: int) -> None:
    restorer = Inverter()
    done = restored(steady(32), restorer, 4, batch)
    own = [bool(item.carried) for item in done]
    assert own == [index % 5 > 0 for index in range(32)]
    crops = [item.aligned[0].crop for item in done]
    assert restorer.shown == [crops[index].tobytes() for index in range(0, 32, 5)]
    for index, item in enumerate(done):
        shown = crops[index - index % 5]
        change = cv2.GaussianBlur(crops[index].astype(np.float32) - shown, (0, 0), 1.5)
        assert np.abs(item.restored[0] - np.clip(255.0 - shown + change, 0, 255)).max() < 1


def test_each_is_restored_where_nothing_is_to_be_carried_or_no_motion_is_known() -> None:
    assert [item.carried for item in restored(steady(9), Inverter(), 0)] == [0] * 9
    unknown = steady(9)
    for item in unknown:
        item.motions = [None]
    assert [item.carried for item in restored(unknown, Inverter(), 4)] == [0] * 9


def test_what_is_carried_is_the_same_wherever_a_segment_begins() -> None:
    whole = restored(steady(24, blocks=8), Inverter(), 4)
    parts = [restored(steady(8, start=start, blocks=8), Inverter(), 4, batch=2) for start in (0, 8, 16)]
    assert [item.carried for item in whole[8:16]] == [0, 1, 1, 1, 1, 0, 1, 1]
    for one, other in zip(whole, [item for part in parts for item in part], strict=True):
        assert np.array_equal(one.restored[0], other.restored[0])


def test_what_would_carry_on_a_failure_is_restored_itself() -> None:
    items = steady(16)
    refused = {items[5].aligned[0].crop.tobytes()}  # the second that is restored, while others wait for it
    done = restored(items, Inverter(refused), 4)
    assert done[5].problem == "RuntimeError: not this one"
    for item in (*done[:5], *done[6:]):
        assert item.problem is None
        assert len(item.restored) == 1
    assert np.array_equal(done[6].restored[0], 255 - done[6].aligned[0].crop)
    assert [item.carried for item in done[6:13]] == [0, 0, 0, 0, 0, 0, 1]
