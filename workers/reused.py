"""Whether a stage was taken over from an earlier job: what its row keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reuse:
    """Whether a stage was taken over, from which job, and why or why not; `key` and `parts` are for later jobs."""

    reused: bool
    reason: str
    from_job: str | None = None
    key: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As the stage's row keeps it, beside the key."""
        return {"reused": self.reused, "reason": self.reason, "from_job": self.from_job, "parts": dict(self.parts)}
