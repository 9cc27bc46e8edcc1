"""JobStore: the one store of files and jobs that the page, the server and the workers share.

    store = JobStore(ServiceSettings.load(data_dir="…"))
    file = store.add_path(Path("tape.mpg"))              # or add_upload(...) of what a browser sent
    job = store.create_job(file.id, config={"strength": 0.8})
    store.job(job.id).progress                           # a worker process works on it
    store.cancel(job.id); store.delete(job.id)

Everything here is short and safe to call from any thread or process. Nothing here opens a medium: that is left to
the workers (:mod:`revisage.service.jobs.intake` asks them and waits for them).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from revisage.core import InputError
from revisage.media import Sniffed, sniff, sniff_file
from revisage.service.jobs.data_folder import DataFolder
from revisage.service.jobs.database import Database, inputs, jobs, workers
from revisage.service.jobs.job import (
    ACTIVE,
    LONG_KINDS,
    QUICK_KINDS,
    BusyError,
    InputFile,
    Job,
    JobProgress,
    Kind,
    Lane,
    NotFoundError,
    Photo,
    QuotaError,
    ReusedKeyError,
    Status,
    StillAtWorkError,
    WorkerRow,
)
from revisage.service.settings import ServiceSettings

__all__ = ["JobStore", "Page", "clean_name", "job_of", "job_query"]

_NAME_LENGTH = 200
_OWNS = jobs.c.lane == "restore"
"""Jobs that a file is kept for: what somebody looked at in passing goes with it."""

_QUICK_KEPT = 3600.0
"""Seconds that results of quick jobs are kept."""

_WORKER_SILENT = 3
"""A worker that has not been heard of for so many leases is taken for gone."""


@dataclass(frozen=True)
class Page:
    """Some jobs, the newest first, and the cursor of those after them (None at the end)."""

    jobs: list[Job]
    next: str | None


class JobStore:
    """Files and jobs of one service.

    Args:
        settings: places and limits.
        clock: seconds since 1970; another one in tests.

    Raises:
        ConfigError: the database cannot be reached or is of another version.
        OutputError: the data folder cannot be made.
    """

    def __init__(self, settings: ServiceSettings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.folder = DataFolder(settings.data_dir, settings.storage)
        self.database = Database(settings)

    def close(self) -> None:
        """Give back the connections to the database."""
        self.database.close()

    # ---- files

    def add_upload(self, part: Path, name: str, sha256: str) -> InputFile:
        """Take in an uploaded file that lies complete in :attr:`folder` (see :meth:`DataFolder.new_part`).

        Args:
            part: the file; it is moved, or removed when it is refused.
            name: what its owner calls it.
            sha256: of its content, found while it was written.

        Raises:
            InputError: its content is none that can be restored.
            QuotaError: there is no room for it.
        """
        try:
            with part.open("rb") as stream:
                found = sniff(stream.read(4096), clean_name(name))
            size = part.stat().st_size
            self.check_room(size)
            file = self._input(name, found, size, sha256, None)
            self.folder.take_in(part, file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return self._added(file)

    def add_path(self, path: Path) -> InputFile:
        """Name a file that lies on this machine. It stays where it is and is never changed or deleted.

        Raises:
            InputError: there is no such file, or its content is none that can be restored.
        """
        found = sniff_file(path)
        return self._added(self._input(path.name, found, path.stat().st_size, "", str(path.resolve())))

    def _input(self, name: str, found: Sniffed, size: int, sha256: str, path: str | None) -> InputFile:
        return InputFile(
            secrets.token_hex(16), clean_name(name), found.format, found.kind, size, sha256, path, self.clock()
        )

    def _added(self, file: InputFile) -> InputFile:
        with self.database.write() as connection:
            connection.execute(inputs.insert().values(**asdict(file)))
        return file

    def photo(self, part: Path, name: str) -> Photo:
        """An uploaded photo of somebody that lies complete in :attr:`folder`, for :meth:`create_job`.

        Raises:
            InputError: it is no photo.
        """
        name = clean_name(name)
        with part.open("rb") as stream:
            found = sniff(stream.read(4096), name)
        if found.kind != "image":
            raise InputError(f"{name} is {found.format.upper()}, no photo: send a photo that shows one face")
        return Photo(name, found.format, part.stat().st_size, part)

    def input(self, input_id: str) -> InputFile:
        """A file.

        Raises:
            NotFoundError: there is none of this id.
        """
        with self.database.read() as connection:
            row = connection.execute(sa.select(inputs).where(inputs.c.id == input_id)).one_or_none()
        if row is None:
            raise NotFoundError("there is no such file; upload it again")
        return InputFile(**row._mapping)

    def input_path(self, file: InputFile) -> Path:
        """Where a file lies: a path, or an address where uploads lie in a store."""
        return Path(file.path) if file.path is not None else self.folder.input_path(file)

    def local_input(self, file: InputFile) -> Path:
        """A path of this machine with the content of a file.

        Raises:
            OSError: it cannot be read.
        """
        return Path(file.path) if file.path is not None else self.folder.local_input(file)

    def delete_input(self, input_id: str) -> None:
        """Forget a file that no job needs, and delete it if it was uploaded; nothing happens otherwise."""
        with self.database.write() as connection:
            used = connection.scalar(sa.select(sa.func.count()).where(jobs.c.input_id == input_id))
            row = connection.execute(sa.select(inputs).where(inputs.c.id == input_id)).one_or_none()
            if used or row is None:
                return
            connection.execute(inputs.delete().where(inputs.c.id == input_id))
        self.folder.remove_input(InputFile(**row._mapping))

    # ---- jobs

    def create_job(
        self,
        input_id: str,
        *,
        kind: Kind = "restore",
        config: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        photos: Sequence[Photo] = (),
        lane: Lane | None = None,
        owner: str | None = None,
        idempotency_key: str | None = None,
        request_digest: str | None = None,
        keep_seconds: float | None = None,
    ) -> Job:
        """Queue work on a file.

        Args:
            input_id: of a file in this store.
            kind: ``restore``, ``analyze``, or a quick kind (see :mod:`revisage.service.jobs.intake`).
            config: RestoreConfig fields as JSON values; check them with ``jobs.checked_config`` first.
            params: of the kind; for ``restore``: ``scan`` (a Scan as JSON values, its tracks perhaps fewer),
                ``compare`` (true: also a labelled side-by-side).
            photos: of the people that the config names; they are moved into the job's folder, and deleted with it.
            lane: whose workers take it; by default as its kind says.
            owner: name of the token that asked for it.
            idempotency_key: a second job with the same key (and owner) is not made; the first is given back.
            request_digest: of all that was asked; a key that comes again with another one is refused.
            keep_seconds: deleted so long after its end; by default as the settings say.

        Raises:
            NotFoundError: there is no such file.
            BusyError: as many jobs as allowed are queued or running.
            ReusedKeyError: the key belongs to another request.
            QuotaError, OutputError: there is no room for the photos.
        """
        found = self.job_of_key(owner, idempotency_key, request_digest)
        if found is not None:
            return found
        if keep_seconds is None and kind in QUICK_KINDS:
            keep_seconds = _QUICK_KEPT
        names = {photo.name: f"photo-{number}.{photo.format}" for number, photo in enumerate(photos, 1)}
        values = {
            **self._queued(kind, input_id, lane or _lane(kind)),
            "config": dict(config or {}),
            "params": {**(params or {}), **({"photos": names} if names else {})},
            "bytes": sum(photo.bytes for photo in photos),
            "owner": owner,
            "idempotency_key": _stored_key(owner, idempotency_key),
            "request_digest": request_digest,
            "keep_seconds": keep_seconds,
        }
        self.input(input_id)
        job_id = str(values["id"])
        try:
            self._take_photos(job_id, photos, names)
            with self.database.write() as connection:
                self._check_free(connection, values["lane"])
                connection.execute(jobs.insert().values(**values))
        except sa.exc.IntegrityError:
            self.folder.remove_job(job_id)
            found = self.job_of_key(owner, idempotency_key, request_digest)
            if found is None:
                raise NotFoundError("there is no such file; upload it again") from None
            return found
        except BaseException:
            self.folder.remove_job(job_id)
            raise
        return self.job(job_id)

    def _take_photos(self, job_id: str, photos: Sequence[Photo], names: Mapping[str, str]) -> None:
        if photos:
            self.check_room(sum(photo.bytes for photo in photos))
        for photo in photos:
            self.folder.add_photo(job_id, photo.part, names[photo.name])

    def _queued(self, kind: Kind, input_id: str, lane: Lane) -> dict[str, Any]:
        """What the row of every new job holds."""
        return {
            "id": secrets.token_hex(16),
            "kind": kind,
            "lane": lane,
            "status": "queued",
            "input_id": input_id,
            "progress": asdict(JobProgress()),
            "result": {},
            "created": self.clock(),
        }

    def job_of_key(self, owner: str | None, key: str | None, digest: str | None) -> Job | None:
        """The job that was made with this idempotency key, if any.

        Raises:
            ReusedKeyError: it was made for another request.
        """
        if key is None:
            return None
        query = job_query().where(jobs.c.idempotency_key == _stored_key(owner, key))
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if digest is not None and row.request_digest != digest:
            raise ReusedKeyError("this Idempotency-Key was used for another request; use a new one")
        return job_of(row, self.clock())

    def _check_free(self, connection: sa.Connection, lane: Lane) -> None:
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.status.in_(ACTIVE))
        if (connection.scalar(query.where(jobs.c.lane == lane)) or 0) >= self.settings.max_active_jobs:
            raise BusyError(f"{self.settings.max_active_jobs} jobs are waiting or running; try again later")

    def job(self, job_id: str) -> Job:
        """A job as it is now.

        Raises:
            NotFoundError: there is none of this id.
        """
        with self.database.read() as connection:
            row = connection.execute(_ONE_JOB, {"wanted": job_id}).one_or_none()
        if row is None:
            raise NotFoundError("there is no such job; it may have been deleted")
        return job_of(row, self.clock())

    def jobs(
        self,
        *,
        kind: Kind | None = "restore",
        status: Status | None = None,
        owner: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page:
        """Jobs that were asked for to be kept, the newest first.

        Args:
            kind: which; None means all of :data:`LONG_KINDS`.
            status, owner: which; None means any.
            limit: at most so many.
            after: ``next`` of the page before.

        Raises:
            NotFoundError: ``after`` is no cursor of this store.
        """
        query = job_query().where(_OWNS, jobs.c.kind.in_(LONG_KINDS if kind is None else (kind,)))
        if status is not None:
            query = query.where(jobs.c.status == status)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if after is not None:
            last = self.job(after)
            older = sa.and_(jobs.c.created == last.created, jobs.c.id < last.id)
            query = query.where(sa.or_(jobs.c.created < last.created, older))
        query = query.order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit + 1)
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        found = [job_of(row, self.clock()) for row in rows[:limit]]
        return Page(found, found[-1].id if len(rows) > limit else None)

    def cancel(self, job_id: str) -> Job:
        """Ask that a job stops: at once when no worker is at it, else within about a second.

        Raises:
            NotFoundError: there is none of this id.
        """
        now = self.clock()
        idle = sa.or_(jobs.c.status == "queued", jobs.c.lease_until < now)
        with self.database.write() as connection:
            active = sa.and_(jobs.c.id == job_id, jobs.c.status.in_(ACTIVE))
            stopped = {"status": "cancelled", "finished": now, "lease": None, "version": jobs.c.version + 1}
            connection.execute(jobs.update().where(active, idle).values(**stopped))
            asked = {"cancel_requested": True, "version": jobs.c.version + 1}
            connection.execute(jobs.update().where(active).values(**asked))
        return self.job(job_id)

    def overtake(self, job_id: str) -> Job:
        """Let a queued job change places (the time that it was queued) with the one of its lane that waits before it;
        nothing happens when there is none.

        Raises:
            NotFoundError: there is none of this id.
        """
        waits = jobs.c.status == "queued"
        with self.database.write() as connection:
            mine = connection.execute(sa.select(jobs.c.lane, jobs.c.created).where(jobs.c.id == job_id, waits)).first()
            if mine is not None:
                before = sa.select(jobs.c.id, jobs.c.created).where(
                    waits, jobs.c.lane == mine.lane, jobs.c.created < mine.created
                )
                other = connection.execute(before.order_by(jobs.c.created.desc()).limit(1)).first()
                if other is not None:
                    for which, moment in ((job_id, other.created), (other.id, mine.created)):
                        moved = {"created": moment, "version": jobs.c.version + 1}
                        connection.execute(jobs.update().where(jobs.c.id == which).values(**moved))
        return self.job(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a finished job, its results, and its upload when no other job needs it.

        Raises:
            NotFoundError: there is none of this id.
            StillAtWorkError: it is not finished; cancel it first.
        """
        job = self.job(job_id)
        with self.database.write() as connection:
            gone = connection.execute(jobs.delete().where(jobs.c.id == job_id, jobs.c.status.not_in(ACTIVE)))
        if not gone.rowcount:
            raise StillAtWorkError("the job is still at work; cancel it first")
        self.folder.remove_job(job_id)
        if job.lane == "restore" and not self._count(jobs.c.input_id == job.input.id, _OWNS):
            self.forget(job.input.id)

    def forget(self, input_id: str) -> None:
        """Delete the quick jobs of a file with their results, and the file if no other job needs it. Those at work are
        stopped and go with the next sweep."""
        query = sa.select(jobs.c.id).where(jobs.c.input_id == input_id, ~_OWNS)
        with self.database.read() as connection:
            quick = connection.scalars(query).all()
        for job_id in quick:
            with suppress(NotFoundError):
                self.cancel(job_id)
            self._delete_quietly(job_id)
        self.delete_input(input_id)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; what is finished of it is kept.

        Raises:
            NotFoundError: there is none of this id.
            StillAtWorkError: it is not finished, or it is done.
        """
        values = {"status": "queued", "error": None, "error_code": None, "attempts": 0, "cancel_requested": False}
        again = jobs.update().where(jobs.c.id == job_id, jobs.c.status.in_(("failed", "cancelled")))
        with self.database.write() as connection:
            changed = connection.execute(
                again.values(**values, finished=None, progress=asdict(JobProgress()), version=jobs.c.version + 1)
            )
        job = self.job(job_id)
        if not changed.rowcount:
            raise StillAtWorkError(f"the job is {job.status}; only a failed or cancelled one can be tried again")
        return job

    # ---- the whole

    def used_bytes(self) -> int:
        """What uploads and results take."""
        with self.database.read() as connection:
            uploads = connection.scalar(sa.select(sa.func.sum(inputs.c.bytes)).where(inputs.c.path.is_(None)))
            results = connection.scalar(sa.select(sa.func.sum(jobs.c.bytes)))
        return int(uploads or 0) + int(results or 0)

    def check_room(self, more: int) -> None:
        """Refuse what would not fit.

        Raises:
            QuotaError: ``more`` bytes would exceed what may be kept, or what the disk has.
        """
        if self.used_bytes() + more > self.settings.max_disk_bytes or more > self.folder.free_bytes():
            raise QuotaError("there is no room for more files; delete finished jobs, or try again later")

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of jobs by kind and status."""
        query = sa.select(jobs.c.kind, jobs.c.status, sa.func.count()).group_by(jobs.c.kind, jobs.c.status)
        with self.database.read() as connection:
            return {(kind, status): count for kind, status, count in connection.execute(query)}

    def workers(self) -> list[WorkerRow]:
        """The worker processes that are alive, as far as was heard of them lately."""
        since = self.clock() - _WORKER_SILENT * self.settings.lease_seconds
        query = sa.select(workers).where(workers.c.seen >= since).order_by(workers.c.started)
        with self.database.read() as connection:
            return [WorkerRow(**row._mapping) for row in connection.execute(query)]

    def sweep(self) -> int:
        """Delete what has been kept long enough, and what crashes left; returns the number of jobs deleted."""
        now = self.clock()
        keep = sa.func.coalesce(jobs.c.keep_seconds, self.settings.keep_days * 86400)
        old = sa.select(jobs.c.id).where(jobs.c.status.not_in(ACTIVE), jobs.c.finished + keep < now).limit(1000)
        day = now - min(86400.0, self.settings.keep_days * 86400)
        unused = sa.select(inputs.c.id).where(
            inputs.c.created < day, ~sa.exists().where(jobs.c.input_id == inputs.c.id)
        )
        with self.database.read() as connection:
            expired, orphans = connection.scalars(old).all(), connection.scalars(unused.limit(1000)).all()
        for job_id in expired:
            self._delete_quietly(job_id)
        for input_id in orphans:
            self.delete_input(input_id)
        self.folder.sweep(self._is_job, self._is_input)
        return len(expired)

    def _delete_quietly(self, job_id: str) -> None:
        try:
            self.delete(job_id)
        except (NotFoundError, StillAtWorkError):
            return  # another sweeper was quicker

    def _is_job(self, job_id: str) -> bool:
        return self._count(jobs.c.id == job_id) > 0

    def _is_input(self, input_id: str) -> bool:
        return self._count(inputs.c.id == input_id) > 0

    def _count(self, *conditions: sa.ColumnElement[bool]) -> int:
        with self.database.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(*conditions)) or 0


