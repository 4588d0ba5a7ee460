"""Category labels as places in a list: what the columns of a category encoder have in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trainhouse_loader.encoding.labels import words

LEAST_SHARE = 20
"""No label is rare that stands in more than one of so many rows, however small the table."""


@dataclass(frozen=True)
class Counted:
    """The labels of a column by their number of rows.

    Attributes:
        labels: Sorted labels that are frequent; their place is their code.
        rows: (labels,) rows of each.
        rare: Rows whose label is not frequent; where there are any, such labels share the code after the last.
        missing: Rows without a label.
    """

    labels: pa.Array
    rows: npt.NDArray[np.int64]
    rare: int
    missing: int


def counted(series: pd.Series, base: str, *, min_frequency: int, most: int | None = None) -> Counted:
    """The labels that stand in at least `min_frequency` rows, with the others at most `most` codes."""
    found = words(series, base)
    least = max(1, min(min_frequency, len(series) // LEAST_SHARE))
    pairs = pc.value_counts(found.drop_null())
    labels, rows = pairs.field(0), pairs.field(1).to_numpy()
    order = pc.sort_indices(labels).to_numpy()
    labels, rows = labels.take(pa.array(order)), rows[order]
    kept = rows >= least
    if most is not None and kept.sum() > most:
        kept &= np.isin(np.arange(len(rows)), np.argsort(-rows, kind="stable")[: most - 1])
    rare = int(rows[~kept].sum())
    return Counted(labels.filter(pa.array(kept)), rows[kept], rare, found.null_count)


def stored(labels: pa.Array) -> dict[str, npt.NDArray[Any]]:
    """`labels` as arrays that a file can hold: their UTF-8 bytes, and where each one ends."""
    lengths = pc.binary_length(labels.cast(pa.large_binary())).to_numpy(zero_copy_only=False).astype(np.int64)
    return {"utf8": np.frombuffer("".join(labels.to_pylist()).encode(), dtype=np.uint8), "ends": np.cumsum(lengths)}
