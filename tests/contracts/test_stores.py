"""What files in a store promise beyond the contract of all sources: columns, partitions, versions, and no change meanwhile."""

import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from minio import Minio

from app.egress.pinned import MAX_DOCUMENT_BYTES
from app.errors import Cancelled, EgressDenied, InvalidData, SourceRefused, SourceUnavailable
from standalone.engines import Engines
from tests.learning import make_context
from tests.lookup import answers
from tests.sources import configured
from workers.context import ConnectionRef, Context
from workers.sources import s3
from workers.sources.base import SourceResult
from workers.sources.s3 import merged

BUCKET = "store-lake"


def csv(rows: int, first: int = 0) -> bytes:
    return b"x,y\n" + b"".join(b"%d,w%d\n" % (number, number % 3) for number in range(first, first + rows))


def wide() -> bytes:
    """Parquet of several megabytes, of which two columns are a small part."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {f"c{index}": rng.random(40_000) for index in range(20)}
    target = io.BytesIO()
    pq.write_table(pa.table({**columns, "few": np.arange(40_000) % 7}), target, row_group_size=9_000)
    return target.getvalue()


OBJECTS: dict[str, bytes] = {
    "hive/year=2013/month=01/a.csv": csv(3), "hive/year=2013/month=02/a.csv": csv(2, 3),
    "hive/year=__HIVE_DEFAULT_PARTITION__/month=a%20b/a.csv": csv(1, 5),
    "uneven/year=2013/a.csv": csv(1), "uneven/b.csv": csv(1, 1),
    "mixed/a=1/a.csv": csv(1), "mixed/b=1/a.csv": csv(1), "own/x=9/a.csv": csv(2), "wide.parquet": wide(), "plain/a.csv": csv(2), "plain/b.csv.gz": gzip.compress(csv(2, 2)),
    "plain/c.jsonl": b'{"y": "w1", "x": 4}\n', "other/a.csv": b"x,z\n1,2\n", "other/b.csv": csv(1),
    "torn/1.csv": b"sku,y\n1.10,1\nNA,2\n", "torn/2.csv": b"sku,y\nA-7,3\n1.10,4\n", "torn/3.jsonl": b'{"sku": "B7", "y": 5}\n',
    "odd/a b+c%20d&e.csv": csv(1), "broken.parquet": wide()[:-100],
    **{f"many/{number:03}.csv": csv(2, number) for number in range(120)},
}  # fmt: skip


@pytest.fixture(scope="module")
def lake(engines: Engines) -> Iterator[tuple[Minio, ConnectionRef]]:
    """The objects in a bucket, and a connection to it."""
    with configured(engines.variables() | {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.1/32"}):
        own = engines.s3
        client = Minio(own.endpoint, own.access_key, own.secret_key, secure=False, region="us-east-1")
        client.make_bucket(BUCKET)
        for key, data in OBJECTS.items():
            client.put_object(BUCKET, key, io.BytesIO(data), len(data))
        secret = {"access_key": own.access_key, "secret_key": own.secret_key}
        yield client, ConnectionRef("lake", "s3", {"endpoint": own.endpoint, "secure": False}, secret)


Read = Callable[..., SourceResult]


def context(folder: Path, found: ConnectionRef, key: str, **more: Any) -> Context:
    source = {"kind": "s3", "connection": "lake", "uri": f"s3://{BUCKET}/{key}", **more}
    return make_context(folder, {"task": {"target": "y"}, "data": {"sources": {"main": source}}}, connections={"lake": found})  # fmt: skip


@pytest.fixture
def read(lake: tuple[Minio, ConnectionRef], tmp_path: Path) -> Read:
    """Reads a key of the lake."""

    def reading(key: str, **more: Any) -> SourceResult:
        ctx = context(tmp_path, lake[1], key, **more)
        (source,) = ctx.spec.data.sources.values()
        return s3.read(source, ctx)

    return reading


def code(read: Read, key: str, **more: Any) -> str:
    with pytest.raises((InvalidData, SourceRefused)) as refused:
        read(key, **more)
    assert refused.value.hint
    return refused.value.stable_code


def test_steps_of_the_path_become_columns(read: Read):
    table = read("hive/").table
    assert table.column_names == ["x", "y", "year", "month"]
    assert table["year"].to_pylist() == [2013] * 5 + [None]
    assert table["month"].to_pylist() == ["01"] * 3 + ["02"] * 2 + ["a b"]
    assert read("hive/", columns=["month", "x"]).table.column_names == ["month", "x"]
    assert read("hive/", columns=["year"]).table.column_names == ["year"]
    assert read("hive/", partitioning="none").table.column_names == ["x", "y"]


def test_steps_that_not_every_path_has_are_no_columns_and_where_they_must_be_a_fault(read: Read):
    assert read("uneven/**").table.column_names == ["x", "y"]
    assert code(read, "uneven/**", partitioning="hive") == "not_partitioned"
    assert code(read, "mixed/**", partitioning="hive") == "schema_mismatch"
    assert read("own/").table["x"].to_pylist() == [0, 1], "what a file says itself counts"
    assert code(read, "own/", partitioning="hive") == "duplicate_columns"


def test_of_parquet_only_the_wanted_columns_are_fetched(read: Read):
    whole, some = read("wide.parquet"), read("wide.parquet", columns=["few", "c3"])
    assert whole.bytes == len(OBJECTS["wide.parquet"])
    assert some.bytes < whole.bytes / 4
    assert some.table.equals(whole.table.select(["few", "c3"]))
    assert whole.facts["parts"] == [
        {"name": "wide.parquet", "bytes": whole.bytes, "etag": some.facts["parts"][0]["etag"], "modified_at": some.facts["parts"][0]["modified_at"]}]  # fmt: skip


@pytest.mark.parametrize("key", ["wide.parquet", "plain/a.csv", "plain/c.jsonl", "hive/"])
def test_a_column_that_is_not_there_is_named_with_those_like_it(read: Read, key: str):
    assert code(read, key, columns=["fews"]) == "unknown_column"


def test_formats_mix_and_their_columns_must_not(read: Read):
    table = read("plain/*").table
    assert table.to_pydict() == {"x": [0, 1, 2, 3, 4], "y": ["w0", "w1", "w2", "w0", "w1"]}
    assert code(read, "other/*") == "schema_mismatch"
    assert code(read, "broken.parquet", columns=["few"]) == "not_a_parquet"


def test_a_column_of_numbers_here_and_words_there_stays_as_it_is_written(read: Read):
    assert read("torn/*").table.to_pydict() == {
        "sku": ["1.10", "NA", "A-7", "1.10", "B7"],
        "y": [1, 2, 3, 4, 5],
    }
    assert read("torn/1.csv").table.to_pydict() == {"sku": [1.1, None], "y": [1, 2]}


def test_many_files_are_read_in_order_and_few_are_kept(read: Read, tmp_path: Path):
    found = read("many/*.csv")
    assert found.table["x"].to_pylist() == [each for number in range(120) for each in (number, number + 1)]
    assert found.facts["files"] == 120
    assert len(found.facts["parts"]) == 20
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == []


@pytest.mark.parametrize("key", ["odd/a b+c%20d&e.csv", "odd/*", "o?d/a b+c%20d&e.csv"])
def test_odd_keys_are_taken_as_they_are(read: Read, key: str):
    assert read(key).table.num_rows == 1


@pytest.mark.parametrize(
    "key", ["plain/a.csv?versionId=1", "nothing/*", "nothing.csv", "plain/%2e%2e/a.csv", "~/a.csv"]
)
def test_tricks_with_keys_find_nothing(read: Read, key: str):
    assert code(read, key) == "source_not_found"


def test_the_version_tells_every_change_without_reading(lake: tuple[Minio, ConnectionRef], tmp_path: Path):
    client, found = lake

    def version() -> str | None:
        ctx = context(tmp_path, found, "moving/*")
        (source,) = ctx.spec.data.sources.values()
        return s3.version(source, ctx)

    seen = []
    for key, data in (("moving/a.csv", csv(2)), ("moving/a.csv", csv(2, 1)), ("moving/b.csv", csv(1)), ("moving/a.csv", csv(3))):  # fmt: skip
        client.put_object(BUCKET, key, io.BytesIO(data), len(data))
        seen.append(version())
        assert version() == seen[-1]
    assert len(set(seen)) == 4


@pytest.mark.parametrize("after", [csv(2, 7), csv(9), None])
def test_a_file_that_changes_between_listing_and_reading_is_refused(
    after: bytes | None, lake: tuple[Minio, ConnectionRef], tmp_path: Path
):
    client, found = lake
    client.put_object(BUCKET, "swapped/a.csv", io.BytesIO(csv(2)), len(csv(2)))

    def swap(_done: float, _total: float) -> None:  # the store is first asked how far it is when it has listed
        if after is None:
            client.remove_object(BUCKET, "swapped/a.csv")
        else:
            client.put_object(BUCKET, "swapped/a.csv", io.BytesIO(after), len(after))

    ctx = replace(context(tmp_path, found, "swapped/*"), progress=swap)
    (source,) = ctx.spec.data.sources.values()
    with pytest.raises(SourceRefused) as refused:
        s3.read(source, ctx)
    assert refused.value.stable_code == "source_changed"
    assert refused.value.hint


def test_reading_stops_when_the_job_must(lake: tuple[Minio, ConnectionRef], tmp_path: Path):
    def cancelled(_done: float, _total: float) -> None:
        raise Cancelled

    ctx = replace(context(tmp_path, lake[1], "many/*"), progress=cancelled)
    (source,) = ctx.spec.data.sources.values()
    with pytest.raises(Cancelled):
        s3.read(source, ctx)


class Odd(BaseHTTPRequestHandler):
    """Answers every request with what the test laid down."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    def do_GET(self) -> None:
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/xml", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


