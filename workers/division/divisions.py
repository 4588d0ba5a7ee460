"""Which division a spec asks for, and its making: units that stay whole, rows that must judge, rows left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.errors import InvalidData
from app.spec.job import JobSpec
from trainhouse_loader.mixing import Hashes
from workers.division import chronology, partition, tested
from workers.division.certificate import Divided
from workers.division.partition import NOWHERE, TEST, Held, Labels, Parts
from workers.table import repeats
from workers.table.targets import Target

WHOLE = frozenset({"random", "stratified", "group", "hash"})
"""Methods that send equal rows to one part, and rows tested before to test; the others leave such rows out."""
NO_IDS = "Without task.id_columns, rows cannot be recognised in later versions."
NOT_ASKED = "split.tested_rows is allow."
NO_ROWS = "task.id_columns do not identify rows: one id stands for many of them."


@dataclass(frozen=True)
class Plan:
    """What a spec asks for; columns are None where the method needs none.

    Attributes:
        method: `random`, `stratified`, `group`, `time`, `time_and_group`, `predefined` or `hash`.
        keys: Of `hash`: the columns that are hashed; empty for all of them.
        ids: The id columns that the table has.
        content: All other columns.
    """

    method: str
    group: str | None
    time: str | None
    given: str | None
    keys: tuple[str, ...]
    ids: tuple[str, ...]
    content: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether equal rows must not stand in two parts; a hash of keys knows nothing of the other columns."""
        return self.method in WHOLE and not self.keys

    def named(self) -> dict[str, Any]:
        """The columns that divide, as JSON."""
        said = {"group": self.group, "time": self.time, "part": self.given, "key": list(self.keys) or None}
        return {name: column for name, column in said.items() if column is not None}


@dataclass(frozen=True)
class Division:
    """A finished division.

    Attributes:
        parts: (rows,) index into PARTS, or NOWHERE.
        dropped: By reason, the rows that are in no part.
        keys: (rows,) key of each row, where rows tested before are kept out of training; else None.
        known: (rows,) True where a row has a key.
        past: (rows,) True where an earlier version was tested on the row.
        note: Why rows tested before cannot be kept out, or "".
        repeated: Rows that stay with another because they are equal, share an id or a group.
        units: (rows,) equal for rows that belong together; None where every row is alone.
    """

    parts: Parts
    dropped: dict[str, int]
    keys: Hashes | None
    known: Held
    past: Held
    note: str = ""
    repeated: int = 0
    units: Labels | None = None


def chosen(spec: JobSpec, present: list[str]) -> Plan:
    """What `spec` asks of a table with the columns `present`; `auto`: time, then group, then balance of classes.

    Raises:
        InvalidData: `split_column_missing`, `gap_needs_times`.
    """
    split, task = spec.split, spec.task
    method: str = split.method
    if method == "auto":
        method = "time" if task.time_column else "group" if task.group_column else "stratified"
    if split.gap is not None and method != "time":
        raise InvalidData("split.gap needs a column of times.", code="gap_needs_times",
                          hint="Set task.time_column, or leave the gap out.")  # fmt: skip
    time = (split.column or task.time_column) if method == "time" else None
    group = (
        (split.column or task.group_column) if method == "group" else task.group_column if method == "time" else None
    )
    if {"time": time, "group": group, "predefined": split.column}.get(method, "") is None:
        raise InvalidData(f"split.method {method} needs split.column"
                          + (f" or task.{method}_column." if method != "predefined" else "."),
                          code="split_column_missing", hint="Name the column that divides the rows.")  # fmt: skip
    ids = tuple(tested.columns(task.id_columns, present))
    keys = ((split.column,) if split.column else ids) if method == "hash" else ()
    return Plan(
        method="time_and_group" if time and group and time != group else method, time=time,
        group=group if group != time else None, given=split.column if method == "predefined" else None, keys=keys,
        ids=ids, content=tuple(name for name in present if name not in ids),
    )  # fmt: skip


def divide(
    plan: Plan, spec: JobSpec, table: Divided, *, y: npt.NDArray[np.float64], target: Target, past: Hashes
) -> Division:
    """The rows of `table` divided as `plan` says; `past` are sorted keys of rows that earlier versions tested on."""
    rows = len(y)
    strata = y.astype(np.int64) if target.classes else partition.quantile_strata(y)
    keys, known, note = _identities(plan, spec, table)
    before = tested.among(keys, known, past) if keys is not None else np.zeros(rows, dtype=bool)
    if plan.method in WHOLE:
        units = _units(plan, table, keys, known)
        held = _spread(before, units)
        parts = _whole(plan, spec, table, strata=strata, units=units, held=held)
        repeated = 0 if units is None else rows - int((np.unique(units, return_counts=True)[1] == 1).sum())
        return Division(parts, {}, keys, known, before, note, repeated, units)
    alike = _alike(plan, spec, table)
    parts = _in_order(plan, spec, table, strata, alike)
    lost = int((parts == NOWHERE).sum())
    dropped = {("gap" if plan.group is None else "group_or_gap"): lost} if lost else {}
    late = before & (parts != TEST) & (parts != NOWHERE)
    parts[late] = NOWHERE
    dropped |= {"tested": int(late.sum())} if late.any() else {}
    return Division(parts, dropped, keys, known, before, note, units=alike)


