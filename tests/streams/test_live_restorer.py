"""A stream of frames: what comes out of it, and what it drops."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from revisage import pipeline
from revisage.core import ConfigError, RestoreConfig, make_config
from revisage.media import Frame
from revisage.streams import LiveRestorer
from revisage.streams.side_work import Outcome, SideThread, SideWorkAtOnce
from sample_media import face_frames, plain_frames

Image = np.ndarray
CONFIG = make_config()


def as_frames(images: list[Image]) -> list[Frame]:
    return [Frame.from_array(image, pts=number * 40) for number, image in enumerate(images)]


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    """14 frames of one face, damaged: a restorer has something to do."""
    damaged = []
    for image in face_frames(14):
        small = cv2.resize(image, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
        damaged.append(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    return as_frames(damaged)


def restorer(config: RestoreConfig = CONFIG, **options: Any) -> LiveRestorer:
    return LiveRestorer(config, networks=pipeline.kept_networks(config), **options)


def pushed(stream: LiveRestorer, frames: list[Frame]) -> list[Frame]:
    shown = [stream.push(frame) for frame in frames]
    assert all(frame is not None for frame in shown)
    return [frame for frame in shown if frame is not None]


def sharpness(frame: Frame) -> float:
    grey = cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2GRAY)[60:220, 170:310]
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())


class Counted:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Later:
    """Side work whose results come when they are asked for so many times."""

    def __init__(self, turns: int) -> None:
        self._turns, self._left = turns, 0
        self._done: Outcome | None = None

    @property
    def is_free(self) -> bool:
        return self._done is None

    def start(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._done, self._left = Outcome(then, work()), self._turns

    def finished(self) -> Outcome | None:
        self._left -= 1
        if self._done is None or self._left > 0:
            return None
        done, self._done = self._done, None
        return done

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def each(clip: list[Frame]) -> list[Frame]:
    """The clip, every frame of it restored."""
    return pushed(restorer(restore_every=1), clip)


def test_every_frame_restored_is_sharper_and_the_same_each_time(clip: list[Frame], each: list[Frame]) -> None:
    again = pushed(restorer(restore_every=1), clip[:6])
    assert all(a.shows_same(b) for a, b in zip(each, again, strict=False))
    assert len(again) == 6
    assert all(sharpness(after) > 1.15 * sharpness(before) for after, before in zip(each[9:], clip[9:], strict=True))


def test_frames_between_restored_ones_carry_their_detail(clip: list[Frame], each: list[Frame]) -> None:
    stream = restorer(restore_every=4)
    carried = pushed(stream, clip)
    assert stream.tally.restored <= 5
    for number in range(9, 14):
        gained = sharpness(carried[number]) - sharpness(clip[number])
        assert gained > 0.3 * (sharpness(each[number]) - sharpness(clip[number]))
        # and they show what the frame shows, as the frames that were restored themselves do
        away = np.abs(carried[number].rgb().astype(int) - each[number].rgb())[60:220, 170:310]
        assert away.mean() < 4


def test_a_restorer_that_is_late_holds_no_frame_up(clip: list[Frame]) -> None:
    stream = restorer(clock=Counted(), side_work=Later(4))
    assert len(pushed(stream, clip)) == len(clip)
    assert 1 <= stream.tally.restored <= 4


def test_frames_without_faces_leave_as_they_came() -> None:
    frames = as_frames(plain_frames(5))
    shown = pushed(restorer(restore_every=1), frames)
    assert all(a.shows_same(b) for a, b in zip(shown, frames, strict=True))


def test_strength_zero_changes_nothing_and_may_be_changed_on_the_way(clip: list[Frame]) -> None:
    stream = restorer(restore_every=1)
    stream.strength = 0.0
    assert all(a.shows_same(b) for a, b in zip(pushed(stream, clip[:8]), clip, strict=False))
    stream.strength = 1.0
    assert not pushed(stream, clip[8:9])[0].shows_same(clip[8])


def test_a_small_face_that_is_clean_is_left_nearly_as_it_is(clip: list[Frame], each: list[Frame]) -> None:
    halves = [cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in face_frames(6)]
    clean = as_frames(halves)
    changes = {}
    for fine in ("auto", "keep"):
        shown = pushed(restorer(make_config(fine=fine), restore_every=1), clean)
        changes[fine] = difference(shown[-1], clean[-1])
    assert changes["keep"] > 0.1
    assert changes["auto"] < 0.2 * changes["keep"]
    # A damaged one is restored as if nobody had looked.
    kept = pushed(restorer(make_config(fine="keep"), restore_every=1), clip[:4])
    assert all(ours.shows_same(theirs) for ours, theirs in zip(each[:4], kept, strict=True))


def difference(one: Frame, other: Frame) -> float:
    return float(np.abs(one.rgb().astype(int) - other.rgb()).mean())


def test_a_restoration_fades_in_and_does_not_flash(clip: list[Frame]) -> None:
    still = [Frame.from_array(clip[0].rgb(), pts=40 * number) for number in range(14)]
    stream = restorer(clock=Counted(), side_work=Later(3))
    shown = [frame.rgb().astype(int) for frame in pushed(stream, still)]
    steps = [np.abs(b - a)[60:220, 170:310].mean() for a, b in itertools.pairwise(shown)]
    whole = np.abs(shown[-1] - shown[0])[60:220, 170:310].mean()
    assert max(steps) < 0.45 * whole


def test_a_face_that_a_shot_begins_with_is_restored_at_once_where_nothing_depends_on_time(clip: list[Frame]) -> None:
    (first,) = pushed(restorer(restore_every=1), clip[:1])
    assert sharpness(first) > 1.1 * sharpness(clip[0])


def test_a_cut_takes_nothing_along(clip: list[Frame]) -> None:
    other = as_frames(plain_frames(3, clip[0].size_hw))
    stream = restorer(restore_every=4)
    pushed(stream, clip[:10])
    assert all(a.shows_same(b) for a, b in zip(pushed(stream, other), other, strict=True))


def test_upscaled_frames_have_that_size(clip: list[Frame]) -> None:
    config = make_config(upscale=1.5)
    assert {frame.size_hw for frame in pushed(restorer(config, restore_every=1), clip[:2])} == {(405, 720)}


def test_frames_that_are_too_old_are_dropped(clip: list[Frame]) -> None:
    clock = Counted()
    stream = restorer(clock=clock, side_work=SideWorkAtOnce())
    clock.time = 10.0
    assert stream.push(clip[0], captured=9.5) is None
    assert stream.push(clip[1], captured=9.95) is not None
    assert (stream.tally.taken, stream.tally.dropped, stream.tally.shown) == (2, 1, 1)


def test_a_frame_from_another_thread_is_dropped_while_one_is_at_work(clip: list[Frame]) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Stopped(Counted):
        def now(self) -> float:
            if threading.current_thread().name == "first" and not leave.is_set():
                inside.set()
            return self.time

    class Waiting(SideWorkAtOnce):
        def finished(self) -> Outcome | None:
            if threading.current_thread().name == "first":
                leave.wait(5)
            return super().finished()

    stream = restorer(clock=Stopped(), side_work=Waiting())
    first = threading.Thread(target=stream.push, args=(clip[0],), name="first")
    first.start()
    assert inside.wait(5)
    while not stream._busy.locked():
        pass
    assert stream.push(clip[1]) is None
    leave.set()
    first.join()
    assert stream.tally.dropped == 1


def test_a_restoration_that_fails_keeps_the_frame_and_is_counted(clip: list[Frame]) -> None:
    stream = restorer(restore_every=1)

    def broken(crops: Image) -> Image:
        raise RuntimeError("no more\nmemory")

    broken.size = 256  # type: ignore[attr-defined]
    stream._restorer = broken  # type: ignore[assignment]
    shown = pushed(stream, clip[:8])
    assert all(a.shows_same(b) for a, b in zip(shown, clip, strict=False))
    assert stream.tally.failed > 0
    assert stream.tally.problem == "RuntimeError: no more memory"


def test_the_thread_beside_the_frames_does_its_work_and_ends() -> None:
    side, got = SideThread(), []
    side.start(lambda: threading.current_thread().name, got.append)
    assert not side.is_free
    while (outcome := side.finished()) is None:
        pass
    outcome.then(outcome.result)
    assert side.is_free
    assert got == ["revisage-side"]
    side.close()
    assert side._thread is not None
    side._thread.join(5)
    assert not side._thread.is_alive()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temporal_passes": 2}, "frames ahead"),
        ({"background": "realesrgan-x2"}, "none or lanczos"),
        ({"aligned": True}, "cut out beforehand"),
    ],
)
def test_what_a_stream_cannot_do_is_said(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        LiveRestorer(make_config(**options))


@pytest.mark.parametrize("options", [{"latency": 0.0}, {"latency": 11.0}, {"restore_every": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LiveRestorer(CONFIG, **options)
