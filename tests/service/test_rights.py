"""Who works on what: leases with fencing, on SQLite and on PostgreSQL."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from revisage.service.jobs import intake as service
from revisage.service.jobs.job import JobProgress
from revisage.service.jobs.job_store import JobStore
from revisage.service.jobs.rights import Leases

Opened = Callable[..., JobStore]
GIF = b"GIF89a" + bytes(500)


def queued(store: JobStore, count: int = 1) -> list[str]:
    file = service.receive(store, io.BytesIO(GIF), "a.gif")
    return [service.restore(store, file.id).id for _ in range(count)]


def test_no_job_is_given_to_two_workers(open_store: Opened) -> None:
    stores = [open_store() for _ in range(4)]
    made = queued(stores[0], 40)

    def work(store: JobStore) -> list[str]:
        leases, taken = Leases(store, "restore"), []
        while (lease := leases.take()) is not None:
            taken.append(lease.job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job for jobs in pool.map(work, stores) for job in jobs]
    assert Counter(taken) == Counter(made)


def test_the_oldest_job_of_a_lane_comes_first(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store()
    first = queued(store)[0]
    clock.now += 1  # type: ignore[attr-defined]
    second = queued(store)[0]
    look = service.look(store, store.job(second).input.id)
    leases = Leases(store, "restore")
    assert [lease.job.id for lease in (leases.take(), leases.take()) if lease] == [first, second]
    assert leases.take() is None
    quick = Leases(store, "quick").take()
    assert quick is not None
    assert quick.job.id == look.id


def test_a_silent_worker_loses_its_job_and_can_say_nothing_more(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store(lease_seconds=10)
    job_id = queued(store)[0]
    old = Leases(store, "restore")
    lost = old.take()
    assert lost is not None
    clock.now += 9  # type: ignore[attr-defined]
    assert old.renew(lost, JobProgress(0.5, "restore", 5, 10)).held
    assert Leases(store, "restore").take() is None
    clock.now += 10.1  # type: ignore[attr-defined]
    assert store.job(job_id).stalled
    taken = Leases(store, "restore").take()
    assert taken is not None
    assert (taken.job.id, lost.attempt, taken.attempt) == (job_id, 1, 2)
    before = store.job(job_id)
    assert not old.renew(lost).held
    assert not old.done(lost, {"output": "old"}, 1)
    assert not old.failed(lost, "old", "failed")
    assert not old.cancelled(lost)
    assert not old.give_back(lost)
    assert store.job(job_id) == before
    assert Leases(store, "restore").done(taken, {"output": "new"}, 7)
    assert (store.job(job_id).status, store.job(job_id).result) == ("done", {"output": "new"})


def test_a_late_worker_whom_nobody_replaced_may_finish(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store(lease_seconds=10)
    job_id = queued(store)[0]
    leases = Leases(store, "restore")
    lease = leases.take()
    assert lease is not None
    clock.now += 60  # type: ignore[attr-defined]
    assert leases.done(lease, {}, 0)
    assert store.job(job_id).status == "done"


def test_a_job_that_kills_its_workers_is_given_up(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store(max_attempts=3, lease_seconds=5)
    job_id = queued(store)[0]
    leases = Leases(store, "restore")
    for _ in range(3):
        assert leases.take() is not None
        clock.now += 6  # type: ignore[attr-defined]
    assert leases.take() is None
    job = store.job(job_id)
    assert (job.status, job.error_code, job.attempts) == ("failed", "worker_died", 3)


def test_cancelling_reaches_a_worker_and_a_dead_workers_job_at_once(
    open_store: Opened, clock: Callable[[], float]
) -> None:
    store = open_store(lease_seconds=5)
    made = queued(store, 2)
    leases = Leases(store, "restore")
    lease = leases.take()
    assert lease is not None
    first = lease.job.id
    (second,) = set(made) - {first}
    assert store.cancel(first).status == "running"
    beat = leases.renew(lease)
    assert beat.held
    assert beat.cancel
    clock.now += 6  # type: ignore[attr-defined]
    assert store.cancel(first).status == "cancelled"
    assert not leases.renew(lease).held
    assert store.cancel(second).status == "cancelled"
    assert leases.take() is None


def test_a_job_given_back_costs_no_attempt(open_store: Opened) -> None:
    store = open_store()
    job_id = queued(store)[0]
    leases = Leases(store, "restore")
    lease = leases.take()
    assert lease is not None
    assert leases.give_back(lease)
    assert (store.job(job_id).status, store.job(job_id).attempts) == ("queued", 0)


def test_workers_are_known_while_they_are_heard_of(open_store: Opened, clock: Callable[[], float]) -> None:
    store = open_store(lease_seconds=5)
    leases = Leases(store, "quick")
    leases.announce()
    leases.announce("job")
    assert [(row.id, row.lane, row.job) for row in store.workers()] == [(leases.worker_id, "quick", "job")]
    clock.now += 16  # type: ignore[attr-defined]
    assert store.workers() == []
    leases.leave()
