"""A project with a caller, and jobs in the states that tests need; rows come into being through the services."""

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from app.accounts.schemas import KeyRequest
from app.accounts.service import make_key, make_project
from app.db import transaction
from app.ids import new_id
from app.jobs.submission import submit
from app.moves import move_job
from app.registry.service import register
from app.reviews.service import open_review
from app.secrets import Vault
from app.spec.job import parse_spec
from app.states import JobStatus, StageStatus
from app.tables import ApiKey, Dataset, Event, Job, JobStage

PUBLIC_URL = "http://127.0.0.1:8000"
BUNDLE = "sha256:" + "b" * 64
GATE = {"verdict": "fail", "rules": [{"metric": "roc_auc", "min": 0.99, "value": 0.8, "verdict": "fail"}]}


class Tenant:
    """A project of its own, with a client for each scope."""

    def __init__(self, client: TestClient, engine: Engine, vault: Vault) -> None:
        self.engine, self.vault, self._client = engine, vault, client
        with transaction(engine) as session:
            self.id = make_project(session, new_id("name")).id
        self.headers = {"Authorization": f"Bearer {self.key('read', 'train', 'review')}"}

    def key(self, *scopes: Any) -> str:
        """The text of a new key with these scopes."""
        with transaction(self.engine) as session:
            asked = KeyRequest(name="test", scopes=list(scopes))
            return make_key(session, self.vault, asked, asking=self.id).key

    def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **rest: Any) -> Any:
        """The answer to a request of this tenant."""
        said = {**self.headers, **(headers or {})}
        return self._client.request(method, path, headers=said, follow_redirects=False, **rest)

    def get(self, path: str, **rest: Any) -> Any:
        return self.call("GET", path, **rest)

    def post(self, path: str, body: Any, **rest: Any) -> Any:
        return self.call("POST", path, json=body, **rest)

    def job(
        self, model: str = "late-flights", *, registration: dict[str, Any] | None = None, gate: dict[str, Any] | None = None,
        created_by: str = "key_test",
    ) -> str:  # fmt: skip
        """The id of a running job whose gate has been passed or refused."""
        with transaction(self.engine) as session:
            dataset = Dataset(
                id=new_id("ds"), project_id=self.id, name="rows", filename="rows.csv", format="csv", status="ready",
                digest="sha256:" + "d" * 64, size_bytes=10,
            )  # fmt: skip
            session.add(dataset)
            session.flush()
            spec = parse_spec({
                "model": model, "task": {"type": "binary", "target": "late"},
                "data": {"sources": {"rows": {"kind": "dataset", "dataset_id": dataset.id}}},
                "registration": registration or {}, "gate": gate or {},
            })  # fmt: skip
            job = submit(session, spec, project_id=self.id, created_by=created_by, extras=())
            move_job(session, job, JobStatus.RUNNING)
            job.metrics = {"test": {"roc_auc": {"value": 0.8, "low": 0.78, "high": 0.82}}}
            job.gate, job.data_digest = GATE, "sha256:" + "a" * 64
            for stage in session.scalars(select(JobStage).where(JobStage.job_id == job.id, JobStage.position < 7)):
                stage.status = StageStatus.SUCCEEDED
            return job.id

    def registered(self, model: str = "late-flights", **wish: Any) -> int:
        """The number of a freshly registered version of the model."""
        job_id = self.job(model, registration=wish)
        with transaction(self.engine) as session:
            return register_job(session, job_id, self.vault)

    def measured(self, evidence: dict[str, Any], *, model: str = "late-flights", version: int | None = None) -> str:
        """The id of a job whose evaluation said `evidence`."""
        job_id = self.job(model)
        with transaction(self.engine) as session:
            session.get_one(JobStage, (job_id, "evaluate")).output = evidence
            session.get_one(Job, job_id).version = version
        return job_id

    def key_id(self) -> str:
        """The id of the key that this tenant calls with."""
        with transaction(self.engine) as session:
            keys = session.scalars(select(ApiKey.id).where(ApiKey.project_id == self.id).order_by(ApiKey.id))
            return next(iter(keys))

    def reviewed(self, **given: Any) -> tuple[str, str]:
        """The ids of a job that awaits a review, and of that review; `given` goes to `job`."""
        job_id = self.job(**given)
        with transaction(self.engine) as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            session.get_one(JobStage, (job_id, "gate")).status = StageStatus.FAILED
            review = open_review(session, job=job, evidence=GATE)
            move_job(session, job, JobStatus.AWAITING_REVIEW)
            return job_id, review.id

    def row(self, job_id: str) -> Job:
        """The job's row as it is now."""
        with transaction(self.engine) as session:
            return session.get_one(Job, job_id)

    def stages(self, job_id: str) -> dict[str, str]:
        """The job's stages and their states."""
        with transaction(self.engine) as session:
            rows = session.scalars(select(JobStage).where(JobStage.job_id == job_id).order_by(JobStage.position))
            return {row.name: row.status for row in rows}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The data of the project's events of one type, oldest first."""
        with transaction(self.engine) as session:
            query = select(Event).where(Event.project_id == self.id, Event.type == kind).order_by(Event.seq)
            return [row.data for row in session.scalars(query)]


def register_job(session: Any, job_id: str, vault: Vault) -> int:
    """The number that registering the job gives, as a worker's settling does it."""
    job = session.get_one(Job, job_id, with_for_update=True)
    made = register(
        session, job=job, bundle_digest=BUNDLE, bundle_bytes=1_000, manifest={"format": 1}, public_url=PUBLIC_URL,
        vault=vault,
    )  # fmt: skip
    return made.version


__all__ = ["BUNDLE", "PUBLIC_URL", "Tenant", "register_job"]
