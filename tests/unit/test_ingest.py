"""Ingest lands one immutable table, and refuses hostile files with a reason."""

import datetime as dt
import gzip
import json
import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from app.errors import CallerError, DeadlineExceeded, InvalidData, SourceRefused
from tests.learning import DATASET_ID, FolderWorkspace, make_context
from workers.formats.delimited import BLOCK_BYTES, read_csv
from workers.formats.limits import Limits
from workers.stages import ingest
from workers.table import snapshot
from workers.table.canonical import canonical

SPEC = {"task": {"target": "y"}}


def refused(tmp_path: Path, data: Any, filename: str = "t.csv", spec: dict[str, Any] | None = None) -> CallerError:
    """The error with which ingest ends."""
    with pytest.raises(CallerError) as caught:
        ingest.run(make_context(tmp_path, spec or SPEC, table=data, filename=filename))
    return caught.value


def landed(tmp_path: Path, table: Any, filename: str = "t.csv", **spec: Any) -> pa.Table:
    """The snapshot that ingest lands."""
    ctx = make_context(tmp_path, {**SPEC, **spec}, table=table, filename=filename)
    ingest.run(ctx)
    return snapshot.read(ctx.workspace.get("snapshot"))


HOSTILE = [
    ("empty_file", b"", "t.csv"),
    ("empty_file", b"", "t.parquet"),
    ("empty_file", gzip.compress(b"", mtime=0), "t.csv.gz"),
    ("no_rows", b"x,y\n", "t.csv"),
    ("no_rows", b"x,y", "t.csv"),
    ("no_rows", b"[]", "t.json"),
    ("ragged_csv", b"x,y\n1,2\n1,2,3\n4\n", "t.csv"),
    ("unclosed_quote", b'x,y\n1,"2\n3,4\n', "t.csv"),
    ("not_a_csv", b"\n1,2\n", "t.csv"),
    ("not_utf8", b"x,y\n1,2\n\xe9t\xe9,3\n", "t.csv"),
    ("not_utf8", "x,y\n1,2\n".encode("utf-16"), "t.csv"),
    ("not_utf8", b'[{"y": "\xff"}]', "t.json"),
    ("not_utf8", b'[{"y": "\\ud800"}]', "t.json"),
    ("nul_character", b"x,y\nab\x00c,2\n", "t.csv"),
    ("nul_character", b"x,\x00y\n1,2\n", "t.csv"),
    ("duplicate_columns", b"y,y\n1,2\n", "t.csv"),
    ("duplicate_columns", b'[{"y": 1, "y": 2}]', "t.json"),
    ("not_a_csv", b"PAR1 whatever", "t.csv"),
    ("not_a_csv", gzip.compress(b"y\n1\n", mtime=0), "t.csv"),
    ("not_a_csv", b"<!DOCTYPE html><html></html>", "t.csv"),
    ("not_a_parquet", b"<html>no</html>", "t.parquet"),
    ("not_a_parquet", b"PAR1 garbage PAR1", "t.parquet"),
    ("not_a_parquet", b"\x80\x04\x95 a pickle", "t.parquet"),
    ("not_a_arrow", b"ARROW1\x00\x00garbage", "t.arrow"),
    ("not_a_csv_gz", b"x,y\n1,2\n", "t.csv.gz"),
    ("not_a_csv_gz", gzip.compress(b"x,y\n1,2\n" * 99, mtime=0)[:-30], "t.csv.gz"),
    ("not_a_json", b'[{"y": 1}, 2]', "t.json"),
    ("not_a_json", b'[{"y": 1}', "t.json"),
    ("not_a_json", b'{"y": 1}\n{"y": \n', "t.jsonl"),
    ("not_a_json", b"[" * 100_000, "t.json"),
]


@pytest.mark.parametrize(("code", "data", "filename"), HOSTILE)
def test_a_file_that_is_no_table_is_refused_with_its_code(code: str, data: bytes, filename: str, tmp_path: Path):
    error = refused(tmp_path, data, filename)
    assert error.stable_code == code
    assert not error.retryable


