"""A version's model card: what it was trained on, how good it is, and how it was let through."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app import verdicts
from app.cards import LIMITS, Card, Section, number
from app.tables import Job, ModelVersion

PARTS = ("test", "validation")


def card_of(version: ModelVersion, job: Job, said: Mapping[str, Mapping[str, Any]]) -> Card:
    """The version's card.

    Args:
        said: By stage, the output that later stages read.
    """
    title = f"{version.model}, version {version.version}"
    return Card(title, version.description, list(sections(version, job, said)))


def sections(version: ModelVersion, job: Job, said: Mapping[str, Mapping[str, Any]]) -> Iterator[Section]:
    """What a card says, in order."""
    evaluated = said.get("evaluate", {})
    yield _task(version, job, said)
    for part in PARTS:
        if found := version.metrics.get(part):
            yield _metrics(part, found, evaluated if part == "test" else {})
    if slices := [each for each in evaluated.get("slices", []) if each["metrics"]]:
        yield _slices(slices, said.get("train", {}).get("metric"))
    if version.gate:
        yield _gate(version, version.gate)
    yield LIMITS
    yield Section("Where it comes from", points=(
        f"Job: {job.id}", f"Registered: {version.created_at:%Y-%m-%dT%H:%M:%SZ}", f"Spec: {version.spec_digest}",
        f"Data: {version.data_digest or 'unknown'}", f"Bundle: {version.bundle_digest}, {version.bundle_bytes:,} bytes",
    ))  # fmt: skip


def _task(version: ModelVersion, job: Job, said: Mapping[str, Mapping[str, Any]]) -> Section:
    task, training = job.spec["task"], job.spec["training"]
    members = said.get("tune", {}).get("members") or [said.get("train", {})]
    algorithms = sorted({str(member.get("algorithm", training["algorithm"])) for member in members})
    points = [
        f"Predicts: {task['target']}", f"Task: {said.get('validate', {}).get('task_type') or task['type']}",
        f"Algorithm: {', '.join(algorithms)}",
    ]  # fmt: skip
    if rows := said.get("evaluate", {}).get("rows"):
        points.append("Rows: " + ", ".join(f"{count:,} {part}" for part, count in rows.items()))
    if features := said.get("validate", {}).get("features"):
        points.append(f"Features: {', '.join(f'{name} ({kind})' for name, kind in features)}")
    points += [f"{name}: {value}" for name, value in sorted(version.tags.items())]
    return Section("What it does", points=points)


def _metrics(part: str, found: Mapping[str, Any], evaluated: Mapping[str, Any]) -> Section:
    others = {"best constant": "baseline", "linear model": "linear"}
    beside = {title: evaluated[name] for title, name in others.items() if evaluated.get(name)}
    rows = []
    for name, entry in sorted(found.items()):
        measured: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"value": entry}
        own = [number(measured.get(key)) for key in ("value", "low", "high")]
        rows.append([name, *own, *(number(values.get(name, {}).get("value")) for values in beside.values())])
    return Section(f"How good it is on the {part} part", head=("metric", "value", "low", "high", *beside), rows=rows)


def _slices(slices: Sequence[Mapping[str, Any]], metric: str | None) -> Section:
    name = metric if metric in slices[0]["metrics"] else min(slices[0]["metrics"])
    rows = []
    for each in slices:
        where = ", ".join(
            f"{column} = {'missing' if value is None else value}" for column, value in each["where"].items()
        )
        entry = each["metrics"].get(name, {})
        rows.append([where, f"{each['rows']:,}", *(number(entry.get(key)) for key in ("value", "low", "high"))])
    return Section("Where it is worst", head=("rows where", "rows", str(name), "low", "high"), rows=rows)


def _gate(version: ModelVersion, gate: Mapping[str, Any]) -> Section:
    text = f"The gate's verdict: {gate.get('verdict', 'none')}."
    if review := version.facts.get("approved_review"):
        text += f" A person approved it all the same, in review {review}."
    points = []
    for rule in gate.get("rules", []):
        reason = f" ({rule['reason']})" if rule.get("reason") else ""
        said = f"{verdicts.subject(rule)}, {verdicts.wanted(rule)}: {number(rule.get('value'))}"
        points.append(f"{said}, {rule.get('verdict', '')}{reason}")
    return Section("How it was let through", text=text, points=points)
