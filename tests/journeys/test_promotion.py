"""A scripted deployer, which hears by signed webhook what it is asked for: it serves, fails, says nothing, or is late."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.driver import Client, Receiver, RunningStack, agreed, eventually
from tests.journeys.soundness import a_spec, a_table

MODEL, TARGET = "served", "production"


class Deployer:
    """Hears webhooks, and reports with a key of its own."""

    def __init__(self, hook: Receiver, client: Client, key_id: str) -> None:
        self.hook, self.client, self.key_id = hook, client, key_id

    def hears(self, made: dict[str, Any]) -> dict[str, Any]:
        """What it was asked, once the verified message about the deployment has come; it comes once."""

        def mine() -> list[dict[str, Any]]:
            said = [each.document["data"] for each in self.hook.of_type("deployment.requested") if each.verified]
            return [each for each in said if each["deployment_id"] == made["id"]]

        eventually(lambda: bool(mine()), what="the deployer hearing of it")
        (asked,) = mine()
        return asked

    def says(self, asked: dict[str, Any], state: str) -> int:
        """Reports where it was told to, and gives the status of the answer."""
        answer = self.client.post(asked["report_url"], json={"state": state, "detail": f"it is {state}"})
        assert answer.status_code == 200 or answer.json()["code"] == "deployment_closed"
        return answer.status_code


@pytest.fixture(scope="module")
def versions(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Three versions of one model."""
    dataset_id = stack.client.upload(a_table(tmp_path_factory.mktemp("data") / "t.csv", rows=200))
    specs = [a_spec(dataset_id, MODEL, reproducibility={"reuse": False, "seed": seed}) for seed in (1, 2, 3)]
    jobs = [stack.client.wait(stack.client.submit(spec)) for spec in specs]
    return [job["model_version"]["version"] for job in jobs]


@pytest.fixture
def deployer(stack: RunningStack, receiver: Receiver) -> Iterator[Deployer]:
    stack.heal()
    made = agreed(stack.client.post("/v1/webhooks", json={"url": receiver.url, "events": ["deployment.requested"]}))
    receiver.secret = made["secret"]
    key = agreed(stack.client.post("/v1/keys", json={"name": "deployer", "scopes": ["read", "train"]}))
    with Client(stack.url, key["key"]) as client:
        yield Deployer(receiver, client, key["id"])
    stack.client.delete(f"/v1/webhooks/{made['id']}")


def promoted(stack: RunningStack, version: int, **wish: Any) -> dict[str, Any]:
    """A promotion that waits for its acknowledgement."""
    body = {"target": TARGET, "reason": f"try {version}", "require_ack": True, **wish}
    return stack.client.make(f"/v1/models/{MODEL}/versions/{version}/promote", body)


def state_of(stack: RunningStack, made: dict[str, Any]) -> str:
    return str(agreed(stack.client.get(f"/v1/deployments/{made['id']}"))["state"])


def serving(stack: RunningStack) -> int | None:
    """What `champion` and `production` name, which are never apart."""
    found = agreed(stack.client.get(f"/v1/models/{MODEL}"))["aliases"]
    assert found.get("champion") == found.get("production")
    return found.get("champion")


def test_only_a_deployer_that_serves_in_time_moves_the_alias(
    stack: RunningStack, versions: list[int], deployer: Deployer
) -> None:
    first, second, third = versions

    made = promoted(stack, first)  # an acknowledgement moves it, and the request does not
    asked = deployer.hears(made)
    assert (asked["version"], asked["require_ack"], serving(stack)) == (first, True, None)
    assert (deployer.says(asked, "accepted"), serving(stack)) == (200, first)
    assert (deployer.says(asked, "serving"), serving(stack), state_of(stack, made)) == (200, first, "serving")

    made = promoted(stack, second)  # failure does not
    assert (deployer.says(deployer.hears(made), "failed"), serving(stack)) == (200, first)
    assert (deployer.says(deployer.hears(made), "serving"), serving(stack)) == (409, first)

    made = promoted(stack, second, ack_seconds=1)  # silence does not, nor what is said after the time is over
    asked = deployer.hears(made)
    eventually(lambda: state_of(stack, made) == "timed_out", what="the time being over")
    assert (deployer.says(asked, "accepted"), serving(stack)) == (409, first)

    together = threading.Barrier(2)  # of two at once one is left, whichever is acknowledged first

    def at_once(version: int) -> dict[str, Any]:
        together.wait(10)
        return promoted(stack, version)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(at_once, (second, third)))
    said = {made["version"]: deployer.says(deployer.hears(made), "serving") for made in both}
    assert sorted(said.values()) == [200, 409]
    (left,) = [version for version, status in said.items() if status == 200]
    assert sorted(state_of(stack, made) for made in both) == ["serving", "superseded"]
    assert serving(stack) == left

    wish = {"target": TARGET, "reason": "complaints since noon", "require_ack": True}
    back = stack.client.make(f"/v1/models/{MODEL}/rollback", wish)  # back is a deployment of the version before
    asked = deployer.hears(back)
    assert (asked["version"], serving(stack)) == (first, left)
    assert (deployer.says(asked, "serving"), serving(stack)) == (200, first)

    history = [each for each in stack.client.everything(f"/v1/models/{MODEL}/history") if each["alias"] == "champion"]
    assert [(each["from_version"], each["to_version"], each["reason"]) for each in reversed(history)] == [
        (None, first, f"try {first}"), (first, left, f"try {left}"), (left, first, "complaints since noon"),
    ]  # fmt: skip
    assert {each["moved_by"] for each in history} == {deployer.key_id}
