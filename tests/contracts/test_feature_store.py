"""The client's side of a feature store: what it sends, how it takes answers, and what it makes of wrong ones."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from app.connections.feast import FeastConfig, FeastConnection, check, reach
from app.errors import Cancelled, EgressDenied, InvalidData, SourceRefused, SourceUnavailable
from app.settings import settings as process_settings
from tests import fake_feast
from tests.fake_feast import Offline, OldOffline, Said, told
from tests.learning import make_context
from tests.sources import NO_ENGINES, configured
from workers.context import ConnectionRef, Context
from workers.sources.feast import offline as offline_client
from workers.sources.feast import wire
from workers.sources.feature_store import enrich
from workers.table.canonical import canonical

TOKEN = "a-very-secret-token"
PEOPLE = canonical(pa.table({
    "name": ["a secret name"] * 6, "driver_id": [12, 3, 20, None, 3, 31],
    "at": pa.array([86_400_000_000 * day for day in (3, 1, 2, 4, 1, 5)], pa.timestamp("us", "UTC")),
}))  # fmt: skip


@pytest.fixture(autouse=True)
def loopback() -> Iterator[None]:
    with configured(NO_ENGINES):
        yield


def context(folder: Path, *, mode: str, config: dict[str, Any], features: list[str], **more: Any) -> Context:
    found = ConnectionRef("store", "feast", {"project": "rides", "offline_tls": False, **config}, {"token": TOKEN})
    source = {"kind": "feature_store", "connection": "store", "entities": "people", "timestamp_column": "at", "mode": mode,
              "features": features}  # fmt: skip
    spec = {"task": {"target": "at"}, **more.pop("spec", {}), "data": {"sources": {
        "people": {"kind": "dataset", "dataset_id": "ds_00000000"}, "known": source}}}  # fmt: skip
    return make_context(folder, spec, connections={"store": found}, **more)


def enriched(ctx: Context, people: pa.Table = PEOPLE) -> pa.Table:
    return enrich(ctx.spec.data.sources["known"], ctx, people).table


def past(
    folder: Path,
    answer: fake_feast.Answer,
    kind: type[Any] = Offline,
    *,
    features: list[str] | None = None,
    **more: Any,
) -> tuple[pa.Table, Any]:
    """The enriched people, and the server that told of the past."""
    with fake_feast.http(fake_feast.registry) as registry, fake_feast.offline(answer, kind) as server:
        config = {"registry": registry, "offline": f"127.0.0.1:{server.port}"}
        ctx = context(folder, mode="historical", config=config, features=features or ["drivers:rating"], **more)
        return enriched(ctx), server


def present(
    folder: Path, say: fake_feast.Say, *, registry: fake_feast.Say = fake_feast.registry, **more: Any
) -> pa.Table:
    with fake_feast.http(registry) as at, fake_feast.http(say) as url:
        config = {"registry": at, "url": url}
        return enriched(
            context(folder, mode="online", config=config, features=["drivers:rating", "drivers:trips"], **more)
        )


@pytest.mark.parametrize("kind", [Offline, OldOffline])
def test_answers_in_another_order_and_with_rows_left_out_find_their_rows(tmp_path: Path, kind: type[Any]):
    found, _server = past(tmp_path, told, kind)
    assert found["rating"].to_pylist() == [120, 30, None, None, 30, 310]
    assert found.select(PEOPLE.column_names).equals(PEOPLE)


def test_only_keys_and_moments_leave_each_once_with_the_token(tmp_path: Path):
    _found, server = past(tmp_path, told, features=["drivers:rating", "drivers:trips"])
    (asked,) = server.asked
    assert asked.column_names == ["driver_id", "event_timestamp", "trainhouse_row"]
    assert sorted(asked["driver_id"].to_pylist()) == [3, 12, 20, 31]
    assert server.headers.seen == [f"Bearer {TOKEN}"]


def test_a_null_is_what_is_not_there_or_too_old(tmp_path: Path):
    assert present(tmp_path, fake_feast.online)["trips"].to_pylist() == [120, 30, None, None, 30, None]


def more_rows(_command: dict[str, Any], rows: pa.Table) -> pa.Table:
    return told(_command, pa.concat_tables([rows, rows]))


def with_numbers(numbers: Callable[[list[int]], list[Any]]) -> fake_feast.Answer:
    def answer(command: dict[str, Any], rows: pa.Table) -> pa.Table:
        found = told(command, rows)
        at = found.column_names.index("trainhouse_row")
        return found.set_column(at, "trainhouse_row", pa.array(numbers(found["trainhouse_row"].to_pylist())))

    return answer


def without_features(_command: dict[str, Any], rows: pa.Table) -> pa.Table:
    return rows


def twice_the_feature(command: dict[str, Any], rows: pa.Table) -> pa.Table:
    found = told(command, rows)
    return found.append_column("drivers__rating", found["drivers__rating"])


@pytest.mark.parametrize("answer", [
    more_rows, without_features, twice_the_feature, with_numbers(lambda those: [number + 1 for number in those]),
    with_numbers(lambda those: [-1 - number for number in those]), with_numbers(lambda those: [those[0]] * len(those)),
    with_numbers(lambda those: [None, *those[1:]]), with_numbers(lambda those: ["x" for _ in those]),
    with_numbers(lambda those: [[number] for number in those]), with_numbers(lambda those: [2**62 for _ in those]),
])  # fmt: skip
def test_an_offline_server_that_answers_something_else_is_no_feast(tmp_path: Path, answer: fake_feast.Answer):
    with pytest.raises(SourceRefused) as refused:
        past(tmp_path, answer)
    assert refused.value.stable_code == "not_feast"


def raising(error: Exception) -> fake_feast.Answer:
    def answer(_command: dict[str, Any], _rows: pa.Table) -> pa.Table:
        raise error

    return answer


@pytest.mark.parametrize(("error", "kind", "code"), [
    (KeyError("rating"), SourceRefused, "source_refused"), (ValueError(f"{TOKEN} is bad " + "x" * 10_000), SourceRefused, "source_refused"),
    (pa.flight.FlightUnauthenticatedError("who?"), SourceRefused, "source_refused"),
    (pa.flight.FlightUnavailableError("not now"), SourceUnavailable, "source_unavailable"),
    (RuntimeError('Flight error: {"module": "m", "class": "c", "message": "Feature view a does not exist"}'), SourceRefused,
     "unknown_feature_view"),
    (MemoryError(), SourceRefused, "source_refused"),
])  # fmt: skip
def test_the_words_of_an_offline_server_are_bounded_and_hold_no_secret(
    tmp_path: Path, error: Exception, kind: type[Exception], code: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(kind) as refused:
        past(tmp_path, raising(error))
    assert refused.value.stable_code == code  # type: ignore[attr-defined]
    said = str(refused.value)
    assert len(said) < 400
    assert TOKEN not in said
    assert "Traceback" not in said
    assert "Close() failed" not in capfd.readouterr().err


def test_features_larger_than_the_job_may_be_are_refused(tmp_path: Path):
    def huge(command: dict[str, Any], rows: pa.Table) -> pa.Table:
        found = told(command, rows)
        return found.append_column("more", pa.array(["x" * 30 * 1024**2] * found.num_rows))

    with pytest.raises(InvalidData) as refused:
        past(tmp_path, huge, spec={"resources": {"memory_bytes": 64 * 1024**2}})
    assert refused.value.stable_code == "too_large"


def test_one_message_beyond_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(offline_client, "MAX_MESSAGE_BYTES", 1_000)
    with pytest.raises(SourceRefused) as refused:
        past(tmp_path, lambda command, rows: told(command, rows).append_column("more", pa.array(["x" * 5_000] * 3)))
    assert refused.value.stable_code == "answer_too_long"


def sleeping(_command: dict[str, Any], rows: pa.Table) -> pa.Table:
    time.sleep(3)
    return rows


def test_a_server_that_never_ends_its_answer_is_left_at_the_deadline(tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        past(tmp_path, sleeping, deadline=time.monotonic() + 1)
    assert time.monotonic() - began < 6


def test_a_job_that_is_cancelled_waits_for_no_answer(tmp_path: Path):
    started = threading.Event()
    left: list[float] = []

    def slow(_command: dict[str, Any], rows: pa.Table) -> pa.Table:
        started.set()
        time.sleep(2)
        return rows

    def progress(_done: float, _total: float) -> None:
        if started.is_set():
            left.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        past(tmp_path, slow, progress=progress)
    assert len(left) == 1


def endless(said: Said) -> None:
    said.handler.send_response(200)
    said.handler.end_headers()
    while True:
        said.handler.wfile.write(b" " * 65_536)


def dripping(said: Said) -> None:
    for _ in range(200):
        said.handler.wfile.write(b"H")
        time.sleep(0.05)


def lying(said: Said) -> None:
    said.answer(200, b"{", **{"Content-Length": "1000"})


def nothing(_said: Said) -> None:
    """Closes without a word."""


def words(said: Said) -> None:
    said.handler.wfile.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")


def saying(status: int, body: object, **headers: str) -> fake_feast.Say:
    return lambda said: said.answer(status, body, **headers)


def spec(**changes: Any) -> fake_feast.Say:
    return saying(200, {"spec": {**fake_feast.VIEW, **changes}})


LOOP = {"drivers": {"featureViewProjection": {"featureViewName": "drivers", "featureColumns": []}}}
WRONG_ANSWERS: list[tuple[fake_feast.Say, type[Exception], str]] = [
    (saying(200, b"<html>"), SourceRefused, "not_feast"), (saying(200, []), SourceRefused, "not_feast"),
    (saying(200, b"[" * 100_000), SourceRefused, "not_feast"), (saying(200, {"spec": "x"}), SourceRefused, "not_feast"),
    (saying(401, {"detail": f"bad {TOKEN}"}), SourceRefused, "source_refused"), (saying(403, b""), SourceRefused, "source_refused"),
    (saying(404, b"gone"), SourceRefused, "source_refused"), (saying(307, b"", Location="/"), SourceRefused, "redirected"),
    (saying(500, b"oops"), SourceUnavailable, "source_unavailable"), (saying(503, {"detail": "x"}), SourceUnavailable, "source_unavailable"),
    (saying(500, "'Feature x not found'"), SourceRefused, "source_refused"), (lying, SourceUnavailable, "source_unavailable"),
    (nothing, SourceUnavailable, "source_unavailable"), (words, SourceRefused, "not_http"),
    (dripping, SourceUnavailable, "source_unavailable"), (endless, SourceRefused, "answer_too_long"),
]  # fmt: skip


@pytest.mark.parametrize(("say", "kind", "code"), [
    *WRONG_ANSWERS, (spec(name="others"), SourceRefused, "not_feast"), (spec(features={"rating": 1}), SourceRefused, "not_feast"),
    (spec(features=[1]), SourceRefused, "not_feast"), (spec(entityColumns=[{}]), SourceRefused, "not_feast"),
    (spec(sources=LOOP), SourceRefused, "not_feast"), (spec(features=[]), SourceRefused, "unknown_feature"),
    (spec(entityColumns=[{"name": "car", "valueType": "INT64"}]), InvalidData, "unknown_column"),
])  # fmt: skip
def test_a_registry_that_answers_wrongly_fails_with_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: fake_feast.Say, kind: type[Exception], code: str
):
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 1024**2)
    with pytest.raises(kind) as refused:
        present(tmp_path, fake_feast.online, registry=say, deadline=time.monotonic() + 2)
    assert refused.value.stable_code == code  # type: ignore[attr-defined]
    assert TOKEN not in str(refused.value)


def results(*answers: dict[str, Any], names: list[str] | None = None) -> fake_feast.Say:
    given = names or ["driver_id", "drivers__rating", "drivers__trips"]
    return saying(200, {"metadata": {"feature_names": given}, "results": list(answers)})


GOOD = {"values": [1, 2, 3, 4], "statuses": ["PRESENT"] * 4}
SHORT = {"values": [1, 2], "statuses": ["PRESENT"] * 2}
UNEVEN = {"values": [1, 2, 3, 4], "statuses": ["PRESENT"]}
TEXT = {"values": ["x"] * 4, "statuses": ["PRESENT"] * 4}
BEYOND = {"values": [2**70] * 4, "statuses": ["PRESENT"] * 4}


@pytest.mark.parametrize(("say", "kind", "code"), [
    *WRONG_ANSWERS, *((say, SourceRefused, "not_feast") for say in [
        results(GOOD, SHORT, GOOD), results(GOOD, UNEVEN, GOOD), results(GOOD, TEXT, TEXT), results(GOOD, GOOD, BEYOND),
        results(GOOD, GOOD), results(GOOD, GOOD, GOOD, names=["a", "b", "c"]), saying(200, {"results": []}), saying(200, None),
    ]),
])  # fmt: skip
def test_a_feature_server_that_answers_wrongly_fails_with_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: fake_feast.Say, kind: type[Exception], code: str
):
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 1024**2)
    with pytest.raises(kind) as refused:
        present(tmp_path, say, deadline=time.monotonic() + 2)
    assert refused.value.stable_code == code  # type: ignore[attr-defined]
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(("config", "code"), [
    ({"registry": "http://10.0.0.1:6572"}, "egress_denied"), ({"registry": "http://169.254.169.254"}, "egress_denied"),
    ({"registry": "http://93.184.215.14:6572"}, "tls_required"), ({"registry": "http://127.0.0.1:5432"}, "port_denied"),
    ({"registry": "http://127.0.0.1:2"}, "port_denied"), ({"registry": "file:///etc/passwd"}, "invalid_url"),
])  # fmt: skip
def test_a_server_inside_or_without_tls_is_out_of_reach(tmp_path: Path, config: dict[str, Any], code: str):
    with pytest.raises(EgressDenied) as refused:
        enriched(context(tmp_path, mode="online", config=config, features=["drivers:rating"]))
    assert refused.value.stable_code == code


@pytest.mark.parametrize("offline", ["10.0.0.1:8815", "93.184.215.14:8815", "127.0.0.1:6379"])
def test_an_offline_server_inside_or_without_tls_is_out_of_reach(tmp_path: Path, offline: str):
    with fake_feast.http(fake_feast.registry) as registry:
        config = {"registry": registry, "offline": offline}
        ctx = context(tmp_path, mode="historical", config=config, features=["drivers:rating"])
        with pytest.raises(EgressDenied):
            enriched(ctx)


def test_what_is_no_flight_at_all_is_unavailable_or_refused(tmp_path: Path):
    with fake_feast.http(fake_feast.registry) as registry:
        config = {"registry": registry, "offline": registry.removeprefix("http://")}
        with pytest.raises((SourceUnavailable, SourceRefused)):
            enriched(
                context(
                    tmp_path,
                    mode="historical",
                    config=config,
                    features=["drivers:rating"],
                    deadline=time.monotonic() + 3,
                )
            )


GOOD_CONFIG = {"project": "rides", "registry": "https://feast.example.com:6572", "offline": "feast.example.com:8815"}


@pytest.mark.parametrize("change", [
    {"project": ""}, {"project": "a b"}, {"project": "../x"}, {"registry": None}, {"registry": "feast.example.com"},
    {"registry": "https://user:word@feast.example.com"}, {"registry": "https://feast.example.com/?a=b"},
    {"registry": "ftp://feast.example.com"}, {"url": "https://feast.example.com/#x"}, {"offline": "feast.example.com"},
    {"offline": "feast.example.com:0"}, {"offline": "feast.example.com:99999"}, {"offline": "http://feast.example.com:80"},
    {"offline": "unix:/var/run/x:1"}, {"offline": None}, {"other": 1},
])  # fmt: skip
def test_a_config_that_leads_nowhere_is_refused(change: dict[str, Any]):
    FeastConfig(**GOOD_CONFIG)
    with pytest.raises(ValidationError):
        FeastConfig(**{**GOOD_CONFIG, **change})


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "tök", "x" * 5_000])
def test_a_token_that_no_header_may_hold_is_refused_and_not_echoed(token: str):
    with pytest.raises(ValidationError) as refused:
        FeastConnection(name="f", kind="feast", config=FeastConfig(**GOOD_CONFIG), secret={"token": token})
    assert not token or token not in str(refused.value.errors(include_input=False))


def test_every_server_of_a_connection_is_judged():
    inside = replace_settings("")
    for name, value in {"registry": "https://10.0.0.1", "url": "https://10.0.0.1", "offline": "10.0.0.1:8815"}.items():
        config = FeastConfig(
            **{
                **GOOD_CONFIG,
                "registry": "https://93.184.215.14",
                "offline": None,
                "url": "https://93.184.215.14",
                name: value,
            }
        )
        with pytest.raises(EgressDenied) as refused:
            check(config, settings=inside)
        assert refused.value.violations[0].pointer == f"/config/{name}"


def replace_settings(allow: str) -> Any:
    return process_settings().model_copy(update={"egress_allow": allow})


def test_a_connection_is_tried_server_by_server():
    def projects(said: Said) -> None:
        known = said.path.endswith(("/api/v1/projects/rides", "/health"))
        said.answer(200 if known else 404, {"spec": {"name": "rides"}} if known else {"detail": "does not exist"})

    with (
        fake_feast.http(projects) as registry,
        fake_feast.offline(told) as server,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        config = {"project": "rides", "registry": registry, "offline": f"127.0.0.1:{server.port}", "offline_tls": False}
        tried = lambda **change: reach({**config, **change}, {"token": TOKEN}, settings=process_settings(), seconds=2)  # noqa: E731
        assert tried() == "Project rides: registry, offline server answer."
        assert tried(url=registry) == "Project rides: registry, feature server, offline server answer."
        with pytest.raises(SourceRefused, match="'walks'"):
            tried(project="walks")
        with pytest.raises(SourceRefused, match="Flight"):
            tried(offline=registry.removeprefix("http://"))
        with pytest.raises(SourceUnavailable, match="offline server"):
            tried(offline=f"127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(SourceRefused):
            tried(offline_tls=True)
