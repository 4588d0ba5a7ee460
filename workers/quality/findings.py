"""What validation found: each finding says how bad it is, where, how much of it, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from app.errors import InvalidData, Violation, step
from workers.context import Warned

Severity = Literal["info", "warn", "fail"]

SHOWN_ROWS = 5
MAX_SHOWN = 200
ORDER: dict[Severity, int] = {"fail": 0, "warn": 1, "info": 2}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: `fail` stops the job, `warn` is shown with the stage, `info` stands in the report only.
        code: Stable, for programs.
        message: For people; names the column, holds no cell but class and category names.
        column: The column it is about, where it is about one.
        check: The rule of the contract that was broken.
        count: How many rows (or columns) it is about.
        share: The same as a share of all.
        rows: At most five example rows, counted from 0 in the ingested table.
        hint: What to do.
        pointer: The place in the spec that decides about it, as a JSON pointer.
    """

    severity: Severity
    code: str
    message: str
    column: str | None = None
    check: str | None = None
    count: int | None = None
    share: float | None = None
    rows: tuple[int, ...] = ()
    hint: str = ""
    pointer: str = "/validation"

    def document(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {**asdict(self), "rows": list(self.rows)}

    def violation(self) -> Violation:
        """The finding as one fault of the answer that refuses the data."""
        measured = {"column": self.column, "check": self.check, "count": self.count, "share": self.share,
                    "rows": list(self.rows) or None}  # fmt: skip
        facts = {name: value for name, value in measured.items() if value is not None}
        return Violation(self.pointer, self.code, self.message, self.hint, facts)

    def warned(self) -> Warned:
        """The finding as a warning of its stage."""
        return Warned(self.code, self.message, column=self.column, hint=self.hint)


def pointer_to(part: str, column: str) -> str:
    """The JSON pointer to what `part` of the spec says of `column`."""
    return part + step(column)


def examples(failing: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The first rows of a mask, at most five."""
    rows: list[int] = []
    start = 0
    while len(rows) < SHOWN_ROWS and start < len(failing):
        rows.extend(int(start + found) for found in np.flatnonzero(failing[start : start + 65_536])[:SHOWN_ROWS])
        start += 65_536
    return tuple(rows[:SHOWN_ROWS])


def listed(rows: Sequence[int], count: int) -> str:
    """Some rows in words: `row 3, 9 …`."""
    return "row " + ", ".join(str(row) for row in rows) + (" …" if count > len(rows) else "")


def failures(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop the job."""
    return [finding for finding in findings if finding.severity == "fail"]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; otherwise as they were found."""
    return sorted(findings, key=lambda finding: ORDER[finding.severity])


def refusal(failing: Sequence[Finding]) -> InvalidData:
    """The error that names every one of `failing`; its code is theirs, or `validation_failed` where they differ."""
    codes = list(dict.fromkeys(finding.code for finding in failing))
    first = failing[0]
    detail = first.message
    if len(failing) > 1:
        kinds = f" ({', '.join(codes)})" if len(codes) > 1 else ""
        detail = f"{len(failing)} findings forbid training{kinds}; first: {first.message}"
    return InvalidData(
        detail, code=codes[0] if len(codes) == 1 else "validation_failed", hint=first.hint,
        violations=[finding.violation() for finding in failing[:MAX_SHOWN]],
    )  # fmt: skip
