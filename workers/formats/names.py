"""Names of columns that a caller asks for, against those that there are."""

import difflib
from collections.abc import Sequence

from app.errors import InvalidData, Violation, bounded


def require_known(asked: Sequence[str], names: Sequence[str], *, pointer: str = "/columns") -> None:
    """Nothing, where every one of `asked` is in `names`.

    Raises:
        InvalidData: `unknown_column`, with one violation for each name, and names like it.
    """
    known = set(names)
    faults = [
        Violation(pointer=f"{pointer}/{index}", code="unknown_column",
                  message=f"There is no column {bounded(name)!r}.", hint=like(name, names))
        for index, name in enumerate(asked) if name not in known
    ]  # fmt: skip
    if faults:
        shown = ", ".join(repr(bounded(name)) for name in asked if name not in known)
        raise InvalidData(f"The data has no column {bounded(shown)}.", code="unknown_column", hint=faults[0].hint,
                          violations=faults[:100])  # fmt: skip


def like(name: str, names: Sequence[str]) -> str:
    """A hint with the names most like `name`, or with the first few."""
    lower = {known.lower(): known for known in names}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    shown = ", ".join(repr(bounded(known)) for known in near or names[:10])
    return f"Did you mean {shown}?" if near else f"The columns are {shown}{' …' if len(names) > 10 else ''}."
