"""SQLite files are read where the operator put them, as they are, and nowhere else."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.errors import SourceRefused, SourceUnavailable, TrainhouseError
from app.settings import settings as process_settings
from tests.learning import make_context
from tests.sources import NO_ENGINES, configured
from workers.context import ConnectionRef, Context
from workers.sources import SOURCES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """The operator's folder, with a database in it, and one beside it."""
    (tmp_path / "offered").mkdir()
    made(tmp_path / "offered" / "rows.db")
    made(tmp_path / "secret.db")
    with configured(NO_ENGINES | {"TRAINHOUSE_SQLITE_DIR": str(tmp_path / "offered")}):
        yield tmp_path / "offered"


def made(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as session, session:
        for statement in ("create table t (a integer)", "insert into t values (1), (2)", *statements):
            session.execute(statement)
    return path


def reading(folder: Path, file: str, query: str = "select a from t") -> Context:
    ref = ConnectionRef("main", "sqlite", {"file": file}, {})
    source = {"kind": "database", "connection": "main", "query": query}
    return make_context(
        folder / "work", {"task": {"target": "a"}, "data": {"sources": {"main": source}}}, connections={"main": ref}
    )


def rows(ctx: Context) -> list[dict[str, Any]]:
    return SOURCES["database"](ctx.spec.data.sources["main"], ctx).table.to_pylist()


def refusal(ctx: Context) -> TrainhouseError:
    with pytest.raises(TrainhouseError) as refused:
        rows(ctx)
    assert "secret" not in refused.value.detail
    return refused.value


def test_a_file_of_the_folder_is_read(tmp_path: Path):
    assert rows(reading(tmp_path, "rows.db")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "file", ["", ".", "..", "../secret.db", "none.db", "sub/rows.db", "rows.db/", "rows.db?mode=rw", "rows.db\x00"]
)
def test_a_name_that_leaves_the_folder_or_names_nothing_is_refused(file: str, tmp_path: Path, folder: Path):
    (folder / "sub").mkdir()
    made(folder / "sub" / "rows.db")
    assert refusal(reading(tmp_path, file)).stable_code in {"bad_connection", "no_such_file"}


def test_no_link_no_pipe_no_folder_and_no_other_file_is_opened(tmp_path: Path, folder: Path):
    (folder / "link.db").symlink_to(tmp_path / "secret.db")
    os.mkfifo(folder / "pipe.db")
    (folder / "folder.db").mkdir()
    (folder / "text.db").write_text("a,b\n1,2\n")
    (folder / "empty.db").touch()
    for file in ("link.db", "pipe.db", "folder.db", "text.db", "empty.db"):
        refused = refusal(reading(tmp_path, file))
        assert isinstance(refused, SourceRefused)
        assert refused.stable_code in {"no_such_file", "not_a_sqlite"}


def test_without_a_folder_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("TRAINHOUSE_SQLITE_DIR")
        else:
            monkeypatch.setenv("TRAINHOUSE_SQLITE_DIR", unset)
        process_settings.cache_clear()
        refused = refusal(reading(tmp_path, "rows.db"))
        assert (refused.stable_code, "TRAINHOUSE_SQLITE_DIR" in refused.hint) == ("sqlite_off", True)


def test_a_broken_file_is_the_callers_to_mend(tmp_path: Path, folder: Path):
    whole = made(folder / "whole.db", "create table big as select randomblob(5000) as b from t").read_bytes()
    (folder / "cut.db").write_bytes(whole[: len(whole) // 2])
    (folder / "noise.db").write_bytes(whole[:100] + os.urandom(len(whole) - 100))
    for file in ("cut.db", "noise.db"):
        assert isinstance(refusal(reading(tmp_path, file, "select * from big")), SourceRefused)


def test_the_file_and_its_folder_stay_as_they_are(tmp_path: Path, folder: Path):
    before = (sorted(path.name for path in folder.iterdir()), (folder / "rows.db").read_bytes())
    rows(reading(tmp_path, "rows.db"))
    assert (sorted(path.name for path in folder.iterdir()), (folder / "rows.db").read_bytes()) == before


def test_a_file_that_is_written_to_is_read_in_one_state_or_later(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.connections.sqlite.BUSY_SECONDS", 0.2)
    with closing(sqlite3.connect(folder / "rows.db", isolation_level=None)) as writer:
        writer.execute("begin immediate")
        writer.execute("insert into t values (3)")
        assert len(rows(reading(tmp_path, "rows.db"))) == 2
        writer.execute("rollback")
        writer.execute("begin exclusive")
        assert isinstance(refusal(reading(tmp_path, "rows.db")), SourceUnavailable)


def test_a_file_with_a_write_ahead_log_is_read_or_refused_with_a_way_out(tmp_path: Path, folder: Path):
    with closing(sqlite3.connect(folder / "wal.db", isolation_level=None)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("create table t (a integer)")
        writer.execute("insert into t values (1)")
        assert rows(reading(tmp_path, "wal.db")) == [{"a": 1}]
    ctx = reading(tmp_path, "wal.db")
    assert rows(ctx) == [{"a": 1}]


@pytest.mark.parametrize("statement", [
    "create view v as select a, load_extension('/tmp/x') as b from t", "create view v as select a from pragma_table_info('t')",
    "create view v as select writefile('/tmp/x', 'y') as a",
])  # fmt: skip
def test_what_a_file_says_of_itself_has_no_more_power_than_a_query(statement: str, tmp_path: Path, folder: Path):
    made(folder / "view.db", statement)
    assert isinstance(refusal(reading(tmp_path, "view.db", "select * from v")), SourceRefused)


def test_a_value_that_is_too_long_or_takes_too_long_is_refused_and_the_worker_lives(tmp_path: Path):
    for query in ("select printf('%.*c', 1000000000, 'x') as a", "select hex(zeroblob(900000000)) as a",
                  "select replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000))) as a"):  # fmt: skip
        assert isinstance(refusal(reading(tmp_path, "rows.db", query)), SourceRefused)
    assert len(rows(reading(tmp_path, "rows.db"))) == 2


def test_two_sources_at_once_do_not_meet(tmp_path: Path):
    found: list[int] = []
    work = [
        threading.Thread(target=lambda n=n: found.append(len(rows(reading(tmp_path / str(n), "rows.db")))))
        for n in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert found == [2, 2, 2, 2]
