"""The encoder: features in, numbers out; fitted on training rows, packed with the model, equal at serving."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from app.spec.data import ColumnTransform
from app.spec.job import JobSpec
from trainhouse_loader.encoding.blocks import APPLY, State
from trainhouse_loader.encoding.encoder import FORMAT, Encoder, assembled
from trainhouse_loader.encoding.labels import words
from trainhouse_loader.terms import TaskType
from workers.matrix import vault
from workers.matrix.blocks import BLOCKS, MOST_TARGET_CLASSES, Lesson

Floats = npt.NDArray[np.float64]
MOST_NATIVE = 50
"""Labels of one column that trees take as they are: with more, target encoding was better on every table tried."""
COLUMN_BY_COLUMN = {"embedding"}
SEPARATE = {"number", "time"}
"""Kinds of blocks that themselves learn nothing, so that what follows them can be learned column by column."""
SCALERS: dict[str, Any] = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


@dataclass(frozen=True)
class Step:
    """How one kind of columns is encoded: the block's kind, its options, and what is done to its numbers after."""

    kind: str
    options: tuple[tuple[str, Any], ...] = ()
    impute: str = "none"
    scale: str = "none"


Lessons = Callable[[list[str]], pd.DataFrame]


@dataclass(frozen=True)
class Crossed:
    """Cross-fitted numbers: of the training rows, so that none of them has seen its own target.

    Attributes:
        start: The first of their columns.
        numbers: (training rows, columns), to be taken instead of what `Encoder.transform` gives, except where NaN.
    """

    start: int
    numbers: Floats


BLIND = frozenset({Step("number"), Step("time")})
"""Steps that learn nothing, so that no rows need be gathered for them."""


def fit(
    lessons: Lessons, y: Floats, *, spec: JobSpec, types: Mapping[str, str], bases: Mapping[str, str], task: TaskType
) -> tuple[Encoder, list[Crossed]]:
    """(an encoder of the columns of `types` (name to kind), what differs for the training rows).

    `lessons` gives the training rows of some columns, in the order of `y` (rows,); columns that are treated alike are
    asked for together, and only those that something is learned from. `bases` say what the snapshot holds.
    """
    classes = 0 if task == "regression" else int(y.max()) + 1
    blocks: list[State] = []
    crossed: list[Crossed] = []
    start = 0
    crowded = _crowded(lessons, spec, types, bases) if classes <= MOST_TARGET_CLASSES else frozenset()
    for step, columns in plan(spec, types, crowded):

        def taught(names: list[str], step: Step = step) -> Lesson:
            frame = pd.DataFrame() if step in BLIND else lessons(names)
            return Lesson(frame, y, bases, classes, spec.reproducibility.seed)

        alone = step.kind in SEPARATE and step not in BLIND
        block = _each_learned(step, columns, taught) if alone else _learned(step, columns, taught(columns))
        numbers = block.pop("crossed", None)
        if numbers is not None:
            crossed.append(Crossed(start + len(block["names"]) - numbers.shape[1], numbers))
        start += len(block["names"])
        blocks.append(block)
    return assembled(tuple(types), blocks), crossed


def _learned(step: Step, columns: list[str], lesson: Lesson) -> State:
    """The fitted block; `crossed` in it are what its last columns have for training rows, NaN where that is no other."""
    block: State = {"kind": step.kind, "columns": columns, "imputer": None, "scaler": None}
    block |= BLOCKS[step.kind](columns, dict(step.options), lesson)
    parts = {"imputer": _imputer(step.impute), "scaler": _scaler(step.scale, len(lesson.frame), lesson.seed)}
    if any(part is not None for part in parts.values()):
        numbers = _taught(lesson, block)
        for name, part in parts.items():
            if part is not None:
                block[name] = part.fit(numbers)
                numbers = part.transform(numbers)
        if "crossed" in block:
            block["crossed"] = numbers[:, -block["crossed"].shape[1] :]
    return block


def _taught(lesson: Lesson, block: State) -> Floats:
    """(training rows, features of the block) before anything is filled or scaled."""
    crossed = block.get("crossed")
    if crossed is not None and crossed.shape[1] == len(block["names"]):
        return np.asarray(crossed)
    numbers = np.empty((len(lesson.frame), len(block["names"])))
    APPLY[block["kind"]](lesson.frame, block, numbers)
    if crossed is not None:
        take(crossed, numbers[:, -crossed.shape[1] :])
    return numbers


def take(crossed: Floats, out: Floats) -> None:
    """Writes into `out` what is not NaN."""
    np.copyto(out, crossed, where=~np.isnan(crossed))


