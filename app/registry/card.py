"""A version's model card: what it was trained on, how good it is, and how it was let through, in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from app import verdicts
from app.tables import Job, ModelVersion

PARTS = ("test", "validation")


def card_of(version: ModelVersion, job: Job, said: Mapping[str, Mapping[str, Any]]) -> str:
    """The card as Markdown; a caller's words in it are made harmless, so that none is read as markup.

    Args:
        said: By stage, the output that later stages read.
    """
    lines = [f"# {version.model}, version {version.version}", ""]
    if version.description:
        lines += [_plain(version.description), ""]
    return "\n".join([*lines, *_task(version, job, said), *_metrics(version), *_gate(version), *_origin(version, job)])


def _task(version: ModelVersion, job: Job, said: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    task, training = job.spec["task"], job.spec["training"]
    yield "## What it does"
    yield ""
    yield f"- Predicts: {_plain(task['target'])}"
    yield f"- Task: {_plain(said.get('validate', {}).get('task_type') or task['type'])}"
    members = said.get("tune", {}).get("members") or [said.get("train", {})]
    algorithms = sorted({str(member.get("algorithm", training["algorithm"])) for member in members})
    yield f"- Algorithm: {_plain(', '.join(algorithms))}"
    yield from (f"- {_plain(name)}: {_plain(value)}" for name, value in sorted(version.tags.items()))
    yield ""


def _metrics(version: ModelVersion) -> Iterator[str]:
    for part in PARTS:
        found = version.metrics.get(part)
        if not found:
            continue
        yield f"## How good it is on the {part} part"
        yield ""
        yield "| metric | value | low | high |"
        yield "|---|---:|---:|---:|"
        for name, said in sorted(found.items()):
            measured: Mapping[str, Any] = said if isinstance(said, dict) else {"value": said}
            yield (
                f"| {_plain(name)} | "
                + " | ".join(_number(measured.get(key)) for key in ("value", "low", "high"))
                + " |"
            )
        yield ""


def _gate(version: ModelVersion) -> Iterator[str]:
    if not version.gate:
        return
    yield "## How it was let through"
    yield ""
    yield f"The gate's verdict: {_plain(version.gate.get('verdict', 'none'))}."
    if review := version.facts.get("approved_review"):
        yield f"A person approved it all the same, in review {_plain(review)}."
    yield ""
    for rule in version.gate.get("rules", []):
        said = f"{verdicts.subject(rule)}, {verdicts.wanted(rule)}"
        reason = f" ({_plain(rule['reason'])})" if rule.get("reason") else ""
        yield f"- {_plain(said)}: {_number(rule.get('value'))}, {_plain(rule.get('verdict', ''))}{reason}"
    yield ""


def _origin(version: ModelVersion, job: Job) -> Iterator[str]:
    yield "## Where it comes from"
    yield ""
    yield f"- Job: {job.id}"
    yield f"- Registered: {version.created_at:%Y-%m-%dT%H:%M:%SZ}"
    yield f"- Spec: {version.spec_digest}"
    yield f"- Data: {version.data_digest or 'unknown'}"
    yield f"- Bundle: {version.bundle_digest}, {version.bundle_bytes:,} bytes"
    yield ""


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else ""


def _plain(text: object) -> str:
    """`text` on one line, with everything that Markdown or HTML would read as markup escaped."""
    words = " ".join(str(text).split())
    return "".join(f"\\{char}" if char in "\\`*_[]{}<>()#|!~&" else char for char in words)
