"""Requests as strict as the contract: JSON of bounded depth without NaN or repeated keys, no unknown parameter."""

import json
import math
from typing import Any

from fastapi import Request

from app.errors import InvalidRequest, TooLarge, UnknownParameter, Violation, bounded, step
from app.spec.base import MAX_DEPTH

LABEL = "label."


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
    repeated: list[tuple[dict[str, Any], str]] = []
    try:
        document = json.loads(
            text, object_pairs_hook=lambda pairs: _object(pairs, repeated), parse_constant=_refuse_constant,
            parse_float=_finite, parse_int=_bounded,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", code="json_invalid"
        ) from None
    if repeated:
        raise InvalidRequest(
            "The body holds a key twice.", code="duplicate_key",
            violations=[Violation(_first(document, repeated), "duplicate_key", "this key stands twice in one object")],
        )  # fmt: skip
    return document


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


def _object(pairs: list[tuple[str, Any]], repeated: list[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """The object of `pairs`; a key that comes again is noted in `repeated`."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            repeated.append((found, key))
        found[key] = value
    return found


def _first(document: Any, repeated: list[tuple[dict[str, Any], str]]) -> str:
    """The pointer of the first key, from the top, that stands twice."""
    twice = {id(found): key for found, key in reversed(repeated)}
    seen: list[tuple[int, Any, Any]] = [(0, "", document)]
    place = 0
    while id(seen[place][2]) not in twice:  # an object with a key twice, or one around it, is in the document
        here = seen[place][2]
        inner = here.items() if isinstance(here, dict) else enumerate(here)
        seen += [(place, name, value) for name, value in inner if isinstance(value, dict | list)]
        place += 1
    steps = [twice[id(seen[place][2])]]
    while place:
        place, name, _ = seen[place]
        steps.append(name)
    return bounded("".join(map(step, reversed(steps))))


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


async def wanted_labels(request: Request) -> dict[str, str]:
    """By key, the values that the parameters `label.KEY=VALUE` ask for; who depends on this takes such parameters."""
    return {name.removeprefix(LABEL): value for name, value in request.query_params.items() if name.startswith(LABEL)}


async def refuse_unknown_parameters(request: Request) -> None:
    """A query parameter that the operation does not know is a fault, not a thing to ignore.

    Raises:
        UnknownParameter
    """
    known, labelled = _known_parameters(request)
    unknown = [name for name in request.query_params if name not in known and not (labelled and name.startswith(LABEL))]
    if unknown:
        shown = sorted(known | ({f"{LABEL}KEY"} if labelled else set()))
        raise UnknownParameter(
            f"Unknown query parameter {unknown[0][:64]!r}.",
            hint=f"Known here: {', '.join(shown) or 'none'}.",
            violations=[
                Violation(bounded(f"/query{step(name[:64])}"), "unknown_parameter", "not known here")
                for name in unknown
            ],
        )


def _known_parameters(request: Request) -> tuple[set[str], bool]:
    """(the names that the operation knows, whether it takes labels too)."""
    found, labelled, todo = set(), False, [request.scope["route"].dependant]
    while todo:
        current = todo.pop()
        found |= {parameter.alias for parameter in current.query_params}
        labelled = labelled or current.call is wanted_labels
        todo.extend(current.dependencies)
    return found, labelled