def test_a_ragged_line_is_named_by_its_number(tmp_path: Path):
    error = refused(tmp_path, b"x,y\n1,2\n1,2,3\n4,5\n6\n")
    assert "line 3" in error.detail
    assert [fault.pointer for fault in error.violations] == ["/data/sources/main/rows/3", "/data/sources/main/rows/5"]


LAKE = {"kind": "s3", "connection": "lake", "uri": "s3://bucket/t.csv"}
GONE = {"kind": "dataset", "dataset_id": "ds_99999999"}
STORE = {"kind": "feature_store", "connection": "feast", "features": ["trips:count"], "entities": "main"}


@pytest.mark.parametrize(("source", "code", "sql"), [
    (LAKE, "unknown_connection", "select * from main"), (GONE, "unknown_dataset", "select * from main"),
    (STORE, "unknown_connection", None),
])  # fmt: skip
def test_what_is_wrong_with_a_source_says_which(tmp_path: Path, source: dict[str, Any], code: str, sql: str | None):
    sources = {"main": {"kind": "dataset", "dataset_id": DATASET_ID}, "other": source}
    spec = {"task": {"target": "y"}, "data": {"sources": sources, "features": {"sql": sql}}}
    with pytest.raises((InvalidData, SourceRefused)) as caught:
        ingest.run(make_context(tmp_path, spec, table=b"x,y\n1,2\n", filename="t.csv"))
    (fault,) = caught.value.violations
    assert (fault.pointer, fault.code, fault.message) == ("/data/sources/other", code, caught.value.detail)


def test_a_byte_that_is_no_text_is_named_by_its_offset(tmp_path: Path):
    assert "byte 8 (line 3)" in refused(tmp_path, b"x,y\n1,2\n\xe9t\xe9,3\n").detail


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path):
    bomb = gzip.compress(b"x,y\n" + b"0" * (Limits().large_bytes + 2**20), compresslevel=6)
    assert refused(tmp_path, bomb, "t.csv.gz").stable_code == "gzip_bomb"


def test_arrow_extension_types_are_refused(tmp_path: Path):
    column = pa.ExtensionArray.from_storage(pa.opaque(pa.string(), "strange", "nobody"), pa.array(["a"]))
    path = tmp_path / "t.arrow"
    table = pa.table({"y": column})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert refused(tmp_path, path).stable_code == "unsupported_type"


def test_an_unknown_column_is_refused_with_its_pointer_and_names_like_it(tmp_path: Path):
    spec = {"task": {"target": "Price", "id_columns": ["id", "nope"]}, "data": {"features": {"exclude": ["colour"]}}}
    error = refused(tmp_path, b"price,id,color\n1,2,3\n", spec=spec)
    assert error.stable_code == "unknown_column"
    assert [fault.pointer for fault in error.violations] == [
        "/task/target",
        "/task/id_columns/1",
        "/data/features/exclude/0",
    ]
    assert "'price'" in error.violations[0].hint
    assert "'color'" in error.violations[2].hint


EQUAL = [
    (["1", "2", ""], [1, 2, None]),
    (["1.0", "2", "NA"], [1, 2, None]),
    ([" 1", "2 ", ""], [1, 2, None]),
    (["1.5", "-inf", "nan"], [1.5, float("-inf"), None]),
    (["true", "False", ""], [True, False, None]),
    (["2024-01-02", "", "1969-01-01"], [pd.Timestamp("2024-01-02"), None, pd.Timestamp("1969-01-01")]),
    (["2024-01-02T03:04:05+02:00", "2024-01-02 01:04:05"], [pd.Timestamp("2024-01-02 01:04:05")] * 2),
    (["2024-01-02T03:04:05.123456Z", None], [pd.Timestamp("2024-01-02 03:04:05.123456"), None]),
    (["NA", "None", "word"], ["NA", "None", "word"]),
    (["01", "02", "3"], ["01", "02", "3"]),
    (["0x1F", "1"], ["0x1F", "1"]),
    (["", None, ""], [None, None, None]),
    (["-0.0", "0.5"], [0.0, 0.5]),
    (["9223372036854775807", "1"], [2**63 - 1, 1]),
    (["2024-13-45", "2024-01-01"], ["2024-13-45", "2024-01-01"]),
    (["9999-12-31", "0001-01-01"], [pd.Timestamp("9999-12-31"), pd.Timestamp("0001-01-01")]),
]


