"""Job rows as callers see them."""

from app.jobs.schemas import JobOut, Progress, ReuseOut, SearchOut, StageOut, VersionLink
from app.states import STAGES_OF
from app.tables import Job, JobStage

RETRY_AFTER_SECONDS = "1"


def show_stage(row: JobStage) -> StageOut:
    """A stage as callers see it."""
    return StageOut(
        name=row.name, status=row.status, cached=row.cached, started_at=row.started_at, finished_at=row.finished_at,
        duration_seconds=row.duration_seconds, summary=row.summary, warnings=row.warnings or [],
        reuse=ReuseOut.model_validate(row.reuse) if row.reuse else None, peak_memory_bytes=row.peak_memory_bytes,
    )  # fmt: skip


def show_job(job: Job, stages: list[JobStage], *, public_url: str, search: SearchOut | None = None) -> JobOut:
    """A job as callers see it."""
    link = None
    if job.version is not None:
        url = f"{public_url.rstrip('/')}/v1/models/{job.model}/versions/{job.version}"
        link = VersionLink(model=job.model, version=job.version, url=url)
    return JobOut(
        id=job.id, model=job.model, kind=job.kind, status=job.status, stage=job.stage, attempt=job.attempt,
        progress=Progress.model_validate(job.progress) if job.progress else None, status_reason=job.status_reason, error=job.error,
        stages=[show_stage(row) for row in stages], metrics=job.metrics, gate=job.gate, best_trial=job.best_trial,
        model_version=link, search=search, review_id=job.review_id, plan=job.facts.get("plan"),
        reproduction=job.facts.get("reproduction"), spec_digest=job.spec_digest, data_digest=job.data_digest,
        labels=job.labels, created_at=job.created_at, started_at=job.started_at, finished_at=job.finished_at,
    )  # fmt: skip


def accepted(job: Job, public_url: str) -> JobOut:
    """A job that was accepted just now."""
    stages = [JobStage(name=name, status="pending", cached=False) for name in STAGES_OF[job.kind]]
    return show_job(job, stages, public_url=public_url)


def accepted_headers(job: Job) -> dict[str, str]:
    """Where to look for it, and when."""
    return {
        "Location": f"/v1/jobs/{job.id}", "Retry-After": RETRY_AFTER_SECONDS, "ETag": etag_of(job.id, job.revision)
    }  # fmt: skip


def etag_of(job_id: str, revision: int) -> str:
    """The job's strong ETag."""
    return f'"{job_id}.{revision}"'
