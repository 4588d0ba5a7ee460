"""The other side of the parity test: a process that has only imported its libraries, and forks for each bundle.

    python -m workers.parity

Each line of its input is `{"bundle": path, "rows": [paths], "answers": path}`; a child of its own opens that bundle,
predicts the Parquet files `rows`, and writes the predictions to `answers` (.npy). The line that comes back is
`{"error": null}` or says what went wrong. The parent never opens a bundle, so every child starts equally clean. It ends
with its input, or after a quarter of an hour without a request.
"""

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import numpy as np

from workers import snapshot
from workers.bundle import open_bundle
from workers.threads import limited

IDLE_SECONDS = 900.0


def serve() -> None:
    """Answers requests until the input ends or none comes for a while."""
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        sys.stdout.write(json.dumps({"error": in_a_child(json.loads(line))}) + "\n")
        sys.stdout.flush()


def in_a_child(request: dict[str, Any]) -> str | None:
    """What went wrong in the child that did `request`, or None."""
    trouble = Path(request["answers"] + ".error")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            predict(**request)
            code = 0
        except BaseException as error:  # noqa: BLE001  # the child must end here, whatever happened
            trouble.write_text(f"{type(error).__name__}: {error}"[:500], encoding="utf-8")
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return None
    return trouble.read_text(encoding="utf-8") if trouble.exists() else f"it ended with status {status}"


def predict(bundle: str, rows: list[str], answers: str) -> None:
    """Predicts the files `rows` with `bundle` and writes `answers`."""
    with limited(1):
        opened = open_bundle(Path(bundle))
        found = [opened.raw(snapshot.frame(snapshot.read(Path(path)))) for path in rows]
    with Path(answers).open("wb") as file:
        np.save(file, np.concatenate(found), allow_pickle=False)


if __name__ == "__main__":
    serve()
