"""Fresh processes that cost little: one template for each worker, started at its first proof, forks for every bundle."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.errors import DeadlineExceeded, ParityFailed

ROOT = Path(__file__).resolve().parents[1]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Process = subprocess.Popen[str]

_TEMPLATES: dict[int, Process] = {}


def predict(bundle: Path, rows: list[Path], answers: Path, *, seconds: float) -> None:
    """Lets a fresh process open `bundle`, predict the files `rows` and write `answers`; see `workers.parity`.

    Raises:
        ParityFailed: it could not.
        DeadlineExceeded: it did not within `seconds`.
    """
    line = json.dumps({"bundle": str(bundle), "rows": [str(path) for path in rows], "answers": str(answers)})
    ends = time.monotonic() + seconds
    # A template that had ended for lack of work, or was killed, is replaced once.
    reply = _exchange(line, ends) or _exchange(line, ends)
    if reply is None:
        raise ParityFailed("The fresh process ended without an answer.")
    if reply["error"] is not None:
        raise ParityFailed(f"A fresh process could not predict with the bundle: {reply['error']}"[:300])


def _exchange(line: str, ends: float) -> dict[str, Any] | None:
    """The template's reply to `line`, or None where it is no more."""
    template = _template()
    if template.stdin is None or template.stdout is None:
        raise ValueError("the template has no pipes")
    try:
        template.stdin.write(line + "\n")
        template.stdin.flush()
    except BrokenPipeError:
        _forget(template)
        return None
    if not select.select([template.stdout], [], [], max(0.0, ends - time.monotonic()))[0]:
        _forget(template)
        raise DeadlineExceeded("The proof of the bundle ran past its time limit.")
    answer = template.stdout.readline()
    if not answer:
        _forget(template)
        return None
    found: dict[str, Any] = json.loads(answer)
    return found


def _template() -> Process:
    """This process's template; a forked worker gets one of its own."""
    kept = _TEMPLATES.get(os.getpid())
    if kept is not None and kept.poll() is None:
        return kept
    if kept is not None:
        _forget(kept)
    started = subprocess.Popen(
        [sys.executable, "-m", "workers.parity"], cwd="/", env=_environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    _TEMPLATES.clear()
    _TEMPLATES[os.getpid()] = started
    return started


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