def _identities(plan: Plan, spec: JobSpec, table: Divided) -> tuple[Hashes | None, Held, str]:
    """(key of each row or None, rows that have one, why there are none)."""
    nobody = np.zeros(len(table.rows), dtype=bool)
    if spec.split.tested_rows == "allow":
        return None, nobody, NOT_ASKED
    if not plan.ids:
        return None, nobody, NO_IDS
    keys, known = tested.keys(table.columns(plan.ids))
    if not tested.identify(keys, known, once=plan.method not in WHOLE):
        return None, nobody, NO_ROWS
    return keys, known, ""


def _units(plan: Plan, table: Divided, keys: Hashes | None, known: Held) -> Labels | None:
    """(rows,) What must stay in one part: groups, equal rows, and rows of one id; None where all rows are alone."""
    bonds: list[Labels] = []
    if plan.whole:
        bonds.append(_codes(repeats.row_hashes(table.columns(plan.content))))
    if plan.group is not None:
        bonds.append(_codes(repeats.value_hashes(table.column(plan.group))))
    if plan.keys:
        bonds.append(_codes(tested.keys(table.columns(plan.keys))[0]))
    if keys is not None:
        same = _codes(keys)
        bonds.append(np.where(known, same, len(same) + np.arange(len(same))))
    return _bound(bonds)


def _bound(bonds: list[Labels]) -> Labels | None:
    """(rows,) Rows that any of `bonds` puts together; None where no two are."""
    bonds = [bond for bond in bonds if _repeats(bond)]
    if len(bonds) < 2:
        return bonds[0] if bonds else None
    return _joined(bonds)


def _alike(plan: Plan, spec: JobSpec, table: Divided) -> Labels | None:
    """(rows,) What belongs together where the caller says the parts: groups and equal rows; None in order of time."""
    if plan.time is not None:
        return None
    bonds = [_codes(repeats.row_hashes(table.columns(plan.content)))]
    if spec.task.group_column is not None:
        bonds.append(_codes(repeats.value_hashes(table.column(spec.task.group_column))))
    return _bound(bonds)


def _repeats(bond: Labels) -> bool:
    """Whether any two rows belong together; sorting is faster here than what `numpy.unique` does."""
    ordered = np.sort(bond)
    return bool((ordered[1:] == ordered[:-1]).any())


def _codes(hashes: Hashes) -> Labels:
    """(rows,) Whole numbers that are equal where the hashes are."""
    return hashes.view(np.int64)


def _joined(bonds: list[Labels]) -> Labels:
    """(rows,) Rows that are linked by any of `bonds`, over any number of rows between them."""
    rows = len(bonds[0])
    ends, start = [], rows
    for bond in bonds:
        _, codes = np.unique(bond, return_inverse=True)
        ends.append(codes.reshape(-1) + start)
        start += int(codes.max()) + 1
    links = (np.ones(rows * len(bonds), dtype=np.int8), (np.tile(np.arange(rows), len(bonds)), np.concatenate(ends)))
    found: Labels = connected_components(coo_array(links, shape=(start, start)), directed=False)[1][:rows]
    return found.astype(np.int64)


def _spread(held: Held, units: Labels | None) -> Held:
    """`held`, and every row of a unit that has a row of `held`."""
    return held if units is None or not held.any() else np.isin(units, np.unique(units[held]))


def _whole(  # one line for each method
    plan: Plan, spec: JobSpec, table: Divided, *, strata: Labels, units: Labels | None, held: Held
) -> Parts:
    split = spec.split
    shares, seed = (split.train, split.validation, split.test), split.seed
    if plan.method == "hash":
        hashed = (
            tested.keys(table.columns(plan.keys))[0] if plan.keys else repeats.row_hashes(table.columns(plan.content))
        )
        return partition.by_hash(hashed, shares, seed=seed, held=held)
    if plan.method == "group":
        groups = np.arange(len(strata)) if units is None else units
        return partition.by_group(groups, strata, shares, seed=seed, held=held)
    even = strata if plan.method == "stratified" else np.zeros_like(strata)
    return partition.balanced(even, shares, seed=seed, units=units, held=held)


def _in_order(plan: Plan, spec: JobSpec, table: Divided, strata: Labels, alike: Labels | None) -> Parts:
    split = spec.split
    if plan.time is None:
        said = table.column(str(plan.given))
        return partition.predefined(said, strata, rows=table.rows, seed=split.seed, name=str(plan.given), units=alike)
    shares, column = (split.train, split.validation, split.test), table.column(plan.time)
    times, gap = chronology.clock(column, name=plan.time), chronology.width(split.gap, column)
    if plan.group is None:
        return chronology.by_time(times, shares, gap=gap)
    groups = _codes(repeats.value_hashes(table.column(plan.group)))
    return chronology.by_time_and_group(times, groups, shares, gap=gap, seed=split.seed)
