"""Judgement through real workers: the champion on the same rows, a policy, a receipt that is checked without the service."""

import json
from pathlib import Path

import httpx2
import pytest

from standalone.verifying import check
from tests.driver import RunningStack, agreed
from tests.journeys.soundness import a_spec, a_table, assert_sound

AGAINST = {"judge_by": "low", "rules": [{"metric": "roc_auc", "against": "champion", "min_gain": -0.05}]}


@pytest.fixture(scope="module")
def dataset_id(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set with a learnable target."""
    stack.heal()
    return stack.client.upload(a_table(tmp_path_factory.mktemp("data") / "t.csv"))


def test_the_second_model_meets_the_first_on_the_same_rows_and_its_receipt_proves_it(
    stack: RunningStack, dataset_id: str, tmp_path: Path
) -> None:
    agreed(stack.client.post("/v1/gate-policies", json={"name": "no-worse", "gate": AGAINST}))
    first = assert_sound(stack, stack.client.submit(a_spec(dataset_id, "judged", gate={"policy": "no-worse"})))
    (rule,) = first["gate"]["rules"]
    assert (rule["verdict"], rule["first"]) == ("pass", True)
    model = stack.client.get("/v1/models/judged")
    moved = stack.client.put(
        "/v1/models/judged/aliases/champion", json={"version": 1, "reason": "the first"},
        headers={"If-Match": model.headers["etag"]},
    )  # fmt: skip
    assert moved.status_code == 200, moved.text
    job_id = stack.client.submit(a_spec(dataset_id, "judged", gate={"policy": "no-worse:1"}))
    (rule,) = assert_sound(stack, job_id)["gate"]["rules"]
    assert rule["verdict"] == "pass"
    assert rule["low"] <= rule["value"] <= rule["high"]
    assert rule["champion"] is not None
    receipts, rows = tmp_path / "receipts.json", tmp_path / "judged.parquet"
    receipts.write_text(json.dumps(agreed(stack.client.get("/v1/models/judged/receipts"))))
    where = stack.client.get(f"/v1/jobs/{job_id}/artifacts/judged", follow_redirects=False).headers["location"]
    rows.write_bytes(httpx2.get(where).content)
    key = agreed(stack.client.get("/v1/signing-keys"))["items"][0]["public_key"]
    said: list[str] = []
    assert check([receipts], key=key, rows=rows, say=said.append) == 0, said
    assert "come out the same again" in said[-1]
    replayed = agreed(stack.client.post("/v1/gate-policies/no-worse/versions/1/replay", json={"model": "judged"}))
    assert [item["verdict"] for item in replayed["items"]] == ["pass", "pass"]
    assert replayed["changed"] == 0
