"""Whole jobs, from POST to registered version, whose features come out of a real Feast."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import RunningStack, agreed
from tests.feast import world
from tests.feast.conftest import Feast
from tests.feast.world import day
from tests.journeys.soundness import a_spec, assert_sound

FEATURES = ["drivers:rating", "drivers:trips", "drivers:city"]


def orders(*, joined: bool) -> str:
    """A CSV of orders in no order of time, with a learnable `y`; `joined` with the features, as reckoned row by row."""
    chance = np.random.default_rng(3)
    lines = ["driver_id,placed_at,size,y" + (",rating,trips,city" if joined else "")]
    for _ in range(400):
        driver, at, size = (
            int(chance.integers(3, 25)),
            day(float(chance.integers(0, 4_500)) / 100),
            float(chance.normal()),
        )
        one = world.known(driver, at)
        y = int(size + (0 if one is None or one.rating is None else one.rating / 25 - 1) > 0)
        features = [] if not joined else ["", "", ""] if one is None else [one.rating, one.trips, one.city]
        lines.append(",".join(map(str, [driver, at.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{size:.6f}", y, *features])))
    return "\n".join(lines) + "\n"


def upload(stack: RunningStack, folder: Path, *, joined: bool) -> dict[str, Any]:
    path = folder / f"orders-{joined}.csv"
    path.write_text(orders(joined=joined))
    return {"kind": "dataset", "dataset_id": stack.client.upload(path)}


def from_feast(**more: Any) -> dict[str, Any]:
    return {"kind": "feature_store", "connection": "features", "entities": "orders", "timestamp_column": "placed_at",
            "features": FEATURES, **more}  # fmt: skip


def done(stack: RunningStack, model: str, sources: dict[str, Any], sql: str | None = None) -> dict[str, Any]:
    """The job over these sources, once it has registered its version."""
    spec = a_spec("ds_00000000", model)
    spec["data"] = {"sources": sources, "features": {"sql": sql}}
    return assert_sound(stack, stack.client.submit(spec))


@pytest.fixture(scope="module", autouse=True)
def features(stack: RunningStack, feast: Feast) -> str:
    """The connection, made and tried over HTTP."""
    made = stack.client.post("/v1/connections", json={"name": "features", "kind": "feast", "config": feast.config})
    assert agreed(made)["config"]["project"] == "rides"
    tried = agreed(stack.client.post("/v1/connections/features/test"))
    assert tried["ok"], tried
    assert tried["detail"] == "Project rides: registry, feature server, offline server answer."
    return "features"


def test_features_of_a_store_give_the_digest_of_the_table_that_they_make(stack: RunningStack, tmp_path: Path):
    plain = done(stack, "by-hand", {"orders": upload(stack, tmp_path, joined=True)})
    entities = upload(stack, tmp_path, joined=False)
    stored = done(stack, "by-feast", {"orders": entities, "known": from_feast()})
    assert stored["data_digest"] == plain["data_digest"]
    sources = {"known": from_feast(), "orders": entities}
    asked = "select o.*, k.rating, k.trips, k.city from orders o positional join known k"
    assert done(stack, "by-sql", sources, sql=asked)["data_digest"] == plain["data_digest"]
    now = done(stack, "by-now", {"orders": entities, "known": from_feast(mode="online")})
    assert now["data_digest"] != plain["data_digest"]


@pytest.mark.parametrize(("change", "code"), [
    ({"features": ["drivers:ratings"]}, "unknown_feature"), ({"features": ["shops:rating"]}, "unknown_column"),
    ({"timestamp_column": "size"}, "not_a_time"), ({"connection": "nowhere"}, "unknown_connection"),
])  # fmt: skip
def test_a_wrong_wish_fails_the_job_with_its_code(
    stack: RunningStack, tmp_path: Path, change: dict[str, Any], code: str
):
    spec = a_spec("ds_00000000", "wrong")
    spec["data"] = {"sources": {"orders": upload(stack, tmp_path, joined=False), "known": from_feast(**change)}}
    answer = stack.client.post("/v1/jobs", json=spec)
    if answer.status_code == 422:
        assert code in answer.text
        return
    job = stack.client.wait(agreed(answer)["id"])
    assert (job["status"], job["error"]["code"], job["error"]["stage"]) == ("failed", code, "ingest")
    assert job["error"]["hint"]


def test_a_connection_that_is_wrong_says_which_server(stack: RunningStack, feast: Feast):
    wrong = {
        "project": ({"project": "walks"}, "unknown_project", "'walks'"),
        "feature-server": ({"registry": feast.config["url"]}, "unknown_project", "registry"),
        "offline": ({"offline": feast.config["url"].removeprefix("http://")}, "not_feast", "offline server"),
        "gone": ({"offline": "127.0.0.1:3"}, "source_unavailable", "offline server"),
    }
    for name, (change, code, words) in wrong.items():
        wish = {"name": name, "kind": "feast", "config": {**feast.config, **change}}
        agreed(stack.client.post("/v1/connections", json=wish))
        tried = agreed(stack.client.post(f"/v1/connections/{name}/test"))
        assert (tried["ok"], tried["code"]) == (False, code), tried
        assert words in tried["detail"]
