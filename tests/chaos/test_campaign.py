"""A seeded campaign of random kills and outages over a stream of jobs: nothing is lost, nothing happens twice.

`CHAOS_FAULTS` says how many faults (8 in CI, hundreds in `make chaos`), `CHAOS_SEED` which.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import redis

from app.storage import S3Store
from standalone.rows import settings as settings_from
from tests.chaos.invariants import missing_blobs, violations
from tests.driver import RunningStack, agreed, eventually
from tests.journeys.soundness import a_spec, a_table, database, holder_of

FAULTS = int(os.environ.get("CHAOS_FAULTS", "8"))
SEED = int(os.environ.get("CHAOS_SEED", "20261123"))
JOBS_IN_FLIGHT = 6
ENDED = {"succeeded", "rejected", "failed", "cancelled"}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("succeeded", {}),
    "linear": ("succeeded", {"training": {"algorithm": "linear"}}),
    "reusing": ("succeeded", {"reproducibility": {"reuse": True}}),
    "search": ("succeeded", {"tuning": {"strategy": "random", "max_trials": 4, "max_parallel": 2}}),
    "refused": ("rejected", {"gate": {"rules": [{"metric": "roc_auc", "min": 1.0}], "on_fail": "reject"}}),
    "broken": ("failed", {"task": {"target": "no-such-column"}}),
}


@dataclass
class Campaign:
    """What was done and what is expected of it."""

    stack: RunningStack
    dataset_id: str
    chance: random.Random
    expected: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)

    def submit(self) -> None:
        """One job, submitted until it is accepted: the same key on every try, so that it is accepted once."""
        kind = self.chance.choice(sorted(KINDS))
        expected, parts = KINDS[kind]
        spec = a_spec(self.dataset_id, f"chaos-{kind}", **parts)
        key = f"chaos-{SEED}-{len(self.expected)}"

        def accepted() -> bool:
            try:
                answer = self.stack.client.post("/v1/jobs", json=spec, headers={"Idempotency-Key": key})
            except httpx2.TransportError:
                return False
            if answer.status_code in {409, 503}:
                return False
            self.expected[agreed(answer)["id"]] = expected
            return True

        eventually(accepted, within=60, what="a job being accepted")

    def ended(self) -> int:
        """How many of the campaign's jobs have ended."""
        with database(self.stack) as looking:
            row = looking.execute(
                "select count(*) from jobs where id = any(%s) and status = any(%s)",
                (list(self.expected), sorted(ENDED)),
            ).fetchone()
        return int(row[0]) if row else 0

    def strike(self) -> None:
        """One random fault, then everything that died is started again; the time until work goes on is kept."""
        name = self.chance.choice(sorted(FAULT_KINDS))
        self.faults[name] += 1
        before = self.ended()
        FAULT_KINDS[name](self)
        began = time.monotonic()
        self.stack.heal()
        if before < len(self.expected):
            eventually(lambda: self.ended() > before, within=120, what=f"a job ending after {name}")
            self.recoveries.append(time.monotonic() - began)


def kill_work(campaign: Campaign) -> None:
    """SIGKILL to the very process that holds a job."""
    with database(campaign.stack) as looking:
        signal_holder(campaign, looking, signal.SIGKILL)


def pause_work(campaign: Campaign) -> None:
    """SIGSTOP to a process that holds a job, until its lease has run out; then it wakes, and must find itself fenced."""
    with database(campaign.stack) as looking:
        looking.autocommit = True
        job_id, pid = signal_holder(campaign, looking, signal.SIGSTOP)
        try:
            eventually(lambda: not lease_stands(looking, job_id, pid), within=30, what="the lease running out")
        finally:
            with contextlib.suppress(ProcessLookupError):  # its parent may have given it up meanwhile
                os.kill(pid, signal.SIGCONT)


