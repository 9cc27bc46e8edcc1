"""Who may do what in a job store: workers by leases, people elsewhere by tokens.

A worker takes a job by a lease with a secret token and renews it while it works. A worker that is silent for longer
than the lease has lost the job: the next one that asks gets it, with another token. Every change a worker makes names
its token, so one that was suspended and wakes up later can change nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from revisage.core import ConfigError
from revisage.service.jobs.database import jobs, tokens, workers
from revisage.service.jobs.job import Job, JobProgress, Lane, Lease, NotFoundError, Token
from revisage.service.jobs.job_store import JobStore, job_of, job_query

__all__ = ["Beat", "Leases", "add_token", "check_token", "list_tokens", "revoke_token"]


class Beat:
    """What a worker is told when it renews its lease: whether it still has it, and whether it is to stop."""

    def __init__(self, held: bool, cancel: bool) -> None:
        self.held, self.cancel = held, cancel


class Leases:
    """What one worker process may do in a store.

    Args:
        store: the jobs.
        lane: of the jobs to take.
    """

    def __init__(self, store: JobStore, lane: Lane) -> None:
        self._store = store
        self._lane = lane
        self.worker_id = secrets.token_hex(8)

    def announce(self, job: str | None = None) -> None:
        """Say that this worker lives, and which job it is at."""
        now = self._store.clock()
        seen = {"seen": now, "job": job, "pid": os.getpid(), "host": socket.gethostname()}
        with self._store.database.write() as connection:
            mine = workers.c.id == self.worker_id
            if not connection.execute(workers.update().where(mine).values(**seen)).rowcount:
                row = {"id": self.worker_id, "lane": self._lane, "started": now}
                connection.execute(workers.insert().values(**row, **seen))

    def leave(self) -> None:
        """Say that this worker ends."""
        with self._store.database.write() as connection:
            connection.execute(workers.delete().where(workers.c.id == self.worker_id))

    def take(self) -> Lease | None:
        """The oldest job that waits in this lane, or whose worker has fallen silent; None when there is none."""
        now = self._store.clock()
        self._give_up_hopeless(now)
        free = sa.or_(jobs.c.status == "queued", sa.and_(jobs.c.status == "running", jobs.c.lease_until < now))
        query = job_query().where(jobs.c.lane == self._lane, free).order_by(jobs.c.created, jobs.c.id).limit(1)
        with self._store.database.read() as connection:  # most looks find nothing: they need no write lock
            if connection.execute(query).one_or_none() is None:
                return None
        with self._store.database.write() as connection:
            row = connection.execute(query.with_for_update(skip_locked=True, of=jobs)).one_or_none()
            return None if row is None else self._leased(connection, job_of(row, now), now)

    def _leased(self, connection: sa.Connection, job: Job, now: float) -> Lease:
        token, until, attempt = secrets.token_hex(16), now + self._store.settings.lease_seconds, job.attempts + 1
        values = {"status": "running", "lease": token, "lease_until": until, "attempts": attempt}
        started = now if job.started is None else job.started
        change = jobs.update().where(jobs.c.id == job.id)
        connection.execute(change.values(**values, started=started, version=jobs.c.version + 1))
        return Lease(job, token, attempt, until)

    def _give_up_hopeless(self, now: float) -> None:
        """End jobs that nobody works on and nobody should: cancelled ones, and those whose workers died too often."""
        dead = sa.and_(jobs.c.status == "running", jobs.c.lease_until < now)
        often = jobs.c.attempts >= self._store.settings.max_attempts
        with self._store.database.read() as connection:
            if not connection.scalar(sa.select(sa.func.count()).where(dead, sa.or_(jobs.c.cancel_requested, often))):
                return
        ended: dict[str, Any] = {"finished": now, "lease": None, "version": jobs.c.version + 1}
        error = {
            "error": f"the worker died {self._store.settings.max_attempts} times over this file; it was given up",
            "error_code": "worker_died",
        }
        with self._store.database.write() as connection:
            cancelled = jobs.update().where(dead, jobs.c.cancel_requested)
            connection.execute(cancelled.values(status="cancelled", **ended))
            connection.execute(jobs.update().where(dead, often).values(status="failed", **error, **ended))

    def renew(self, lease: Lease, progress: JobProgress | None = None) -> Beat:
        """Keep a job for another lease, and tell how far it is."""
        values: dict[str, Any] = {"lease_until": self._store.clock() + self._store.settings.lease_seconds}
        if progress is not None:
            values.update(progress=asdict(progress), version=jobs.c.version + 1)
        mine = sa.and_(jobs.c.id == lease.job.id, jobs.c.lease == lease.token)
        with self._store.database.write() as connection:
            if not connection.execute(jobs.update().where(mine).values(**values)).rowcount:
                return Beat(held=False, cancel=False)
            return Beat(held=True, cancel=bool(connection.scalar(sa.select(jobs.c.cancel_requested).where(mine))))

    def done(self, lease: Lease, result: Mapping[str, Any], size: int) -> bool:
        """End a job with what came of it; False, and nothing changed, when the lease was lost.

        Args:
            lease: of the job.
            result: names and numbers, as JSON values.
            size: of its results on disk, in bytes.
        """
        progress = JobProgress(fraction=1.0, stage="done", seconds_left=0.0)
        whole = jobs.c.bytes + size  # the photos that came with it are counted already
        return self._end(lease, status="done", result=dict(result), bytes=whole, progress=asdict(progress))

    def failed(self, lease: Lease, error: str, code: str) -> bool:
        """End a job with an error of one line that shows no path; False when the lease was lost."""
        return self._end(lease, status="failed", error=error, error_code=code)

    def cancelled(self, lease: Lease) -> bool:
        """End a job that was asked to stop; False when the lease was lost."""
        return self._end(lease, status="cancelled")

    def give_back(self, lease: Lease) -> bool:
        """Put a job back into the queue because this worker is told to end; False when the lease was lost."""
        with self._store.database.write() as connection:
            values = {"status": "queued", "lease": None, "lease_until": None, "attempts": lease.attempt - 1}
            return _change(connection, lease, values)

    def _end(self, lease: Lease, **values: Any) -> bool:
        ended = {"finished": self._store.clock(), "lease": None, "lease_until": None}
        with self._store.database.write() as connection:
            return _change(connection, lease, values | ended)


def _change(connection: sa.Connection, lease: Lease, values: Mapping[str, Any]) -> bool:
    """Change a job if the lease still holds; whether it did."""
    mine = sa.and_(jobs.c.id == lease.job.id, jobs.c.lease == lease.token)
    return bool(connection.execute(jobs.update().where(mine).values(**values, version=jobs.c.version + 1)).rowcount)


_PREFIX = "rv_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


def add_token(store: JobStore, name: str) -> str:
    """A new token; its secret is not kept and cannot be shown again.

    Args:
        store: where it will be good.
        name: of whoever gets it. Tokens of one name see the same jobs, so that one can replace another.

    Raises:
        ConfigError: the name has other characters than letters, digits and ``._@-``.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a token cannot be called '{name}'; use letters, digits and ._@-, at most 100")
    # 256 random bits: no dictionary reaches them, so a plain hash is as good as a slow one.
    secret = _PREFIX + secrets.token_urlsafe(32)
    row = {"id": secrets.token_hex(4), "name": name, "hash": _hash(secret), "created": store.clock()}
    with store.database.write() as connection:
        connection.execute(tokens.insert().values(**row))
    return secret


def check_token(store: JobStore, secret: str) -> Token | None:
    """The token with this secret, unless it is unknown or revoked."""
    query = sa.select(tokens).where(tokens.c.hash == _hash(secret), tokens.c.revoked.is_(None))
    with store.database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _token(row)


def list_tokens(store: JobStore) -> list[Token]:
    """All tokens, revoked ones too, the oldest first."""
    with store.database.read() as connection:
        return [_token(row) for row in connection.execute(sa.select(tokens).order_by(tokens.c.created))]


def revoke_token(store: JobStore, token_id: str) -> None:
    """Make a token worthless at once.

    Raises:
        NotFoundError: there is none of this id that is good.
    """
    good = sa.and_(tokens.c.id == token_id, tokens.c.revoked.is_(None))
    with store.database.write() as connection:
        if not connection.execute(tokens.update().where(good).values(revoked=store.clock())).rowcount:
            raise NotFoundError(f"there is no token {token_id}; see: revisage token list")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    values = row._mapping
    return Token(values["id"], values["name"], values["created"], values["revoked"])
