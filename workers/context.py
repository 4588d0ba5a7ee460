"""What a stage may see and what it may say; no database, no broker, no HTTP.

A stage is `run(ctx: Context) -> Outcome`. It reads its inputs from `ctx.workspace` and from the outputs of earlier
stages, writes files through `ctx.workspace.put`, and returns what the engine is to record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.spec.job import JobSpec


@dataclass(frozen=True)
class Blob:
    """A stored file: its content digest (`sha256:…`), its size, and how it is to be read."""

    digest: str
    size_bytes: int
    media_type: str = "application/octet-stream"


@dataclass(frozen=True)
class DatasetRef:
    """An uploaded data set: where its bytes are and what they are said to be."""

    dataset_id: str
    blob: Blob
    format: str
    """One of csv, csv.gz, parquet, json, jsonl, arrow."""
    filename: str


@dataclass(frozen=True)
class ConnectionRef:
    """A connection with its secret unsealed; it never leaves the worker's memory."""

    name: str
    kind: str
    config: Mapping[str, Any]
    secret: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Champion:
    """A registered version (mostly the one that the alias `champion` names when the job starts), and its job's artifacts."""

    model: str
    version: int
    job_id: str
    artifacts: Mapping[str, Blob]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Original:
    """The registered version that a job trains again, as the job that made it left it.

    Attributes:
        artifacts: By stage, by name.
        outputs: By stage, what it said for later stages.
        warm: What its search began with.
        libraries, code: What made it: versions by name, and the digest of the code, None where nobody wrote it down.
    """

    model: str
    version: int
    job_id: str
    artifacts: Mapping[str, Mapping[str, Blob]]
    outputs: Mapping[str, Mapping[str, Any]]
    warm: Mapping[str, Any]
    libraries: Mapping[str, str]
    code: str | None


@dataclass(frozen=True)
class TrialResult:
    """One ended trial, as the rows remember it."""

    number: int
    status: str
    params: Mapping[str, Any]
    value: float | None
    iterations: int | None
    metrics: Mapping[str, float]
    duration_seconds: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    """(iteration, validation value) pairs, as reported while fitting."""
    model: Blob | None = None
    """The fitted model's file; kept only where the trial may be chosen, as far as its worker knew."""
    predictions: Blob | None = None
    """float32 .npy, (rows, classes) or (rows,): of the rows that the trial is scored on, in the matrix's order."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the fit said of itself: `model_bytes`, `predict_ms`, `spread`, `folds`, `threads`, `timed_out` …"""


class Workspace(Protocol):
    """A stage's files. Blobs are content-addressed; names are those of the job's artifacts."""

    scratch: Path
    """An empty folder of this stage, removed after it."""

    def get(self, name: str) -> Path:
        """A local read-only file with the artifact `name` of an earlier stage of this job, digest checked.

        Raises:
            KeyError: no earlier stage put it.
            StoreUnavailable, DigestMismatch
        """
        ...

    def fetch(self, blob: Blob) -> Path:
        """A local read-only file with the bytes of `blob`, digest checked.

        Raises:
            StoreUnavailable, DigestMismatch
        """
        ...

    def digest(self, name: str) -> str:
        """The digest of the artifact `name` of an earlier stage of this job.

        Raises:
            KeyError: no earlier stage put it.
        """
        ...

    def put(self, name: str, path: Path, media_type: str = "application/octet-stream") -> Blob:
        """Stores `path` and records it as this stage's artifact `name`.

        Raises:
            StoreUnavailable
        """
        ...


class Checkpoints(Protocol):
    """Where long fits are saved, so that another worker goes on with them. A key names one fit of a stage or trial."""

    def resume(self, key: str) -> Path | None:
        """The model that `offer` last saved under `key`, of the same parameters; None where there is none to go on from."""
        ...

    def offer(self, key: str, iteration: int, save: Callable[[Path], None]) -> None:
        """Saves the model after `iteration` iterations by `save`, if enough time has passed since the last one."""
        ...

    def clear(self) -> None:
        """Removes what was saved; the engine calls it once the stage or trial has ended."""
        ...


