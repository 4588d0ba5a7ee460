"""The one page of errors: what can go wrong, whose turn it is, and what to do next.

TrainhouseError
├── CallerError                  the caller can mend it; never retried by the service
│   ├── InvalidRequest           the request itself is malformed
│   │   ├── InvalidSpec          a job spec that cannot be run, with one violation per fault
│   │   ├── TooLarge             a body, a file or a list beyond its limit
│   │   └── UnknownParameter     a query parameter that does not exist
│   ├── InvalidData              the data cannot be trained on (empty, ragged, one class, unknown column …)
│   ├── Unauthenticated          no key, or none that is known
│   ├── Forbidden                a known key without the scope
│   ├── NotFound                 no such thing in this project
│   ├── Conflict                 the thing is in a state that does not allow it
│   │   └── StillRunning         the first request with this Idempotency-Key has not ended
│   ├── IdempotencyKeyReused     the same Idempotency-Key came with another body
│   ├── PreconditionRequired     a conditional header is needed
│   ├── PreconditionFailed       somebody else changed it first
│   ├── EgressDenied             a URL or host that may not be reached
│   └── SourceRefused            a connection's engine refused (bad secret, missing table, SQL error)
├── Unavailable                  infrastructure; the same call may succeed later
│   ├── DatabaseUnavailable      Postgres does not answer
│   ├── StoreUnavailable         the object store does not answer
│   ├── SourceUnavailable        a caller's source does not answer
│   └── ReceiverUnavailable      a webhook's receiver does not answer
└── MachineError                 the job's own work broke; retried while progress is made
    ├── OutOfMemory              an allocation failed or the kernel ended the process
    ├── DeadlineExceeded         a stage, a trial or the job ran past its limit
    ├── Poisoned                 the job ended its worker several times in a row without progress
    ├── TrainerFailed            a library broke during a fit
    ├── ParityFailed             the packed bundle does not predict what training predicted
    └── DigestMismatch           a blob's bytes are not those that were recorded

LeaseLost and Cancelled are signals between the engine's parts, not errors: nobody is shown them.
"""

from trainhouse_loader.errors import (
    ECHO_LIMIT,
    CallerError,
    DigestMismatch,
    InvalidData,
    MachineError,
    TrainhouseError,
    Violation,
    bounded,
    step,
)

__all__ = [
    "ECHO_LIMIT",
    "CallerError",
    "Cancelled",
    "Conflict",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DigestMismatch",
    "EgressDenied",
    "Forbidden",
    "IdempotencyKeyReused",
    "InvalidData",
    "InvalidRequest",
    "InvalidSpec",
    "LeaseLost",
    "MachineError",
    "NotFound",
    "OutOfMemory",
    "ParityFailed",
    "Poisoned",
    "PreconditionFailed",
    "PreconditionRequired",
    "ReceiverUnavailable",
    "SourceRefused",
    "SourceUnavailable",
    "StillRunning",
    "StoreUnavailable",
    "TooLarge",
    "TrainerFailed",
    "TrainhouseError",
    "Unauthenticated",
    "Unavailable",
    "UnknownParameter",
    "Violation",
    "bounded",
    "step",
]


class InvalidRequest(CallerError):
    """The request is not valid."""

    code = "invalid_request"


class InvalidSpec(InvalidRequest):
    """The job spec cannot be run as it is."""

    code = "invalid_spec"


class TooLarge(InvalidRequest):
    """The input is larger than the service accepts."""

    code = "too_large"


class UnknownParameter(InvalidRequest):
    """A query parameter does not exist."""

    code = "unknown_parameter"


class Unauthenticated(CallerError):
    """A valid API key is needed."""

    code = "unauthenticated"


class Forbidden(CallerError):
    """This key does not have the scope that the call needs."""

    code = "forbidden"


class NotFound(CallerError):
    """There is no such thing in this project."""

    code = "not_found"


class Conflict(CallerError):
    """The present state does not allow this."""

    code = "conflict"


class StillRunning(Conflict):
    """The first request with this Idempotency-Key has not ended yet."""

    code = "idempotency_in_flight"
    retryable = True


class IdempotencyKeyReused(CallerError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class PreconditionRequired(CallerError):
    """This change needs an If-Match header."""

    code = "precondition_required"


class PreconditionFailed(CallerError):
    """Somebody else changed this first."""

    code = "precondition_failed"


class EgressDenied(CallerError):
    """This address may not be reached."""

    code = "egress_denied"


class SourceRefused(CallerError):
    """The data source refused."""

    code = "source_refused"


class Unavailable(TrainhouseError):
    """A part the service depends on does not answer."""

    code = "unavailable"
    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"


class StoreUnavailable(Unavailable):
    """The object store does not answer."""

    code = "store_unavailable"


class SourceUnavailable(Unavailable):
    """A data source does not answer."""

    code = "source_unavailable"


class ReceiverUnavailable(Unavailable):
    """A webhook's receiver does not answer."""

    code = "receiver_unavailable"


class OutOfMemory(MachineError):
    """The job needs more memory than the worker has."""

    code = "out_of_memory"


class DeadlineExceeded(MachineError):
    """The work ran past its time limit."""

    code = "deadline_exceeded"


class Poisoned(MachineError):
    """The job ended its worker several times in a row."""

    code = "poison"


class TrainerFailed(MachineError):
    """A library broke during a fit."""

    code = "trainer_failed"


class ParityFailed(MachineError):
    """The packed bundle does not predict what training predicted."""

    code = "parity_failed"


class LeaseLost(Exception):  # a signal between the engine's parts, never shown
    """Another worker holds the lease; this one must stop and write nothing."""


class Cancelled(Exception):  # a signal between the engine's parts, never shown
    """The caller cancelled the job."""
