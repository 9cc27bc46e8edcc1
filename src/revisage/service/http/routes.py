"""The addresses under ``/v1``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from revisage import models
from revisage.core import PRESETS
from revisage.media import media_type
from revisage.provenance import Provenance
from revisage.service.http import schemas as doc
from revisage.service.http.requests import (
    Owner,
    OwnJob,
    Store,
    config_of,
    digest_of,
    finished,
    input_of,
    kind_of,
    params_of,
    photos_of,
    read_form,
)
from revisage.service.http.schemas import (
    FaceBody,
    FaceList,
    JobBody,
    JobList,
    ModelBody,
    ModelList,
    PresetBody,
    PresetList,
    ProblemError,
    ScanBody,
    job_body,
    problem_response,
)
from revisage.service.jobs import InputFile, Job, JobStore, Kind, NotFoundError, Status, check_people, result_path

__all__ = ["router"]

router = APIRouter(prefix="/v1", responses=doc.PROBLEMS)

_Route = TypeVar("_Route", bound=Callable[..., Any])

_LOOK = 0.5
"""Seconds between two looks at a job whose events somebody follows."""

_MARKS = {"output": "restored", "report": "report", "compare": "compared", "playable": "restored", "scan": "scan"}
"""What is added to the name of the input, by the result that is fetched."""

File = Literal[
    "output", "report", "compare", "playable", "people.json", "people.csv", "people.vtt", "people.html", "scan"
]
Key = Annotated[
    str | None,
    Header(min_length=1, max_length=128, description="A second request with the same key makes no second job."),
]


async def _root_of(request: Request) -> str:
    """The path under which a proxy or ``--root-path`` has put the service."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


Root = Annotated[str, Depends(_root_of)]


@router.post("/jobs", status_code=202, openapi_extra=doc.JOB_REQUEST, tags=["jobs"])
async def create_job(
    request: Request, response: Response, store: Store, root: Root, owner: Owner, idempotency_key: Key = None
) -> JobBody:
    """Queue the restoration of a file, or the analysis of who is in it (`kind`).

    The file is the form field `file`; `config` holds options as JSON. Photos of people whom `who` names come in fields
    `photo`, each under the file name that `who` has, and are deleted with the job. The answer comes when the upload is
    complete; follow `links.events` or ask for `links.self` until the status is done, failed or cancelled.
    """
    async with read_form(request, store, photos=True) as form:
        kind = kind_of(form)
        config = await asyncio.to_thread(config_of, form)
        params = await asyncio.to_thread(params_of, form, kind, config)
        digest = digest_of(form, config, params)
        known = await asyncio.to_thread(store.job_of_key, owner, idempotency_key, digest)
        if known is not None:
            response.status_code = 200
            return job_body(known, root)
        photos = await photos_of(store, form)
        file = await input_of(store, form)
        asked = {"kind": kind, "config": config, "params": params, "photos": photos, "owner": owner}
        job = await asyncio.to_thread(lambda: _queued(store, file, key=idempotency_key, digest=digest, **asked))
    body = job_body(job, root)
    response.headers["Location"] = body.links["self"]
    return body


def _queued(store: JobStore, file: InputFile, *, key: str | None, digest: str, **options: Any) -> Job:
    """A job on a file; the file is forgotten when there is none, or when it was made by an equal request."""
    try:
        job = store.create_job(file.id, idempotency_key=key, request_digest=digest, **options)
    except BaseException:
        store.delete_input(file.id)
        raise
    if job.input.id != file.id:
        store.delete_input(file.id)
    return job


@router.get("/jobs", tags=["jobs"])
def list_jobs(
    store: Store,
    root: Root,
    owner: Owner,
    kind: Annotated[Literal["restore", "analyze"] | None, Query(description="Both where it is left out.")] = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=32, description="`next` of the page before.")] = None,
) -> JobList:
    """Jobs, the newest first, a page at a time."""
    page = store.jobs(kind=kind, status=status, owner=owner, limit=limit, after=after)
    return JobList(jobs=[job_body(job, root) for job in page.jobs], next=page.next)


@router.get("/jobs/{job_id}", response_model=JobBody, tags=["jobs"])
async def get_job(job: OwnJob, root: Root) -> Response:
    """A job: its status, progress, error and result."""
    return Response(job_body(job, root).model_dump_json(), media_type="application/json")  # asked often: written once


@router.delete("/jobs/{job_id}", status_code=204, responses={202: {"model": JobBody}}, tags=["jobs"])
def delete_job(store: Store, job: OwnJob, root: Root) -> Response:
    """Cancel a job that is queued or running (202: its status is cancelled within about a second); delete one that is
    finished, with all its files (204)."""
    if job.is_finished:
        store.delete(job.id)
        return Response(status_code=204)
    return JSONResponse(job_body(store.cancel(job.id), root).model_dump(mode="json"), 202)


