"""Hive partitions: path steps like `year=2013` as columns."""

from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

from app.errors import InvalidData, bounded
from app.spec.data import S3Source
from workers.formats.names import require_known
from workers.table.canonical import canonical_column

NOTHING = "__HIVE_DEFAULT_PARTITION__"
Steps = dict[str, str | None]


def partitions(paths: Sequence[str], mode: str) -> list[Steps]:
    """For each path, its steps `key=value`; `mode` as in the spec: `auto`, `hive` or `none`.

    Raises:
        InvalidData: `not_partitioned`, `schema_mismatch` where `hive` is asked for and the paths are otherwise.
    """
    found = [_steps(path) for path in paths]
    alike = all(list(steps) == list(found[0]) for steps in found)
    if mode == "hive" and not found[0]:
        raise InvalidData(f"The path {bounded(paths[0])} has no step like year=2013.", code="not_partitioned",
                          hint="Leave partitioning out, or set it to none.")  # fmt: skip
    if mode == "hive" and not alike:
        other = next(path for path, steps in zip(paths, found, strict=True) if list(steps) != list(found[0]))
        raise InvalidData(f"{bounded(other)} has other partition keys than {bounded(paths[0])}.", code="schema_mismatch",
                          hint="Name files of one partitioning only.")  # fmt: skip
    return found if alike and mode != "none" else [{} for _ in paths]


def _steps(path: str) -> Steps:
    pairs = (step.partition("=") for step in path.split("/")[:-1] if "=" in step.strip("="))
    return {unquote(key): None if value == NOTHING else unquote(value) for key, _, value in pairs if key}


def with_partitions(table: pa.Table, rows: Sequence[int], steps: Sequence[Steps], *, source: S3Source) -> pa.Table:
    """`table` with the keys of `steps` as columns after its own, and of these what `source.columns` names.

    Args:
        rows: How many rows of the table each file gave.

    Raises:
        InvalidData: `duplicate_columns` where `hive` is asked for and a file has a column of that name.
            `unknown_column`.
    """
    for key in steps[0]:
        if key in table.column_names:
            if source.partitioning == "hive":
                raise InvalidData(f"The files have a column {bounded(key)!r}, and so has their path.",
                                  code="duplicate_columns", hint="Set partitioning to none.")  # fmt: skip
            continue  # what a file says itself counts
        values = [pa.repeat(pa.scalar(step[key], pa.large_string()), count)
                  for step, count in zip(steps, rows, strict=True)]  # fmt: skip
        table = table.append_column(key, canonical_column(pa.chunked_array(values), key))
    if source.columns is None:
        return table
    require_known(source.columns, table.column_names)
    return table.select(list(dict.fromkeys(source.columns)))
