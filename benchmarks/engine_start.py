"""How long one machine takes to be ready: engines alone and the whole stack, on an empty folder and on an old one.

    python -m benchmarks.engine_start [ROUNDS]

Prints a Markdown table of seconds, the median of the rounds with the range beside it.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from standalone.engines import Engines
from standalone.supervisor import Options, Stack


def timed(start: Callable[[], None], stop: Callable[[], None]) -> float:
    """Seconds that `start` takes; `stop` is not counted."""
    began = time.perf_counter()
    start()
    seconds = time.perf_counter() - began
    stop()
    return seconds


def engines(folder: Path) -> float:
    """Postgres, Redis and S3, each answering."""
    found = Engines(folder)
    return timed(found.start, found.stop)


def stack(folder: Path) -> float:
    """Engines, migrations, API, dispatcher, two workers and delivery, all ready."""
    found = Stack(Options(folder, port=0))
    return timed(found.start, found.stop)


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what was started and on which folder."""
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, start in {"engines": engines, "whole stack": stack}.items():
            with tempfile.TemporaryDirectory() as made:
                for age in ("empty", "old"):
                    seconds.setdefault(f"{name} | {age}", []).append(start(Path(made)))
    return seconds


def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = measure(rounds)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, median of {rounds} rounds (least to most)\n")
    print("| started | folder | seconds |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) |")


if __name__ == "__main__":
    main()
