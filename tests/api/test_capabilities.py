"""What a spec may name is served from the spec's own language."""

import pytest

from app.spec.algorithms import PARAMS
from app.spec.decision import METRIC_NAMES
from tests.api.rows import Tenant


def test_algorithms_carry_their_parameters_as_json_schema(tenant: Tenant):
    shown = {item["name"]: item for item in tenant.get("/v1/algorithms").json()["items"]}
    assert set(shown) == set(PARAMS)
    leaves = shown["lightgbm"]["parameters"]["properties"]["num_leaves"]
    assert (leaves["type"], leaves["minimum"], leaves["default"]) == ("integer", 2, 31)


def test_metrics_say_their_tasks_and_which_way_is_better(tenant: Tenant):
    shown = {item["name"]: item for item in tenant.get("/v1/metrics").json()["items"]}
    assert set(shown) == METRIC_NAMES
    assert (shown["rmse"]["tasks"], shown["rmse"]["direction"]) == (["regression"], "lower_is_better")
    assert (shown["roc_auc"]["tasks"], shown["roc_auc"]["direction"]) == (["binary", "multiclass"], "higher_is_better")


@pytest.mark.parametrize("path", ["/v1/algorithms", "/v1/metrics"])
def test_capabilities_are_for_callers_with_a_key(tenant: Tenant, path: str):
    assert tenant.get(path, headers={"Authorization": "Bearer th_nonsense"}).status_code == 401
    assert tenant.get(path + "?verbose=1").status_code == 400
