"""What a bundle says of its model in words: the model card, after Mitchell et al. (2019), and what it needs to run."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trainhouse_loader import __version__ as LOADER  # noqa: N812  # a constant

LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


OWN_LIBRARIES = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost-cpu", "xgboost"), "catboost": ("catboost",)}
"""By algorithm, the library that only its models need, under the names of the packages that bring it."""
OF_EXPORTS = {"onnx": ("onnx", "onnxruntime")}


def library_versions(
    algorithms: Iterable[str], *, derived: bool = False, exports: Iterable[str] = ()
) -> dict[str, str]:
    """The versions of the libraries that a bundle needs, by name.

    Those of models of `algorithms`, DuckDB where it has `derived` columns, and those of other forms that it `exports`.
    """
    own = {_installed(OWN_LIBRARIES[name]) for name in algorithms if name in OWN_LIBRARIES}
    own |= {library for form in exports for library in OF_EXPORTS[form]}
    found = {name: version(name) for name in sorted({*own, *LIBRARIES, *(("duckdb",) if derived else ())})}
    return {**found, "trainhouse-loader": LOADER}


def _installed(packages: Sequence[str]) -> str:
    """The first of `packages` that is installed; the last where none is, so that its absence is told."""
    for name in packages[:-1]:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return packages[-1]


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
        *_members(metadata["members"]),
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


def _members(members: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(members) > 1:
        told = [
            f"  - {each['weight']:.3g} of {each['algorithm']} (`{each['file']}`), {each['iterations']} iterations:"
            f" {_listed(each['params'])}"
            for each in members
        ]
        return [f"- Algorithm: the weighted mean of {len(members)} models", *told]
    only = members[0]
    return [
        f"- Algorithm: {only['algorithm']}, {only['iterations']} iterations", f"- Parameters: {_listed(only['params'])}",
    ]  # fmt: skip


def _cell(text: object) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("`", "'").split())


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_cell(name)} {_cell(value)}" for name, value in sorted(values.items())) or "defaults"


def _row(name: str, entry: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    interval = f"{_number(entry.get('low'))} to {_number(entry.get('high'))}" if entry.get("low") is not None else "–"
    return f"| {name} | {_number(entry['value'])} | {interval} | {_number(baseline.get(name, {}).get('value'))} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"
