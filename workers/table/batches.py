"""The rows of a job, few columns at a time to learn from them and few rows at a time to encode them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainhouse_loader.reading import coerce
from workers.table import snapshot

BASES = {pa.bool_(): "boolean", pa.timestamp("us"): "time", pa.int64(): "number", pa.float64(): "number"}


@dataclass(frozen=True)
class Source:
    """The rows of a job in its snapshot.

    Attributes:
        path: The snapshot.
        rows: (rows,) positions in it, ascending.
        readings: By column, how its values are read (see `coerce.read`).
    """

    path: Path
    rows: npt.NDArray[np.int64]
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def table(self, names: Sequence[str], chosen: npt.NDArray[np.bool_] | None = None) -> pa.Table:
        """The columns `names` of all rows, or of those that are `chosen` (rows,)."""
        rows = self.rows if chosen is None else self.rows[chosen]
        return coerce.read_table(snapshot.rows(snapshot.read(self.path, names), rows), self.readings)

    def batches(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The columns `names` of all rows in order, as frames of at most one row group each."""
        with pq.ParquetFile(self.path, memory_map=True) as file:
            start = done = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                last = int(np.searchsorted(self.rows, end))
                if last > done:
                    read = file.read_row_group(group, columns=list(names), use_threads=False)
                    table = snapshot.rows(read.select(list(names)), self.rows[done:last] - start)
                    yield snapshot.frame(coerce.read_table(table, self.readings))
                start, done = end, last


def base_of(kind: pa.DataType) -> str:
    """What a column of a snapshot holds: `number`, `boolean`, `time` or `text`."""
    return BASES.get(kind, "text")
