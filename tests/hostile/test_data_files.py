"""Files that mean it no good: each is refused with its code or read as what it is, and no process but the parser's dies."""

import gzip
import io
import json
import os
import random
import signal
import struct
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import Cancelled, DeadlineExceeded, DigestMismatch, InvalidData, InvalidSpec
from app.storage import FolderStore
from tests.driver import RunningStack
from tests.journeys.soundness import a_spec, a_table
from tests.learning import make_context, parsed
from workers.context import Blob, Context
from workers.formats.limits import Limits
from workers.isolation import fresh
from workers.sources import files
from workers.sources.files import read_file
from workers.workspace import BlobCache, JobWorkspace

MIB = 1024**2
SPEC = {"task": {"target": "y"}}
ROWS = b"1,2\n" * 50


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    """A context whose logged lines are kept in `lines`."""
    return make_context(tmp_path, SPEC)


def outcome(ctx: Context, data: bytes, filename: str) -> str | pa.Table:
    """The code with which the file is refused, or its table."""
    path = ctx.workspace.scratch / "given"
    path.write_bytes(data)
    try:
        return read_file(path, "auto", ctx, name=filename)
    except InvalidData as error:
        return error.stable_code if error.hint else f"{error.stable_code} says not what to do"


def small(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Limits by which a small file counts as a large one."""
    given = files.limits_for
    monkeypatch.setattr(files, "limits_for", lambda size, ctx: replace(given(size, ctx), **limits))


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def as_arrow(table: pa.Table) -> bytes:
    target = io.BytesIO()
    with pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table)
    return target.getvalue()


def as_zip(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return target.getvalue()


def symlink_entry() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    return entry


XML = (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "&b;&b;"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
       b"<worksheet><c>&a;</c></worksheet>")  # fmt: skip
XLSX = as_zip(("[Content_Types].xml", b"<Types/>"), ("xl/worksheets/sheet1.xml", XML),
              ("xl/externalLinks/externalLink1.xml", b"<externalLink/>"))  # fmt: skip
NPY = io.BytesIO()
np.save(NPY, np.zeros(3))

NO_TABLES: dict[str, tuple[bytes | Callable[[], bytes], str, str]] = {  # large files are made when they are asked for
    "an empty file": (b"", "t.csv", "empty_file"),
    "a header only": (b"x,y\n", "t.csv", "no_rows"),
    "ragged rows": (b"x,y\n1,2\n3\n", "t.csv", "ragged_csv"),
    "an unclosed quote": (b'x,y\n1,2\n"3,4\n' + ROWS, "t.csv", "unclosed_quote"),
    "an unclosed quote over many blocks": (lambda: b'x,y\n1,2\n"3,4\n' + ROWS * 200_000, "t.csv", "unclosed_quote"),
    "one huge cell": (lambda: b"x,y\n1," + b"z" * (100 * MIB) + b"\n", "t.csv", "row_too_long"),
    "one huge line of JSON": (lambda: b'{"y": "' + b"z" * (40 * MIB) + b'"}\n{"y": 1', "t.jsonl", "not_a_json"),
    "2^20 columns": (lambda: b"x," * 2**20 + b"y\n" + b"1," * 2**20 + b"2\n", "t.csv", "too_many_columns"),
    "2^16 columns of JSON": (lambda: json.dumps([{f"c{i}": 1 for i in range(2**16)}]).encode(), "t.json", "too_many_columns"),
    "a name twice": (b"y,y\n1,2\n", "t.csv", "duplicate_columns"),
    "NUL in a name": (b"x,\x00y\n1,2\n", "t.csv", "nul_character"),
    "NUL in a cell": (b"x,y\n1,a\x00b\n", "t.csv", "nul_character"),
    "Latin-1": ("x,y\n1,caf\xe9\n".encode("latin-1"), "t.csv", "not_utf8"),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), "t.csv", "not_utf8"),
    "broken UTF-8 late in the file": (lambda: b"x,y\n" + ROWS * 500_000 + b"1,\xed\xa0\x80\n", "t.csv", "not_utf8"),
    "broken UTF-8 in Parquet": (as_parquet(pa.table({"y": pa.array([b"\xff\xfe"])})), "t.parquet", "not_utf8"),
    "a name in Parquet that is no UTF-8": (as_parquet(pa.table({"yyyy": [1]})).replace(b"yyyy", b"\xff\xfeyy"), "t.parquet",
                                           "not_a_parquet"),
    "a zip": (as_zip(("t.csv", b"x,y\n1,2\n")), "t.csv", "not_a_csv"),
    "a zip in a zip": (as_zip(("a.zip", as_zip(("b.zip", bytes(MIB))))), "t.csv.gz", "not_a_csv_gz"),
    "a zip with a way out": (as_zip(("../../x", b"1"), (symlink_entry(), b"/etc/passwd")), "t", "not_a_table"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(b"x,y\n1,2\n")), "t.csv.gz", "not_a_csv"),
    "Excel with entities": (XLSX, "t.xlsx", "not_a_table"),
    "Excel that says it is Parquet": (XLSX, "t.parquet", "not_a_parquet"),
    "a pickle that says it is Parquet": (b"\x80\x04\x95\x10" + bytes(20), "t.parquet", "not_a_parquet"),
    "a NumPy array that says it is Parquet": (NPY.getvalue(), "t.parquet", "not_a_parquet"),
    "a page that says it is Parquet": (b"<!doctype html><html>", "t.parquet", "not_a_parquet"),
    "deeply nested JSON": (lambda: b"[" * 10**6, "t.json", "not_a_json"),
    "numbers of a million digits": (lambda: b'[{"y": ' + b"9" * 10**6 + b"}]", "t.json", "not_a_json"),
}  # fmt: skip


def bytes_of(name: str) -> bytes:
    """The file of that name."""
    data = NO_TABLES[name][0]
    return data if isinstance(data, bytes) else data()


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_refused(name: str, ctx: Context):
    _, filename, code = NO_TABLES[name]
    assert outcome(ctx, bytes_of(name), filename) == code


def test_names_of_any_kind_survive(ctx: Context):
    names = [
        "y",
        '[]{}":,',
        "🚀",
        "=cmd|'/c calc'!A0",
        " spaced ",
        "1",
        "../x",
        "{0.__class__}",
        "${jndi:x}",
        "'; drop--",
    ]
    data = ",".join('"' + name.replace('"', '""') + '"' for name in [*names, ""]) + "\n" + "1," * 10 + "2\n"
    assert outcome(ctx, data.encode(), "t.csv").column_names == [*names, "column_11"]


def test_formulas_stay_text_and_signed_numbers_numbers(ctx: Context):
    cells = ["=cmd|'/c calc'!A0", "@SUM(1)", "=1+1"]
    table = outcome(ctx, b"f,n\n" + "".join(f"{cell},{n}\n" for cell, n in zip(cells, ("+1", "-1", "2"), strict=True)).encode(), "t.csv")  # fmt: skip
    assert table.to_pydict() == {"f": cells, "n": [1, -1, 2]}


def test_a_word_after_a_million_numbers_makes_text_of_all_as_they_were_written(ctx: Context):
    table = outcome(ctx, b"x,z,y\n" + b"1.50,7,1\n" * 10**6 + b"none of it,7,1\n" + b"2,07,1\n", "t.csv")
    assert table.schema.types == [pa.large_string(), pa.large_string(), pa.int64()]
    assert table["x"][0].as_py() == "1.50"
    assert table["x"][-1].as_py() == "2"
    assert (table["z"][-2].as_py(), table["z"][-1].as_py()) == ("7", "07")


def test_numbers_at_the_edge_of_their_type(ctx: Context):
    data = (
        b"big,edge,real,wide\n9223372036854775808,9223372036854775807,1e309,-0.0\n-1,-9223372036854775808,5e-324,inf\n"
    )
    table = outcome(ctx, data, "t.csv")
    assert table["big"].to_pylist() == [2.0**63, -1.0]
    assert table["edge"].to_pylist() == [2**63 - 1, -(2**63)]
    assert table["real"].to_pylist() == [float("inf"), 5e-324]
    assert str(table["wide"].to_pylist()) == "[0.0, inf]"


def test_dates_at_the_edge_and_in_mixed_zones(ctx: Context):
    data = (
        b"d,z\n0001-01-01,2024-01-01T00:00:00+02:00\n9999-12-31,2024-01-01 00:00:00\n2024-02-29,2024-01-01T00:00:00Z\n"
    )
    table = outcome(ctx, data, "t.csv")
    assert table.schema.types == [pa.timestamp("us")] * 2
    assert [value.isoformat() for value in table["d"].to_pylist()][1] == "9999-12-31T00:00:00"
    assert table["z"][0].as_py().isoformat() == "2023-12-31T22:00:00"


def test_a_category_of_a_million_levels_is_a_column_like_any_other(ctx: Context):
    table = outcome(ctx, b"c,y\n" + b"".join(b"level-%d,1\n" % i for i in range(10**6)), "t.csv")
    assert table["c"].combine_chunks()[-1].as_py() == "level-999999"


def test_a_byte_order_mark_is_no_part_of_a_name(ctx: Context):
    assert outcome(ctx, b"\xef\xbb\xbfx,y\n1,2\n", "t.csv").column_names == ["x", "y"]


def test_a_small_gzip_that_unpacks_to_a_huge_file_is_refused_before_it_has(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
):
    bomb = gzip.compress(b"x,y\n" + bytes(64 * MIB))
    small(monkeypatch, expanded_bytes=16 * MIB)
    assert outcome(ctx, bomb, "t.csv.gz") == "gzip_bomb"
    small(monkeypatch, expanded_bytes=10**12, large_bytes=MIB)
    assert outcome(ctx, bomb, "t.csv.gz") == "gzip_bomb"


def test_parquet_that_declares_too_much_is_refused_unread(ctx: Context, monkeypatch: pytest.MonkeyPatch):
    small(monkeypatch, expanded_bytes=MIB)
    data = as_parquet(pa.table({"y": np.random.default_rng(0).random(300_000)}))
    assert outcome(ctx, data, "t.parquet") == "too_large"


def test_few_bytes_that_become_many_in_memory_end_the_parser_and_not_the_worker(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
):
    word = "w" * MIB
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4_000, np.int32)), pa.array([word]))
    data = as_parquet(pa.table({"y": column}), compression="zstd")
    assert len(data) < 2 * MIB
    small(monkeypatch, memory_bytes=512 * MIB)
    assert outcome(ctx, data, "t.parquet") in {"out_of_memory", "not_a_parquet"}


def test_a_file_that_takes_too_long_is_the_callers_to_mend(ctx: Context, monkeypatch: pytest.MonkeyPatch):
    small(monkeypatch, cpu_seconds=0)
    records = json.dumps([{"y": {"a": [i] * 20}} for i in range(200_000)]).encode()
    assert outcome(ctx, records, "t.json") == "too_large"


def test_what_is_read_may_not_fill_the_disk(ctx: Context, monkeypatch: pytest.MonkeyPatch):
    small(monkeypatch, expanded_bytes=MIB)
    assert outcome(ctx, b"x,y\n" + b"1.5,2.5\n" * 100_000, "t.csv") == "too_large"


class Marker:
    """A pickle of it makes a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("write", [as_arrow, as_parquet])
def test_an_extension_type_runs_no_pickle(write: Any, ctx: Context, tmp_path: Path):
    made = tmp_path / "made"
    pickled = b"cposix\nmkdir\n(S'" + str(made).encode() + b"'\ntR."  # the oldest protocol, written by hand
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickled}
    schema = pa.schema([pa.field("y", pa.int64(), metadata=metadata)])
    found = outcome(ctx, write(pa.table({"y": [1, 2]}, schema=schema)), "t.arrow" if write is as_arrow else "t.parquet")
    assert not made.exists()
    assert found == "unsupported_type" or found["y"].to_pylist() == [1, 2]


