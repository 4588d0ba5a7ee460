"""Runs every system on every table with every seed, and keeps what came of it as JSON lines.

    python -m benchmarks.peers.run --tables credit_g --seeds 1 --seconds 20

A contest is a table with a seed: all systems run on it, one after another, before the next one's turn. What is in the
results already is not run again, so the command may be interrupted, or bounded by --stop-after, and said again; on another
machine, a contest that was not finished begins anew. Scores are recorded but not printed: they are read with `report`,
after what they judge was frozen.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers import environments, results
from benchmarks.peers.house import commit, opened
from benchmarks.peers.measure import Measured, measured
from benchmarks.peers.memory import Peak
from benchmarks.peers.tables import CACHE, Contest, MissingData, contest, folder_of, named
from standalone.supervisor import interrupts
from workers.measures.samples import Rows

OWN = "trainhouse"
SYSTEMS = (OWN, *environments.PEERS)
CPUS = 2
OVERRUN = 3
START_SECONDS = 180
"""What a peer may take besides its fit: to start, to read the table, and to predict."""
HERE = Path(__file__).parent


class Failed(Exception):
    """A system did not come to predictions; the status says how, the message why."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def main() -> None:
    """Runs what is missing."""
    asked = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    contests = [(name, seed) for seed in range(asked.seeds) for name in named(asked.tables)]
    lacking = [peer for peer in asked.systems if peer != OWN and not environments.is_made(peer)]
    if lacking:
        raise SystemExit(f"first: python -m benchmarks.peers.environments {' '.join(lacking)}")
    try:
        with interrupts():
            run_missing(asked, contests, ends=time.monotonic() + 60 * asked.stop_after)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from here") from None
    left = sum(len(missing(results.kept(), asked, name, seed)) for name, seed in contests)
    print(f"{left} runs are left; the same command goes on from here" if left else
          f"nothing is missing; make bench-report SECONDS={asked.seconds} reads the scores")  # fmt: skip


def run_missing(asked: argparse.Namespace, contests: list[tuple[str, int]], *, ends: float) -> None:
    """Runs what has no result, contest by contest, as long as a run can be expected to end in time."""
    for name, seed in contests:
        for system in missing(results.kept(), asked, name, seed):
            if time.monotonic() + expected_seconds(asked.seconds) > ends:
                return
            record(asked, system, contest_of(name, seed, asked.data))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["given"])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--data", type=Path, help="the folder of public files")
    parser.add_argument("--stop-after", type=float, default=float("inf"), metavar="MINUTES")
    parser.add_argument("--anew", nargs="*", default=[], choices=(OWN,), help="run again what other commits ran")
    return parser.parse_args()


def missing(known: results.Records, asked: argparse.Namespace, name: str, seed: int) -> list[str]:
    """The systems that have no result, unless all have one of another machine; those of `--anew` need this commit's."""
    here = results.by_machine(known, name, seed, asked.seconds).get(machine(), {})
    held = results.contest(known, name, seed, asked.seconds, asked.systems) or here
    if outdated(held, asked):
        held = here
    return [system for system in asked.systems if system not in held or system in outdated(held, asked)]


def outdated(held: dict[str, results.Record], asked: argparse.Namespace) -> set[str]:
    """The systems of `--anew` whose results are of another commit of the service."""
    return {system for system in asked.anew if system in held and held[system]["commit"] != commit()}


def expected_seconds(budget: int) -> float:
    """How long a run usually takes, all in all."""
    return 1.5 * budget + 45.0


def contest_of(name: str, seed: int, folder: Path | None) -> Contest:
    """The divided table.

    Raises:
        SystemExit: there is no file to make it from.
    """
    try:
        return contest(name, seed, folder_of(folder))
    except MissingData as error:
        raise SystemExit(str(error)) from None