@pytest.mark.parametrize(("written", "meant"), EQUAL)
def test_text_becomes_what_all_of_its_values_say(written: list[str | None], meant: list[Any]):
    column = canonical(pa.table({"x": pa.array(written, pa.string())}))["x"]
    assert [value if not isinstance(value, float) else float(value) for value in column.to_pylist()] == meant


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        (pa.array([1, 2, None], pa.uint8()), pa.int64()),
        (pa.array([1.0, 2.0, float("nan")], pa.float64()), pa.int64()),
        (pa.array([1.0, 2.0, None], pa.float16()), pa.int64()),
        (pa.array(["1.00", "2.00", None]).cast(pa.decimal128(9, 2)), pa.int64()),
        (pa.array(["1", "2", None]).dictionary_encode(), pa.int64()),
    ],
)
def test_the_width_of_a_number_does_not_matter(typed: pa.Array, kind: pa.DataType):
    plain = canonical(pa.table({"x": pa.array([1, 2, None])}))
    found = canonical(pa.table({"x": typed}))
    assert found["x"].type == kind
    assert snapshot.data_digest(found) == snapshot.data_digest(plain)


def test_single_precision_counts_as_the_number_it_is_written_as():
    single = canonical(pa.table({"x": pa.array([0.1, 2.5], pa.float32())}))
    assert single["x"].to_pylist() == [0.1, 2.5]


def test_the_digest_sees_names_values_nulls_and_order_but_no_chunks():
    table = canonical(pa.table({"a": [1, 2, None], "b": ["x", None, "yz"]}))
    digest = snapshot.data_digest(table)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 1), table.slice(2)])
    assert snapshot.data_digest(chunked) == digest
    others = [
        table.rename_columns(["a", "c"]),
        table.take(pa.array([1, 0, 2])),
        table.select(["b", "a"]),
        canonical(pa.table({"a": [1, 2, 0], "b": ["x", None, "yz"]})),
        canonical(pa.table({"a": [1, 2, None], "b": ["x", None, "y"]})),
        canonical(pa.table({"a": [1, 2, None], "b": ["xy", None, "z"]})),
        table.slice(0, 2),
    ]
    assert len({snapshot.data_digest(other) for other in others} | {digest}) == len(others) + 1


POOLS = [
    ["1", "-2", "9007199254740993", "0", "+5"], ["1.5", "2", "-0.0", "1e5", "inf", "1e309", ".5", "5."],
    ["NA", "nan", "", "NaN", "null", " "], ["true", "False", "TRUE"], ["x", "nope", "iron"], ["007", "0x1f", "-01", "00"],
    ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-02 03:04:05", "9999-12-31", "2024-01-01T00:00:00.123456789"],
    [" 1", "2 ", " true", " 2024-01-01 "],
]  # fmt: skip
"""Values that speak for different types, or for none."""


def any_words(rng: random.Random) -> list[str]:
    """A column of up to 300 values of one to three pools, one of them mostly rare."""
    pools = rng.sample(POOLS, rng.choice([1, 1, 2, 3]))
    weights = [rng.choice([1, 1, 0.02]) for _ in pools]
    return [rng.choice(rng.choices(pools, weights)[0]) for _ in range(rng.choice([1, 5, 60, 300]))]


@pytest.mark.parametrize("block", range(5))
def test_where_blocks_end_does_not_matter_nor_which_road_the_text_came(block: int, tmp_path: Path):
    for seed in range(block * 60, block * 60 + 60):
        rng = random.Random(seed)
        words = any_words(rng)
        cuts = sorted({0, len(words), *(rng.randrange(len(words) + 1) for _ in range(4))})
        blocks = [pa.array(words[start:end], pa.string()) for start, end in pairwise(cuts)]
        keys = pa.array([f"k{index}" for index in range(len(words))])
        digest = snapshot.data_digest(canonical(pa.table({"x": pa.array(words), "k": keys})))
        cut = canonical(pa.table({"x": pa.chunked_array(blocks), "k": keys}))
        assert snapshot.data_digest(cut) == digest, f"seed {seed}, cut at {cuts}"
        path = tmp_path / "t.csv"
        pyarrow.csv.write_csv(pa.table({"x": pa.array(words), "k": keys}), path)
        assert snapshot.data_digest(read_csv(path)) == digest, f"seed {seed}, as CSV"


