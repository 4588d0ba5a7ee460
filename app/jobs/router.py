"""The routes of jobs."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from app.db import transaction
from app.errors import Forbidden, InvalidRequest
from app.http import (
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StoreDep,
    StrictRoute,
    Trainer,
    TrainOnce,
    authenticate,
    bearer,
    listing,
)
from app.jobs import searches, service, submission
from app.jobs.schemas import (
    ArtifactList,
    ArtifactOut,
    EventList,
    EventOut,
    JobList,
    JobOut,
    LogLine,
    LogList,
    SpecOut,
    StageList,
)
from app.jobs.showing import RETRY_AFTER_SECONDS, accepted, accepted_headers, etag_of, show_job, show_stage
from app.spec.base import Moment
from app.spec.extras import declared
from app.spec.job import JobSpec
from app.states import TERMINAL_JOBS, JobStatus
from app.streams import Hub, wait_for_news
from app.strict import wanted_labels
from app.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

PING_SECONDS = 15.0
STREAM_PAGE = 200


def _each(given: Any) -> Any:
    """Values that stand with commas between them, one by one."""
    return [each for value in given for each in value.split(",")] if isinstance(given, list) else given


@router.post("", status_code=202, response_model=JobOut, operation_id="create_job")
def create_job(spec: JobSpec, session: SessionDep, caller: Trainer, once: TrainOnce, settings: SettingsDep) -> Response:
    """Accepts a job: once this answers 202, the job will end in exactly one terminal state."""
    job = submission.submit(
        session, spec, project_id=caller.project_id, created_by=caller.key_id, extras=declared(settings.extras)
    )
    return once.answer(202, accepted(job, settings.public_url), headers=accepted_headers(job))


@router.post("/plan", status_code=202, response_model=JobOut, operation_id="plan_job")
def plan_job(spec: JobSpec, session: SessionDep, caller: Trainer, once: TrainOnce, settings: SettingsDep) -> Response:
    """Accepts a plan: a job that reads the data, trains nothing, and says all that a job of this spec would meet."""
    job = submission.submit(
        session, spec, project_id=caller.project_id, created_by=caller.key_id, extras=declared(settings.extras),
        kind="plan",
    )  # fmt: skip
    return once.answer(202, accepted(job, settings.public_url), headers=accepted_headers(job))


@router.get("", response_model=JobList, operation_id="list_jobs")
def list_jobs(  # noqa: PLR0913, PLR0917  # each is a filter of the contract
    session: SessionDep,
    caller: Reader,
    page: PageDep,
    settings: SettingsDep,
    labels: Annotated[dict[str, str], Depends(wanted_labels)],
    status: Annotated[list[JobStatus] | None, BeforeValidator(_each), Query(max_length=len(JobStatus))] = None,
    model: Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9-]{1,62}$")] = None,
    created_after: Annotated[Moment | None, Query()] = None,
) -> Any:
    """A page of jobs, newest first. `status` takes several, apart or with commas; `label.KEY=VALUE` filters by label."""
    before = _text_key(page.after)
    found = service.page(
        session, project_id=caller.project_id, limit=page.limit, before=before, statuses=status or (), model=model,
        created_after=created_after, labels=labels,
    )  # fmt: skip
    stages = service.stages_of(session, [job.id for job in found])
    shown = [show_job(job, stages[job.id], public_url=settings.public_url) for job in found]
    return listing(shown, limit=page.limit, key=lambda job: [job.id])


def _text_key(after: list[str | int] | None) -> str | None:
    if after is None:
        return None
    if len(after) != 1 or not isinstance(after[0], str):
        raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor")
    return after[0]


def _number_key(after: list[str | int] | None, *, start: int = 0) -> int:
    if after is None:
        return start
    if len(after) != 1 or not isinstance(after[0], int):
        raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor")
    return max(-1, after[0])


def _reader(request: Request, session: Session) -> str:
    """The project of a caller who may read; for handlers that must not hold a session while they wait."""
    caller = authenticate(session, request.app.state.vault, request.headers.getlist("authorization"))
    if not {"read", "admin"} & caller.scopes:
        raise Forbidden("This key does not have the scope 'read'.", hint="Use a key that has it.")
    return caller.project_id


def _read_job(request: Request, job_id: str) -> tuple[JobOut, str]:
    with transaction(request.app.state.engine) as session:
        job = service.get(session, job_id, project_id=_reader(request, session))
        stages = service.stages_of(session, [job.id])[job.id]
        search = searches.read(session, job)
        shown = show_job(job, stages, public_url=request.app.state.settings.public_url, search=search)
        return shown, etag_of(job.id, job.revision)


def _mark_of(request: Request, job_id: str) -> tuple[str, bool]:
    """(the job's ETag, whether it has ended)."""
    with transaction(request.app.state.engine) as session:
        revision, status = service.mark(session, job_id, project_id=_reader(request, session))
        return etag_of(job_id, revision), status in TERMINAL_JOBS


@router.get("/{job_id}", response_model=JobOut, operation_id="get_job", dependencies=[Security(bearer)])
async def get_job(
    request: Request, job_id: str, wait: Annotated[float, Query(ge=0, le=60, allow_inf_nan=False)] = 0
) -> Response:
    """A job. `wait` holds the answer until the job changes or ends; If-None-Match is answered by 304."""
    hub: Hub = request.app.state.hub
    known = request.headers.get("if-none-match")
    until = time.monotonic() + wait
    if wait or known:
        async with hub.subscribe(job_id) as bell:
            mark, ended = await run_in_threadpool(_mark_of, request, job_id)
            seen = known or mark
            while mark == seen and not ended and (left := until - time.monotonic()) > 0:
                if await wait_for_news(bell, seconds=left):
                    mark, ended = await run_in_threadpool(_mark_of, request, job_id)
        if mark == known:
            return Response(status_code=304, headers={"ETag": mark})
    job, etag = await run_in_threadpool(_read_job, request, job_id)
    headers = {"ETag": etag}
    if job.status not in TERMINAL_JOBS:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    return JSONResponse(job.model_dump(mode="json"), headers=headers)


@router.post("/{job_id}/cancel", status_code=202, response_model=JobOut, operation_id="cancel_job")
def cancel_job(job_id: str, session: SessionDep, caller: Trainer, once: TrainOnce, settings: SettingsDep) -> Response:
    """Cancels a job: at once where no worker holds it, within seconds otherwise. Cancelling twice is harmless."""
    job = service.locked(session, job_id, project_id=caller.project_id)
    service.cancel(session, job, by=caller.key_id)
    return once.answer(202, _after_change(session, job, settings.public_url))


@router.post("/{job_id}/retry", status_code=202, response_model=JobOut, operation_id="retry_job")
def retry_job(job_id: str, session: SessionDep, caller: Trainer, once: TrainOnce, settings: SettingsDep) -> Response:
    """Queues a failed job again; it resumes from the stage that failed."""
    job = service.locked(session, job_id, project_id=caller.project_id)
    service.retry(session, job, by=caller.key_id)
    return once.answer(202, _after_change(session, job, settings.public_url))


def _after_change(session: Session, job: Job, public_url: str) -> JobOut:
    session.flush()
    session.refresh(job)
    stages = service.stages_of(session, [job.id])[job.id]
    return show_job(job, stages, public_url=public_url, search=searches.read(session, job))


@router.get("/{job_id}/spec", response_model=SpecOut, operation_id="get_job_spec")
def get_spec(job_id: str, session: SessionDep, caller: Reader) -> Any:
    """The resolved spec, all defaults written out."""
    job = service.get(session, job_id, project_id=caller.project_id)
    return {"spec": job.spec, "spec_digest": job.spec_digest}


@router.get("/{job_id}/stages", response_model=StageList, operation_id="list_job_stages")
def get_stages(job_id: str, session: SessionDep, caller: Reader) -> Any:
    """The ten stages in order."""
    job = service.get(session, job_id, project_id=caller.project_id)
    return {"items": [show_stage(row) for row in service.stages_of(session, [job.id])[job.id]]}


@router.get("/{job_id}/logs", response_model=LogList, operation_id="list_job_logs")
def get_logs(job_id: str, session: SessionDep, caller: Reader, page: PageDep) -> Any:
    """A page of the job's log, oldest first."""
    job = service.get(session, job_id, project_id=caller.project_id)
    rows = service.logs(session, job.id, limit=page.limit, after=_number_key(page.after))
    return listing([LogLine.model_validate(row) for row in rows], limit=page.limit, key=lambda row: [row.id])


@router.get("/{job_id}/artifacts", response_model=ArtifactList, operation_id="list_job_artifacts")
def get_artifacts(job_id: str, session: SessionDep, caller: Reader) -> Any:
    """All artifacts of the job."""
    job = service.get(session, job_id, project_id=caller.project_id)
    return {"items": [ArtifactOut.model_validate(row) for row in service.artifacts(session, job.id)]}


@router.get(
    "/{job_id}/artifacts/{name}", status_code=302, response_class=RedirectResponse, operation_id="get_job_artifact"
)
def get_artifact(job_id: str, name: str, session: SessionDep, caller: Reader, store: StoreDep) -> Response:
    """A redirect to a URL that gives the artifact's bytes for fifteen minutes."""
    job = service.get(session, job_id, project_id=caller.project_id)
    row = service.artifact(session, job.id, name)
    return RedirectResponse(store.presign_get(job.project_id, row.digest, filename=f"{job.id}-{row.name}"), 302)


@router.get(
    "/{job_id}/events", response_model=EventList, operation_id="list_job_events", dependencies=[Security(bearer)]
)
async def get_events(request: Request, job_id: str, page: PageDep) -> Any:
    """What happened to the job: a JSON page, or a live stream with `Accept: text/event-stream`."""
    if "text/event-stream" not in request.headers.get("accept", ""):
        after = _number_key(page.after)
        rows, _ended = await run_in_threadpool(_read_events, request, job_id, after=after, limit=page.limit)
        return listing(rows, limit=page.limit, key=lambda row: [row.seq])
    last = request.headers.get("last-event-id", "0")
    start = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0  # fits a bigint
    first = await run_in_threadpool(_read_events, request, job_id, after=start, limit=STREAM_PAGE)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = _stream(request, job_id, first=first, start=start)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _read_events(request: Request, job_id: str, *, after: int, limit: int) -> tuple[list[EventOut], bool]:
    with transaction(request.app.state.engine) as session:
        job = service.get(session, job_id, project_id=_reader(request, session))
        ended = JobStatus(job.status) in TERMINAL_JOBS
        rows = service.happened(session, job.id, limit=limit, after=after)
        return [EventOut.model_validate(row) for row in rows], ended


async def _stream(
    request: Request, job_id: str, *, first: tuple[list[EventOut], bool], start: int
) -> AsyncIterator[str]:
    hub: Hub = request.app.state.hub
    rows, ended = first
    after = start
    async with hub.subscribe(job_id) as bell:
        while True:
            for row in rows:
                yield f"id: {row.seq}\nevent: {row.type}\ndata: {row.model_dump_json()}\n\n"
                after = row.seq
            if ended and len(rows) <= STREAM_PAGE:
                return
            if len(rows) <= STREAM_PAGE and not await wait_for_news(bell, seconds=PING_SECONDS):
                yield ": still here\n\n"
            rows, ended = await run_in_threadpool(_read_events, request, job_id, after=after, limit=STREAM_PAGE)
