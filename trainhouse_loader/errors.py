"""What can go wrong where a bundle is opened and asked: the trunk that every error of Trainhouse grows from.

The whole tree is in `app.errors`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

ECHO_LIMIT = 200


@dataclass(frozen=True)
class Violation:
    """One fault in an input: where it is (JSON pointer, or column), what is wrong, and what to do."""

    pointer: str
    code: str
    message: str
    hint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, for programs: column, check, count, share, rows; left out where there is nothing."""

    def document(self) -> dict[str, Any]:
        """The violation as JSON."""
        said: dict[str, Any] = {"pointer": self.pointer, "code": self.code, "message": self.message, "hint": self.hint}
        return {**said, "facts": dict(self.facts)} if self.facts else said


def step(name: object) -> str:
    """A step of a JSON pointer, with the slash before it (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def bounded(text: object) -> str:
    """`text` cut to a length that is safe to show, NUL and what UTF-8 cannot say written out.

    A caller's words are never echoed whole.
    """
    shown = str(text).replace("\x00", "\\0").encode(errors="backslashreplace").decode()
    return shown if len(shown) <= ECHO_LIMIT else shown[: ECHO_LIMIT - 1] + "…"


class TrainhouseError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        hint: str = "",
        violations: list[Violation] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().split("\n")[0]
        self.stable_code = code or self.code
        self.hint = hint
        self.violations = violations or []
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)

    def under(self, pointer: str) -> Self:
        """This error, each violation led to from `pointer`; one without violations gets one there, which says it all."""
        self.violations = [
            each if (each.pointer + "/").startswith(pointer + "/") else replace(each, pointer=pointer + each.pointer)
            for each in self.violations
        ] or [Violation(pointer, self.stable_code, self.detail, self.hint)]
        return self

    def document(self) -> dict[str, Any]:
        """The error as the part of a problem document that does not depend on HTTP."""
        return {
            "type": f"https://trainhouse.dev/problems/{self.stable_code}",
            "title": (type(self).__doc__ or "").strip().split("\n")[0].rstrip("."),
            "detail": self.detail,
            "code": self.stable_code,
            "retryable": self.retryable,
            "hint": self.hint,
            "errors": [violation.document() for violation in self.violations],
        }


class CallerError(TrainhouseError):
    """The caller can mend this."""

    code = "caller_error"


class InvalidData(CallerError):
    """The data cannot be trained on."""

    code = "invalid_data"


class MachineError(TrainhouseError):
    """The job's own work broke."""

    code = "internal"


class DigestMismatch(MachineError):
    """Stored bytes are not those that were recorded."""

    code = "digest_mismatch"