@pytest.fixture
def odd(lake: tuple[Minio, ConnectionRef]) -> Iterator[ConnectionRef]:
    """A connection to a server that is no store."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ConnectionRef("lake", "s3", {"endpoint": f"127.0.0.1:{server.server_port}", "secure": False}, lake[1].secret)
    server.shutdown()
    server.server_close()


ENTITIES = (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
            + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%s;" % (str(i - 1).encode() if i else b"") * 10) for i in range(9))
            + b"]><ListBucketResult>&a8;</ListBucketResult>")  # fmt: skip
ODD = {
    "a web page": ((200, {}, b"<html>"), SourceRefused),
    "a way elsewhere": ((302, {"Location": "http://169.254.169.254/latest"}, b""), SourceRefused),
    "an error of its own": ((500, {}, b"<Error><Code>InternalError</Code></Error>"), SourceUnavailable),
    "a plea for time": ((503, {}, b"<Error><Code>SlowDown</Code></Error>"), SourceUnavailable),
    "a refusal in plain text": ((403, {"Content-Type": "text/plain"}, b"no"), SourceRefused),
    "a billion laughs": ((200, {}, ENTITIES), SourceRefused),
    "an endless list": ((200, {}, b" " * (MAX_DOCUMENT_BYTES + 10)), SourceUnavailable),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_store_that_answers_oddly_is_named_and_nothing_else_happens(name: str, odd: ConnectionRef, tmp_path: Path):
    Odd.answer, kind = ODD[name]
    ctx = context(tmp_path, odd, "any/*")
    (source,) = ctx.spec.data.sources.values()
    with pytest.raises(kind) as refused:
        s3.read(source, ctx)
    assert not any(value in json.dumps(refused.value.document()) for value in odd.secret.values())


@pytest.mark.parametrize(
    "endpoint", ["169.254.169.254", "10.0.0.1:9000", "[::1]:9000", "0x7f000001:80", "metadata.internal:80"]
)
def test_an_endpoint_inside_is_out_of_reach(
    endpoint: str, lake: tuple[Minio, ConnectionRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers(monkeypatch, ["169.254.169.254"])
    inside = replace(lake[1], config={"endpoint": endpoint, "secure": False})
    ctx = context(tmp_path, inside, "a.csv")
    (source,) = ctx.spec.data.sources.values()
    with pytest.raises(EgressDenied):
        s3.read(source, ctx)


def test_ranges_that_are_close_are_fetched_as_one():
    mib = 1024**2
    assert merged([(5 * mib, 10), (0, 100), (50, 10), (200, 10)]) == [(0, 210), (5 * mib, 10)]
