"""Engines come up with real work behind them, and come back from every kind of death."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from minio import Minio
from minio.error import S3Error

from standalone.children import born
from standalone.engines import BUCKET, REGION, Engines
from standalone.folder import is_free
from tests.driver import eventually


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Engines that the tests of this module may kill."""
    found = Engines(tmp_path_factory.mktemp("own"))
    found.start()
    yield found
    found.stop()


def test_postgres_keeps_its_rows_and_port_through_sigkill(own: Engines) -> None:
    with psycopg.connect(own.postgres.url, autocommit=True) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (1)")
    port = own.postgres.port
    own.postgres.kill()
    own.postgres.start()
    own.postgres.wait_ready()
    assert own.postgres.port == port
    with psycopg.connect(own.postgres.url) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1,)


def test_postgres_comes_back_from_an_immediate_stop(own: Engines) -> None:
    own.postgres.send(signal.SIGQUIT)
    assert own.postgres.wait(10)
    own.postgres.start()
    own.postgres.wait_ready()


def test_the_services_role_is_no_superuser(own: Engines) -> None:
    with psycopg.connect(own.postgres.url) as connection:
        row = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
    assert row == (False,)


def test_postgres_refuses_a_wrong_password(own: Engines) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own.postgres.url.replace(own.postgres.secrets["postgres"], "wrong"))


def test_redis_keeps_a_queue_through_a_restart_and_never_evicts(own: Engines) -> None:
    with redis.Redis.from_url(own.redis.url) as client:
        client.rpush("queue", "bell")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    own.redis.stop()
    own.redis.start()
    own.redis.wait_ready()
    with redis.Redis.from_url(own.redis.url) as client:
        assert client.lpop("queue") == b"bell"


def test_redis_wants_the_password(own: Engines) -> None:
    with redis.Redis(host="127.0.0.1", port=own.redis.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_s3_keeps_objects_and_refuses_another_key(own: Engines, tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(b"weights")
    client = Minio(own.s3.endpoint, own.s3.access_key, own.s3.secret_key, secure=False, region=REGION)
    client.fput_object(BUCKET, "a/b", str(file))
    own.s3.kill()
    own.s3.start()
    own.s3.wait_ready()
    assert client.get_object(BUCKET, "a/b").read() == b"weights"
    stranger = Minio(own.s3.endpoint, own.s3.access_key, "another-secret", secure=False, region=REGION)
    with pytest.raises(S3Error):
        stranger.bucket_exists(BUCKET)


def test_secrets_are_closed_to_others_and_absent_from_command_lines(own: Engines) -> None:
    for path in (own.folder / "secrets.json", own.folder / "redis.conf"):
        assert path.stat().st_mode & 0o077 == 0
    secrets = json.loads((own.folder / "secrets.json").read_text()).values()
    for engine in own.all:
        shown = Path(f"/proc/{engine.pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in secrets if secret in shown]


def test_engines_go_on_where_they_were_and_take_another_port_where_theirs_is_taken(tmp_path: Path) -> None:
    first = Engines(tmp_path)
    first.redis.start()
    first.redis.wait_ready()
    first.redis.stop()
    again = Engines(tmp_path)
    again.redis.start()
    again.redis.wait_ready()
    assert again.redis.port == first.redis.port
    assert again.redis.secrets == first.redis.secrets
    other = Engines(tmp_path / "other")
    (other.folder / "ports.json").write_text(json.dumps({"redis": again.redis.port}))
    other.redis.start()
    other.redis.wait_ready()
    assert other.redis.port != again.redis.port
    other.redis.stop()
    again.redis.stop()


def test_engines_end_with_a_killed_supervisor_and_start_on_its_folder_again(tmp_path: Path) -> None:
    supervisor = start_and_wait(tmp_path)
    pids = json.loads(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    eventually(lambda: all(born(pid) is None for pid in pids), within=15, what="the end of every engine")
    again = Engines(tmp_path)
    again.start()
    again.stop()
    assert is_free(again.postgres.port)


def test_what_a_killed_supervisor_left_behind_is_ended_first(tmp_path: Path) -> None:
    first = Engines(tmp_path)
    first.redis.start()
    first.redis.wait_ready()
    left_behind = first.redis.pid
    second = Engines(tmp_path)  # knows the process from its record alone
    second.redis.start()
    second.redis.wait_ready()
    assert first.redis.wait(0)
    assert second.redis.pid != left_behind
    second.redis.stop()


def start_and_wait(folder: Path) -> subprocess.Popen[bytes]:
    """Another process that starts engines on `folder`, prints their ids and waits."""
    program = textwrap.dedent("""
        import json, signal, sys
        from pathlib import Path
        from standalone.engines import Engines
        engines = Engines(Path(sys.argv[1]))
        engines.start()
        print(json.dumps([engine.pid for engine in engines.all]), flush=True)
        signal.pause()
    """)
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, env=dict(os.environ))
