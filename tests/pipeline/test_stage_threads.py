"""Stages run ahead a bounded number of items, hide no error, and never hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from revisage.core.errors import CancelledError
from revisage.core.progress import CancelToken
from revisage.pipeline.restoration import StageThreads


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    # On a busy machine one that an earlier test gave up in the middle of a batch may still be at work.
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("revisage-")] == []


def test_order_and_content_are_kept_over_several_stages() -> None:
    with StageThreads(CancelToken()) as stages:
        first = stages.ahead(lambda: iter(range(100)), depth=3, name="a")
        second = stages.ahead(lambda: (2 * n for n in first), depth=1, name="b")
        assert list(second) == list(range(0, 200, 2))


def test_an_error_comes_through_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    got: list[int] = []
    with pytest.raises(ValueError, match="the third") as caught, StageThreads(CancelToken()) as stages:
        first = stages.ahead(broken, depth=4, name="a")
        got.extend(stages.ahead(lambda: (n for n in first), depth=4, name="b"))
    assert got == [1, 2]
    assert "broken" in [entry.name for entry in caught.traceback]


def test_no_more_than_depth_items_wait() -> None:
    made = []

    def endless() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    with StageThreads(CancelToken()) as stages:
        items = stages.ahead(endless, depth=3, name="a")
        assert next(items) == 0
        time.sleep(0.2)
        # Three in the queue, one in hand, one taken.
        assert len(made) <= 5


def test_leaving_early_stops_the_thread_and_closes_the_generator_in_it() -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    with StageThreads(CancelToken()) as stages:
        items = stages.ahead(numbers, depth=2, name="a")
        assert next(items) == 0
    assert closed == ["revisage-a"]


def test_cancelling_is_noticed_while_waiting() -> None:
    token = CancelToken()
    release = threading.Event()

    def stuck() -> Iterator[int]:
        yield 1
        release.wait(60)

    with pytest.raises(CancelledError), StageThreads(token) as stages:
        items = stages.ahead(stuck, depth=2, name="a")
        assert next(items) == 1
        threading.Timer(0.1, token.cancel).start()
        next(items)
    # Nobody who stops the work waits for a stage that cannot be interrupted; it ends when it has done what it was at.
    given_up = [thread for thread in threading.enumerate() if thread.name == "revisage-a"]
    assert len(given_up) == 1
    release.set()
    given_up[0].join(60)


def test_a_stage_that_fails_at_once_is_heard() -> None:
    def refuse() -> Iterator[int]:
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"), StageThreads(CancelToken()) as stages:
        list(stages.ahead(refuse, depth=1, name="a"))
