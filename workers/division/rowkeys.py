"""Writes down which rows a job's model learns from, and which judge it, as keyed hashes of their id columns."""

from pathlib import Path

import pyarrow as pa

from app.rowkeys import Keys, key_of

AT_ONCE = 50_000


def write(table: pa.Table, secret: bytes, path: Path) -> int:
    """Writes the keys of the rows of a canonical table of id columns to `path`; how many there are."""
    found: set[bytes] = set()
    names = table.column_names
    for start in range(0, table.num_rows, AT_ONCE):
        part = table.slice(start, AT_ONCE)
        for values in zip(*(column.to_pylist() for column in part.columns), strict=True):
            key = key_of(secret, dict(zip(names, values, strict=True)))
            if key is not None:
                found.add(key)
    path.write_bytes(Keys.of(secret, found).content)
    return len(found)
