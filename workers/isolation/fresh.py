"""Fresh processes that cost little: one template for each worker, started when it is wanted, forks for every request."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app.errors import DeadlineExceeded, ParityFailed

ROOT = Path(__file__).resolve().parents[2]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TICK_SECONDS = 0.15

Process = subprocess.Popen[str]

_TEMPLATES: dict[int, Process] = {}


@dataclass(frozen=True)
class Ended:
    """How the fresh process ended.

    Attributes:
        exit: Its exit status; None where a signal ended it.
        signal: The signal that ended it, or None.
        error: What it said went wrong, or None.
        peak_bytes: The most resident memory that it took.
    """

    exit: int | None
    signal: int | None
    error: str | None
    peak_bytes: int


def predict(bundle: Path, rows: list[Path], answers: Path, *, seconds: float, exported: Path | None = None) -> None:
    """Lets a fresh process open `bundle`, predict the files `rows` and write `answers`; see `workers.bundles.parity`.

    Raises:
        ParityFailed: it could not.
        DeadlineExceeded: it did not within `seconds`.
    """
    request: dict[str, Any] = {"bundle": str(bundle), "rows": [str(path) for path in rows], "answers": str(answers)}
    if exported is not None:
        request["exported"] = str(exported)
    try:
        ended = ask("predict", request, ends=time.monotonic() + seconds)
    except TimeoutError:
        raise DeadlineExceeded("The proof of the bundle ran past its time limit.") from None
    except ConnectionError:
        raise ParityFailed("The fresh process ended without an answer.") from None
    if ended.exit != 0:
        why = ended.error or f"it ended with {'signal' if ended.signal else 'status'} {ended.signal or ended.exit}"
        raise ParityFailed(f"A fresh process could not predict with the bundle: {why}"[:300])


def ask(kind: str, request: dict[str, Any], *, ends: float, tick: Callable[[], None] = lambda: None) -> Ended:
    """Lets a fresh process do `request`, and says how it ended.

    Args:
        kind: One of `workers.isolation.template.KINDS`.
        request: What that function takes, as JSON.
        ends: Reading of `time.monotonic()` after which the process is ended.
        tick: Called several times a second; the process is ended where it raises.

    Raises:
        TimeoutError: it took longer.
        ConnectionError: the template ended twice without an answer.
    """
    line = json.dumps({"kind": kind, "request": request})
    # A template that had ended for lack of work, or was killed, is replaced once.
    reply = _exchange(line, ends, tick) or _exchange(line, ends, tick)
    if reply is None:
        raise ConnectionError("the template ended without an answer")
    return Ended(**reply)


def warm() -> None:
    """Starts this process's template, so that its first request need not wait for it."""
    _template()


def _exchange(line: str, ends: float, tick: Callable[[], None]) -> dict[str, Any] | None:
    """The template's reply to `line`, or None where it is no more."""
    template = _template()
    if template.stdin is None or template.stdout is None:
        raise ValueError("the template has no pipes")
    try:
        template.stdin.write(line + "\n")
        template.stdin.flush()
        _wait(template.stdout, ends, tick)
        answer = template.stdout.readline()
    except BrokenPipeError:
        answer = ""
    except BaseException:
        _forget(template)
        raise
    if not answer:
        _forget(template)
        return None
    found: dict[str, Any] = json.loads(answer)
    return found


def _wait(replies: IO[str], ends: float, tick: Callable[[], None]) -> None:
    """Returns when there is a reply; raises TimeoutError where there is none at `ends`."""
    while not select.select([replies], [], [], max(0.0, min(TICK_SECONDS, ends - time.monotonic())))[0]:
        tick()
        if time.monotonic() > ends:
            raise TimeoutError


def _template() -> Process:
    """This process's template; a forked worker gets one of its own."""
    kept = _TEMPLATES.get(os.getpid())
    if kept is not None and kept.poll() is None:
        return kept
    if kept is not None:
        _forget(kept)
    if not _TEMPLATES:
        atexit.register(end)
    started = subprocess.Popen(
        [sys.executable, "-P", "-m", "workers.isolation.template"], cwd="/", env=_environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    _TEMPLATES.clear()
    _TEMPLATES[os.getpid()] = started
    return started


def end() -> None:
    """Ends this process's template, where it has one; the next request starts another."""
    if (kept := _TEMPLATES.get(os.getpid())) is not None:
        _forget(kept)


def _forget(template: Process) -> None:
    """Ends the template with its children."""
    _TEMPLATES.clear()
    if template.poll() is None:
        os.killpg(template.pid, signal.SIGKILL)
    template.wait()
    for pipe in (template.stdin, template.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def _environment() -> dict[str, str]:
    """Nothing of this process but the way to its libraries: no settings, no secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, **dict.fromkeys(THREAD_SETTINGS, "1"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