class NoCheckpoints:
    """Checkpoints that keep nothing."""

    def resume(self, _key: str) -> Path | None:
        """See Checkpoints."""
        return None

    def offer(self, _key: str, _iteration: int, _save: Callable[[Path], None]) -> None:
        """See Checkpoints."""

    def clear(self) -> None:
        """See Checkpoints."""


@dataclass(frozen=True)
class Context:
    """What a stage may see.

    Attributes:
        job_id, spec: The job's id, for naming things, not for deciding things; and its resolved spec.
        workspace: Files of earlier stages, and the place for this stage's.
        seed: Of every random choice.
        threads: How many threads a fit may use; never more.
        outputs: By stage name, the `output` that the stage's Done carried.
        datasets: By id, every data set that the spec names.
        connections: By name, every connection that the spec names.
        champion: The model's champion, or None.
        original: The version that is trained again, where that is the job.
        reference: The version that `validation.drift.reference` names, or the champion, or None.
        tested: The artifacts `tested` of the model's earlier versions: hashed keys of the rows that judged them.
        row_secret: Of the keyed hashes that are kept of rows; None where none are kept.
        trials: The ended trials, in order of number (empty before `tune` ends).
        deadline: Reading of `time.monotonic()` after which the stage is stopped.
        budget_ends: Reading of `time.monotonic()` by which the chosen model, refitted, is to be ready: when
            `tuning.max_seconds`, counted from the start of `train`, are over; infinite without them.
        fit_ends: Reading of `time.monotonic()` at which a fit of this stage or trial ends with what it has by then.
        checkpoints: Where long fits are saved.
        search: What the job's row says of its search: `ended`, `ended_by`, `began_at` …; empty before there is one.
        warm: What a warm start brought to the search: `{"params": […], "why": …}`; empty before there is a search.
        progress: Call often with (done, total): it shows progress and raises Cancelled or LeaseLost when the
            stage must stop.
        log: A line for the job's log; no data values, no secrets.
    """

    job_id: str
    spec: JobSpec
    workspace: Workspace
    seed: int
    threads: int = 1
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, DatasetRef] = field(default_factory=dict)
    connections: Mapping[str, ConnectionRef] = field(default_factory=dict)
    champion: Champion | None = None
    original: Original | None = None
    reference: Champion | None = None
    tested: tuple[Blob, ...] = ()
    row_secret: bytes | None = field(default=None, repr=False)
    trials: tuple[TrialResult, ...] = ()
    deadline: float = float("inf")
    budget_ends: float = float("inf")
    fit_ends: float = float("inf")
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    search: Mapping[str, Any] = field(default_factory=dict)
    warm: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[float, float], None] = lambda _done, _total: None
    log: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True)
class Warned:
    """Something a person should know that did not stop the stage."""

    code: str
    message: str
    column: str | None = None
    hint: str = ""


@dataclass(frozen=True)
class Done:
    """The stage succeeded.

    Attributes:
        summary: Small JSON for people: counts, digests, seconds.
        output: JSON for later stages.
        warnings: Shown with the stage.
        metrics: By part (`validation`, `test`), by metric name, `{"value": …}`.
        facts: Job-level facts the engine records: `data_digest`, `best_trial`, `gate`.
    """

    summary: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped(Done):
    """The spec asks nothing of this stage; `reason` says so in the stage's summary."""

    reason: str = ""


@dataclass(frozen=True)
class FanOut:
    """Trials are wanted; the engine runs them, then calls the stage again with `ctx.trials` filled.

    Attributes:
        trials, parallel: How many there may be at the most, in all and at a time.
        minimize: Whether a lower value is better.
    """

    trials: int
    parallel: int
    minimize: bool


@dataclass(frozen=True)
class Refused:
    """The gate's answer is no: a person decides (`review`) or nobody does (`reject`)."""

    done: Done
    road: str
    """`review` or `reject`."""
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Registered(Done):
    """The version may appear: its bundle is stored and was proven to predict as training did."""

    bundle: Blob | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """`code`, the digest of the code that ran, and `libraries`, their versions by name."""


@dataclass(frozen=True)
class DeploymentRequested(Done):
    """A deployment is to be asked for; without a target there is none."""

    target: str = "none"


Outcome = Done | Skipped | FanOut | Refused | Registered | DeploymentRequested
Stage = Callable[[Context], Outcome]
