"""Child processes: started on a leash, logged to a file, found again after a crash, stopped in order."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standalone.folder import write_private

LEASH = Path(__file__).with_name("leash.py")
LOG_LIMIT_BYTES = 64 * 1024**2
POLL_SECONDS = 0.02


class ChildFailed(Exception):
    """A child process did not come up; the message ends with the last lines of its log."""


@dataclass
class Child:
    """One process of the stack.

    Attributes:
        name: Names the log and the record of the process.
        argv: The command.
        folder: The stack's data folder; the log goes to `logs/`, the record of the running process to `run/`.
        environment: The child's whole environment.
        stop_signal: Asks it to end.
        death_signal: Ends it when this process is gone; see leash.py for the one trap.
        account: As root, the account it runs under.
        reach: With `account`: it may traverse folders that are closed to that account.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    account: str | None = None
    reach: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    log_start: int = 0

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Where the running process is remembered, for the next start after a crash."""
        return self.folder / "run" / f"{self.name}.json"

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            RuntimeError: it was never started.
        """
        if self.process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process; one that an earlier, killed supervisor left behind is ended first."""
        self.end_leftover()
        for path in (self.log, self.record):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        wanted = {
            "parent": os.getpid(),
            "death_signal": int(self.death_signal),
            "account": self.account,
            "reach": self.reach,
        }
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(  # noqa: S603  # the command is our own
                [sys.executable, "-I", "-S", str(LEASH), json.dumps(wanted), *self.argv],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone, which stops in order
            )
        write_private(self.record, {"pid": self.pid, "born": born(self.pid)})

    def send(self, number: int) -> None:
        """Sends a signal to a running process; a process that has ended is left in peace."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.send(signal.SIGKILL)
        self.wait(10.0)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Asks the process to end, waits `grace_seconds`, then kills it."""
        self.send(self.stop_signal)
        if not self.wait(grace_seconds):
            self.kill()
        self.record.unlink(missing_ok=True)

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within `seconds`."""
        if self.process is None:
            return True
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self) -> str:
        """What the process has logged since it was last started."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def end_leftover(self) -> None:
        """Ends the process that `record` remembers, where it still runs and is the same one."""
        try:
            remembered = json.loads(self.record.read_text())
            pid = int(remembered["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if self.process is not None and pid == self.process.pid:
            return
        for number in (self.stop_signal, signal.SIGKILL):
            if not same_process(pid, remembered.get("born")):
                break
            os.kill(pid, number)
            until(lambda: not same_process(pid, remembered.get("born")), seconds=10.0)
        self.record.unlink(missing_ok=True)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def born(pid: int) -> str | None:
    """A token for when the process `pid` was started, or None where there is no such process; ids are used again."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return shown.stdout.strip() or None


def same_process(pid: int, token: object) -> bool:
    """Whether the process `pid` runs and is the one that `token` was taken from."""
    return token is not None and born(pid) == token


def tail(text: str, lines: int = 15) -> str:
    """The last lines of a log, indented, for an error message."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])
