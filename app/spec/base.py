"""What every part of a spec shares: strictness, names, limits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from app.errors import Violation, bounded, step
from app.receipts import MOST_EXACT

MAX_TRIALS = 1_000
MAX_PARALLEL = 64
MAX_COLUMNS = 10_000
MAX_SOURCES = 50
MAX_SPEC_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_VIOLATIONS = 100
MAX_INTEGER = MOST_EXACT


def misfit(message: str, *at: str | int) -> PydanticCustomError:
    """What a validator over several fields raises; `at` leads from the part it validates to the field to be changed."""
    return PydanticCustomError("value_error", "{message}", {"at": list(at), "message": message})


ACCEPTED = {"accepted": True}
"""The context in which a spec is read again that was accepted once: see `was_accepted`."""


def was_accepted(info: ValidationInfo) -> bool:
    """Whether the spec was accepted before: then it says in vain what newer rules refuse, and means what it meant."""
    return bool((info.context or {}).get("accepted"))


class Part(BaseModel):
    """A part of a spec: unknown fields and loose types are refused, defaults are written out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def no_control(text: str) -> str:
    """`text` itself; raises ValueError where it holds a control character or a lone surrogate.

    Postgres cannot store NUL, and control or direction-changing characters hide what a name says.
    """
    hidden = {*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}
    for char in text:
        point = ord(char)
        if point < 0x20 or 0x7F <= point < 0xA0 or 0xD800 <= point <= 0xDFFF or point in hidden:
            raise ValueError(f"must not hold the character U+{point:04X}")
    return text


def no_nul(text: str) -> str:
    """`text` itself; raises ValueError where it holds NUL or a lone surrogate."""
    if "\x00" in text or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ValueError("must not hold NUL or a lone surrogate")
    return text


def exact(value: Any) -> Any:
    """`value` itself; raises ValueError for numbers that not every reader of JSON keeps as they are.

    Whole ones beyond 2**53 - 1 are rounded by some, and come back from a JSONB column as integers, whatever they were.
    """
    if isinstance(value, int | float) and abs(value) > MAX_INTEGER:
        raise ValueError(f"must lie between -{MAX_INTEGER} and {MAX_INTEGER}")
    return value


def in_range(at: datetime) -> datetime:
    """`at` itself; raises ValueError for years at which a change of the time zone would leave the calendar."""
    if not 1970 <= at.year <= 9998:
        raise ValueError("must lie between 1970 and 9998")
    return at


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(in_range)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,62}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Column = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(no_nul)]
Text = Annotated[str, Field(max_length=2_000), AfterValidator(no_nul)]
Sql = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(no_nul)]
Label = Annotated[str, Field(max_length=256), AfterValidator(no_control)]
JobId = Annotated[str, Field(pattern=r"^job_[A-Za-z0-9]{1,64}$")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Plain = Annotated[str, Field(max_length=1_000), AfterValidator(no_nul)] | bool | int | Finite
Scalar = Annotated[Plain, AfterValidator(exact)]
Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]


def violations_of(errors: list[Any], prefix: str = "", *, document: Any = None) -> list[Violation]:
    """Pydantic's error list as violations, with a JSON pointer into `document` for each; at most MAX_VIOLATIONS."""
    found = []
    for error in errors[:MAX_VIOLATIONS]:
        steps = _without_tags(error["loc"], document, lacking=error["type"] == "missing")
        if error["type"].startswith("union_tag"):
            steps.append(error.get("ctx", {}).get("discriminator", "").strip("'"))
        steps += error.get("ctx", {}).get("at", [])
        pointer = prefix + "".join(map(step, steps))
        message = bounded(error["msg"].removeprefix("Value error, "))
        found.append(Violation(pointer=bounded(pointer), code=error["type"], message=message))
    return found


def _without_tags(loc: Sequence[int | str], document: Any, *, lacking: bool) -> list[int | str]:
    """Where a fault is in the document; Pydantic also names the chosen member of a union, which is no place in it.

    The last step stays even though the document lacks it, where `lacking` is what the fault is.
    """
    if not isinstance(document, dict | list):
        return list(loc)
    found: list[int | str] = []
    here: Any = document
    for position, name in enumerate(loc):
        inside = (isinstance(here, dict) and name in here) or (isinstance(here, list) and name in range(len(here)))
        if inside or (lacking and position == len(loc) - 1 and isinstance(here, dict | list)):
            found.append(name)
            here = here[name] if inside else None
    return found
