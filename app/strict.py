"""Requests as strict as the contract: JSON of bounded depth without NaN or repeated keys, no unknown parameter."""

import json
import math
from typing import Any

from fastapi import Request

from app.errors import InvalidRequest, TooLarge, UnknownParameter, Violation
from app.spec.base import MAX_DEPTH


def parse_json(raw: bytes) -> Any:
    """The document that `raw` holds.

    Raises:
        InvalidRequest: it is not UTF-8, not JSON, or holds a key twice or a number that is not finite.
        TooLarge: it is nested deeper than MAX_DEPTH.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}).", code="not_utf8") from None
    _refuse_depth(text)
    try:
        return json.loads(
            text, object_pairs_hook=_once_each, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", code="json_invalid"
        ) from None


def _refuse_depth(text: str) -> None:
    depth, inside, escaped = 0, False, False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise TooLarge(f"The body is nested deeper than {MAX_DEPTH} levels.", code="too_deep")
        elif char in "]}":
            depth -= 1


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(
                "The body holds a key twice.", code="duplicate_key",
                violations=[Violation(f"/{key[:64]}", "duplicate_key", "this key stands twice in one object")],
            )  # fmt: skip
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise InvalidRequest(f"The body holds {name}, which is no JSON number.", code="number_not_finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidRequest("The body holds a number beyond the range of a double.", code="number_not_finite")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20:
        raise InvalidRequest("The body holds an integer beyond 64 bits.", code="number_too_large")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise InvalidRequest("The body holds an integer beyond 64 bits.", code="number_too_large")
    return value


async def refuse_unknown_parameters(request: Request) -> None:
    """A query parameter that the operation does not know is a fault, not a thing to ignore.

    Raises:
        UnknownParameter
    """
    known = _known_parameters(request)
    unknown = [name for name in request.query_params if name not in known and not name.startswith("label.")]
    if unknown:
        raise UnknownParameter(
            f"Unknown query parameter {unknown[0][:64]!r}.",
            hint=f"Known here: {', '.join(sorted(known)) or 'none'}.",
            violations=[Violation(f"/query/{name[:64]}", "unknown_parameter", "not known here") for name in unknown],
        )


def _known_parameters(request: Request) -> set[str]:
    dependant = request.scope["route"].dependant
    found, todo = set(), [dependant]
    while todo:
        current = todo.pop()
        found |= {parameter.alias for parameter in current.query_params}
        todo.extend(current.dependencies)
    return found
