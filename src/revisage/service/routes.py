"""The addresses under ``/v1``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from revisage.media import media_type
from revisage.service import documents as doc
from revisage.service.events import event_stream
from revisage.service.jobs import preview as ask_preview
from revisage.service.jobs import result_path
from revisage.service.problems import ProblemError
from revisage.service.ranges import RangedFile
from revisage.service.requests import config_of, digest_of, finished, input_of, own_job, params_of
from revisage.service.schemas import FaceBody, FaceList, JobBody, JobList, ModelBody, ModelList, ScanBody, job_body
from revisage.service.security import Owner
from revisage.service.store import JobStore
from revisage.service.upload import read_form
from revisage.service.values import InputFile, Job, Kind, Status

__all__ = ["router"]

router = APIRouter(prefix="/v1", responses=doc.PROBLEMS)

_FACES_KEPT = 3600.0
File = Literal["output", "report", "compare", "playable"]
Key = Annotated[
    str | None,
    Header(min_length=1, max_length=128, description="A second request with the same key makes no second job."),
]


def _store(request: Request) -> JobStore:
    store: JobStore = request.app.state.store
    return store


@router.post("/jobs", status_code=202, response_model=JobBody, openapi_extra=doc.JOB_REQUEST, tags=["jobs"])
async def create_job(request: Request, response: Response, owner: Owner, idempotency_key: Key = None) -> JobBody:
    """Queue the restoration of a file.

    The file is the form field `file`; `config` holds options as JSON. The answer comes when the upload is complete;
    follow `links.events` or ask for `links.self` until the status is done, failed or cancelled.
    """
    store = _store(request)
    async with read_form(request, store) as form:
        config, params = await asyncio.to_thread(lambda: (config_of(form), params_of(form)))
        digest = digest_of(form, config, params)
        known = await asyncio.to_thread(store.job_of_key, owner, idempotency_key, digest)
        if known is not None:
            response.status_code = 200
            return job_body(known)
        file = await input_of(store, form)
        job = await asyncio.to_thread(
            _queued, store, file, config=config, params=params, owner=owner, key=idempotency_key, digest=digest
        )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_body(job)


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
async def list_jobs(
    request: Request,
    owner: Owner,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=32, description="`next` of the page before.")] = None,
) -> JobList:
    """Jobs, the newest first, a page at a time."""
    page = await asyncio.to_thread(lambda: _store(request).jobs(status=status, owner=owner, limit=limit, after=after))
    return JobList(jobs=[job_body(job) for job in page.jobs], next=page.next)


@router.get("/jobs/{job_id}", response_model=JobBody, tags=["jobs"])
async def get_job(request: Request, job_id: str, owner: Owner) -> Response:
    """A job: its status, progress, error and result."""
    job = await own_job(_store(request), job_id, owner)
    return Response(job_body(job).model_dump_json(), media_type="application/json")  # asked often: written once


@router.delete("/jobs/{job_id}", status_code=204, responses={202: {"model": JobBody}}, tags=["jobs"])
async def delete_job(request: Request, job_id: str, owner: Owner) -> Response:
    """Cancel a job that is queued or running (202: its status is cancelled within about a second); delete one that is
    finished, with all its files (204)."""
    store = _store(request)
    job = await own_job(store, job_id, owner)
    if job.is_finished:
        await asyncio.to_thread(store.delete, job_id)
        return Response(status_code=204)
    job = await asyncio.to_thread(store.cancel, job_id)
    return JSONResponse(job_body(job).model_dump(mode="json"), 202)


@router.post("/jobs/{job_id}/retry", status_code=202, tags=["jobs"])
async def retry_job(request: Request, job_id: str, owner: Owner) -> JobBody:
    """Queue a failed or cancelled job again. What is finished of a failed one is kept."""
    store = _store(request)
    await own_job(store, job_id, owner)
    return job_body(await asyncio.to_thread(store.retry, job_id))


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=doc.EVENTS, tags=["jobs"])
async def job_events(request: Request, job_id: str, owner: Owner) -> StreamingResponse:
    """Server-sent events: `progress` whenever it changes, and last one named like the final status. Each holds the
    job. The stream then ends."""
    job = await own_job(_store(request), job_id, owner)
    return StreamingResponse(event_stream(request, _store(request), job), media_type="text/event-stream")


@router.get("/jobs/{job_id}/faces", tags=["results"])
async def job_faces(request: Request, job_id: str, owner: Owner) -> FaceList:
    """The people of the file: when they are seen, how large and how sharp, and pictures before and after."""
    store = _store(request)
    job = await own_job(store, job_id, owner)
    text = await asyncio.to_thread(_result(store, job, "faces").read_text, "utf-8")
    return FaceList(faces=[_face_body(job, values) for values in json.loads(text)["faces"]])


def _face_body(job: Job, values: dict[str, Any]) -> FaceBody:
    pictures = {
        name: f"/v1/jobs/{job.id}/faces/{values['id']}/{name}" for name in ("before", "after") if values.pop(name, None)
    }
    return FaceBody(**values, pictures=pictures)


@router.api_route(
    "/jobs/{job_id}/faces/{track}/{moment}",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
    responses=doc.picture("image/jpeg"),
    tags=["results"],
)
async def job_face(
    request: Request, job_id: str, track: int, moment: Literal["before", "after"], owner: Owner
) -> FileResponse:
    """A face of the file, before or after its restoration."""
    store = _store(request)
    job = await own_job(store, job_id, owner)
    rows = json.loads(_result(store, job, "faces").read_text("utf-8"))["faces"]
    name = next((row.get(moment) for row in rows if row["id"] == track), None)
    path = None if name is None else result_path(store, job, name)
    if path is None:
        raise ProblemError(404, "not_found", "there is no such picture")
    return _file(path)


@router.api_route(
    "/jobs/{job_id}/preview",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
    responses=doc.picture("image/png"),
    tags=["results"],
)
async def job_preview(
    request: Request,
    job_id: str,
    owner: Owner,
    time: Annotated[float | None, Query(ge=0, le=1e6, description="Seconds from the start.")] = None,
    view: Annotated[Literal["after", "before"], Query(description="The moment restored, or as it was.")] = "after",
) -> FileResponse:
    """One moment of the file restored with the job's options (PNG), also before the job has run. Without `time`: a
    poster on which the faces are outlined and numbered (JPEG)."""
    store = _store(request)
    job = await own_job(store, job_id, owner)
    quick = await finished(request, store, await asyncio.to_thread(_ask, store, job, time))
    path = result_path(store, quick, "poster" if time is None else view)
    if path is None:
        raise ProblemError(404, "not_found", "the picture has been deleted; ask again")
    return _file(path)


def _ask(store: JobStore, job: Job, time: float | None) -> Job:
    """The quick job that makes a picture of a job's file; the same one for the same picture."""
    attempt = 0
    while True:
        key = f"preview {job.id} {time} {attempt}"
        if time is None:
            quick = store.create_job(job.input.id, kind="look", config=job.config, idempotency_key=key)
        else:
            quick = ask_preview(store, job.input.id, time, job.config, idempotency_key=key)
        if quick.status not in ("failed", "cancelled"):
            return quick
        store.delete(quick.id)
        attempt += 1