def test_blocks_that_do_not_agree_are_read_again_as_they_were_written(tmp_path: Path):
    rows = BLOCK_BYTES // 8
    path = tmp_path / "t.csv"
    path.write_bytes(b"x,y\n" + b"1.50,2\n" * rows + b"word,3\n")
    table = read_csv(path)
    assert (table["x"][0].as_py(), table["x"][-1].as_py()) == ("1.50", "word")
    assert table["y"].type == pa.int64()
    assert table.num_rows == rows + 1


def test_records_of_mixed_kinds_become_text(tmp_path: Path):
    records = [
        {"y": 1, "title": "Alien"},
        {"y": 2.5, "title": 1984},
        {"y": None, "title": None, "more": {"b": 1, "a": [1]}},
    ]
    table = landed(tmp_path, json.dumps(records).encode(), "t.json")
    assert table.to_pydict() == {"y": [1.0, 2.5, None], "title": ["Alien", "1984", None],
                                 "more": [None, None, '{"a":[1],"b":1}']}  # fmt: skip


@pytest.mark.parametrize("sign", [b",", b";", b"\t", b"|"])
def test_the_delimiter_is_found_and_quotes_and_a_byte_order_mark_are_understood(sign: bytes, tmp_path: Path):
    data = (
        b"\xef\xbb\xbf"
        + sign.join([b'"a, b; c"', b"y", b""])
        + b"\r\n"
        + sign.join([b'"line\r\nbreak"', b"1", b"2"])
        + b"\r\n"
    )
    assert landed(tmp_path, data).to_pydict() == {"a, b; c": ["line\r\nbreak"], "y": [1], "column_3": [2]}


def test_names_of_any_kind_survive(tmp_path: Path):
    names = ["y", '[]{}":,', "emoji 🚀", "=cmd()", "select", " spaced ", "../x", "été"]
    table = pd.DataFrame([[1] * len(names), [2] * len(names)], columns=names)
    assert landed(tmp_path, table, "t.parquet").column_names == names


def test_excluded_columns_are_not_in_the_snapshot_and_order_is_kept(tmp_path: Path):
    table = landed(tmp_path, b"b,y,a\n3,1,x\n2,2,y\n", data={"features": {"exclude": ["b"]}})
    assert table.to_pydict() == {"y": [1, 2], "a": ["x", "y"]}


def test_the_same_table_gives_the_same_snapshot_bytes(tmp_path: Path):
    blobs = set()
    for name, data in (("t.csv", b"x,y\n1,2\n2,\n"), ("t.json", b'[{"x": 1, "y": 2}, {"x": 2, "y": null}]')):
        folder = tmp_path / name
        folder.mkdir()
        ctx = make_context(folder, SPEC, table=data, filename=name)
        outcome = ingest.run(ctx)
        assert isinstance(ctx.workspace, FolderWorkspace)
        blobs.add((ctx.workspace.artifacts["snapshot"].digest, outcome.facts["data_digest"]))
    assert len(blobs) == 1


def with_sql(sql: str, **more: Any) -> dict[str, Any]:
    return {"data": {"features": {"sql": sql}}, **more}


def test_sql_makes_features_of_the_named_tables(tmp_path: Path):
    table = landed(tmp_path, b"k,y\na,1\nb,2\na,3\n", **with_sql(
        "select y, sum(y) over (partition by k) as total, y::decimal(9,3) / 2 as half from main order by y"))  # fmt: skip
    assert table.to_pydict() == {"y": [1, 2, 3], "total": [4, 2, 4], "half": [0.5, 1.0, 1.5]}