def broad(columns: int) -> bytes:
    return as_parquet(pa.table({f"c{i}": [1] for i in range(columns)}))


def test_parquet_with_too_many_columns_is_refused(ctx: Context):
    assert outcome(ctx, broad(10_001), "t.parquet") == "too_many_columns"


def nested(depth: int) -> bytes:
    column = pa.array([1])
    for _ in range(depth):
        column = pa.ListArray.from_arrays([0, 1], column)
    return as_parquet(pa.table({"y": column}))


def test_deeply_nested_lists_are_text_or_refused(ctx: Context):
    for depth in (5, 100, 300):
        found = outcome(ctx, nested(depth), "t.parquet")
        if isinstance(found, str):
            assert found in {"not_a_parquet", "out_of_memory", "parser_crashed"}
        else:
            assert found["y"][0].as_py().count("[") == depth


def sound_parquet() -> list[bytes]:
    """Small files of every compression, encoding and kind of column."""
    n = 40
    table = pa.table({
        "i": range(n), "f": np.linspace(0, 1, n), "s": [f"w{i % 7}" for i in range(n)], "b": [i % 2 == 0 for i in range(n)],
        "l": [[i, i + 1] if i % 3 else None for i in range(n)], "r": [{"a": i, "b": str(i)} for i in range(n)],
        "t": pa.array(range(n), pa.timestamp("us")), "d": pa.array(range(n), pa.date32()),
        "n": pa.array(range(n), pa.int64()).cast(pa.decimal128(30, 2)), "x": [b"x" * i for i in range(n)],
    })  # fmt: skip
    options: list[tuple[str, bool, str]] = [("snappy", True, "1.0"), ("zstd", False, "2.0"), ("gzip", True, "2.0"),
                                            ("none", True, "1.0"), ("lz4", True, "2.0"), ("brotli", False, "1.0")]  # fmt: skip
    return [as_parquet(table, compression=compression, use_dictionary=dictionary, data_page_version=version,
                       row_group_size=17) for compression, dictionary, version in options]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four faults, more of them in the footer than in the pages."""
    found = bytearray(data)
    footer = len(found) - 8 - int.from_bytes(found[-8:-4], "little")
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(footer, len(data) - 8) if rng.random() < 0.65 else rng.randrange(4, footer)
        match rng.randrange(7):
            case 0 | 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                found[at] = rng.choice([0, 0x7F, 0x80, 0xFF])
            case 3:
                found[at : at + 8] = bytes([rng.choice([0xFF, 0x7F, 0x80])]) * 8
            case 4:
                del found[at : at + rng.choice([1, 4, 100])]
            case 5:
                found[at:at] = rng.randbytes(rng.choice([1, 4, 9]))
            case 6:
                found[-8:-4] = struct.pack("<I", rng.randrange(2**32))
        if len(found) <= at + 12:
            break
    return bytes(found)


@pytest.mark.parametrize("block", range(4))
def test_broken_parquet_is_refused_or_read_and_never_anything_else(
    block: int, ctx: Context, monkeypatch: pytest.MonkeyPatch
):
    small(monkeypatch, memory_bytes=1024 * MIB, cpu_seconds=20)
    sound = sound_parquet()
    found: dict[str, int] = {}
    for seed in range(block * 50, block * 50 + 50):
        rng = random.Random(seed)
        answer = outcome(ctx, mutated(rng.choice(sound), rng), "t.parquet")
        code = answer if isinstance(answer, str) else "a table"
        found[code] = found.get(code, 0) + 1
    assert set(found) <= {"a table", "not_a_parquet", "not_utf8", "nul_character", "too_large", "out_of_memory",
                          "parser_crashed", "no_rows", "unsupported_type", "too_many_columns", "duplicate_columns"}  # fmt: skip
    assert found["not_a_parquet"] > 10


def slow(folder: Path) -> Path:
    """A file that takes a second or more to read."""
    path = folder / "slow.json"
    path.write_text(json.dumps([{"y": {"a": [i] * 20}} for i in range(300_000)]))
    return path


@pytest.mark.parametrize(
    ("ended_by", "code"), [(signal.SIGSEGV, "parser_crashed"), (signal.SIGABRT, "parser_crashed"), (signal.SIGKILL, "out_of_memory")]
)  # fmt: skip
def test_a_parser_that_dies_is_a_fault_of_the_file_and_nobody_dies_with_it(
    ended_by: signal.Signals, code: str, ctx: Context, tmp_path: Path
):
    assert outcome(ctx, b"x,y\n1,2\n", "t.csv").num_rows == 1
    template = fresh._template()

    def crash(_done: float, _total: float) -> None:
        for child in Path(f"/proc/{template.pid}/task/{template.pid}/children").read_text().split():
            os.kill(int(child), ended_by)

    lines: list[str] = []
    with pytest.raises(InvalidData) as refused:
        read_file(slow(tmp_path), "json", replace(ctx, progress=crash, log=lines.append))
    assert refused.value.stable_code == code
    assert lines == [f"reading a file broke: no word, exit None, signal {ended_by.value}"]
    assert outcome(ctx, b"x,y\n1,2\n", "t.csv").num_rows == 1
    assert fresh._template() is template


def test_reading_stops_when_the_job_must_stop(ctx: Context, tmp_path: Path):
    path = slow(tmp_path)
    began = time.monotonic()

    def cancelled(_done: float, _total: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        read_file(path, "json", replace(ctx, progress=cancelled))
    with pytest.raises(DeadlineExceeded):
        read_file(path, "json", replace(ctx, deadline=time.monotonic() + 0.3))
    assert time.monotonic() - began < 5
    assert outcome(ctx, b"x,y\n1,2\n", "t.csv").num_rows == 1, "the next file finds a parser again"


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "dataset", "dataset_id": "../../etc/passwd"},
        {"kind": "dataset", "dataset_id": "/proc/self/environ"},
        {"kind": "dataset", "dataset_id": "ds_00000000", "path": "/dev/zero"},
        {"kind": "file", "path": "/etc/passwd"},
        {"kind": "s3", "connection": "lake", "uri": "file:///etc/passwd"},
        {"kind": "s3", "connection": "lake", "uri": "s3a://bucket/t.csv"},
        {"kind": "s3", "connection": "lake", "uri": "s3://bucket/../other/t.csv"},
        {"kind": "s3", "connection": "lake", "uri": "s3://bucket/a\\..\\t.csv"},
        {"kind": "s3", "connection": "lake", "uri": "s3://bucket/a\nb.csv"},
    ],
)
def test_a_caller_never_names_a_path_of_this_machine(source: dict[str, Any]):
    with pytest.raises(InvalidSpec):
        parsed({"model": "m", "task": {"target": "y"}, "data": {"sources": {"main": source}}})


def test_bytes_that_are_not_those_of_their_digest_are_not_read(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    given = tmp_path / "given.csv"
    given.write_bytes(b"x,y\n1,2\n")
    digest, size = store.put("project", given)
    (kept,) = (path for path in (tmp_path / "store").rglob("*") if path.is_file() and digest[7:] in path.name)
    kept.write_bytes(b"x,y\n1,3\n")
    workspace = JobWorkspace(store, BlobCache(tmp_path / "cache", limit_bytes=MIB), project_id="project", known={})
    with pytest.raises(DigestMismatch):
        workspace.fetch(Blob(digest, size))
    workspace.close()


PERSON = "erika.mustermann@example.org"
PERSONAL = {
    "a ragged row": (f"x,y\n1,2\n{PERSON},{PERSON},{PERSON}\n", "t.csv"),
    "an unclosed quote": (f'x,y\n1,2\n"{PERSON},4\n', "t.csv"),
    "bytes that are no text": (f"x,y\n1,{PERSON}\udcff\n", "t.csv"),
    "NUL": (f"x,y\n1,{PERSON}\0\n", "t.csv"),
    "broken JSON": (f'[{{"y": "{PERSON}"}}, {{"y": {PERSON}}}]', "t.json"),
    "a broken line of JSON": (f'{{"y": "{PERSON}"}}\n{{"y": {PERSON}}}\n', "t.jsonl"),
    "records that are none": (f'["{PERSON}"]', "t.json"),
}


@pytest.mark.parametrize("name", PERSONAL)
def test_no_cell_is_told_in_an_error_or_in_a_log(name: str, ctx: Context, capfd: pytest.CaptureFixture[str]):
    text, filename = PERSONAL[name]
    lines: list[str] = []
    path = ctx.workspace.scratch / "given"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidData) as refused:
        read_file(path, "auto", replace(ctx, log=lines.append), name=filename)
    assert PERSON not in json.dumps([refused.value.document(), str(refused.value), lines, *capfd.readouterr()])


def test_limits_of_a_small_file_leave_room_and_those_of_a_job_count(ctx: Context):
    assert files.limits_for(0, ctx).memory_bytes == 2 * files.GIB
    assert Limits().expanded_bytes == 16 * files.GIB
    narrow = make_context(ctx.workspace.scratch, {**SPEC, "resources": {"memory_bytes": 100 * MIB}})
    assert files.limits_for(10**9, narrow).memory_bytes == 100 * MIB


STACKED = {
    "one row": ("t.csv", b"x,y\n1,2\n", {"validation_failed"}),
    "a target without values": ("t.csv", b"x,y\n" + b"1,\n" * 200, {"validation_failed", "target_empty", "target_missing", "single_class"}),
    "few bytes that become many": ("t.parquet", as_parquet(pa.table({"x": pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(6_000, np.int32)), pa.array(["w" * MIB]))}), compression="zstd"), {"out_of_memory", "not_a_parquet"}),
    "2^20 columns": ("t.csv", lambda: bytes_of("2^20 columns"), {"too_many_columns"}),
    "an unclosed quote": ("t.csv", lambda: bytes_of("an unclosed quote over many blocks"), {"unclosed_quote"}),
}  # fmt: skip


def test_hostile_files_fail_their_jobs_with_their_codes_and_the_workers_live_on(stack: RunningStack, tmp_path: Path):
    stack.heal()
    before = [worker.pid for worker in stack.workers]
    for name, (filename, data, codes) in STACKED.items():
        path = tmp_path / filename
        path.write_bytes(data if isinstance(data, bytes) else data())
        job = stack.client.wait(stack.client.submit(a_spec(stack.client.upload(path), "hostile")), timeout=120)
        assert (job["status"], job["attempt"]) == ("failed", 1), name
        assert job["error"]["code"] in codes, name
    sound = stack.client.upload(a_table(tmp_path / "sound.csv"))
    assert stack.client.wait(stack.client.submit(a_spec(sound, "after-hostile")), timeout=120)["status"] == "succeeded"
    assert [worker.pid for worker in stack.workers] == before
