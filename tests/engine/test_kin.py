"""A search begins where earlier jobs of the project ended: of the same model, or of like data; and of no other project's."""

from typing import Any

import pytest
from sqlalchemy import Engine

from app.db import transaction
from app.spec.job import parse_spec
from app.states import TrialStatus
from app.tables import Job, Trial
from tests.engine.rows import a_job, the_job
from tests.engine.test_claims import take
from workers.kin import ALONE, warm_start
from workers.search.facts import Facts

FACTS = Facts(task="regression", rows=1_000, features=8, categorical=1)


def ended(engine: Engine, like: str, *, model: str, rows: int, leaves: int) -> str:
    """A job of the same project as `like` that succeeded, with its best trial."""
    with transaction(engine) as session:
        other = session.get_one(Job, like)
        job = Job(
            id=f"{like[:-3]}{leaves:03}", project_id=other.project_id, model=model, status="succeeded", spec=other.spec,
            spec_digest="d", labels={}, created_by="key", best_trial=0, metrics={}, facts={}, attempt=1, revision=1,
            search={"metric": "rmse", "facts": {"task": "regression", "rows": rows, "features": 8}},
        )  # fmt: skip
        session.add(job)
        session.flush()
        session.add(Trial(job_id=job.id, number=0, status=TrialStatus.COMPLETE, value=1.0, attempt=1, metrics={},
                          params={"num_leaves": leaves}, facts={}))  # fmt: skip
        return job.id


def found(engine: Engine, job_id: str, **tuning: Any) -> dict[str, Any]:
    """The warm start of the job, whose tuning is changed in the given ways."""
    job, claim = the_job(engine, job_id), take(engine, job_id)
    spec = a_spec_of(job, **tuning)
    return warm_start(engine, claim, spec, FACTS)


def a_spec_of(job: Job, *, mode: str = "fast", **tuning: Any) -> Any:
    return parse_spec({
        **job.spec, "tuning": {**job.spec["tuning"], **tuning}, "reproducibility": {"mode": mode},
    })  # fmt: skip


SPACE = {"strategy": "bayesian", "max_trials": 9, "space": {"num_leaves": {"type": "int", "low": 8, "high": 64}}}


@pytest.fixture
def job_id(engine: Engine) -> str:
    return a_job(engine)


def test_the_same_models_jobs_come_first_then_those_of_like_data(engine: Engine, job_id: str) -> None:
    like = ended(engine, job_id, model="another", rows=900, leaves=10)
    ended(engine, job_id, model="larger", rows=90_000, leaves=11)
    same = ended(engine, job_id, model="a-model", rows=90_000, leaves=12)
    ended(engine, a_job(engine), model="a-model", rows=1_000, leaves=13)
    warm = found(engine, job_id, **SPACE)
    assert warm["job_ids"] == [same, like]
    assert [params["num_leaves"] for params in warm["params"]] == [12, 10]
    assert same in warm["why"]


def test_named_jobs_and_no_others_are_begun_from(engine: Engine, job_id: str) -> None:
    wanted = ended(engine, job_id, model="larger", rows=90_000, leaves=11)
    ended(engine, job_id, model="a-model", rows=1_000, leaves=12)
    assert found(engine, job_id, **SPACE, warm_start=[wanted])["job_ids"] == [wanted]


def test_in_deterministic_mode_nothing_hangs_on_what_ran_before(engine: Engine, job_id: str) -> None:
    ended(engine, job_id, model="a-model", rows=1_000, leaves=12)
    warm = found(engine, job_id, mode="deterministic", **SPACE)
    assert (warm["params"], warm["why"]) == ([], ALONE)


def test_none_means_none(engine: Engine, job_id: str) -> None:
    ended(engine, job_id, model="a-model", rows=1_000, leaves=12)
    assert found(engine, job_id, **SPACE, warm_start="none")["params"] == []