@router.post("/jobs/{job_id}/retry", status_code=202, tags=["jobs"])
def retry_job(store: Store, job: OwnJob, root: Root) -> JobBody:
    """Queue a failed or cancelled job again. What is finished of a failed one is kept."""
    return job_body(store.retry(job.id), root)


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, tags=["jobs"])
async def job_events(store: Store, job: OwnJob, root: Root) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events: `progress` whenever it changes, and last one named like the final status. Each holds the
    job. The stream then ends."""
    told = -1
    while True:
        if job.version != told:
            told = job.version
            name = job.status if job.is_finished else "progress"
            body = job_body(job, root).model_dump_json()
            yield ServerSentEvent(raw_data=body, event=name, id=str(told), retry=2000)
        if job.is_finished:
            return
        await asyncio.sleep(_LOOK)
        try:
            job = await asyncio.to_thread(store.job, job.id)
        except NotFoundError:
            yield ServerSentEvent(raw_data="{}", event="deleted")
            return


def _file_route(path: str, responses: dict[int | str, dict[str, Any]]) -> Callable[[_Route], _Route]:
    """A file at this address. HEAD is answered as GET is, and is no operation of its own in the description."""

    def add(answer: _Route) -> _Route:
        options: dict[str, Any] = {"response_class": FileResponse, "responses": responses, "tags": ["results"]}
        router.add_api_route(path, answer, methods=["GET"], **options)
        router.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False, **options)
        return answer

    return add


@router.get("/jobs/{job_id}/faces", tags=["results"])
def job_faces(store: Store, job: OwnJob, root: Root) -> FaceList:
    """The people of the file: when they are seen, how large and how sharp, and pictures before and after."""
    return FaceList(faces=[_face_body(job, values, root) for values in _faces(store, job)])


def _faces(store: JobStore, job: Job) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_result(store, job, "faces").read_text("utf-8"))["faces"]
    return found


def _face_body(job: Job, values: dict[str, Any], root: str) -> FaceBody:
    base = f"{root}/v1/jobs/{job.id}/faces/{values['id']}"
    pictures = {name: f"{base}/{name}" for name in ("before", "after") if values.pop(name, None)}
    return FaceBody(**values, pictures=pictures)


@_file_route("/jobs/{job_id}/faces/{track}/{moment}", doc.picture("image/jpeg"))
def job_face(store: Store, job: OwnJob, track: int, moment: Literal["before", "after"]) -> FileResponse:
    """A face of the file, before or after its restoration."""
    return _picture(store, job, next((row.get(moment) for row in _faces(store, job) if row["id"] == track), None))


@_file_route("/jobs/{job_id}/people/{number}", doc.picture("image/jpeg"))
def job_person(store: Store, job: OwnJob, number: Annotated[int, PathParameter(ge=0)]) -> FileResponse:
    """Portraits of somebody whom an analysis found, the person of this place (from 0) in `result.people`: up to six
    squares beside each other, the clearest first."""
    portraits = job.result.get("portraits", [])
    return _picture(store, job, portraits[number] if number < len(portraits) else None)


def _picture(store: JobStore, job: Job, name: str | None) -> FileResponse:
    path = None if name is None else result_path(store, job, name)
    if path is None:
        raise ProblemError(404, "not_found", "there is no such picture")
    return _file(path)


@_file_route("/jobs/{job_id}/preview", doc.picture("image/png"))
async def job_preview(
    request: Request,
    store: Store,
    job: OwnJob,
    time: Annotated[float | None, Query(ge=0, le=1e6, description="Seconds from the start.")] = None,
    view: Annotated[Literal["after", "before"], Query(description="The moment restored, or as it was.")] = "after",
) -> FileResponse:
    """One moment of the file restored with the job's options (PNG), also before the job has run. Without `time`: a
    poster on which the faces are outlined and numbered (JPEG)."""
    quick = await finished(request, store, await asyncio.to_thread(_ask, store, job, time))
    path = await asyncio.to_thread(result_path, store, quick, "poster" if time is None else view)
    if path is None:
        raise ProblemError(404, "not_found", "the picture has been deleted; ask again")
    return _file(path)


def _ask(store: JobStore, job: Job, time: float | None) -> Job:
    """The quick job that makes a picture of a job's file; the same one for the same picture."""
    attempt, config = 0, job.config
    params: dict[str, Any] = {} if time is None else {"time": time}
    if job.kind == "analyze":  # its photos are deleted when it is done
        config = {name: value for name, value in config.items() if name not in ("who", "only", "except_")}
    elif "photos" in job.params:
        params |= {"photos": job.params["photos"], "photos_of": job.id}
    while True:
        key = f"preview {job.id} {time} {attempt}"
        kind: Kind = "look" if time is None else "preview"
        quick = store.create_job(job.input.id, kind=kind, config=config, params=params, idempotency_key=key)
        if quick.status not in ("failed", "cancelled"):
            return quick
        store.delete(quick.id)
        attempt += 1


