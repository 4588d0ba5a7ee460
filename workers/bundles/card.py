"""What a bundle says of its model in words, and what it needs to run."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app.cards import LIMITS, Card, Section, number
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


def card_of(metadata: Mapping[str, Any], *, inputs: Sequence[Mapping[str, str]], description: str) -> Card:
    """The card of a bundle: what the model is, what it was measured at, and what it must not be used for."""
    baseline, measured = metadata["baseline"], sorted(metadata["metrics"]["test"].items())
    metrics = [
        [
            name,
            *(number(entry.get(key)) for key in ("value", "low", "high")),
            number(baseline.get(name, {}).get("value")),
        ]
        for name, entry in measured
    ]
    return Card(metadata["model"], description or "No description was given.", [
        Section("Model", points=_about(metadata)),
        Section("Metrics on the held-out test rows", head=("metric", "value", "low", "high", "best constant"), rows=metrics),
        Section("Inputs", head=("column", "type"), rows=[[each["name"], each["type"]] for each in inputs]),
        LIMITS,
    ])  # fmt: skip


def _about(metadata: Mapping[str, Any]) -> list[str]:
    members = metadata["members"]
    classes = f", classes {', '.join(metadata['classes'])}" if metadata["classes"] else ""
    if len(members) > 1:
        named = [f"Algorithm: the weighted mean of {len(members)} models"]
        named += [
            f"{each['weight']:.3g} of {each['algorithm']} ({each['file']}), {each['iterations']} iterations:"
            f" {_listed(each['params'])}"
            for each in members
        ]
    else:
        named = [f"Algorithm: {members[0]['algorithm']}, {members[0]['iterations']} iterations",
                 f"Parameters: {_listed(members[0]['params'])}"]  # fmt: skip
    return [
        f"Task: {metadata['task']}, target {metadata['target']}{classes}", *named, f"Rows: {_listed(metadata['rows'])}",
        f"Data: {metadata['digests']['data']}",
    ]  # fmt: skip


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items())) or "defaults"