def record(asked: argparse.Namespace, system: str, task: Contest) -> None:
    """Runs one system once and writes the line, be it of a failure."""
    line: dict[str, Any] = {
        "table": task.table, "system": system, "seed": task.seed, "seconds": asked.seconds, "metric": task.metric,
        "commit": commit(), "machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "status": "ok",
        "processor": processor(), "load": os.getloadavg()[0],
    }  # fmt: skip
    with Peak(os.getpid()) as peak:
        try:
            if system == OWN:
                with opened(task) as house:
                    predicted, told = house.run(task, seconds=asked.seconds)
            else:
                predicted, told = of_peer(system, task, asked.seconds, peak)
            found = scored(task, predicted)
            line |= told | {"value": found.value, "drawn": found.packed()}
        except Failed as error:
            line |= {"status": error.status, "error": str(error)}
        except Exception as error:  # noqa: BLE001  # whatever ends a system is its result
            line |= {"status": "failed", "error": f"{type(error).__name__}: {error}"[:1000]}
    line["peak_bytes"] = peak.bytes
    if line.get("fit_seconds", 0) > OVERRUN * asked.seconds:
        line["status"] = "overran"
    results.append(line)
    print(f"{task.name} {system}: {line['status']}, {line.get('fit_seconds')} s, {peak.bytes / 1e6:,.0f} MB "
          f"{line.get('about') or line.get('error')}", flush=True)  # fmt: skip


def machine() -> str:
    """The processor, how many of its threads a system gets, and the memory."""
    model = cpu_facts().get("model name", platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{CPUS} threads of {model}, {memory / 2**30:.0f} GiB"


def processor() -> str:
    """What tells two processors of one name apart: family, model, stepping."""
    known = cpu_facts()
    return " ".join(known.get(name, "?") for name in ("cpu family", "model", "stepping"))


def cpu_facts() -> dict[str, str]:
    """What the kernel says of the first processor."""
    first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    pairs = [line.split(":", 1) for line in first.splitlines() if ":" in line]
    return {name.strip(): value.strip() for name, value in pairs}


def of_peer(system: str, task: Contest, seconds: int, peak: Peak) -> tuple[np.ndarray, dict[str, Any]]:
    """(predictions of the test rows, what is to be recorded) of a peer in a process and an environment of its own.

    Raises:
        Failed: it ended without predictions, or did not end.
    """
    out = CACHE / "runs" / f"{task.name}-{system}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = HERE / "systems" / f"enter_{system}.py"
    command = [environments.python_of(system), script, Path(task.path).with_suffix(".json"), "--out", out]
    command += ["--seed", str(task.seed), "--seconds", str(seconds)]
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=out, env=environment(out), stdout=log, stderr=log)
        try:
            code = process.wait(OVERRUN * seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed("overran", f"no predictions after {OVERRUN} times the budget") from None
        finally:
            end_all(peak.pids | {process.pid})
            process.wait()
    if code != 0 or not (out / "told.json").exists():
        raise Failed("failed", f"exit {code}: {(out / 'log').read_text(errors='replace')[-600:]}")
    return np.load(out / "predictions.npy"), json.loads((out / "told.json").read_text(encoding="utf-8"))


def environment(scratch: Path) -> dict[str, str]:
    """What a peer's process knows: two threads, a folder of its own, and Java."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    threads = {f"{library}_NUM_THREADS": str(CPUS) for library in ("OMP", "OPENBLAS", "MKL")}
    return kept | threads | {"PATH": environments.java_path(), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


def end_all(pids: set[int]) -> None:
    """Ends what a peer left behind, such as a server of its own."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def scored(task: Contest, predicted: np.ndarray) -> Measured:
    """The metric on the test rows, and on those drawn again."""
    if not np.isfinite(predicted).all():
        raise Failed("failed", "a prediction is not a finite number")
    rows = Rows(task.task, targets(task), predicted)
    return measured(task.metric, rows, seed=task.seed, same_rows=task.in_time)


def targets(task: Contest) -> np.ndarray:
    """(rows,) the test rows' class indices, or numbers."""
    table = pd.read_parquet(task.path, columns=[task.target, "part"])
    column = table.loc[table["part"] == "test", task.target]
    if not task.classes:
        return column.to_numpy(dtype=np.float64)
    return column.astype(str).map({name: at for at, name in enumerate(task.classes)}).to_numpy(dtype=np.float64)


if __name__ == "__main__":
    main()