@_file_route("/jobs/{job_id}/{file}", doc.FILES)
def job_file(store: Store, job: OwnJob, file: File) -> FileResponse:
    """A result: of a restoration the output, the report (JSON), the side-by-side, or a copy that browsers play; of an
    analysis the people as JSON, CSV, WebVTT or a page, and the scan (JSON) with the person of each track, which a
    restoration takes. Ranges are answered."""
    path = _result(store, job, file)
    return _file(path, f"{Path(job.input.name).stem}_{_MARKS.get(file, 'people')}{path.suffix}")


def _result(store: JobStore, job: Job, name: str) -> Path:
    if job.status != "done":
        raise ProblemError(409, "not_done", f"the job is {job.status}; there is no {name}")
    path = result_path(store, job, name) if name in job.result else None
    if path is None:
        raise ProblemError(404, "not_found", f"this job has no {name}")
    return path


def _file(path: Path, name: str | None = None, done: BackgroundTask | None = None) -> FileResponse:
    return _RangedFile(path, media_type=media_type(path.suffix), filename=name, background=done)


class _RangedFile(FileResponse):
    """A file, or the part of it that is asked for.

    FileResponse refuses a malformed range, which is to be ignored (RFC 9110, 14.2), and one that lies outside in
    plain text.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, its part, or a problem."""
        refused: Message | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused is None:
            return
        if refused["status"] == 400:
            whole = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": whole}, receive, send)
            return
        size = Headers(raw=refused["headers"])["content-range"]
        detail = f"the range lies outside the file, which has {size.rpartition('/')[2]} bytes"
        await problem_response(416, "range_outside", detail, headers={"Content-Range": size})(scope, receive, send)


@router.post(
    "/images",
    response_class=FileResponse,
    responses=doc.picture("image/png"),
    openapi_extra=doc.IMAGE_REQUEST,
    tags=["at once"],
)
async def restore_image(request: Request, store: Store, owner: Owner) -> FileResponse:
    """Restore a photo or a GIF: an image in, the restored image out, in the same format."""
    job, path = await _at_once(request, store, "image", owner, "output", photos=True)
    name = f"{Path(job.input.name).stem}_restored{path.suffix}"
    answer = _file(path, name, BackgroundTask(store.forget, job.input.id))
    answer.headers["X-Revisage-Faces"] = str(job.result["faces_restored"])
    return answer


@router.post("/scan", openapi_extra=doc.QUICK_REQUEST, tags=["at once"])
async def scan_file(request: Request, store: Store, owner: Owner) -> ScanBody:
    """Find all faces of a video or picture without restoring them. The answer's `scan` can be sent with a job."""
    job, path = await _at_once(request, store, "scan", owner, "scan")
    found = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
    tracks = [{key: value for key, value in row.items() if key != "picture"} for row in job.result["tracks"]]
    values = {name: job.result[name] for name in ("frames", "shots", "truncated")}
    await asyncio.to_thread(store.forget, job.input.id)
    return ScanBody(**values, tracks=tracks, scan=found)


@router.post("/verify", openapi_extra=doc.QUICK_REQUEST, tags=["at once"])
async def verify_file(request: Request, store: Store, owner: Owner) -> Provenance:
    """What a file says of faces that were restored in it: labels, and a C2PA manifest with its state of validation."""
    job, path = await _at_once(request, store, "verify", owner, "provenance")
    found = await asyncio.to_thread(path.read_text, "utf-8")
    await asyncio.to_thread(store.forget, job.input.id)
    return Provenance.model_validate_json(found)


async def _at_once(
    request: Request, store: JobStore, kind: Kind, owner: str | None, name: str, *, photos: bool = False
) -> tuple[Job, Path]:
    """A quick job on an upload, done, and its result of this name."""
    async with read_form(request, store, photos=photos) as form:
        config = await asyncio.to_thread(config_of, form)
        if kind == "image":
            await asyncio.to_thread(check_people, config, None)
        photos_sent = await photos_of(store, form)
        file = await input_of(store, form)
        try:
            if kind == "image" and file.kind == "video":
                raise ProblemError(415, "bad_input", f"{file.name} is a video; POST /v1/jobs restores videos")
            job = await asyncio.to_thread(
                store.create_job, file.id, kind=kind, config=config, photos=photos_sent, owner=owner
            )
            job = await finished(request, store, job)
        except BaseException:
            await asyncio.to_thread(store.forget, file.id)
            raise
    path = await asyncio.to_thread(result_path, store, job, name)
    if path is None:
        raise ProblemError(500, "internal", "the result has been deleted")
    return job, path


@router.get("/models", tags=["models"])
def list_models(_owner: Owner) -> ModelList:
    """The models that a config may name."""
    rows = [
        ModelBody(
            name=entry.name,
            architecture=entry.arch,
            present=models.is_present(entry),
            embedded=entry.embedded,
            bytes=entry.bytes,
            licence=entry.licence,
        )
        for entry in models.entries()
    ]
    return ModelList(models=rows)


@router.get("/presets", tags=["models"])
def list_presets(_owner: Owner) -> PresetList:
    """The presets that a config may name, and what each sets."""
    rows = [
        PresetBody(name=name, footage=preset.footage, options=dict(preset.options)) for name, preset in PRESETS.items()
    ]
    return PresetList(presets=rows)
