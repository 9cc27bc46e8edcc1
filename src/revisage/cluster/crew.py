"""The workers of a Ray cluster: found, replaced when they die, kept busy, listened to."""

from __future__ import annotations

import hashlib
import logging
import queue
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from revisage._version import __version__
from revisage.cluster.schedule import ATTEMPTS, Schedule, Ticket
from revisage.cluster.worker import Answer, FileTask, LongFilm, ScanTask, SegmentTask, Worker
from revisage.core import CancelToken, ConfigError, ProcessingError, written_beside
from revisage.engines import model_files

__all__ = ["Crew", "Done", "Task"]

Task = SegmentTask | ScanTask | FileTask

OnTold = Callable[[Task, list[Any]], None]
"""Told what a worker says about a task."""

_POLL = 0.2
"""Seconds between looks at the cancel token."""

_LOOK = 5.0
"""Seconds between looks at how many workers the cluster has room for."""

_LISTEN, _ANSWERS = 0.5, 200
"""Seconds between two questions to one worker how far it is; many workers are each asked less often, so that not more
than so many answers a second come in."""

_CPUS = 4
"""CPUs of a worker: beyond so many threads a network of this size gains little from more."""

_UNFETCHED = 2
"""Finished tasks of a worker that wait to be fetched, at most; until there are fewer it gets no other."""

_FETCHERS = 4

_NEVER_BEGAN, _STILLBORN = "error raised in its creation task", 20
"""What Ray says of a worker that could not be made; and how many in a row may die before they are ready, as of machines
that are taken away."""

_PATIENCE = 5.0
"""Seconds that workers have to stop by themselves: they look at it between frames."""


@dataclass(frozen=True)
class Done:
    """A task that has come to its end; its files lie where they belong.

    Attributes:
        task: what was done.
        value: the result as plain data, or the error that it ended with.
        seconds: that the attempt took which came to the end.
    """

    task: Task
    value: Any
    seconds: float


@dataclass(eq=False)
class _Member:
    """A worker, and what it is at. ``number`` names the attempt."""

    actor: Any
    hello: Any
    ready: bool = False
    ticket: Ticket[Task] | None = None
    number: int = -1
    answer: Any = None
    told: Any = None
    heard: int = 0
    asked: float = 0.0
    unfetched: int = 0


@dataclass
class _Heard:
    """How much of what is said of a task was passed on: a second attempt at it says it all again."""

    counts: dict[int, int] = field(default_factory=dict)

    def new(self, key: int, since: int, said: list[Any]) -> list[Any]:
        """What of it was not said before."""
        known = self.counts.get(key, 0)
        self.counts[key] = max(known, since + len(said))
        return said[max(0, known - since) :]


