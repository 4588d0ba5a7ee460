"""Every source keeps one contract: equal content gives an equal table, and faults say whose turn it is."""

import datetime as dt
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from minio import Minio

from app.errors import EgressDenied, InvalidData, SourceRefused, SourceUnavailable
from standalone.engines import Engines
from tests.learning import DATASET_ID, make_context
from tests.sources import configured, refusal, result
from workers.context import ConnectionRef, Context
from workers.table.snapshot import data_digest

BUCKET = "contract-lake"
STORED = {"kind": "s3", "connection": "lake", "uri": f"s3://{BUCKET}/deep.csv.gz"}
UTC = dt.UTC
TABLE = pa.table({
    "number": pa.array([1, None, 3, -4], pa.int32()),
    "real": pa.array([0.1, 2.5, None, -7.0], pa.float64()),
    "word": ["one", "two, with a comma", None, 'with "quotes"\nand a line'],
    "truth": [True, None, False, True],
    "day": pa.array([dt.date(2024, 2, 29), None, dt.date(1969, 7, 20), dt.date(2024, 1, 1)]),
    "moment": pa.array([dt.datetime(2024, 2, 29, 12, 30, tzinfo=UTC), None,
                        dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)],
                       pa.timestamp("ms", "UTC")),
    "code": ["01", "02", None, "10"],
})  # fmt: skip


def as_csv(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pyarrow.csv.write_csv(table, target)
    return target.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    word = table.schema.get_field_index("word")
    pyarrow.parquet.write_table(
        table.set_column(word, "word", table["word"].dictionary_encode()), target, row_group_size=2
    )
    return target.getvalue()


def as_arrow(table: pa.Table) -> bytes:
    target = io.BytesIO()
    with pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return target.getvalue()


def as_records(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: value if value is None or isinstance(value, bool | int | float | str) else value.isoformat()
             for name, value in row.items()} for row in table.to_pylist()]  # fmt: skip


FILES: dict[str, Callable[[pa.Table], bytes]] = {
    "csv": as_csv,
    "csv.gz": lambda table: gzip.compress(as_csv(table)),
    "parquet": as_parquet,
    "json": lambda table: json.dumps(as_records(table), indent=1).encode(),
    "jsonl": lambda table: "\n".join(json.dumps(row) for row in as_records(table)).encode(),
    "arrow": as_arrow,
}


@dataclass(frozen=True)
class Place:
    """Where the table can be read from outside."""

    lake: ConnectionRef
    s3: Minio

    def context(self, folder: Path, source: dict[str, Any], **changes: ConnectionRef) -> Context:
        spec = {"task": {"target": "number"}, "data": {"sources": {"main": source}}}
        return make_context(folder, spec, connections={"lake": self.lake, **changes})


@pytest.fixture(scope="module")
def place(engines: Engines) -> Iterator[Place]:
    """The table in a bucket, in two files."""
    with configured(engines.variables() | {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.1/32"}):
        yield _filled(engines)


def _filled(engines: Engines) -> Place:
    s3 = engines.s3
    store = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False, region="us-east-1")
    store.make_bucket(BUCKET)
    for name, data in {"one/a.parquet": as_parquet(TABLE.slice(0, 2)), "one/b.csv": as_csv(TABLE.slice(2)),
                       "one/_SUCCESS": b"x", "one/deep/c.csv": as_csv(TABLE), "deep.csv.gz": gzip.compress(as_csv(TABLE)),
                       "broken.parquet": b"PAR1 and then nothing that Parquet would know PAR1"}.items():  # fmt: skip
        store.put_object(BUCKET, name, io.BytesIO(data), len(data))
    secret = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    return Place(ConnectionRef("lake", "s3", {"endpoint": s3.endpoint, "secure": False}, secret), store)


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the table as an uploaded CSV."""
    ctx = make_context(
        tmp_path_factory.mktemp("csv"), {"task": {"target": "number"}}, table=as_csv(TABLE), filename="t.csv"
    )
    return data_digest(result(ctx).table)


@pytest.mark.parametrize("kind", FILES)
def test_an_uploaded_file_of_any_format_gives_the_same_table(kind: str, tmp_path: Path, digest: str):
    ctx = make_context(tmp_path, {"task": {"target": "number"}}, table=FILES[kind](TABLE), filename=f"t.{kind}")
    assert data_digest(result(ctx).table) == digest


@pytest.mark.parametrize(
    "uri", ["one/deep/c.csv", "deep.csv.gz", "one/*", "one/?.*", "o*/deep/*.csv", "**/deep/c.csv", "one/deep/"]
)
def test_files_in_a_store_give_the_same_table(place: Place, uri: str, tmp_path: Path, digest: str):
    ctx = place.context(tmp_path, {"kind": "s3", "connection": "lake", "uri": f"s3://{BUCKET}/{uri}"})
    assert data_digest(result(ctx).table) == digest


def _changed(found: ConnectionRef, *, secret: dict[str, str] | None = None, **config: Any) -> ConnectionRef:
    return ConnectionRef(found.name, found.kind, {**found.config, **config}, {**found.secret, **(secret or {})})


def test_a_wrong_secret_key_is_the_callers_to_mend(place: Place, tmp_path: Path):
    wrong = _changed(place.lake, secret={"secret_key": "a-wrong-secret"})
    assert isinstance(refusal(place.context(tmp_path, STORED, lake=wrong)), SourceRefused)


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/none.csv", f"s3://{BUCKET}/none/*.csv", "s3://no-such-bucket/t.csv"])
def test_a_missing_file_is_the_callers_to_mend(place: Place, uri: str, tmp_path: Path):
    with pytest.raises(SourceRefused):
        result(place.context(tmp_path, {"kind": "s3", "connection": "lake", "uri": uri}))


def test_a_broken_file_in_a_store_is_named(place: Place, tmp_path: Path):
    with pytest.raises(InvalidData) as refused:
        result(place.context(tmp_path, {"kind": "s3", "connection": "lake", "uri": f"s3://{BUCKET}/broken.parquet"}))
    assert refused.value.stable_code == "not_a_parquet"


def test_a_store_that_does_not_answer_may_answer_later(place: Place, tmp_path: Path):
    silent = _changed(place.lake, endpoint="127.0.0.1:1")
    assert isinstance(refusal(place.context(tmp_path, STORED, lake=silent)), SourceUnavailable)


def test_an_address_inside_is_out_of_reach(place: Place, tmp_path: Path):
    inside = _changed(place.lake, endpoint="169.254.169.254:80")
    assert isinstance(refusal(place.context(tmp_path, STORED, lake=inside)), EgressDenied)


def test_an_unknown_connection_or_data_set_is_the_callers_to_mend(place: Place, tmp_path: Path):
    with pytest.raises(SourceRefused):
        result(place.context(tmp_path, {"kind": "s3", "connection": "nobody", "uri": f"s3://{BUCKET}/x.csv"}))
    with pytest.raises(SourceRefused):
        result(place.context(tmp_path, {"kind": "s3", "connection": "other", "uri": f"s3://{BUCKET}/x.csv"}))
    with pytest.raises(InvalidData):
        result(place.context(tmp_path, {"kind": "dataset", "dataset_id": DATASET_ID}))
