"""Two versions side by side: spec fields, metrics with intervals, data and features."""

from app.db import transaction
from app.registry.comparing import differing
from app.tables import Job, JobStage
from tests.api.rows import Tenant, register_job


def version(tenant: Tenant, *, value: float, features: list[list[str]], registration=None) -> int:
    job_id = tenant.job(registration=registration)
    with transaction(tenant.engine) as session:
        job = session.get_one(Job, job_id, with_for_update=True)
        job.metrics = {"test": {
            "roc_auc": {"value": value, "low": value - 0.01, "high": value + 0.01}, "log_loss": {"value": 1 - value},
        }}  # fmt: skip
        session.get_one(JobStage, (job_id, "validate")).output = {"features": features}
        session.get_one(JobStage, (job_id, "ingest")).output = {"rows": 100}
        return register_job(session, job_id, tenant.vault)


def test_two_versions_are_set_side_by_side(tenant: Tenant):
    one = version(tenant, value=0.8, features=[["a", "numeric"], ["b", "text"]])
    two = version(
        tenant, value=0.9, features=[["a", "categorical"], ["c", "numeric"]], registration={"tags": {"k": "v"}}
    )
    found = tenant.get(f"/v1/models/late-flights/versions/{one}/compare/{two}").json()
    assert found["versions"] == [1, 2]
    places = {each["pointer"]: each["values"] for each in found["spec"]}
    assert places["/registration/tags/k"] == [None, "v"]
    assert set(places) <= {"/registration/tags/k", "/data/sources/rows/dataset_id"}
    auc, loss = (found["metrics"]["test"][name] for name in ("roc_auc", "log_loss"))
    assert (auc["values"], auc["apart"]) == ([0.8, 0.9], True)
    assert abs(auc["gain"] - 0.1) < 1e-9
    assert loss["gain"] > 0, "a lower loss is a gain"
    assert loss["apart"] is None
    assert found["features"] == {
        "added": ["c"], "removed": ["b"], "retyped": [{"name": "a", "types": ["numeric", "categorical"]}],
    }  # fmt: skip
    assert (found["data"]["same"], found["data"]["rows"], found["bundles"]["same"]) == (True, [100, 100], True)


def test_a_version_does_not_differ_from_itself(tenant: Tenant):
    tenant.registered()
    found = tenant.get("/v1/models/late-flights/versions/1/compare/1").json()
    assert (found["spec"], found["features"]) == ([], {"added": [], "removed": [], "retyped": []})
    assert found["metrics"]["test"]["roc_auc"]["gain"] == 0


def test_what_is_not_there_cannot_be_compared(tenant: Tenant, stranger: Tenant):
    tenant.registered()
    assert tenant.get("/v1/models/late-flights/versions/1/compare/2").status_code == 404
    assert stranger.get("/v1/models/late-flights/versions/1/compare/1").status_code == 404
    assert tenant.get("/v1/models/late-flights/versions/1/compare/0").status_code == 422


def test_documents_differ_where_values_or_types_do():
    one, other = {"a": {"b/c": 1, "d": [1]}, "e": None}, {"a": {"b/c": 2, "d": [1]}, "f": True}
    assert [each["pointer"] for each in differing(one, other)] == ["/a/b~1c", "/f"]
    assert [each["pointer"] for each in differing({"a": 1}, {"a": 1.0})] == ["/a"]
    assert list(differing({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]})) == []
