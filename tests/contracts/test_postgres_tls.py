"""A Postgres source knows its server as `sslmode` and `ca` say, and sends nobody else its password."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.connections.reach import reach
from app.errors import SourceRefused
from app.settings import settings as process_settings
from standalone.engines import Engines
from tests.learning import make_context
from tests.sources import configured, refusal, result
from tests.tls import before_postgres, certify
from workers.context import ConnectionRef, Context

READER, PASSWORD = "reader_by_tls", "only-to-those-it-knows"


@pytest.fixture(scope="module")
def port(engines: Engines) -> Iterator[int]:
    """That of a Postgres with a role that may read."""
    with psycopg.connect(engines.postgres.admin_url, autocommit=True) as session:
        session.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(READER), PASSWORD))
    with configured(engines.variables() | {"TRAINHOUSE_EGRESS_ALLOW": "127.0.0.0/8"}):
        yield engines.postgres.port


def asking(folder: Path, port: int, **config: Any) -> tuple[Context, ConnectionRef]:
    """A job of one row from the Postgres at `port`, and its connection."""
    known = {"host": "127.0.0.1", "port": port, "database": "postgres", "user": READER, **config}
    ref = ConnectionRef("shop", "postgres", known, {"password": PASSWORD})
    source = {"kind": "database", "connection": "shop", "query": "select 7 as number"}
    spec = {"task": {"target": "number"}, "data": {"sources": {"main": source}}}
    return make_context(folder, spec, connections={"shop": ref}), ref


def test_a_server_is_spoken_to_by_tls_and_known_by_the_certificate_that_the_connection_names(port: int, tmp_path: Path):
    shown = certify(tmp_path)
    with before_postgres(port, shown) as secured:
        for config in ({"sslmode": "require"}, {"sslmode": "verify-full", "ca": shown.path.read_text()}):
            ctx, ref = asking(tmp_path / config["sslmode"], secured, **config)
            assert result(ctx).table.to_pydict() == {"number": [7]}
            assert reach("postgres", ref.config, dict(ref.secret), settings=process_settings())


@pytest.mark.parametrize(("address", "ca", "reason"), [
    ("127.0.0.1", None, "certificate verify failed"), ("127.0.0.1", "other", "certificate verify failed"),
    ("127.9.9.9", "server", "does not match host name"),
])  # fmt: skip
def test_a_server_that_is_not_who_the_connection_means_is_refused(
    port: int, address: str, ca: str | None, reason: str, tmp_path: Path
):  # fmt: skip
    known = {"server": certify(tmp_path, address), "other": certify(tmp_path, name="other")}
    config = {"sslmode": "verify-full", **({"ca": known[ca].path.read_text()} if ca else {})}
    with before_postgres(port, known["server"]) as secured:
        ctx, ref = asking(tmp_path / "job", secured, **config)
        with pytest.raises(SourceRefused) as tried:
            reach("postgres", ref.config, dict(ref.secret), settings=process_settings())
        for refused in (refusal(ctx), tried.value):
            assert refused.stable_code == "bad_certificate"
            assert reason in refused.detail


def test_a_server_without_tls_is_refused_where_the_connection_asks_for_it(port: int, tmp_path: Path):
    for mode in ("require", "verify-full"):
        ctx, ref = asking(tmp_path / mode, port, sslmode=mode)
        with pytest.raises(SourceRefused) as tried:
            reach("postgres", ref.config, dict(ref.secret), settings=process_settings())
        assert refusal(ctx).stable_code == tried.value.stable_code == "no_tls"