@router.api_route(
    "/jobs/{job_id}/{file}",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
    responses=doc.FILES,
    tags=["results"],
)
async def job_file(request: Request, job_id: str, file: File, owner: Owner) -> FileResponse:
    """A result: the output, the report (JSON), the side-by-side, or a copy that browsers play. Ranges are answered."""
    store = _store(request)
    job = await own_job(store, job_id, owner)
    path = _result(store, job, file)
    marks = {"output": "restored", "report": "report", "compare": "compared", "playable": "restored"}
    return _file(path, f"{Path(job.input.name).stem}_{marks[file]}{path.suffix}")


def _result(store: JobStore, job: Job, name: str) -> Path:
    if job.status != "done":
        raise ProblemError(409, "not_done", f"the job is {job.status}; there is no {name}")
    path = result_path(store, job, name) if name in job.result else None
    if path is None:
        raise ProblemError(404, "not_found", f"this job has no {name}")
    return path


def _file(path: Path, name: str | None = None, done: BackgroundTask | None = None) -> FileResponse:
    kind = "application/json" if path.suffix == ".json" else media_type(path.suffix)
    return RangedFile(path, media_type=kind, filename=name, background=done)


@router.post(
    "/images",
    response_class=FileResponse,
    responses=doc.picture("image/png"),
    openapi_extra=doc.QUICK_REQUEST,
    tags=["at once"],
)
async def restore_image(request: Request, owner: Owner) -> FileResponse:
    """Restore a photo or a GIF: an image in, the restored image out, in the same format."""
    store = _store(request)
    job = await _at_once(request, store, "image", owner)
    path = result_path(store, job, "output")
    if path is None:
        raise ProblemError(500, "internal", "the result has been deleted")
    name = f"{Path(job.input.name).stem}_restored{path.suffix}"
    answer = _file(path, name, BackgroundTask(store.forget, job.input.id))
    answer.headers["X-Revisage-Faces"] = str(job.result["faces_restored"])
    return answer


@router.post("/scan", response_model=ScanBody, openapi_extra=doc.QUICK_REQUEST, tags=["at once"])
async def scan_file(request: Request, owner: Owner) -> Any:
    """Find all faces of a video or picture without restoring them. The answer's `scan` can be sent with a job."""
    store = _store(request)
    job = await _at_once(request, store, "scan", owner)
    path = result_path(store, job, "scan")
    if path is None:
        raise ProblemError(500, "internal", "the result has been deleted")
    found = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
    tracks = [{key: value for key, value in row.items() if key != "picture"} for row in job.result["tracks"]]
    values = {name: job.result[name] for name in ("frames", "shots", "truncated")}
    await asyncio.to_thread(store.forget, job.input.id)
    return ScanBody(**values, tracks=tracks, scan=found)


async def _at_once(request: Request, store: JobStore, kind: Kind, owner: str | None) -> Job:
    """A quick job on an upload, done."""
    async with read_form(request, store) as form:
        config = await asyncio.to_thread(config_of, form)
        file = await input_of(store, form)
        try:
            if kind == "image" and file.kind == "video":
                raise ProblemError(415, "bad_input", f"{file.name} is a video; POST /v1/jobs restores videos")
            job = await asyncio.to_thread(lambda: store.create_job(file.id, kind=kind, config=config, owner=owner))
            return await finished(request, store, job)
        except BaseException:
            store.forget(file.id)
            raise


@router.get("/models", tags=["models"])
def list_models(_owner: Owner) -> ModelList:
    """The models that a config may name."""
    from revisage import models

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
