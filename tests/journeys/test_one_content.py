"""One content, one digest: whatever file, store or engine the same table comes from; and one spec, one bundle."""

import gzip
import json
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.csv
import pyarrow.parquet
import pytest
from minio import Minio

from tests.driver import RunningStack, agreed
from tests.journeys.soundness import a_spec, a_table, versions_of

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


@pytest.mark.parametrize("written", [as_gzip, as_parquet, as_json])
def test_an_upload_of_another_format_has_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path, written: Any
) -> None:
    dataset_id = stack.client.upload(written(table, tmp_path))
    assert digest(stack, {"kind": "dataset", "dataset_id": dataset_id}) == reference


def test_parquet_files_in_a_store_have_the_same_digest(
    stack: RunningStack, table: Path, reference: str, tmp_path: Path
) -> None:
    s3 = stack.engines.s3
    client = Minio(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, secure=False, region="us-east-1")
    client.make_bucket("lake")
    whole = pyarrow.csv.read_csv(table)
    for number, part in enumerate((whole.slice(0, 120), whole.slice(120))):
        path = tmp_path / f"part-{number}.parquet"
        pyarrow.parquet.write_table(part, path)
        client.fput_object("lake", f"tables/part-{number}.parquet", str(path))
    made = stack.client.post("/v1/connections", json={
        "name": "lake", "kind": "s3", "config": {"endpoint": s3.endpoint, "secure": False},
        "secret": {"access_key": s3.access_key, "secret_key": s3.secret_key},
    })  # fmt: skip
    assert s3.secret_key not in json.dumps(agreed(made))
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
