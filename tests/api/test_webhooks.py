"""Endpoints come and go, secrets rotate, and every attempt carries the same id and a signature that verifies."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.testclient import TestClient as PlainClient

from app import events
from app.db import transaction
from app.egress import Egress
from app.main import build
from app.secrets import Vault
from app.settings import Settings
from app.tables import Delivery, WebhookEndpoint
from app.webhooks import service as webhooks
from tests.api.rows import Tenant
from tests.engine.rows import somebody_waits
from workers.delivery import LOGGED_ATTEMPTS, SCHEDULE, deliver, signature, wait_seconds

PUBLIC = "https://deployer.example.com/hook"


class Deployer:
    """A receiver on loopback that keeps what it hears and answers as it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.status, self.headers = 200, {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Post:
    """A project with an admin, on an API that may reach loopback, and the sender's hand."""

    def __init__(self, client: PlainClient, tenant: Tenant, settings: Settings) -> None:
        self._client, self.tenant, self._egress = client, tenant, Egress(settings)
        self.engine = tenant.engine
        self.headers = {"Authorization": f"Bearer {tenant.key('admin')}"}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self._client.request(method, path, headers=self.headers | headers, json=body)

    def endpoint(self, url: str, *types: str) -> dict[str, Any]:
        answer = self.call("POST", "/v1/webhooks", {"url": url, "events": list(types) or ["*"]})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def test(self, endpoint: dict[str, Any]) -> str:
        answer = self.call("POST", f"/v1/webhooks/{endpoint['id']}/test")
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def attempt(self, delivery_id: str) -> dict[str, Any]:
        """One attempt, made now whenever it is due."""
        with transaction(self.engine) as session:
            due = update(Delivery).where(Delivery.id == delivery_id, Delivery.due_at.is_not(None))
            session.execute(due.values(due_at=datetime.now(UTC) - timedelta(minutes=1)))
        deliver(self.engine, self.tenant.vault, self._egress, delivery_id)
        return self.call("GET", f"/v1/deliveries/{delivery_id}").json()


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[PlainClient]:
    with PlainClient(
        build(settings.model_copy(update={"egress_allow": "127.0.0.0/8"})), raise_server_exceptions=False
    ) as made:
        yield made


@pytest.fixture(scope="module")
def closed(settings: Settings) -> Iterator[PlainClient]:
    """An API whose operator allows no range."""
    with PlainClient(build(settings.model_copy(update={"egress_allow": ""})), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def post(client: PlainClient, tenant: Tenant, settings: Settings) -> Post:
    return Post(client, tenant, settings.model_copy(update={"egress_allow": "127.0.0.0/8"}))


@pytest.fixture
def deployer() -> Iterator[Deployer]:
    made = Deployer()
    yield made
    made.close()


def wait_of(shown: dict[str, Any]) -> float:
    """Seconds from the last attempt to the next."""
    return (datetime.fromisoformat(shown["due_at"]) - datetime.fromisoformat(shown["log"][-1]["at"])).total_seconds()


def test_a_secret_is_shown_once(post: Post):
    made = post.endpoint(PUBLIC, "job.succeeded")
    assert made["secret"].startswith("whsec_")
    for answer in (post.call("GET", "/v1/webhooks"), post.call("GET", f"/v1/webhooks/{made['id']}")):
        assert made["secret"] not in answer.text
    assert post.call("GET", f"/v1/webhooks/{made['id']}").json() == {k: v for k, v in made.items() if k != "secret"}


def test_a_delivery_verifies_by_the_standard_and_says_what_happened(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    shown = post.attempt(post.test(endpoint))
    assert (shown["status"], shown["attempts"], shown["due_at"]) == ("succeeded", 1, None)
    assert shown["log"][0]["status"] == 200
    ((headers, body),) = deployer.heard
    said = Webhook(endpoint["secret"]).verify(body, headers)
    assert said == shown["payload"]
    assert (said["type"], said["data"]) == ("webhook.test", {"webhook_id": endpoint["id"]})
    assert headers["webhook-id"] == shown["event_id"]
    assert "." not in headers["webhook-id"]
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint["secret"]).verify(body + b" ", headers)


def test_every_attempt_has_the_same_id_and_body_and_a_fresh_signature(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    deployer.status = 500
    delivery_id = post.test(endpoint)
    for _ in range(3):
        post.attempt(delivery_id)
    assert len({headers["webhook-id"] for headers, _ in deployer.heard}) == 1
    assert len({body for _, body in deployer.heard}) == 1
    for headers, body in deployer.heard:
        Webhook(endpoint["secret"]).verify(body, headers)


def test_a_failing_receiver_is_asked_ten_times_on_the_schedule_and_then_no_more(post: Post, deployer: Deployer):
    deployer.status = 503
    delivery_id = post.test(post.endpoint(deployer.url))
    for wait in SCHEDULE:
        shown = post.attempt(delivery_id)
        assert shown["status"] == "pending"
        assert wait * 0.89 <= wait_of(shown) <= wait * 1.11 + 5
    last = post.attempt(delivery_id)
    assert (last["status"], last["attempts"], last["due_at"]) == ("failed", 10, None)
    assert len(deployer.heard) == 10
    post.attempt(delivery_id)
    assert len(deployer.heard) == 10


def test_a_receiver_that_comes_back_gets_the_same_message(post: Post, deployer: Deployer):
    deployer.status = 500
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    post.attempt(delivery_id)
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["failing_since"] is not None
    deployer.status = 204
    assert post.attempt(delivery_id)["status"] == "succeeded"
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["failing_since"] is None


def test_a_redirect_is_a_failure_and_is_not_followed(post: Post, deployer: Deployer):
    deployer.status, deployer.headers = 302, {"Location": deployer.url}
    shown = post.attempt(post.test(post.endpoint(deployer.url)))
    assert (shown["status"], shown["log"][0]["status"]) == ("pending", 302)
    assert len(deployer.heard) == 1


def test_410_disables_and_enabling_forgives(post: Post, deployer: Deployer):
    deployer.status = 410
    endpoint = post.endpoint(deployer.url)
    assert post.attempt(post.test(endpoint))["status"] == "failed"
    shown = post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()
    assert (shown["enabled"], "410" in shown["disabled_reason"]) == (False, True)
    assert post.call("POST", f"/v1/webhooks/{endpoint['id']}/test").json()["code"] == "webhook_disabled"
    again = post.call("PATCH", f"/v1/webhooks/{endpoint['id']}", {"enabled": True}).json()
    assert (again["enabled"], again["disabled_reason"], again["failing_since"]) == (True, None, None)


def test_five_days_of_failures_disable(post: Post, deployer: Deployer):
    deployer.status = 500
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    post.attempt(delivery_id)
    with transaction(post.engine) as session:
        session.get_one(WebhookEndpoint, endpoint["id"]).failing_since = datetime.now(UTC) - timedelta(days=6)
    post.attempt(delivery_id)
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["enabled"] is False
    assert post.attempt(delivery_id)["status"] == "failed"
    assert len(deployer.heard) == 2


def test_an_endpoint_that_was_given_up_on_long_ago_is_not_disabled_by_one_bad_answer(post: Post, deployer: Deployer):
    deployer.status = 500
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    for _attempt in range(len(SCHEDULE) + 1):
        shown = post.attempt(delivery_id)
    assert shown["status"] == "failed"
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["failing_since"] is None
    assert post.attempt(post.test(endpoint))["status"] == "pending"
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["enabled"] is True


def test_an_endpoint_whose_other_deliveries_wait_goes_on_failing(post: Post, deployer: Deployer):
    deployer.status = 500
    endpoint = post.endpoint(deployer.url)
    first, second = post.test(endpoint), post.test(endpoint)
    post.attempt(second)
    for _attempt in range(len(SCHEDULE) + 1):
        post.attempt(first)
    assert post.call("GET", f"/v1/webhooks/{endpoint['id']}").json()["failing_since"] is not None


def test_a_secret_that_nobody_can_read_any_more_ends_the_delivery_and_says_so(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    with transaction(post.engine) as session:
        session.get_one(WebhookEndpoint, endpoint["id"]).sealed_secret = Vault(Fernet.generate_key().decode()).seal("x")
    shown = post.attempt(delivery_id)
    assert (shown["status"], shown["due_at"], deployer.heard) == ("failed", None, [])
    assert shown["log"][0]["error"]


@pytest.mark.parametrize(("said", "least", "most"), [
    ("120", 120, 121), ("1000000000", 86_400, 86_401), ("-5", 4, 6), ("soon", 4, 6), ("", 4, 6), ("1e9", 4, 6),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 4, 6), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, 86_401), ("\u0663", 4, 6), ("9" * 100, 4, 6),
    ("in an hour", 3_500, 3_601),
])  # fmt: skip
def test_retry_after_is_honoured_where_it_makes_sense(said: str, least: float, most: float):
    if said == "in an hour":
        said = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    assert least <= wait_seconds(1, said) <= most


def test_two_secrets_sign_while_the_receiver_changes_over(post: Post, deployer: Deployer):
    old = post.endpoint(deployer.url)
    new = post.call("POST", f"/v1/webhooks/{old['id']}/rotate").json()
    assert new["secret"] != old["secret"]
    post.attempt(post.test(old))
    headers, body = deployer.heard[0]
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (old["secret"], new["secret"]):
        Webhook(secret).verify(body, headers)
    with transaction(post.engine) as session:
        session.get_one(WebhookEndpoint, old["id"]).previous_expires_at = datetime.now(UTC) - timedelta(seconds=1)
    post.attempt(post.test(old))
    headers, body = deployer.heard[1]
    Webhook(new["secret"]).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old["secret"]).verify(body, headers)


def test_our_signature_is_that_of_the_reference():
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    ours = signature(secret, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1_614_265_330, body=body)
    assert ours == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_event_goes_to_those_who_listen_and_to_nobody_else(post: Post, deployer: Deployer, stranger: Tenant):
    listening = post.endpoint(deployer.url, "job.succeeded")
    everything = post.endpoint(deployer.url)
    other = post.endpoint(deployer.url, "job.failed")
    with transaction(post.engine) as session:
        events.append(session, post.tenant.id, type="job.succeeded", data={"job_id": "job_x"})
        events.append(session, stranger.id, type="job.succeeded", data={"job_id": "job_y"})

    def sent(endpoint: dict[str, Any]) -> list[str]:
        found = post.call("GET", f"/v1/webhooks/{endpoint['id']}/deliveries").json()["items"]
        return [row["payload"]["data"]["job_id"] for row in found]

    assert (sent(listening), sent(everything), sent(other)) == (["job_x"], ["job_x"], [])


def test_a_finished_delivery_can_be_sent_again_with_its_id(post: Post, deployer: Deployer):
    delivery_id = post.test(post.endpoint(deployer.url))
    post.attempt(delivery_id)
    again = post.call("POST", f"/v1/deliveries/{delivery_id}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert post.attempt(delivery_id)["attempts"] == 2
    assert deployer.heard[0][0]["webhook-id"] == deployer.heard[1][0]["webhook-id"]


def test_two_senders_make_one_attempt(post: Post, deployer: Deployer):
    delivery_id = post.test(post.endpoint(deployer.url))
    threads = [
        Thread(target=deliver, args=(post.engine, post.tenant.vault, post._egress, delivery_id)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(deployer.heard) == 1


def test_a_sender_that_died_in_between_leads_to_the_same_message_again(post: Post, deployer: Deployer):
    delivery_id = post.test(post.endpoint(deployer.url))
    with transaction(post.engine) as session:
        row = session.get_one(Delivery, delivery_id)
        row.lease_owner, row.lease_until, row.attempts = "gone", datetime.now(UTC) + timedelta(seconds=20), 1
    assert not deliver(post.engine, post.tenant.vault, post._egress, delivery_id)
    with transaction(post.engine) as session:
        session.get_one(Delivery, delivery_id).lease_until = datetime.now(UTC) - timedelta(seconds=1)
    assert post.attempt(delivery_id)["status"] == "succeeded"


def test_a_failing_receiver_gets_one_attempt_at_a_time(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    first, second = post.test(endpoint), post.test(endpoint)
    with transaction(post.engine) as session:
        session.get_one(WebhookEndpoint, endpoint["id"]).failing_since = datetime.now(UTC)
        row = session.get_one(Delivery, first)
        row.lease_owner, row.lease_until = "busy", datetime.now(UTC) + timedelta(seconds=20)
    shown = post.attempt(second)
    assert (shown["status"], shown["attempts"], deployer.heard) == ("pending", 0, [])


def test_an_address_that_may_no_longer_be_reached_is_a_failed_attempt(
    post: Post, deployer: Deployer, settings: Settings
):
    delivery_id = post.test(post.endpoint(deployer.url))
    deliver(post.engine, post.tenant.vault, Egress(settings.model_copy(update={"egress_allow": ""})), delivery_id)
    shown = post.call("GET", f"/v1/deliveries/{delivery_id}").json()
    assert shown["status"] == "pending"
    assert shown["log"][0]["status"] is None
    assert "not public" in shown["log"][0]["error"]
    assert deployer.heard == []


def test_the_log_of_attempts_is_bounded(post: Post, deployer: Deployer):
    delivery_id = post.test(post.endpoint(deployer.url))
    with transaction(post.engine) as session:
        line = {"at": datetime.now(UTC).isoformat(), "status": 500, "error": "x", "duration_seconds": 0.1}
        session.get_one(Delivery, delivery_id).log = [line] * LOGGED_ATTEMPTS
    assert len(post.attempt(delivery_id)["log"]) == LOGGED_ATTEMPTS


def test_what_is_on_its_way_to_a_removed_endpoint_is_not_sent(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    assert post.call("DELETE", f"/v1/webhooks/{endpoint['id']}").status_code == 204
    deliver(post.engine, post.tenant.vault, post._egress, delivery_id)
    assert deployer.heard == []
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/rotate"),
        ("GET", "/deliveries"),
    ):
        body = {"enabled": True} if method == "PATCH" else None
        assert post.call(method, f"/v1/webhooks/{endpoint['id']}{path}", body).status_code == 404


@pytest.mark.parametrize("status", [500, 410])
def test_a_removal_and_a_failed_attempt_at_one_time_both_end(post: Post, deployer: Deployer, status: int):
    endpoint, deployer.status = post.endpoint(deployer.url), status
    delivery_id = post.test(endpoint)
    with ThreadPoolExecutor(1) as pool, transaction(post.engine) as session:
        webhooks.find(session, post.tenant.id, endpoint["id"], lock=True)
        attempt = pool.submit(post.attempt, delivery_id)
        while not somebody_waits(post.engine):
            assert not attempt.done()
        webhooks.remove(session, post.tenant.id, endpoint["id"])
    assert attempt.exception() is None
    with transaction(post.engine) as session:
        assert session.get_one(Delivery, delivery_id).status == "failed"


def test_deliveries_are_paged_newest_first_and_filtered(post: Post, deployer: Deployer):
    endpoint = post.endpoint(deployer.url)
    ids = [post.test(endpoint) for _ in range(5)]
    post.attempt(ids[0])
    path = f"/v1/webhooks/{endpoint['id']}/deliveries"
    seen, cursor = [], ""
    while cursor is not None:
        page = post.call("GET", f"{path}?limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]
    assert [row["id"] for row in post.call("GET", f"{path}?status=succeeded").json()["items"]] == [ids[0]]
    assert post.call("GET", f"{path}?status=nonsense").status_code == 422


@pytest.mark.parametrize("patch", [
    {"url": None}, {"enabled": None}, {"events": []}, {"events": ["job.exploded"]}, {"secret": "whsec_mine"}, {"enabled": "yes"},
    {"url": "http://10.0.0.1/"}, {"url": "https://user:pw@example.com/"}, {"description": "a\u0000b"},
])  # fmt: skip
def test_a_change_that_makes_no_sense_is_refused(post: Post, patch: dict[str, Any]):
    endpoint = post.endpoint(PUBLIC)
    assert post.call("PATCH", f"/v1/webhooks/{endpoint['id']}", patch).status_code == 422


def test_a_change_keeps_what_it_does_not_name(post: Post):
    endpoint = post.endpoint(PUBLIC, "job.failed")
    changed = post.call("PATCH", f"/v1/webhooks/{endpoint['id']}", {"description": "the deployer"}).json()
    assert (changed["url"], changed["events"], changed["description"]) == (PUBLIC, ["job.failed"], "the deployer")


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:6379/", "http://localhost/", "http://0/", "http://0x7f000001/", "http://2130706433/", "http://127.1/",
    "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://①②⑦.⓪.⓪.①/", "http://169.254.169.254/",
    "http://[fd00:ec2::254]/", "http://metadata.google.internal/", "https://localhost./", "https://user@127.0.0.1/",
    "https://a.com#@127.0.0.1/", "https://a.com\\@127.0.0.1/", "https://a.com/\r\nX: y", "https://a.com:22/", "https://bücher.de/",
    "https://a.com/" + "x" * 8_192, "file:///etc/passwd", "", "nonsense",
])  # fmt: skip
def test_a_url_that_leads_inside_is_refused_at_the_door(tenant: Tenant, closed: PlainClient, url: str):
    admin = {"Authorization": f"Bearer {tenant.key('admin')}"}
    assert closed.post("/v1/webhooks", headers=admin, json={"url": url, "events": ["*"]}).status_code == 422


def test_another_project_sees_none_of_it(post: Post, deployer: Deployer, stranger: Tenant):
    endpoint = post.endpoint(deployer.url)
    delivery_id = post.test(endpoint)
    foreign = {"Authorization": f"Bearer {stranger.key('admin')}"}
    call: Callable[..., Any] = post._client.request
    base = f"/v1/webhooks/{endpoint['id']}"
    for method, path in (
        ("GET", base), ("PATCH", base), ("DELETE", base), ("POST", f"{base}/test"), ("POST", f"{base}/rotate"),
        ("GET", f"{base}/deliveries"), ("GET", f"/v1/deliveries/{delivery_id}"), ("POST", f"/v1/deliveries/{delivery_id}/redeliver"),
    ):  # fmt: skip
        body = {"enabled": False} if method == "PATCH" else None
        assert call(method, path, headers=foreign, json=body).status_code == 404, (method, path)
    assert json.loads(call("GET", "/v1/webhooks", headers=foreign).text)["items"] == []
