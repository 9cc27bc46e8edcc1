"""Which worker does what next."""

from __future__ import annotations

from revisage.cluster import Schedule


def test_tasks_are_taken_one_by_one_in_their_order() -> None:
    taken = []
    schedule = Schedule(iter("abc"))
    while not schedule.is_done:
        ticket = schedule.take(0.0)
        if ticket is not None:
            taken.append(ticket.task)
            assert schedule.finish(ticket, 1.0) == []
    assert taken == ["a", "b", "c"]


def test_what_a_lost_worker_was_at_comes_first() -> None:
    schedule = Schedule(iter("abc"))
    lost = schedule.take(0.0)
    assert lost is not None
    assert schedule.lose(lost)
    assert schedule.finish(lost, 1.0) is None
    assert [ticket.task for ticket in (schedule.take(1.0), schedule.take(1.0)) if ticket] == ["a", "b"]


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    schedule = Schedule(iter("a"))
    answers = []
    for _ in range(3):
        ticket = schedule.take(0.0)
        assert ticket is not None
        answers.append(schedule.lose(ticket))
    assert answers == [True, True, False]
    assert schedule.take(0.0) is None
    assert schedule.is_done


def test_a_straggler_is_given_to_an_idle_worker_and_the_first_to_end_counts() -> None:
    schedule = Schedule(iter("abcd"))
    slow, *others = [schedule.take(0.0) for _ in range(4)]
    for ticket in others:
        assert schedule.finish(ticket, 10.0) == []
    assert schedule.take(14.0) is None
    copy = schedule.take(16.0)
    assert copy is not None
    assert copy.task == "a"
    assert schedule.take(99.0) is None, "two are enough"
    assert schedule.finish(copy, 20.0) == [slow]
    assert schedule.finish(slow, 21.0) is None
    assert schedule.is_done


def test_what_is_added_comes_before_what_was_not_begun() -> None:
    schedule: Schedule[str] = Schedule(iter("ab"))
    assert schedule.take(0.0) is not None
    schedule.add("x")
    assert [ticket.task for ticket in (schedule.take(0.0), schedule.take(0.0)) if ticket] == ["x", "b"]
    assert schedule.take(0.0) is None
    schedule.add("y")
    assert not schedule.is_done
    late = schedule.take(0.0)
    assert late is not None
    assert late.task == "y"


def test_large_tasks_are_no_stragglers() -> None:
    schedule = Schedule(iter([40.0, 10.0, 10.0, 10.0]), lambda size: size)
    _, *others = [schedule.take(0.0) for _ in range(4)]
    for ticket in others:
        schedule.finish(ticket, 10.0)
    assert schedule.take(50.0) is None
    copy = schedule.take(61.0)
    assert copy is not None
    assert copy.task == 40.0


def test_a_lost_copy_leaves_the_other_attempt_alone() -> None:
    schedule = Schedule(iter("abcd"))
    slow, *others = [schedule.take(0.0) for _ in range(4)]
    for ticket in others:
        schedule.finish(ticket, 1.0)
    copy = schedule.take(9.0)
    assert copy is not None
    assert schedule.lose(copy)
    assert schedule.finish(slow, 10.0) == []
    assert schedule.is_done
