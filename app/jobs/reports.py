"""The routes of a job's trials and of its whole story."""

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.orm import Session

from app.errors import InvalidRequest
from app.http import Page, PageDep, Reader, SessionDep, SettingsDep, StrictRoute, listing
from app.jobs import searches, service, story
from app.jobs.schemas import ReportOut, TrialList, TrialOut
from app.jobs.showing import show_job
from app.states import TrialStatus
from app.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

MOST_TRIALS = 1_000


@router.get("/{job_id}/trials", response_model=TrialList, operation_id="list_job_trials")
def get_trials(
    job_id: str,
    session: SessionDep,
    caller: Reader,
    page: PageDep,
    status: Annotated[list[TrialStatus] | None, Query(max_length=6)] = None,
    sort: Annotated[Literal["number", "value"], Query(description="`value`: the best first")] = "number",
) -> Any:
    """A page of the search's trials, in order of number or the best first."""
    job = service.get(session, job_id, project_id=caller.project_id)
    found = searches.trials(
        session, job, limit=page.limit, after=_after(page), statuses=status or (), by_value=sort == "value"
    )
    places = {row.number: place for row, place in found}
    shown = [TrialOut.model_validate(row) for row, _ in found]
    return listing(shown, limit=page.limit, key=lambda trial: [repr(places[trial.number]), trial.number])


def _after(page: Page) -> tuple[float, int] | None:
    if page.after is None:
        return None
    try:
        place, number = page.after
        known = float(place), int(number)
    except (ValueError, TypeError):
        known = (math.nan, 0)
    if math.isnan(known[0]) or not -1 <= known[1] < 2**31:
        raise InvalidRequest("That cursor is not one of this list's.", code="invalid_cursor")
    return known


@router.get(
    "/{job_id}/report", response_model=ReportOut, operation_id="get_job_report",
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def get_report(
    request: Request, job_id: str, session: SessionDep, caller: Reader, settings: SettingsDep
) -> Response:  # fmt: skip
    """The whole story of a job: as JSON, or as a page with `Accept: text/html`."""
    job = service.get(session, job_id, project_id=caller.project_id)
    report = _report(session, job, public_url=settings.public_url)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(
            story.page(report), headers={"Content-Security-Policy": story.PAGE.policy, "Vary": "Accept"}
        )
    return JSONResponse(report.model_dump(mode="json"), headers={"Vary": "Accept"})


def _report(session: Session, job: Job, *, public_url: str) -> ReportOut:
    stages = service.stages_of(session, [job.id])[job.id]
    rows = searches.trials(session, job, limit=MOST_TRIALS, after=None, statuses=(), by_value=False)
    return ReportOut(
        job=show_job(job, stages, public_url=public_url, search=searches.read(session, job)), spec=job.spec,
        trials=[TrialOut.model_validate(row) for row, _ in rows],
    )  # fmt: skip
