"""Category labels as places in a list."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trainhouse_loader.reading import coerce

MISSING, UNKNOWN = -1, -2


def words(series: pd.Series, base: str) -> pa.Array:
    """The labels of `series` (see `coerce.labels`) as large_string, null where there is none."""
    found = pa.array(coerce.labels(series, base), pa.large_string(), from_pandas=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def restored(state: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
    """What `stored` was given."""
    offsets = np.concatenate(([0], state["ends"])).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(state["utf8"]))]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def codes(series: pd.Series, base: str, labels: pa.Array, *, rare: bool) -> npt.NDArray[np.int64]:
    """(rows,) The place of each label; MISSING; and for any other label `len(labels)` where `rare`, else UNKNOWN."""
    found = words(series, base)
    places = pc.index_in(found, value_set=labels).fill_null(len(labels) if rare else UNKNOWN)
    out = places.to_numpy(zero_copy_only=False).astype(np.int64)
    if found.null_count:
        out[found.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return out
