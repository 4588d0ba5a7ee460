"""The service's own processes: their commands, their environment, and when each counts as up."""

import http.client
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from standalone.children import Child
from workers import cores

HOUSE = Path(__file__).resolve().parents[1]
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "ARROW")
THREADS = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}
ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""Without, each thread keeps a pool of freed memory to itself; on 330,000 rows the workers together then hold a twentieth more."""
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
CELERY = ("-m", "celery", "-A", "workers.main:celery", "worker", "--loglevel", "INFO")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class Service:
    """One process kind of the service.

    Attributes:
        child: The process.
        is_up: Whether it does its work by now.
    """

    child: Child
    is_up: Callable[[], bool]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process: what was set for Trainhouse, one thread per library, and little else.

    A fit may use all cores of the machine: its workers share them, so that there are never more threads than cores.
    """
    own = {"TRAINHOUSE_WORKER_THREADS": str(cores.count())}
    own |= {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("TRAINHOUSE_")}
    return own | {"PYTHONPATH": str(HOUSE), "PYTHONUNBUFFERED": "1"} | THREADS | ARENAS | dict(variables)


def api(folder: Path, known: Mapping[str, str], *, host: str, port: int) -> Service:
    """The HTTP API in one uvicorn process."""
    argv = ["-m", "uvicorn", "app.main:build", "--factory", "--host", host, "--port", str(port)]
    argv += ["--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "3"]
    child = python("api", argv, folder, known)
    return Service(child, lambda: answers_ready(reachable(host), port))


def dispatcher(folder: Path, known: Mapping[str, str]) -> Service:
    """The process that turns rows into bells."""
    child = python("dispatcher", ["-m", "workers.dispatcher"], folder, known)
    return Service(child, lambda: child.alive)


def worker(number: int, folder: Path, known: Mapping[str, str]) -> Service:
    """One worker of one task at a time, for stages and trials."""
    name = f"worker-{number}"
    argv = [*CELERY, "-n", f"{name}@%h", "--queues", "pipeline,trials", "--concurrency", "1", *QUIET]
    return _celery(name, argv, folder, known)


def delivery(folder: Path, known: Mapping[str, str]) -> Service:
    """The worker that sends webhooks, several at a time."""
    argv = [*CELERY, "-n", "delivery@%h", "--queues", "webhooks", "--pool", "threads", "--concurrency", "8", *QUIET]
    return _celery("delivery", argv, folder, known)


MIGRATION_SECONDS = 3_600.0
"""An index on a large table takes its time."""


def migration(folder: Path, known: Mapping[str, str]) -> Child:
    """The process that brings the database to the newest shape, and ends."""
    settings = HOUSE / "migrations" / "alembic.ini"
    return python("migrate", ["-m", "alembic", "-c", str(settings), "upgrade", "head"], folder, known)


def newest_schema() -> str:
    """The revision that the migrations lead to: the one that no other builds on."""
    texts = [path.read_text() for path in (HOUSE / "migrations" / "versions").glob("*.py")]
    made = {found[1] for text in texts if (found := re.search(r'^revision\b.*= "(\w+)"', text, re.MULTILINE))}
    built_on = {found[1] for text in texts if (found := re.search(r'^down_revision\b.*= "(\w+)"', text, re.MULTILINE))}
    return (made - built_on).pop()


def python(name: str, argv: list[str], folder: Path, known: Mapping[str, str]) -> Child:
    """A child of this interpreter."""
    return Child(name, [sys.executable, *argv], folder, known)


def answers_ready(host: str, port: int) -> bool:
    """Whether `GET /readyz` answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host in {"0.0.0.0", "", "::"} else host  # noqa: S104  # compared, not bound


def written(host: str) -> str:
    """`host` as a URL has it."""
    return f"[{host}]" if ":" in host else host


def _celery(name: str, argv: list[str], folder: Path, known: Mapping[str, str]) -> Service:
    soft = {"REMAP_SIGTERM": "SIGQUIT"}  # the worker ends although a task runs; the supervisor then frees its lease
    child = Child(name, [sys.executable, *argv], folder, {**known, **soft}, stop_signal=signal.SIGTERM)
    return Service(child, lambda: child.alive and " ready." in child.said())