def _lane(kind: Kind) -> Lane:
    """Whose workers take jobs of a kind."""
    return "quick" if kind in QUICK_KINDS else "restore"


def _stored_key(owner: str | None, key: str | None) -> str | None:
    """An idempotency key as it is stored: everybody has keys of their own."""
    return None if key is None else f"{owner or ''}/{key}"


def clean_name(name: str) -> str:
    """A name for display: its last part, without control characters, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(char for char in last if char.isprintable()).strip()
    return plain[-_NAME_LENGTH:] or "file"


def job_query() -> sa.Select[Any]:
    """Jobs with the files they work on; :func:`job_of` reads its rows."""
    columns = [column.label(f"input_{column.name}") for column in inputs.c if column.name != "id"]
    return sa.select(jobs, *columns).join(inputs, inputs.c.id == jobs.c.input_id)


def job_of(row: Any, now: float) -> Job:
    """The value of a row of :func:`job_query`, as seen at ``now``."""
    values = row._mapping
    file = InputFile(**{column.name: values[f"input_{column.name}"] for column in inputs.c})
    names = ("id", "kind", "lane", "status", "config", "params", "error", "error_code", "result", "attempts", "owner")
    more = ("cancel_requested", "created", "started", "finished", "version")
    late = values["status"] == "running" and (values["lease_until"] or 0) < now
    return Job(
        input=file,
        progress=JobProgress(**values["progress"]),
        stalled=late,
        **{name: values[name] for name in (*names, *more)},
    )


_ONE_JOB = job_query().where(jobs.c.id == sa.bindparam("wanted"))
"""Asked most often by far: built once."""
