"""How long the replay of a gate policy over past candidates takes: POST to answer, over HTTP.

    python -m benchmarks.replay --candidates 200

One job is run; its rows are laid down once more for each further candidate, evidence and all.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.budgets import opened
from benchmarks.reproductions import succeeded
from benchmarks.reuse import a_table
from standalone.client import Client

ROWS = 20_000
COPIED = """
    INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', j.id || '_' || n))).*
    FROM jobs j, generate_series(1, %(more)s) n WHERE j.id = %(job)s;
    INSERT INTO job_stages SELECT (jsonb_populate_record(s, jsonb_build_object('job_id', s.job_id || '_' || n))).*
    FROM job_stages s, generate_series(1, %(more)s) n WHERE s.job_id = %(job)s;
"""
RULES = [
    {"metric": "roc_auc", "min": 0.7}, {"metric": "accuracy", "min": 0.6, "slice": {"k0": "v1"}},
    {"metric": "roc_auc", "across": ["k1"], "max_gap": 0.1}, {"metric": "model_bytes", "max": 10_000_000},
]  # fmt: skip


def main() -> None:
    """Measures and prints the seconds."""
    asked = arguments()
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Path(folder, "house")) as stack,
        Client(stack.url, stack.api_key) as client,
    ):
        spec = {
            "model": "replayed", "task": {"target": "y", "type": "binary"},
            "data": {"sources": {"t": {"kind": "dataset", "dataset_id": client.upload(
                a_table(Path(folder, "t.parquet"), rows=ROWS))}}},
            "training": {"max_iterations": 20}, "tuning": {"strategy": "none"},
            "evaluation": {"slices": [{"columns": [f"k{index}"], "min_rows": 20} for index in range(4)]},
        }  # fmt: skip
        job = succeeded(client, client.submit(spec))
        with psycopg.connect(stack.engines.postgres.url) as connection:
            for statement in COPIED.split(";")[:2]:
                connection.execute(statement, {"more": asked.candidates - 1, "job": job["id"]})
        client.make("/v1/gate-policies", {"name": "strict", "gate": {"judge_by": "low", "rules": RULES}})
        took = []
        for _ in range(asked.runs):
            began = time.perf_counter()
            found = client.make("/v1/gate-policies/strict/versions/1/replay", {"limit": asked.candidates})
            took.append(time.perf_counter() - began)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(found["verdicts"].items()))
        print(
            f"{found['candidates']} candidates, {len(RULES)} rules: median {statistics.median(took):.3f} s of"
            f" {asked.runs} ({min(took):.3f} to {max(took):.3f}); {counted}"
        )


def arguments() -> argparse.Namespace:
    """What the caller asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--runs", type=int, default=11, help="replays that are timed (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
