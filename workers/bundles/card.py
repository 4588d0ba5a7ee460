"""What a bundle says of its model in words: the model card, after Mitchell et al. (2019), and what it needs to run."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

LIBRARIES = ("lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops", "skrub")


def library_versions(*, derived: bool = False) -> dict[str, str]:
    """The versions of the libraries that trained the model, by name; DuckDB where it has `derived` columns."""
    return {name: version(name) for name in (*(("duckdb",) if derived else ()), *LIBRARIES)}


def requirements(libraries: Mapping[str, str]) -> str:
    """`requirements.txt` of a bundle: what training used, pinned."""
    return "".join(f"{name}=={found}\n" for name, found in libraries.items())


def card(metadata: Mapping[str, Any], *, inputs: Sequence[Mapping[str, str]], description: str) -> str:
    """`MODEL_CARD.md`: what the model is, what it was measured at, and what it must not be used for."""
    classes = ", ".join(f"`{_cell(name)}`" for name in metadata["classes"])
    lines = [
        f"# {metadata['model']}", "", description or "No description was given.", "",
        "## Model", "",
        f"- Task: {metadata['task']}, target `{_cell(metadata['target'])}`" + (f", classes {classes}" if classes else ""),
        f"- Algorithm: {metadata['algorithm']}, {metadata['iterations']} iterations",
        f"- Parameters: {_listed(metadata['params'])}",
        f"- Rows: {_listed(metadata['rows'])}",
        f"- Data: `{metadata['digests']['data']}`",
        "", "## Metrics on the held-out test rows", "",
        "| metric | value | 95 % interval | best constant |", "|---|---|---|---|",
        *(_row(name, entry, metadata["baseline"]) for name, entry in sorted(metadata["metrics"]["test"].items())),
        "", "## Inputs", "", "| column | type |", "|---|---|",
        *(f"| `{_cell(each['name'])}` | {each['type']} |" for each in inputs),
        "", "## Limits", "",
        "The metrics hold for rows drawn as the test rows were. Missing and unseen values are accepted; rows unlike the",
        "training data get an answer, but nothing here says how good it is. No fairness across groups was measured.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _cell(text: object) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("`", "'").split())


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_cell(name)} {_cell(value)}" for name, value in sorted(values.items())) or "defaults"


def _row(name: str, entry: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    interval = f"{_number(entry.get('low'))} to {_number(entry.get('high'))}" if entry.get("low") is not None else "–"
    return f"| {name} | {_number(entry['value'])} | {interval} | {_number(baseline.get(name, {}).get('value'))} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"