@pytest.mark.parametrize(
    ("code", "sql"),
    [
        ("sql_denied", "select * from read_text('/etc/hostname')"),
        ("sql_denied", "select * from read_csv('/etc/passwd')"),
        ("sql_denied", "select * from '/etc/passwd.csv'"),
        ("sql_denied", "select * from glob('/etc/*')"),
        ("sql_denied", "copy main to '/tmp/stolen.csv'"),
        ("sql_denied", "attach '/tmp/other.db'"),
        ("sql_denied", "install httpfs"),
        ("sql_denied", "set enable_external_access = true"),
        ("sql_denied", "create table x as select 1"),
        ("sql_error", "select 1; select 2"),
        ("sql_error", "select nothing from main"),
        ("sql_error", "select * from elsewhere"),
        ("sql_error", "selec"),
        ("sql_error", ""),
        ("sql_error", "select error('boom') from main"),
        ("no_rows", "select * from main where false"),
        ("duplicate_columns", "select y, 1 as a, 2 as a from main"),
    ],
)
def test_sql_that_is_wrong_or_reaches_outside_is_refused(code: str, sql: str, tmp_path: Path):
    assert refused(tmp_path, b"x,y\n1,2\n", spec={**SPEC, **with_sql(sql or " ")}).stable_code == code


def test_sql_sees_no_python_variables(tmp_path: Path):
    hidden = pd.DataFrame({"y": [1]})
    assert len(hidden) == 1
    assert (
        refused(tmp_path, b"x,y\n1,2\n", spec={**SPEC, **with_sql("select * from hidden")}).stable_code == "sql_error"
    )


def test_sql_that_never_ends_is_ended(tmp_path: Path):
    sql = "select count(*) as y from range(10000000) a, range(10000000) b"
    ctx = make_context(
        tmp_path, {**SPEC, **with_sql(sql)}, table=b"y\n1\n", filename="t.csv", deadline=time.monotonic() + 0.5
    )
    with pytest.raises(DeadlineExceeded):
        ingest.run(ctx)


def test_a_parquet_file_keeps_nothing_but_its_columns(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"y": [1, 2]}).replace_schema_metadata({"secret": "from elsewhere"}), path)
    assert landed(tmp_path, path).schema.metadata is None


def test_a_data_set_that_is_gone_is_the_callers_to_mend(tmp_path: Path):
    with pytest.raises(InvalidData, match="ds_00000000"):
        ingest.run(make_context(tmp_path, SPEC))


def test_times_of_day_become_the_text_that_a_csv_would_hold(tmp_path: Path):
    clock = pa.array([45_000_500_000, None], pa.time64("us"))
    assert canonical(pa.table({"t": clock}))["t"].type == pa.large_string()
    table = pa.table({"t": pa.array([45_000, 3_600], pa.time32("s")), "y": [1, 2]})
    assert landed(tmp_path, table, "t.parquet").to_pydict() == {"t": ["12:30:00", "01:00:00"], "y": [1, 2]}


@pytest.mark.parametrize("unit", ["s", "us"])
def test_moments_beyond_the_years_of_the_calendar_are_missing(unit: str):
    per_second = {"s": 1, "us": 10**6}[unit]
    told = [
        0,
        253_402_300_799 * per_second,
        253_402_300_800 * per_second,
        -62_135_596_800 * per_second,
        -(2**63) + 1,
        2**63 - 1,
    ]
    found = canonical(pa.table({"at": pa.array(told, pa.timestamp(unit))}))["at"].cast(pa.int64()).to_pylist()
    assert found == [0, 253_402_300_799 * 10**6, None, -62_135_596_800 * 10**6, None, None]
    days = canonical(pa.table({"on": pa.array([0, 2_932_896, 2_932_897, -719_162, 2**31 - 1], pa.date32())}))["on"]
    assert [None if day is None else day.year for day in days.to_pylist()] == [1970, 9999, None, 1, None]


def test_int96_of_far_years_is_read_as_it_was_meant(tmp_path: Path):
    far = [dt.datetime.fromisoformat(text) for text in ("9999-12-31T23:59", "0001-01-01T12:00", "1969-12-31T23:59:59")]
    path = tmp_path / "spark.parquet"
    pq.write_table(
        pa.table({"at": pa.array(far, pa.timestamp("us")), "y": [1, 2, 3]}), path, use_deprecated_int96_timestamps=True
    )
    assert pq.ParquetFile(path).metadata.schema.column(0).physical_type == "INT96"
    assert landed(tmp_path, path.read_bytes(), "t.parquet")["at"].to_pylist() == far
