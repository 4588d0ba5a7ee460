"""Folds of the train and validation rows, for data where one validation part is too small to choose by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.errors import InvalidData, InvalidSpec
from trainhouse_loader.models.fitted import Indices
from workers.division.partition import Labels, quantile_strata
from workers.matrix.prepared import Prepared
from workers.trainers.contract import Fold

IN_TIME = frozenset({"time", "time_and_group"})
LEAST_FOLDS = 2


def resolved(data: Prepared, folds: int, *, split: Mapping[str, Any], seed: int, asked: bool = True) -> int:
    """How many folds there can be: `folds`, or fewer where there are fewer blocks of rows, or of a class of two.

    None may hold all rows but those of one class, for the others would have nothing to learn. 0 where there can be
    none, the caller has not `asked` for any, and there are validation rows to choose by.

    Raises:
        InvalidSpec: `folds_across_time`, where the split (its output) sends later rows to later parts.
        InvalidData: `too_few_rows_for_folds`.
    """
    if folds == 0:
        return 0
    if split.get("method") in IN_TIME:
        raise InvalidSpec(
            "tuning.folds would let rows that are divided by time predict earlier ones.", code="folds_across_time",
            hint="Set tuning.folds to 0, or divide the rows in another way.",
        )  # fmt: skip
    rows = _used(data)
    blocks = _blocks(data)[rows]
    most = min(folds, len(np.unique(blocks)))
    if data.task == "binary":
        most = min(most, *(len(np.unique(blocks[data.y[rows] == klass])) for klass in (0, 1)))
    while most >= LEAST_FOLDS and data.classes and not _all_teach(data, divided(data, most, seed=seed)):
        most -= 1
    if most < LEAST_FOLDS and not asked and data.where("validation").any():
        return 0
    if most < LEAST_FOLDS:
        raise InvalidData(
            "The train and validation rows cannot be divided into folds that each hold what is to be learned.",
            code="too_few_rows_for_folds", hint="Set tuning.folds to 0, or bring more rows.",
        )  # fmt: skip
    return most


def _all_teach(data: Prepared, folds: Sequence[Fold]) -> bool:
    return all(np.ptp(data.y[fold.train]) > 0 for fold in folds)


def divided(data: Prepared, folds: int, *, seed: int) -> list[Fold]:
    """The folds; each validation row set is one of `folds` parts of the train and validation rows, which it covers.

    Rows of one block stay together. Classes, or quantiles of the target, have about the same share in every fold: the
    blocks of a stratum, in random order and the largest first, each go to the fold that has fewest of its rows. A block
    of several classes counts as one of the rarest of them.
    """
    rows = _used(data)
    strata = data.y[rows].astype(np.int64) if data.classes else quantile_strata(data.y[rows])
    blocks = _blocks(data)[rows]
    if data.classes:
        strata = _rarest(strata, blocks)
    place = _dealt(strata, blocks, folds, seed=seed)
    return [
        Fold(name=f"{number}-of-{folds}-{seed}", train=rows[place != number], validation=rows[place == number])
        for number in range(folds)
    ]


def held(fold: Fold) -> Indices:
    """The rows that `fold` holds back."""
    if fold.validation is None:
        raise ValueError(f"the fold {fold.name} holds no rows back")
    return fold.validation


def _used(data: Prepared) -> Labels:
    return np.flatnonzero(data.where("train") | data.where("validation"))


def _blocks(data: Prepared) -> Labels:
    return np.arange(len(data.y)) if data.block is None else data.block


def _rarest(classes: Labels, blocks: Labels) -> Labels:
    """(rows,) Of the classes in each row's block the one that has the fewest rows of all."""
    by_rarity = np.argsort(np.bincount(classes)[classes], kind="stable")
    _, first, inverse = np.unique(blocks[by_rarity], return_index=True, return_inverse=True)
    found = np.empty_like(classes)
    found[by_rarity] = classes[by_rarity[first]][inverse.reshape(-1)]
    return found


def _dealt(strata: Labels, blocks: Labels, folds: int, *, seed: int) -> Labels:
    """(rows,) The fold of each row."""
    _, first, inverse, sizes = np.unique(blocks, return_index=True, return_inverse=True, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(first))
    order = drawn[np.lexsort((-sizes[drawn], strata[first][drawn]))]
    held = [0] * folds
    fold_of = np.empty(len(first), dtype=np.int64)
    stratum, of_stratum = None, [0] * folds
    for unit in order.tolist():
        if strata[first[unit]] != stratum:
            stratum, of_stratum = strata[first[unit]], [0] * folds
        fold = min(range(folds), key=lambda each: (of_stratum[each], held[each], each))
        fold_of[unit] = fold
        of_stratum[fold] += int(sizes[unit])
        held[fold] += int(sizes[unit])
    return fold_of[inverse.reshape(-1)]
