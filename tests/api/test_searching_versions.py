"""Versions are found by metric, by tag and by their data, page after page, and only those of the project."""

from typing import Any

import pytest

from app.db import transaction
from app.tables import Job
from tests.api.rows import Tenant, register_job


def version(tenant: Tenant, value: float | None, model: str = "late-flights", **tags: str) -> tuple[str, int]:
    job_id = tenant.job(model, registration={"tags": tags})
    with transaction(tenant.engine) as session:
        job = session.get_one(Job, job_id, with_for_update=True)
        job.metrics = {"test": {"roc_auc": {"value": value}, "log_loss": {"value": value}}}
        return model, register_job(session, job_id, tenant.vault)


def found(tenant: Tenant, query: str) -> list[tuple[str, int]]:
    answer = tenant.get(f"/v1/versions?{query}")
    assert answer.status_code == 200, answer.text
    return [(row["model"], row["version"]) for row in answer.json()["items"]]


def test_the_best_come_first_whichever_way_is_better(tenant: Tenant):
    good, bad, best = version(tenant, 0.8), version(tenant, 0.6), version(tenant, 0.9, "other-model")
    undefined = version(tenant, None)
    assert found(tenant, "metric=roc_auc") == [best, good, bad]
    assert found(tenant, "metric=log_loss") == [bad, good, best]
    assert found(tenant, "metric=roc_auc&at_least=0.7&at_most=0.85") == [good]
    assert found(tenant, "metric=roc_auc&model=late-flights") == [good, bad]
    assert found(tenant, "") == [undefined, best, bad, good]


def test_pages_follow_on_each_other_where_values_are_equal(tenant: Tenant):
    made = [version(tenant, 0.5 + place // 2 / 10) for place in range(7)]
    for query in ("metric=roc_auc", "metric=log_loss", "model=late-flights"):
        seen, cursor = [], ""
        while cursor is not None:
            page = tenant.get(f"/v1/versions?{query}&limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
            seen += [(row["model"], row["version"]) for row in page["items"]]
            cursor = page["next_cursor"]
        assert sorted(seen) == sorted(made)
        assert seen == found(tenant, query)


def test_tags_and_data_lead_to_versions(tenant: Tenant):
    tagged, other = version(tenant, 0.8, team="ops", month="06"), version(tenant, 0.7, team="ops")
    assert found(tenant, "tag=team=ops&tag=month=06") == [tagged]
    assert found(tenant, "tag=team=ops") == [other, tagged]
    job = tenant.row(tenant.get("/v1/models/late-flights/versions/1").json()["job_id"])
    assert found(tenant, f"dataset_id={job.spec['data']['sources']['rows']['dataset_id']}") == [tagged]
    assert found(tenant, f"data_digest={job.data_digest}") == [other, tagged]
    assert found(tenant, "dataset_id=ds_" + "0" * 26) == []


def test_another_projects_versions_are_not_found(tenant: Tenant, stranger: Tenant):
    version(tenant, 0.8)
    assert found(stranger, "metric=roc_auc") == []


@pytest.mark.parametrize("query", [
    "metric=magic", "at_least=0.5", "metric=roc_auc&at_least=nan", "tag=team", "tag=%00=1", "dataset_id=../etc", "limit=0",
    "data_digest=sha256:xyz", "model=UPPER", "surprise=1", "cursor=WyJhIl0=", "cursor=WyJhIiwgImIiLCAiYyJd",
])  # fmt: skip
def test_a_malformed_search_is_refused(tenant: Tenant, query: Any):
    assert tenant.get(f"/v1/versions?{query}").status_code in {400, 422}
