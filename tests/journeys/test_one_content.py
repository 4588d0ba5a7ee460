"""One content, one digest: whatever file, store or engine the same table comes from; and one spec, one bundle."""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from minio import Minio

from tests.driver import RunningStack, agreed
from tests.journeys.soundness import a_spec, a_table, versions_of
from tests.mariadb import MariaDB
from tests.wire import listening, offering

READER_PASSWORD = "reads-only"
DETERMINISTIC = {"mode": "deterministic", "seed": 7, "reuse": False}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CSV whose content all others repeat."""
    return a_table(tmp_path_factory.mktemp("one") / "t.csv", rows=300)


@pytest.fixture(scope="module")
def reference(stack: RunningStack, table: Path) -> str:
    """The data digest of the CSV's job."""
    stack.heal()
    return digest(stack, {"kind": "dataset", "dataset_id": stack.client.upload(table)})


def digest(stack: RunningStack, source: dict[str, Any]) -> str:
    """The data digest of a job over that one source."""
    spec = a_spec("ds_00000000", "one-content")
    spec["data"]["sources"] = {"t": source}
    job = stack.client.wait(stack.client.submit(spec))
    assert job["status"] == "succeeded", job["error"]
    return str(job["data_digest"])


def as_gzip(table: Path, folder: Path) -> Path:
    path = folder / "t.csv.gz"
    path.write_bytes(gzip.compress(table.read_bytes()))
    return path


def as_parquet(table: Path, folder: Path) -> Path:
    path = folder / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(table), path)
    return path


def as_json(table: Path, folder: Path) -> Path:
    path = folder / "t.json"
    path.write_text(json.dumps(pyarrow.csv.read_csv(table).to_pylist()))
    return path


def as_jsonl(table: Path, folder: Path) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pyarrow.csv.read_csv(table).to_pylist()))
    return path


def as_arrow(table: Path, folder: Path) -> Path:
    path = folder / "t.arrow"
    whole = pyarrow.csv.read_csv(table)
    with pyarrow.ipc.new_file(path, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=100)
    return path


def as_itself(table: Path, _folder: Path) -> Path:
    return table


WRITERS = [as_gzip, as_parquet, as_json, as_jsonl, as_arrow]


@pytest.mark.parametrize("written", WRITERS)
def test_an_upload_of_another_format_has_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path, written: Any
) -> None:
    dataset_id = stack.client.upload(written(table, tmp_path))
    assert digest(stack, {"kind": "dataset", "dataset_id": dataset_id}) == reference


@pytest.mark.parametrize("written", [as_itself, as_gzip, as_parquet])
def test_a_file_behind_a_url_has_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path, written: Any
) -> None:
    path = written(table, tmp_path)
    with listening(offering(path.read_bytes())) as server:
        name = f"exports-{path.suffix.removeprefix('.')}"
        agreed(stack.client.post("/v1/connections", json={
            "name": name, "kind": "http", "config": {"host": server.url.removeprefix("http://"), "secure": False},
            "secret": {"token": "a-token"},
        }))  # fmt: skip
        assert digest(stack, {"kind": "http", "connection": name, "url": f"{server.url}/{path.name}"}) == reference
        assert all(b"Authorization: Bearer a-token" in said for said in server.heard)


def test_rows_of_a_mariadb_table_have_the_same_digest(
    stack: RunningStack, mariadb: MariaDB, table: Path, reference: str
) -> None:
    with mariadb.admin() as owner, owner.cursor() as cursor:
        cursor.execute("create database shop")
        cursor.execute(f"create user reader@'127.0.0.1' identified by '{READER_PASSWORD}'")
        cursor.execute("grant select on shop.* to reader@'127.0.0.1'")
        cursor.execute(
            "create table shop.t (position int auto_increment primary key, a double, b double, kind text, y int)"
        )
        rows = [tuple(row.values()) for row in pyarrow.csv.read_csv(table).to_pylist()]
        cursor.executemany("insert into shop.t (a, b, kind, y) values (%s, %s, %s, %s)", rows)
    agreed(stack.client.post("/v1/connections", json={
        "name": "shop", "kind": "mysql",
        "config": {"host": "127.0.0.1", "port": mariadb.port, "database": "shop", "user": "reader"},
        "secret": {"password": READER_PASSWORD},
    }))  # fmt: skip
    assert agreed(stack.client.post("/v1/connections/shop/test"))["detail"].startswith("MariaDB ")
    query = "select a, b, kind, y from t order by position"
    assert digest(stack, {"kind": "database", "connection": "shop", "query": query}) == reference


