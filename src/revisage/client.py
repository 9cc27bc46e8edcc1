"""Talk to a revisage service.

    from revisage.client import Client

    with Client("http://127.0.0.1:8000") as service:
        job = service.submit("tape.mpg", {"strength": 0.8})
        job = service.wait(job["id"], progress=lambda job: print(job["progress"]["fraction"]))
        service.download(job["id"], "tape_restored.mpg")

Needs the extra ``client``. Jobs are the JSON objects of the service, as its /openapi.json describes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from revisage.core import InputError, MissingExtraError, RevisageError, check_absent, written_beside

try:
    import httpx
except ModuleNotFoundError:
    raise MissingExtraError("The client of the service", "client") from None

__all__ = ["Client", "JobFailedError", "ServiceError"]

_FINISHED = ("done", "failed", "cancelled")
_CHUNK = 2**20


class ServiceError(RevisageError):
    """The service refused a request or could not be reached.

    Attributes:
        status: of the answer; None when there was none.
        code: the service's word for what went wrong.
    """

    def __init__(self, message: str, status: int | None = None, code: str = "unreachable") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class JobFailedError(ServiceError):
    """A job ended without a result. ``job`` is its last state."""

    def __init__(self, job: dict[str, Any]) -> None:
        error = job.get("error") or {}
        super().__init__(error.get("message") or f"the job was {job['status']}", None, error.get("code", job["status"]))
        self.job = job


class Client:
    """A service at an address.

    Args:
        address: such as ``http://127.0.0.1:8000``.
        token: of ``revisage token add``, where the service asks for one.
        timeout: seconds to wait for an answer.

    Every method raises ServiceError when the service refuses or cannot be reached.
    """

    def __init__(self, address: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        file: str | Path,
        config: Mapping[str, Any] | None = None,
        *,
        scan: Mapping[str, Any] | None = None,
        compare: bool = False,
        playable: bool = False,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Upload a file and queue its restoration; gives the job.

        Args:
            file: a video, an animation or a photo.
            config: fields of RestoreConfig as JSON values. Photos that ``who`` names are uploaded too, and deleted with
                the job: ``{"who": ["Ann=photos/ann.jpg"], "only": ["Ann"]}``.
            scan: of :meth:`scan`, or of an analysis, perhaps with fewer tracks.
            compare, playable: what else to make.
            idempotency_key: submitting again with the same key gives the same job.
        """
        fields = {"compare": str(compare), "playable": str(playable)}
        return self._queued(file, config, fields, scan, idempotency_key)

    def analyze(
        self,
        file: str | Path,
        config: Mapping[str, Any] | None = None,
        *,
        scan: Mapping[str, Any] | None = None,
        every: float = 0.2,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Upload a file and ask who is in it when; gives the job.

        When it is done, :meth:`download` writes ``people.json``, ``people.csv``, ``people.vtt`` and ``people.html``;
        :meth:`people_scan` gives what :meth:`submit` takes as ``scan``.

        Args:
            file: a video, an animation or a photo.
            config: fields of RestoreConfig as JSON values; ``who`` as for :meth:`submit`.
            scan: of :meth:`scan`, to save looking for faces again.
            every: seconds between two looks at a face.
            idempotency_key: as for :meth:`submit`.
        """
        fields = {"kind": "analyze", "every": str(every)}
        return self._queued(file, config, fields, scan, idempotency_key)

    def people_scan(self, job_id: str) -> dict[str, Any]:
        """The scan of an analysis that is done, with the person of each track."""
        answer: dict[str, Any] = self._request("GET", f"/v1/jobs/{job_id}/scan").json()
        return answer

    def _queued(
        self,
        file: str | Path,
        config: Mapping[str, Any] | None,
        fields: dict[str, str],
        scan: Mapping[str, Any] | None,
        idempotency_key: str | None,
    ) -> dict[str, Any]:
        if scan is not None:
            fields["scan"] = json.dumps(dict(scan))
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
        answer: dict[str, Any] = self._post("/v1/jobs", file, fields, config, headers).json()
        return answer

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        answer: dict[str, Any] = self._request("GET", f"/v1/jobs/{job_id}").json()
        return answer

    def jobs(self, status: str | None = None) -> Iterator[dict[str, Any]]:
        """All jobs, the newest first, fetched a page at a time."""
        after: str | None = None
        while True:
            params = {key: value for key, value in (("status", status), ("after", after)) if value is not None}
            page = self._request("GET", "/v1/jobs", params=params).json()
            yield from page["jobs"]
            after = page["next"]
            if after is None:
                return

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        poll: float = 0.5,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """The job when it is done.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: it is not finished after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self.job(job_id)
            if progress is not None:
                progress(job)
            if job["status"] == "done":
                return job
            if job["status"] in _FINISHED:
                raise JobFailedError(job)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is not finished after {timeout:g} s")
            time.sleep(poll)

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The job whenever it changes, until it is finished."""
        with self._http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=None) as answer:
            _check(answer)
            for line in answer.iter_lines():
                if line.startswith('data: {"'):
                    yield json.loads(line.removeprefix("data: "))

    def download(self, job_id: str, target: str | Path, file: str = "output") -> Path:
        """Write a result to ``target``; it appears when it is complete.

        Args:
            job_id: of a job that is done.
            target: the file.
            file: output, report, compare or playable; of an analysis people.json, people.csv, people.vtt, people.html
                or scan.

        Raises:
            OutputExistsError: it exists.
            OutputError: it cannot be written.
        """
        path = Path(target)
        check_absent(path, overwrite=False)
        try:
            with (
                written_beside(path) as partial,
                self._http.stream("GET", f"/v1/jobs/{job_id}/{file}") as answer,
                partial.open("wb") as stream,
            ):
                _check(answer)
                for chunk in answer.iter_bytes(_CHUNK):
                    stream.write(chunk)
        except httpx.TransportError as error:
            raise ServiceError(f"the service does not answer ({type(error).__name__})") from None
        return path

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job that is not finished; gives its state."""
        job = self.job(job_id)
        if job["status"] in _FINISHED:
            return job
        self._request("DELETE", f"/v1/jobs/{job_id}")
        return self.job(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a finished job with all its files.

        Raises:
            ServiceError: it is still at work.
        """
        if self.job(job_id)["status"] not in _FINISHED:
            raise ServiceError("the job is still at work; cancel it first", 409, "conflict")
        self._request("DELETE", f"/v1/jobs/{job_id}")

    def scan(self, file: str | Path, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All faces of a file, without restoring them."""
        answer: dict[str, Any] = self._post("/v1/scan", file, {}, config).json()
        return answer

    def verify(self, file: str | Path) -> dict[str, Any]:
        """What a file says of faces that were restored in it."""
        answer: dict[str, Any] = self._post("/v1/verify", file, {}).json()
        return answer

    def restore_image(self, file: str | Path, config: Mapping[str, Any] | None = None) -> bytes:
        """Restore a photo or a GIF at once; gives the bytes of a file of the same format. Takes ``who``, too."""
        return self._post("/v1/images", file, {}, config).content

    def _post(
        self,
        path: str,
        file: str | Path,
        fields: dict[str, str],
        config: Mapping[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        source, (values, photos) = Path(file), _with_photos(config or {})
        with ExitStack() as stack:
            files = [("file", (source.name, stack.enter_context(_opened(source))))]
            files += [("photo", (name, stack.enter_context(_opened(photo)))) for name, photo in photos.items()]
            data = {**fields, **({"config": json.dumps(values)} if values else {})}
            return self._request("POST", path, data=data, files=files, headers=headers, timeout=None)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ServiceError(f"the service does not answer ({type(error).__name__})") from None
        _check(answer)
        return answer


def _with_photos(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The config with names of uploads in ``who``, and the photo that each of these stands for."""
    names: dict[Path, str] = {}
    who = []
    for text in config.get("who", ()):
        name, _, place = str(text).partition("=")
        photo = Path(place.strip()).expanduser()
        # Photos of several folders may have one name.
        names.setdefault(photo, photo.name if photo.name not in names.values() else f"{len(names)}-{photo.name}")
        who.append(f"{name}={names[photo]}")
    return {**config, **({"who": who} if who else {})}, {name: photo for photo, name in names.items()}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
        message, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"the service answered {answer.status_code}", "unknown"
    raise ServiceError(message, answer.status_code, code)
