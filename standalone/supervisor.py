"""`trainhouse up`: engines, migrations, API, dispatcher and workers as one supervised tree."""

import hashlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from standalone import services
from standalone.children import ChildFailed, tail
from standalone.engines import Engine, Engines
from standalone.folder import free_port, is_free, lock, prepare, read_json, write_private
from standalone.services import Service

READY_SECONDS = 120.0
SOFT_SECONDS = 12.0
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, STEADY_SECONDS = 0.5, 30.0, 60.0
LOOPBACK = "127.0.0.0/8,::1/128"
OUTSIDE = {  # an engine is not started where its variable names another
    "postgres": "TRAINHOUSE_DATABASE_URL",
    "redis": "TRAINHOUSE_REDIS_URL",
    "s3": "TRAINHOUSE_S3_ENDPOINT",
}


@dataclass
class Restart:
    """When a process that died is started again; it waits longer each time, until it stays."""

    started: float = field(default_factory=time.monotonic)
    backoff: float = FIRST_BACKOFF_SECONDS
    due: float | None = None


@dataclass(frozen=True)
class Options:
    """What `trainhouse up` was asked for.

    Attributes:
        port: 0 picks a free one.
        variables: More environment variables for every process.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    variables: Mapping[str, str] = field(default_factory=dict)


class Stack:
    """The whole service on one machine. Use it from the main thread; see leash.py.

    start() returns when the API answers and every worker listens; tend() restarts what died; stop() ends all that
    start() started, workers first.
    """

    def __init__(self, options: Options, say: Callable[[str], None] = lambda _line: None) -> None:
        self.options = options
        self.folder = prepare(options.folder)
        self.say = say
        self.engines = Engines(self.folder)
        self.owned = [engine for engine in self.engines.all if not is_outside(engine.name)]
        self.services: dict[str, Service] = {}
        self.restarts: dict[str, Restart] = {}
        self.api_key = ""
        self.port = options.port
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{services.written(services.reachable(self.options.host))}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches the API; then callers' URLs may reach what listens on this machine."""
        return self.options.host in {"localhost", "::1"} or self.options.host.startswith("127.")

    @property
    def node(self) -> str:
        """The name under which this folder's workers hold leases: they all end with this supervisor."""
        return f"{socket.gethostname()}-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]}"

    @property
    def endpoint_file(self) -> Path:
        """Where a client finds the URL and a key."""
        return self.folder / "endpoint.json"

    @property
    def variables(self) -> dict[str, str]:
        """Every setting of the service's processes."""
        own = {name: value for engine in self.owned for name, value in engine.variables().items()}
        own["TRAINHOUSE_SECRET_KEYS"] = os.environ.get("TRAINHOUSE_SECRET_KEYS", self.engines.secret_keys)
        scratch = {
            "TRAINHOUSE_SCRATCH_DIR": str(self.folder / "scratch"), "TRAINHOUSE_NODE": self.node,
            "TRAINHOUSE_PUBLIC_URL": os.environ.get("TRAINHOUSE_PUBLIC_URL", self.url),
        }  # fmt: skip
        if self.is_private:
            scratch["TRAINHOUSE_EGRESS_ALLOW"] = os.environ.get("TRAINHOUSE_EGRESS_ALLOW", LOOPBACK)
        return scratch | own | dict(self.options.variables)

    def start(self) -> None:
        """Brings everything up.

        Raises:
            AlreadyRunning: another supervisor holds the folder.
            ChildFailed: a process does not come up; all that were started are stopped.
        """
        self._lock = lock(self.folder)
        self._choose_port()
        self.endpoint_file.unlink(missing_ok=True)
        began = time.monotonic()
        try:
            self._start_engines()
            self._ensure_bucket()
            self.say(f"engines up after {time.monotonic() - began:.1f} s")
            self._migrate()
            if any((self.folder / "run").glob("worker-*.json")):
                self._release()  # the last supervisor was killed, and could not do it
            self._start_services()
            self.api_key = self._bootstrap()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        write_private(self.endpoint_file, {"url": self.url, "api_key": self.api_key, "pid": os.getpid()})
        self.say(f"ready after {time.monotonic() - began:.1f} s")

    def tend(self) -> None:
        """Starts again what has died, each after its backoff; call it about every second."""
        for engine in self.owned:
            self._tend(engine.name, alive=engine.alive, start=engine.start)
        for name, service in self.services.items():
            self._tend(name, alive=service.child.alive, start=service.child.start)

    def stop(self, soft_seconds: float = SOFT_SECONDS) -> None:
        """Ends everything that was started, in order: workers, the rest of the service, engines."""
        if self._lock is None:
            return  # the folder is not ours, and so is nothing in it
        self.endpoint_file.unlink(missing_ok=True)
        working = [service.child for name, service in self.services.items() if name.startswith(("worker", "delivery"))]
        others = [service.child for service in self.services.values() if service.child not in working]
        deadline = time.monotonic() + soft_seconds
        for child in working:
            child.send(child.stop_signal)
        for child in working:
            child.wait(max(0.0, deadline - time.monotonic()))
            child.stop(grace_seconds=0.1)
        if working:
            self._release()
        for child in others:
            child.send(child.stop_signal)
        for child in others:
            child.stop(grace_seconds=5.0)
        for engine in self.owned:
            engine.stop()
        self._lock.close()
        self._lock = None

    def _choose_port(self) -> None:
        if self.options.port == 0:
            self.port = free_port(self.options.host)
        elif not is_free(self.port, self.options.host):
            self.stop()
            raise ChildFailed(f"port {self.port} is taken; --port 0 picks a free one")

    def _start_engines(self) -> None:
        for engine in self.owned:
            engine.start()
        for engine in self.owned:
            engine.wait_ready()
            self.restarts[engine.name] = Restart()

    def _ensure_bucket(self) -> None:
        """Makes the bucket of an outside store where it is missing; the own one has it from the start."""
        if is_outside("s3"):
            from standalone.rows import ensure_bucket  # noqa: PLC0415  # see there

            ensure_bucket(self.variables)

    def _migrate(self) -> None:
        if not is_outside("postgres") and self.engines.postgres.schema() == services.newest_schema():
            return  # a second of imports saved
        child = services.migration(self.folder, services.environment(self.variables))
        child.start()
        ended = child.wait(services.MIGRATION_SECONDS)
        code = child.process.returncode if child.process is not None else None
        child.stop()
        if not ended or code != 0:
            raise ChildFailed(f"the migrations failed; see {child.log}\n{tail(child.said())}")

    def _release(self) -> None:
        """Frees the leases of this folder's workers, none of which lives, so that their jobs go on at once."""
        from app.errors import DatabaseUnavailable  # noqa: PLC0415  # see standalone/rows.py
        from standalone.rows import release  # noqa: PLC0415

        try:
            release(self.variables, self.node)
        except DatabaseUnavailable:
            self.say("the database is away: held jobs go on when their leases run out")

    def _bootstrap(self) -> str:
        """The admin key: shown once, at the database's first start, then kept in `admin.json`.

        Empty where the database had keys before this folder knew it; its owner has one.
        """
        path = self.folder / "admin.json"
        kept = str(read_json(path).get("api_key", ""))
        if kept:
            return kept
        from standalone.rows import first_key  # noqa: PLC0415  # see there

        made = first_key(self.variables)
        if made:
            write_private(path, {"api_key": made})
        return made

    def _start_services(self) -> None:
        known = services.environment(self.variables)
        made = [services.api(self.folder, known, host=self.options.host, port=self.port)]
        made += [services.worker(number, self.folder, known) for number in range(1, self.options.workers + 1)]
        made += [services.dispatcher(self.folder, known), services.delivery(self.folder, known)]
        self.services = {service.child.name: service for service in made}
        for name, service in self.services.items():
            service.child.start()
            self.restarts[name] = Restart()

    def _wait_ready(self) -> None:
        deadline, waiting = time.monotonic() + READY_SECONDS, dict(self.services)
        while waiting:
            for name, service in list(waiting.items()):
                if service.is_up():
                    del waiting[name]
                elif not service.child.alive:
                    raise ChildFailed(f"{name} ended at once; see {service.child.log}\n{tail(service.child.said())}")
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"not ready after {READY_SECONDS:.0f} s: {', '.join(waiting)}; see {self.folder}/logs"
                )
            time.sleep(0.05)

    def _tend(self, name: str, *, alive: bool, start: Callable[[], None]) -> None:
        restart, now = self.restarts[name], time.monotonic()
        if alive:
            if now - restart.started > STEADY_SECONDS:
                restart.backoff = FIRST_BACKOFF_SECONDS
        elif restart.due is None:
            restart.due = now + restart.backoff
            self.say(f"{name} died; starting it again in {restart.backoff:.1f} s")
            restart.backoff = min(restart.backoff * 2, LONGEST_BACKOFF_SECONDS)
        elif now >= restart.due:
            restart.due, restart.started = None, now
            try:
                start()
            except OSError as error:  # a full disk, or no memory: it may pass, and the others work
                self.say(f"{name} could not be started: {error}")


def is_outside(engine: str) -> bool:
    """Whether the environment names an engine of that kind, so that none is started here."""
    return OUTSIDE[engine] in os.environ


def run(options: Options, say: Callable[[str], None]) -> None:
    """Runs the stack in the foreground until Ctrl-C or SIGTERM; a second one ends it at once.

    Raises:
        AlreadyRunning, ChildFailed
    """
    stack = Stack(options, say)
    with interrupts():
        try:
            stack.start()
            say(f"API      {stack.url}/docs\nkey      {stack.endpoint_file}\nlogs     {stack.folder / 'logs'}")
            while True:
                stack.tend()
                time.sleep(0.5)
        except KeyboardInterrupt:
            say("stopping: the workers first, what they hold is given back, then the engines")
        finally:
            stack.stop()


class interrupts:  # noqa: N801  # reads as a statement
    """A context in which SIGTERM, like Ctrl-C, raises KeyboardInterrupt."""

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self.before)


__all__ = ["Engine", "Options", "Stack", "interrupts", "is_outside", "run"]
