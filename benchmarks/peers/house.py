"""Trainhouse as a contestant: a stack of its own, asked over HTTP as any caller would."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.peers.tables import CACHE, Contest, contest
from standalone.client import Client
from standalone.supervisor import Options, Stack

WORKERS = 2
MARGIN_SECONDS = 1.0
"""Kept back from the budget for what varies between two preparations of one table."""
OVERHEAD_SECONDS = 600.0
"""What a job may take besides its budget: to prepare, to evaluate, to register."""
ROOT = Path(__file__).parents[2]
SERVICE = ("trainhouse_loader", "app", "workers", "standalone", "migrations", "requirements.lock")
"""What a commit must change for Trainhouse's results to be others."""


class House:
    """A context in which Trainhouse runs, on an empty folder of its own, so that nothing is known of earlier runs.

    Args:
        preparation: Seconds that a job on the table takes until `train`; see `opened`.
    """

    def __init__(self, preparation: float = 0.0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="house-", dir=CACHE))
        self.stack = Stack(Options(self.folder, port=0, workers=WORKERS))
        self.preparation = preparation

    def __enter__(self) -> Self:
        try:
            self.stack.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.client = Client(self.stack.url, self.stack.api_key)
        try:
            self._warm_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stack.stop(soft_seconds=2.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, known: Contest, *, seconds: int) -> tuple[np.ndarray, dict[str, Any]]:
        """(predictions of the test rows, what is to be recorded) of one job.

        The clock runs from the job's POST to the end of `tune`. `max_seconds` counts only from the start of `train`, so
        it is what is left of the budget after the stages before, as long as they took in another house.

        Raises:
            RuntimeError: the job did not succeed.
        """
        dataset_id = self.client.upload(Path(known.path), name=known.name)
        left = max(1, int(seconds - self.preparation - MARGIN_SECONDS))
        spec = spec_of(known, dataset_id, tuning={"max_seconds": left, "warm_start": "none"})
        job, posted = self._job(spec, timeout=seconds + OVERHEAD_SECONDS)
        ends = {stage["name"]: moment(stage["finished_at"]) for stage in job["stages"] if stage["finished_at"]}
        came = next(stage["summary"] for stage in job["stages"] if stage["name"] == "tune")
        return self._predictions(known, job["id"]), {
            "fit_seconds": round(ends["tune"] - posted, 2), "prepare_seconds": round(ends["transform"] - posted, 2),
            "max_seconds": left, "trials": came["trials"], "ended_by": came["ended_by"], "version": commit(),
            "about": f"{came['source']} of {came['members']} after {came['trials']} trials, {came['folds']} folds",
        }  # fmt: skip

    def _warm_up(self) -> None:
        """Lets every worker load its libraries, as the peers' are loaded before their clocks run."""
        known = contest("breast_cancer", 0, None)
        dataset_id = self.client.upload(Path(known.path), name="warm-up")
        spec = spec_of(known, dataset_id, tuning={"max_trials": 2 * WORKERS})
        for job_id in [self.client.submit(spec | {"model": f"warm-up-{number}"}) for number in range(WORKERS)]:
            self.client.wait(job_id, timeout=OVERHEAD_SECONDS)

    def preparation_of(self, known: Contest) -> float:
        """Seconds from a job's POST to the end of `transform`."""
        dataset_id = self.client.upload(Path(known.path), name=known.name)
        spec = spec_of(known, dataset_id, tuning={"strategy": "none"}) | {"training": {"max_iterations": 1}}
        job, posted = self._job(spec, timeout=OVERHEAD_SECONDS)
        ended = next(stage["finished_at"] for stage in job["stages"] if stage["name"] == "transform")
        return moment(ended) - posted

    def _job(self, spec: dict[str, Any], *, timeout: float) -> tuple[dict[str, Any], float]:
        """(the job at its end, when it was posted in seconds since the epoch)."""
        posted = time.time()
        job = self.client.wait(self.client.submit(spec), timeout=timeout)
        if job["status"] != "succeeded":
            raise RuntimeError(f"the job ended as {job['status']} in {job['stage']}: {job['error']}")
        return job, posted

    def _predictions(self, known: Contest, job_id: str) -> np.ndarray:
        """(rows,) or (rows, classes), in the order of the test rows as the table's file has them."""
        signed = self.client.get(f"/v1/jobs/{job_id}/artifacts/predictions_test").headers["location"]
        path = self.folder / "predictions_test.parquet"
        path.write_bytes(httpx2.get(signed, timeout=60.0).raise_for_status().content)
        answers = pq.read_table(path).to_pandas().sort_values("row", ignore_index=True)
        table = pd.read_parquet(known.path, columns=[known.target, "part"])
        test = table.index[table["part"] == "test"]
        if not np.array_equal(test, answers["row"]):
            raise RuntimeError("the job's test rows are not those of the table")
        names = [f"probability:{name}" for name in known.classes] or ["prediction"]
        predicted = answers[names].to_numpy(dtype=np.float64)
        return predicted if known.classes else predicted[:, 0]


@contextlib.contextmanager
def opened(known: Contest) -> Iterator[House]:
    """A house that has never met the table, told how long another took to prepare it."""
    with House() as scout:
        preparation = scout.preparation_of(known)
    with House(preparation) as house:
        yield house


def spec_of(known: Contest, dataset_id: str, *, tuning: dict[str, Any]) -> dict[str, Any]:
    """A job on a divided table that takes nothing over; all but the metric and the budget is left to Trainhouse."""
    return {
        "model": f"peers-{known.name.replace('_', '-')}",
        "task": {"target": known.target, "type": known.task},
        "data": {"sources": {"rows": {"kind": "dataset", "dataset_id": dataset_id}}},
        "validation": {"drift": {"reference": "none"}},
        "split": {"method": "predefined", "column": "part"},
        "tuning": {"metric": known.metric, **tuning},
        "reproducibility": {"reuse": False, "seed": known.seed},
    }


def moment(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


def commit() -> str:
    """The commit that last changed the service, with a mark where its files differ from it."""
    code = ["--", *SERVICE]
    changed = git("status", "--porcelain", *code)
    return git("log", "-1", "--format=%h", "--abbrev=10", *code) + ("-dirty" if changed else "")


def git(*words: str) -> str:
    """What git says of this repository."""
    said = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout.strip()
