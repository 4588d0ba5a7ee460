"""Columns of numbers brought to one scale, for models to which their size matters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainhouse_loader.models.fitted import Floats, Indices

TAIL = 0.001
REACH = 1.0
"""A number is cut where it lies this many times the width between the outer quantiles beyond them."""


@dataclass(frozen=True)
class Numbers:
    """How columns of numbers are brought to mean 0 and deviation 1, whatever their size; each array is (columns,).

    Attributes:
        places: The columns of the matrix.
        unit: What a number is divided by first, so that nothing that follows can overflow.
        low: Where it is cut below, in units.
        high: Where it is cut above, in units.
        centre: The mean of what is cut.
        spread: Its standard deviation; 1 where all are equal.
        middle: The median, standardised: what stands for a missing number.
        missing: Whether any was missing.
    """

    places: Indices
    unit: Floats
    low: Floats
    high: Floats
    centre: Floats
    spread: Floats
    middle: Floats
    missing: npt.NDArray[np.bool_]

    @classmethod
    def learn(cls, x: Floats, rows: Indices, places: Sequence[int]) -> "Numbers":
        """From the `rows` of `x` (all rows, features), column by column."""
        each = [_learned(np.take(x[:, place], rows)) for place in places]
        columns = np.array(each, dtype=np.float64).reshape(len(each), 7)
        unit, low, high, centre, spread, middle, missing = columns.T.copy()
        return cls(np.array(places, dtype=np.int64), unit, low, high, centre, spread, middle, missing > 0)

    def standardised(self, x: Floats) -> Floats:
        """(rows, columns) of `x` (rows, features); what is missing stays NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            cut = np.clip(x[:, self.places] / self.unit, self.low, self.high)
        found: Floats = (cut - self.centre) / self.spread
        return found

    def state(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Numbers":
        """What `state` wrote.

        Raises:
            KeyError, ValueError: it is none.
        """
        kinds: dict[str, Any] = {"places": np.int64, "missing": np.bool_}
        fields: dict[str, Any] = {
            name: np.array(state[name], kinds.get(name, np.float64)) for name in cls.__dataclass_fields__
        }
        if len({value.shape for value in fields.values()}) != 1:
            raise ValueError("the columns differ in number")
        return cls(**fields)


def _learned(values: Floats) -> tuple[float, ...]:
    """(unit, low, high, centre, spread, middle, missing) of one column."""
    known = values[np.isfinite(values)]
    missing = float(len(known) < len(values))
    if not len(known):
        return 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, missing
    last = len(known) - 1
    tail = min(max(1, int(last * TAIL)), last // 2)
    ends = tail, last // 2, last - tail
    low, middle, high = np.partition(known, ends)[list(ends)]
    if low == high:
        low, high = known.min(), known.max()
    unit = max(abs(low), abs(high)) or 1.0
    low, high = low / unit, high / unit
    low, high = low - REACH * (high - low), high + REACH * (high - low)
    with np.errstate(over="ignore"):
        cut = np.clip(known / unit, low, high)
    centre, spread = cut.mean(), cut.std()
    spread = spread if spread > 1e-12 else 1.0
    return unit, low, high, centre, spread, (np.clip(middle / unit, low, high) - centre) / spread, missing