def signal_holder(campaign: Campaign, looking: psycopg.Connection[Any], number: int) -> tuple[str, int]:
    """Sends the signal to a process that holds a job; waits for one, so that each fault that is counted has struck."""
    struck: list[tuple[str, int]] = []

    def has_struck() -> bool:
        for job_id in campaign.expected:
            pid = holder_of(looking, job_id)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):  # a lease outlives its process
                    os.kill(pid, number)
                    struck.append((job_id, pid))
                    return True
        return False

    eventually(has_struck, within=60, what="a process that holds a job")
    return struck[0]


def lease_stands(looking: psycopg.Connection[Any], job_id: str, pid: int) -> bool:
    """Whether that process still holds a live lease on the job or on one of its trials."""
    return (
        looking.execute(
            "select 1 from jobs where id = %(job)s and lease_owner like %(owner)s and lease_until > now()"
            " union select 1 from trials where job_id = %(job)s and lease_owner like %(owner)s and lease_until > now()"
            " and status = 'running'",
            {"job": job_id, "owner": f"%:{pid}:%"},
        ).fetchone()
        is not None
    )


def flush_bells(campaign: Campaign) -> None:
    """FLUSHALL."""
    redis.Redis.from_url(campaign.stack.engines.redis.url).flushall()


FAULT_KINDS: dict[str, Callable[[Campaign], None]] = {
    "kill -9 a worker": lambda campaign: campaign.chance.choice(campaign.stack.workers).kill(),
    "kill -9 the process that holds a job": kill_work,
    "pause the process that holds a job past its lease": pause_work,
    "kill -9 the dispatcher": lambda campaign: campaign.stack.dispatcher.kill(),
    "kill -9 the API": lambda campaign: campaign.stack.api.kill(),
    "kill -9 Redis": lambda campaign: campaign.stack.engines.redis.kill(),
    "FLUSHALL": flush_bells,
    "kill -9 Postgres": lambda campaign: campaign.stack.engines.postgres.kill(),
    "kill -9 the store": lambda campaign: campaign.stack.engines.s3.kill(),
}


@pytest.mark.timeout(0)
def test_no_fault_loses_a_job_or_makes_anything_happen_twice(stack: RunningStack, tmp_path: Path) -> None:
    stack.heal()
    chance = random.Random(SEED)  # a seeded campaign
    campaign = Campaign(stack, stack.client.upload(a_table(tmp_path / "t.csv")), chance)
    for _fault in range(FAULTS):
        while len(campaign.expected) - campaign.ended() < JOBS_IN_FLIGHT:
            campaign.submit()
        campaign.strike()
    eventually(lambda: campaign.ended() == len(campaign.expected), within=300, what="every job ending")
    settings = settings_from(stack.stack.variables)
    with database(stack) as looking:
        rows = looking.execute(
            "select id, status, error->>'code', attempt from jobs where id = any(%s)", (list(campaign.expected),)
        ).fetchall()
        found = violations(looking, list(campaign.expected), strikes=settings.max_strikes)
        lost_bytes = missing_blobs(looking, S3Store(settings))
    report(campaign, rows)
    assert not found
    assert not lost_bytes
    wrong = [(job_id, status, code) for job_id, status, code, _ in rows if status != campaign.expected[job_id]]
    assert [job for job in wrong if job[2] != "poison"] == []
    assert len(wrong) <= max(1, len(rows) // 50), "chance strikes the same stage of a job that often, but seldom"


def report(campaign: Campaign, rows: list[tuple[Any, ...]]) -> None:
    """Prints what was done and how it ended."""
    print(f"\nseed {SEED}: {sum(campaign.faults.values())} faults, {len(rows)} jobs")
    for name, count in sorted(campaign.faults.items()):
        print(f"  {count:5d}  {name}")
    print("  ended:", dict(Counter(status for _, status, _, _ in rows)))
    print("  attempts:", dict(sorted(Counter(attempt for _, _, _, attempt in rows).items())))
    if campaign.recoveries:
        seconds = sorted(campaign.recoveries)
        worst, middle = seconds[-1], seconds[len(seconds) // 2]
        print(f"  seconds until a job ended after a fault: median {middle:.1f}, longest {worst:.1f}")
