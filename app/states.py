"""States of jobs, stages, trials and deployments, the moves between them, and the ten stages in order."""

from enum import StrEnum

STAGES = (
    "ingest", "validate", "split", "transform", "train", "tune", "evaluate", "gate", "register", "deploy",
)  # fmt: skip

PLAN_STAGES = ("plan",)
REPRODUCE_STAGES = (*STAGES[: STAGES.index("gate")], "compare")
STAGES_OF: dict[str, tuple[str, ...]] = {"train": STAGES, "plan": PLAN_STAGES, "reproduce": REPRODUCE_STAGES}
"""The stages of each kind of job, in order."""


class JobStatus(StrEnum):
    """Where a job is; terminal states never change."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_REVIEW = "awaiting_review"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class StageStatus(StrEnum):
    """Where one stage of a job is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class TrialStatus(StrEnum):
    """Where one trial of a search is; `queued` is one taken back from a lost worker, to be run again."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"


class DeploymentState(StrEnum):
    """Where a deployment is; the deployer reports `accepted`, `serving` and `failed`."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    SERVING = "serving"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    TIMED_OUT = "timed_out"


J, D = JobStatus, DeploymentState

TERMINAL_JOBS = frozenset({J.SUCCEEDED, J.REJECTED, J.FAILED, J.CANCELLED})
ENDED_TRIALS = frozenset({TrialStatus.COMPLETE, TrialStatus.PRUNED, TrialStatus.FAILED, TrialStatus.LOST})
TERMINAL_DEPLOYMENTS = frozenset({D.SERVING, D.FAILED, D.SUPERSEDED, D.TIMED_OUT})

JOB_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    J.QUEUED: frozenset({J.RUNNING, J.CANCELLED, J.FAILED}),
    J.RUNNING: frozenset({J.QUEUED, J.AWAITING_REVIEW, J.SUCCEEDED, J.REJECTED, J.FAILED, J.CANCELLING, J.CANCELLED}),
    J.AWAITING_REVIEW: frozenset({J.QUEUED, J.REJECTED, J.CANCELLED}),
    J.CANCELLING: frozenset({J.CANCELLED}),
    J.FAILED: frozenset({J.QUEUED}),  # only by an explicit retry
    J.SUCCEEDED: frozenset(),
    J.REJECTED: frozenset(),
    J.CANCELLED: frozenset(),
}

DEPLOYMENT_MOVES: dict[DeploymentState, frozenset[DeploymentState]] = {
    D.REQUESTED: frozenset({D.ACCEPTED, D.SERVING, D.FAILED, D.SUPERSEDED, D.TIMED_OUT}),
    D.ACCEPTED: frozenset({D.SERVING, D.FAILED, D.SUPERSEDED}),
    D.SERVING: frozenset({D.SUPERSEDED, D.FAILED}),
    D.FAILED: frozenset(),
    D.SUPERSEDED: frozenset(),
    D.TIMED_OUT: frozenset(),
}