class Crew:
    """Workers on the machines of a Ray cluster, each with its networks loaded once.

    Args:
        address: ``auto`` (the cluster that this machine belongs to, or ``RAY_ADDRESS`` names), ``ray://HOST:PORT`` or
            ``HOST:PORT``.
        workers: number of them; as many as the cluster has room for when None, also when it grows.
        gpus: whether each needs a GPU; by default where the cluster has any.
        cpus: of each; by default four, or all of the smallest machine.

    Raises:
        ConfigError: there is no such cluster.
    """

    def __init__(
        self, address: str, *, workers: int | None = None, gpus: bool | None = None, cpus: int | None = None
    ) -> None:
        self._owns_connection = not ray.is_initialized()
        if self._owns_connection:
            _connect(address)
        self._wanted = workers
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._gpus = any(node.get("GPU") for node in nodes) if gpus is None else gpus
        roomy = [node["CPU"] for node in nodes if node.get("CPU") and (node.get("GPU") or not self._gpus)]
        if not roomy:
            unit, option = ("GPU", "--num-gpus") if self._gpus else ("CPU", "--num-cpus")
            raise ConfigError(
                f"the cluster {address} has no machine with a {unit} to give: add one by ray start {option} N"
            )
        self._cpus = cpus or (1 if self._gpus else max(1, int(min(_CPUS, *roomy))))
        self._members: list[_Member] = []
        self._looked = 0.0
        self._attempts = self._stillborn = 0
        self._needs: dict[str, tuple[Any, str]] = {}
        self._given_up: list[Done] = []

    @property
    def places(self) -> int:
        """How many workers there is room for now."""
        if self._wanted is not None:
            return self._wanted
        have = ray.cluster_resources()
        by_cpu = int(have.get("CPU", 0) // self._cpus)
        return min(by_cpu, int(have.get("GPU", 0))) if self._gpus else by_cpu

    def needs(self, *paths: str | None) -> dict[str, tuple[Any, str]]:
        """Those of the paths that are files here, with what belongs to them, where workers can fetch it."""
        for path in paths:
            if path is not None and path not in self._needs and Path(path).is_file():
                contents = {file.name: file.read_bytes() for file in model_files(Path(path))}
                self._needs[path] = ray.put(contents), hashlib.sha256(b"".join(contents.values())).hexdigest()
        return {path: self._needs[path] for path in paths if path is not None and path in self._needs}

    def work(
        self,
        tasks: Iterator[Task],
        cancel: CancelToken,
        on_told: OnTold,
        *,
        more: queue.Queue[SegmentTask | ScanTask] | None = None,
        is_open: Callable[[], bool] = lambda: False,
    ) -> Iterator[Done | None]:
        """Have tasks carried out, and yield each when its files are where they belong, in any order; and None now and
        then, so that the caller can look at other things.

        A task is taken when a worker is free for it. What a worker that died was at is done again by another.

        Args:
            tasks: what to do.
            cancel: looked at several times a second.
            on_told: told of what workers say about their tasks, in the caller's thread.
            more: where further tasks come from meanwhile; they are begun first.
            is_open: whether some may still come.

        Raises:
            ProcessingError: the cluster cannot run the package.
            CancelledError: a stop was asked for.
        """
        schedule = Schedule(tasks, lambda task: task.size)
        heard = _Heard()
        fetching: dict[Future[None], tuple[_Member, Ticket[Task], Done]] = {}
        with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch") as fetchers:
            try:
                while fetching or self._given_up or not schedule.is_done or is_open():
                    cancel.check()
                    while more is not None and not more.empty():
                        schedule.add(more.get())
                    self._grow()
                    self._hand_out(schedule)
                    self._listen(schedule, heard, on_told)
                    for member, ticket, answer in self._answers(schedule):
                        whole = not isinstance(answer.value, LongFilm)
                        others = schedule.finish(ticket, time.monotonic(), as_usual=whole)
                        if others is None:
                            continue
                        self._stop(others)
                        self._tell(ticket, 0, list(answer.said), heard, on_told)
                        member.unfetched += 1
                        done = Done(ticket.task, answer.value, time.monotonic() - ticket.started)
                        fetching[fetchers.submit(_fetch, answer, ticket.task.folder)] = member, ticket, done
                    yield from self._fetched(fetching, schedule)
                    while self._given_up:
                        yield self._given_up.pop()
                    yield None
            finally:
                for future in fetching:
                    future.cancel()
                self._stop([member.ticket for member in self._members if member.ticket is not None])

    def _grow(self) -> None:
        """Make workers for the room that there is: at the start, when machines have come, and for those that died."""
        if time.monotonic() - self._looked < _LOOK and self._members:
            return
        self._looked = time.monotonic()
        kind: Any = ray.remote(Worker)
        make = kind.options(num_cpus=self._cpus, num_gpus=int(self._gpus), max_concurrency=4)
        for _ in range(self.places - len(self._members)):
            actor = make.remote()
            self._members.append(_Member(actor, actor.hello.remote()))

    def _hand_out(self, schedule: Schedule[Task]) -> None:
        for member in self._members:
            if not member.ready or member.ticket is not None or member.unfetched >= _UNFETCHED:
                continue
            ticket = schedule.take(time.monotonic())
            if ticket is None:
                return
            self._attempts += 1
            member.ticket, member.number, member.heard = ticket, self._attempts, 0
            member.answer = member.actor.restore.remote(member.number, ticket.task)

    def _listen(self, schedule: Schedule[Task], heard: _Heard, on_told: OnTold) -> None:
        """Ask everybody how far they are, pass on what they say, and let those go that do not live any more."""
        pause, now = max(_LISTEN, len(self._members) / _ANSWERS), time.monotonic()
        asked = [member.told for member in self._members if member.told is not None]
        answered = set(ray.wait(asked, num_returns=len(asked), timeout=0)[0]) if asked else set()
        for member in list(self._members):
            if member.told in answered:
                reference, member.told = member.told, None
                try:
                    number, since, said = ray.get(reference)
                except RayError as error:
                    self._lose(member, schedule, error)
                    continue
                if member.ticket is not None and member.number == number:  # and not about a task that has ended
                    member.heard = since + len(said)
                    self._tell(member.ticket, since, said, heard, on_told)
            if member.ready and member.told is None and now - member.asked > pause:
                member.asked, member.told = now, member.actor.told.remote(member.number, member.heard)

    def _tell(self, ticket: Ticket[Task], since: int, said: list[Any], heard: _Heard, on_told: OnTold) -> None:
        news = heard.new(ticket.key, since, said)
        if news:
            on_told(ticket.task, news)

    def _answers(self, schedule: Schedule[Task]) -> Iterator[tuple[_Member, Ticket[Task], Answer]]:
        """Wait a moment for workers that are ready, that have finished, or that have died."""
        waiting = {
            reference: member
            for member in self._members
            for reference in (member.hello if not member.ready else member.answer,)
            if reference is not None
        }
        if not waiting:
            time.sleep(_POLL)
            return
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL)
        if ready:  # and all the others that are there already
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        for reference in ready:
            member = waiting[reference]
            try:
                found = ray.get(reference)
            except RayTaskError as error:
                raise ProcessingError(
                    f"a worker of the cluster failed: {' '.join(str(error.cause).split())}"
                ) from error
            except RayError as error:
                self._lose(member, schedule, error)
                continue
            if not member.ready:
                _check_version(*found)
                member.ready = True
            else:
                ticket, member.ticket, member.answer = member.ticket, None, None
                assert ticket is not None
                yield member, ticket, found

    def _lose(self, member: _Member, schedule: Schedule[Task], error: RayError) -> None:
        """Let a worker that died go. Another is made when the cluster has room for it."""
        self._stillborn = 0 if member.ready else self._stillborn + 1
        if _NEVER_BEGAN in str(error) or self._stillborn > _STILLBORN:
            raise ProcessingError(
                "the machines of the cluster cannot run revisage: install the same version with the extra "
                f"'cluster' on each ({' '.join(str(error).split())[-300:]})"
            ) from error
        self._members.remove(member)
        self._looked = 0.0
        if member.ticket is not None:
            self._again(member.ticket, schedule)

    def _again(self, ticket: Ticket[Task], schedule: Schedule[Task]) -> None:
        if not schedule.lose(ticket):
            problem = ProcessingError(
                f"{_name(ticket.task)}: {ATTEMPTS} workers died over it; give the cluster's machines more memory, or "
                "restore it with a smaller --batch"
            )
            self._given_up.append(Done(ticket.task, problem, time.monotonic() - ticket.started))

    def _fetched(
        self, fetching: dict[Future[None], tuple[_Member, Ticket[Task], Done]], schedule: Schedule[Task]
    ) -> Iterator[Done]:
        for future in wait(fetching, timeout=0, return_when=FIRST_COMPLETED).done if fetching else ():
            member, ticket, done = fetching.pop(future)
            member.unfetched -= 1
            try:
                future.result()
            except RayError:
                schedule.redo(ticket)  # its machine went away before all was fetched
            else:
                yield done

    def _stop(self, tickets: list[Ticket[Task]]) -> None:
        """Ask those who are at these attempts to stop."""
        for member in self._members:
            if member.ticket in tickets:
                member.actor.stop.remote(member.number)

    def close(self) -> None:
        """End all workers, those at work at the next frame, and leave the cluster if this crew had come to it."""
        try:
            self._end()
        finally:
            self._members = []
            if self._owns_connection:
                ray.shutdown()

    def _end(self) -> None:
        self._stop([member.ticket for member in self._members if member.ticket is not None])
        at_work = [member.answer for member in self._members if member.answer is not None]
        if at_work:
            ray.wait(at_work, num_returns=len(at_work), timeout=_PATIENCE)
        leaving = [member.actor.leave.remote() for member in self._members if member.ready]
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=1)
        for member in self._members:
            ray.kill(member.actor)


def _connect(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {address}: begin one with `ray start --head`, or name it as ray://HOST:10001, with "
            "RAY_AUTH_MODE=token where it asks for one "
            f"({' '.join(str(error).split())[:200]})"
        ) from error


def _check_version(version: str, host: str) -> None:
    if version != __version__:
        raise ConfigError(
            f"the machine {host} of the cluster has revisage {version}, not {__version__}: install the same"
        )


def _name(task: Task) -> str:
    if isinstance(task, FileTask):
        return str(task.source)
    if isinstance(task, ScanTask):
        return f"{task.job.source}: part {task.job.first + 1} of its scan"
    return f"{task.job.source}: segment {task.job.segment.number + 1}"


def _fetch(answer: Answer, folder: Path) -> None:
    """Write what a worker sent where it belongs; each file appears when it is complete."""
    for name, parts in answer.files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(target) as partial, partial.open("wb") as stream:
            for part in parts:
                stream.write(ray.get(part))
