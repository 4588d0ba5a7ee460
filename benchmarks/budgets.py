"""Whether a budget in seconds holds, and what memory it takes: when the chosen model is ready, and the workers' peak.

    python -m benchmarks.budgets flights adult california_housing covertype --data FOLDER [--runs 10] [--seconds 60]

Runs each job on two workers, `max_seconds` and the metric in its spec and no more, each run with a seed of its own. A
model is ready at the end of `tune`; the seconds count from the start of `train`. The peak is that of all worker processes
together (both workers, what they started), shared pages in proportion, sampled twice a second from the job's POST on.
Tables are those of benchmarks/peers/tables.py; the first of its divisions.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.house import WORKERS, moment, spec_of
from benchmarks.peers.memory import Peak
from benchmarks.peers.run import contest_of
from benchmarks.peers.tables import Contest
from standalone.client import Client
from standalone.supervisor import Options, Stack

SOONEST, LATEST = 50 / 60, 62 / 60
"""A model that is ready sooner has left time unused, one that is ready later has overrun; as shares of the budget."""


@contextmanager
def opened(folder: Path) -> Iterator[Stack]:
    """A service on an empty folder."""
    stack = Stack(Options(folder, port=0, workers=WORKERS))
    stack.start()
    try:
        yield stack
    finally:
        stack.stop(soft_seconds=2.0)


def pids_of(stack: Stack) -> set[int]:
    """The worker processes that the stack has started."""
    return {service.child.pid for name, service in stack.services.items() if name.startswith("worker")}


def run(stack: Stack, client: Client, known: Contest, dataset_id: str, *, seed: int, seconds: int) -> tuple[float, int]:
    """(seconds from the start of `train` to the end of `tune`, bytes of all workers at their most) of one job."""
    spec = spec_of(known, dataset_id, tuning={"max_seconds": seconds, "warm_start": "none"})
    spec["reproducibility"]["seed"] = seed
    with Peak(*pids_of(stack)) as peak:
        job = client.wait(client.submit(spec), timeout=900.0)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job ended as {job['status']} in {job['stage']}: {job['error']}")
    stages = {stage["name"]: stage for stage in job["stages"]}
    return moment(stages["tune"]["finished_at"]) - moment(stages["train"]["started_at"]), peak.bytes


def main() -> None:
    """Runs the jobs and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    print(f"| max_seconds: {asked.seconds} | ready after, s: least | median | most | held | workers' peak, MB |")
    print("|---|---|---|---|---|---|")
    for name in asked.tables:
        known = contest_of(name, 0, asked.data)
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "house")) as stack:
            client = Client(stack.url, stack.api_key)
            dataset_id = client.upload(Path(known.path), name=known.name)
            seen = [
                run(stack, client, known, dataset_id, seed=seed, seconds=asked.seconds) for seed in range(asked.runs)
            ]
        ready = [seconds for seconds, _ in seen]
        held = sum(SOONEST * asked.seconds <= seconds <= LATEST * asked.seconds for seconds in ready)
        print(f"| {name} | {min(ready):.1f} | {statistics.median(ready):.1f} | {max(ready):.1f} | {held} of {len(ready)} "
              f"| {max(peak for _, peak in seen) / 1e6:,.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
