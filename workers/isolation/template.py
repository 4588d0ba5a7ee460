"""A process that has only imported its libraries, and forks for each request, so that fresh processes cost little.

    python -m workers.isolation.template

Each line of its input is `{"kind": …, "request": {…}}`; a child of its own does that work with these arguments. The line
that comes back says how the child ended. The template itself opens nothing that a request names, so that every child
starts equally clean. It ends with its input, its child with it, or after a quarter of an hour without a request.
"""

import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

from workers.isolation import parsing
from workers.isolation.sandbox import die_with_parent

IDLE_SECONDS = 900.0
KINDS = {
    "parse": (parsing.__name__, "parse"), "layout": (parsing.__name__, "layout"),
    "predict": ("workers.bundles.parity", "predict"),
}  # fmt: skip
"""By kind of request, the module and the function that do it; a module is loaded at its first request and then kept."""


def serve() -> None:
    """Answers requests until the input ends or none comes for a while."""
    parsing.warm()
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        asked = json.loads(line)
        module, function = KINDS[asked["kind"]]
        reply = in_a_child(getattr(importlib.import_module(module), function), asked["request"])
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def in_a_child(work: Callable[..., str | None], request: dict[str, Any]) -> dict[str, Any]:
    """How the child that did `work` ended: `exit`, `signal`, `error` (what it says went wrong), `peak_bytes`."""
    says, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(says)
        _work(work, request, told)
    os.close(told)
    with os.fdopen(says, "rb") as words:
        _await(child)
        _, status, usage = os.wait4(child, 0)
        error = words.read(500).decode(errors="replace") or None
    return {
        "exit": os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "error": error, "peak_bytes": usage.ru_maxrss * 1024,
    }  # fmt: skip


def _work(work: Callable[..., str | None], request: dict[str, Any], told: int) -> None:
    code = 1
    try:
        die_with_parent()
        work(**request)
        code = 0
    except BaseException as error:  # noqa: BLE001  # the child must end here, whatever happened
        try:
            os.write(told, f"{type(error).__name__}: {error}"[:300].encode())
        except OSError:
            code = 2
    finally:
        os._exit(code)


def _await(child: int) -> None:
    """Returns when the child has ended; ends it, and this process, where the worker that asked is no more."""
    if sys.platform != "linux":
        return
    poll = select.poll()
    ended = os.pidfd_open(child)
    poll.register(ended, select.POLLIN)
    poll.register(sys.stdin, 0)  # tells of nothing but its end
    ready = {number for number, _ in poll.poll()}
    os.close(ended)
    if sys.stdin.fileno() in ready and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        os.kill(child, signal.SIGKILL)
        os._exit(0)


if __name__ == "__main__":
    serve()