def test_rows_of_a_sqlite_file_have_the_same_digest(stack: RunningStack, table: Path, reference: str) -> None:
    folder = Path(stack.stack.variables["TRAINHOUSE_SQLITE_DIR"])
    with closing(sqlite3.connect(folder / "sensors.db")) as owner, owner:
        owner.execute("create table t (a real, b real, kind text, y integer)")
        rows = [tuple(row.values()) for row in pyarrow.csv.read_csv(table).to_pylist()]
        owner.executemany("insert into t values (?, ?, ?, ?)", rows)
    wish = {"name": "sensors", "kind": "sqlite", "config": {"file": "sensors.db"}}
    agreed(stack.client.post("/v1/connections", json=wish))
    assert agreed(stack.client.post("/v1/connections/sensors/test"))["ok"]
    assert digest(stack, {"kind": "database", "connection": "sensors", "table": "t"}) == reference


def a_bucket(stack: RunningStack, name: str) -> Minio:
    """The store with an empty bucket, and a connection of the same name that leads there."""
    s3 = stack.engines.s3
    client = Minio(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, secure=False, region="us-east-1")
    client.make_bucket(name)
    made = stack.client.post("/v1/connections", json={
        "name": name, "kind": "s3", "config": {"endpoint": s3.endpoint, "secure": False},
        "secret": {"access_key": s3.access_key, "secret_key": s3.secret_key},
    })  # fmt: skip
    assert s3.secret_key not in json.dumps(agreed(made))
    return client


def test_other_files_in_a_store_have_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path
) -> None:
    client = a_bucket(stack, "pond")
    for written in (as_itself, as_gzip, as_jsonl, as_arrow):
        path = written(table, tmp_path)
        client.fput_object("pond", path.name, str(path))
        assert digest(stack, {"kind": "s3", "connection": "pond", "uri": f"s3://pond/{path.name}"}) == reference


def test_parquet_files_in_a_store_have_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path
) -> None:
    client = a_bucket(stack, "lake")
    whole = pyarrow.csv.read_csv(table)
    for number, part in enumerate((whole.slice(0, 120), whole.slice(120))):
        path = tmp_path / f"part-{number}.parquet"
        pyarrow.parquet.write_table(part, path)
        client.fput_object("lake", f"tables/part-{number}.parquet", str(path))
    assert digest(stack, {"kind": "s3", "connection": "lake", "uri": "s3://lake/tables/*.parquet"}) == reference


def test_rows_of_a_postgres_query_have_the_same_digest(stack: RunningStack, table: Path, reference: str) -> None:
    engine = stack.engines.postgres
    url = psycopg.conninfo.conninfo_to_dict(engine.url)
    with psycopg.connect(engine.admin_url, autocommit=True) as owner:
        owner.execute("create database warehouse")
        owner.execute(f"create role reader login password '{READER_PASSWORD}'")
    with psycopg.connect(engine.admin_url_of("warehouse"), autocommit=True) as owner:
        owner.execute("create table t (position serial, a double precision, b double precision, kind text, y integer)")
        with owner.cursor().copy("copy t (a, b, kind, y) from stdin with (format csv, header)") as copy:
            copy.write(table.read_bytes())
        owner.execute("grant select on t to reader")
    agreed(stack.client.post("/v1/connections", json={
        "name": "warehouse", "kind": "postgres",
        "config": {"host": url["host"], "port": int(url["port"]), "database": "warehouse", "user": "reader"},
        "secret": {"password": READER_PASSWORD},
    }))  # fmt: skip
    query = "select a, b, kind, y from t order by position"
    assert digest(stack, {"kind": "database", "connection": "warehouse", "query": query}) == reference


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear"])
def test_the_same_spec_and_data_twice_give_the_same_bundle_to_the_byte(
    stack: RunningStack, table: Path, algorithm: str
) -> None:
    stack.heal()
    dataset_id, model = stack.client.upload(table), f"twice-{algorithm}"
    spec = a_spec(
        dataset_id, model, reproducibility=DETERMINISTIC, training={"algorithm": algorithm, "max_iterations": 40},
        tuning={"strategy": "bayesian", "max_trials": 6, "max_parallel": 2},
    )  # fmt: skip
    for _time in range(2):
        assert stack.client.wait(stack.client.submit(spec))["status"] == "succeeded"
    first, second = versions_of(stack, model)
    assert first["bundle_digest"] == second["bundle_digest"]
