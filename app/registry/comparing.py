"""Two versions of a model side by side: what their specs, metrics, data and features differ in."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.errors import step
from app.registry import service
from app.spec.decision import LOWER_IS_BETTER
from app.tables import Job, ModelVersion

MOST_FIELDS = 500
PARTS = ("test", "validation")


def compared(session: Session, one: ModelVersion, other: ModelVersion) -> dict[str, Any]:
    """What `other` differs in from `one`; see `app.registry.schemas.ComparisonOut`."""
    jobs = [session.get_one(Job, row.job_id) for row in (one, other)]
    said = [service.outputs_of(session, row.job_id) for row in (one, other)]
    fields = list(differing(jobs[0].spec, jobs[1].spec))
    return {
        "model": one.model, "versions": [one.version, other.version], "spec": fields[:MOST_FIELDS],
        "metrics": {part: _metrics(one.metrics.get(part, {}), other.metrics.get(part, {})) for part in PARTS},
        "data": {
            "digests": [one.data_digest, other.data_digest], "same": one.data_digest == other.data_digest,
            "rows": [each.get("ingest", {}).get("rows") for each in said],
        },
        "features": _features(*(dict(each.get("validate", {}).get("features", [])) for each in said)),
        "bundles": {
            "digests": [one.bundle_digest, other.bundle_digest], "same": one.bundle_digest == other.bundle_digest,
            "size_bytes": [one.bundle_bytes, other.bundle_bytes],
        },
    }  # fmt: skip


def differing(one: Any, other: Any, pointer: str = "") -> Iterator[dict[str, Any]]:
    """Each place, as a JSON pointer, at which two documents differ, with what stands there in each; null is nothing."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from differing(one.get(name), other.get(name), pointer + step(name))
    elif one != other or type(one) is not type(other):
        yield {"pointer": pointer, "values": [one, other]}


def _metrics(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _metric(name, one.get(name), other.get(name)) for name in sorted({*one, *other})}


def _metric(name: str, one: Any, other: Any) -> dict[str, Any]:
    entries = [each if isinstance(each, Mapping) else {} for each in (one, other)]
    before, after = (each.get("value") for each in entries)
    gain = None
    if before is not None and after is not None:
        gain = (after - before) * (-1 if name in LOWER_IS_BETTER else 1)
    (low, high), (other_low, other_high) = ends = [(each.get("low"), each.get("high")) for each in entries]
    apart = None
    if low is not None and high is not None and other_low is not None and other_high is not None:
        apart = high < other_low or other_high < low
    return {"values": [before, after], "intervals": [list(pair) for pair in ends], "gain": gain, "apart": apart}


def _features(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, Any]:
    both = sorted({*one} & {*other})
    return {
        "added": [name for name in other if name not in one], "removed": [name for name in one if name not in other],
        "retyped": [{"name": name, "types": [one[name], other[name]]} for name in both if one[name] != other[name]],
    }  # fmt: skip
