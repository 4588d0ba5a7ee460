"""Who asks what a request to be forgotten reaches learns which versions knew the rows, and of which nobody can say."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient

from app.db import transaction
from app.rowkeys import Keys, key_of
from app.secrets import Vault
from app.tables import Artifact, Job
from tests.api.rows import Tenant, register_job


@pytest.fixture
def known(api: TestClient, tenant: Tenant, tmp_path: Path) -> Any:
    """Registers a version that learned from some customers and was judged by others."""

    def make(
        trained: list[int],
        tested: list[int],
        *,
        ids: tuple[str, ...] = ("customer",),
        vault: Vault | None = None,
        marked: bool = True,
    ) -> int:
        job_id = tenant.job()
        secret = (vault or tenant.vault).row_secrets(tenant.id)[0]
        with transaction(tenant.engine) as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            job.spec = {**job.spec, "task": {**job.spec["task"], "id_columns": list(ids)}}
            for name, customers in (("trained", trained), ("tested", tested)):
                path = tmp_path / name
                keys = [key_of(secret, {"customer": each}) or b"" for each in customers]
                path.write_bytes(Keys.of(secret, keys).content if marked else b"".join(sorted(keys)))
                digest, size = api.app.state.store.put(tenant.id, path)
                session.add(Artifact(
                    job_id=job_id, name=f"row_keys_{name}", stage="split", digest=digest, size_bytes=size, media_type="x/y"
                ))  # fmt: skip
            session.flush()
            return register_job(session, job_id, tenant.vault)

    return make


def test_versions_that_know_the_rows_are_named_with_how_many(tenant: Tenant, known: Any):
    one, two = known([1, 2, 3], [4]), known([5, 6], [1])
    known([7], [8])
    found = tenant.post("/v1/erasure-impact", {"rows": [{"customer": 1}, {"customer": "002"}, {"customer": 99}]}).json()
    told = {each["version"]: (each["trained_on"], each["tested_on"]) for each in found["affected"]}
    assert told == {one: (2, 0), two: (0, 1)}
    assert (found["rows"], found["unaffected"], found["unknown"]) == (3, 1, [])


def test_versions_of_which_nobody_can_say_are_named_with_the_reason(tenant: Tenant, known: Any):
    tenant.registered()
    known([1], [2], ids=("customer", "shop"))
    found = tenant.post("/v1/erasure-impact", {"rows": [{"customer": 1}], "model": "late-flights"}).json()
    reasons = {each["version"]: each["reason"] for each in found["unknown"]}
    assert "no task.id_columns" in reasons[1]
    assert "known by customer, shop" in reasons[2]
    assert found["affected"] == []


def test_a_version_whose_secret_is_gone_is_not_said_to_know_nobody(tenant: Tenant, known: Any):
    gone = known([1, 2], [3], vault=Vault(Fernet.generate_key().decode()))
    found = tenant.post("/v1/erasure-impact", {"rows": [{"customer": 1}]}).json()
    assert [(each["version"], "TRAINHOUSE_SECRET_KEYS" in each["reason"]) for each in found["unknown"]] == [
        (gone, True)
    ]
    assert (found["affected"], found["unaffected"]) == ([], 0)


def test_a_version_of_an_earlier_release_knows_those_who_are_found(tenant: Tenant, known: Any):
    version = known([1, 2], [3], marked=False)
    found = tenant.post("/v1/erasure-impact", {"rows": [{"customer": 1}]}).json()
    assert [(each["version"], each["trained_on"], each["tested_on"]) for each in found["affected"]] == [(version, 1, 0)]
    found = tenant.post("/v1/erasure-impact", {"rows": [{"customer": 9}]}).json()
    assert (found["affected"], found["unaffected"], len(found["unknown"])) == ([], 0, 1)


def test_another_projects_versions_are_not_looked_at(tenant: Tenant, stranger: Tenant, known: Any):
    known([1], [2])
    found = stranger.post("/v1/erasure-impact", {"rows": [{"customer": 1}]}).json()
    assert (found["affected"], found["unaffected"], found["unknown"]) == ([], 0, [])


@pytest.mark.parametrize(
    "body", [{}, {"rows": []}, {"rows": [{}]}, {"rows": [{"a": [1]}]}, {"rows": [1]}, {"rows": [{"a": 1}], "x": 1}]
)
def test_a_malformed_question_is_refused(tenant: Tenant, body: Any):
    assert tenant.post("/v1/erasure-impact", body).status_code == 422