def _each_learned(step: Step, columns: list[str], taught: Callable[[list[str]], Lesson]) -> State:
    """The fitted block, learned from one column after the other: scikit-learn copies what it learns from several times."""
    each = [_learned(step, [name], taught([name])) for name in columns]
    whole: State = {**each[0], "columns": columns}
    whole["names"] = [name for block in each for name in block["names"]]
    whole["origins"] = [place for place, block in enumerate(each) for _ in block["names"]]
    for part in ("imputer", "scaler"):
        if each[0][part] is not None:
            whole[part] = _joined([block[part] for block in each])
    return whole


def _joined(parts: list[Any]) -> Any:
    """One estimator of all columns out of one for each of them; imputers and scalers treat columns separately."""
    whole = copy.copy(parts[0])
    for name, value in vars(whole).items():
        if isinstance(value, np.ndarray) and value.ndim and name != "references_":
            setattr(whole, name, np.concatenate([vars(part)[name] for part in parts], axis=-1))
    whole.n_features_in_ = sum(part.n_features_in_ for part in parts)
    return whole


def _imputer(name: str) -> SimpleImputer | None:
    if name == "none":
        return None
    fill = 0.0 if name == "constant" else None
    return SimpleImputer(strategy=name, fill_value=fill, keep_empty_features=True)


def _scaler(name: str, rows: int, seed: int) -> Any:
    if name == "quantile":
        return QuantileTransformer(n_quantiles=min(1_000, rows), output_distribution="normal", random_state=seed)
    return SCALERS[name]() if name in SCALERS else None


def _crowded(lessons: Lessons, spec: JobSpec, types: Mapping[str, str], bases: Mapping[str, str]) -> frozenset[str]:
    """The columns of categories, left to `auto`, that have more labels than trees can tell apart."""
    left = [name for name, kind in types.items() if kind == "categorical" and _chosen(spec, name) == "auto"]
    return frozenset(
        name for name in left if len(words(lessons([name])[name], bases[name]).drop_null().unique()) > MOST_NATIVE
    )


def _chosen(spec: JobSpec, name: str) -> str:
    own = spec.transform.columns.get(name)
    return (own and own.encode) or spec.transform.categorical.encode


def plan(
    spec: JobSpec, types: Mapping[str, str], crowded: frozenset[str] = frozenset()
) -> list[tuple[Step, list[str]]]:
    """(step, columns) pairs: columns that are treated alike stand together, in order of first appearance."""
    grouped: dict[tuple[Step, str], list[str]] = {}
    for name, kind in types.items():
        step = _step(spec, name, kind, crowded=name in crowded)
        alone = name if step.kind in COLUMN_BY_COLUMN else ""
        grouped.setdefault((step, alone), []).append(name)
    return [(step, columns) for (step, _), columns in grouped.items()]


def _step(spec: JobSpec, name: str, kind: str, *, crowded: bool) -> Step:
    """How the column `name` of `kind` is treated; `auto` leaves it as it is, or goes by how many labels there are."""
    transform = spec.transform
    own = transform.columns.get(name, ColumnTransform())
    impute, scale = _asked(own.impute or transform.numeric.impute), _asked(own.scale or transform.numeric.scale)
    if kind == "text" and own.encode in (None, "embedding"):
        size = own.dimensions or transform.text.dimensions
        scores = transform.text.scores if own.scores is None else own.scores
        return Step("embedding", (("dimensions", size), ("text", True), ("scores", scores)), impute, scale)
    if kind == "categorical" or own.encode:
        encode = _chosen(spec, name)
        if encode == "auto":
            encode = "target" if crowded else "native"
        return _category_step(spec, own, encode, impute, scale)
    return Step("time" if kind == "datetime" else "number", (), impute, scale)


def _asked(way: str) -> str:
    """`auto` means nothing here: trees need neither, and each other trainer does by itself what it needs."""
    return "none" if way == "auto" else way


def _category_step(spec: JobSpec, own: ColumnTransform, encode: str, impute: str, scale: str) -> Step:
    given = spec.transform.categorical
    if encode == "embedding":
        size = own.dimensions or given.dimensions
        return Step("embedding", (("dimensions", size), ("text", False), ("scores", False)), impute, scale)
    # A target encoding trusts rare labels less by itself; to put them together as well was worse on every table tried.
    least = own.min_frequency or (1 if encode == "target" else given.min_frequency)
    options: tuple[tuple[str, Any], ...] = (("min_frequency", least),)
    if encode == "one_hot":
        return Step("one_hot", (("max_categories", own.max_categories or given.max_categories), *options))
    if own.max_categories:
        options = (*options, ("most", own.max_categories))
    return Step(encode, options) if encode == "native" else Step(encode, options, impute, scale)


def dump(encoder: Encoder, path: Path) -> None:
    """Writes `encoder` to `path`; equal encoders give equal bytes."""
    vault.dump({"format": FORMAT, "input_columns": list(encoder.input_columns), "blocks": list(encoder.blocks)}, path)
