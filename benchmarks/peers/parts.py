"""Division of a table's rows into train, validation and test, the same for every system."""

import numpy as np
import numpy.typing as npt

PARTS = ("train", "validation", "test")
ENDS = (0.70, 0.85)
"""Where train ends and where validation ends, as shares of the rows."""
Parts = npt.NDArray[np.object_]
Codes = npt.NDArray[np.int64]


def parts_by_order(rows: int) -> Parts:
    """(rows,) the first 70 % train, the next 15 % validation, the last test: for tables in the order of time."""
    return _named(np.arange(rows) / rows)


def parts_at_random(strata: Codes, groups: Codes, *, seed: int) -> Parts:
    """(rows,) parts drawn at random in each stratum; rows of one group always fall into one part.

    Args:
        strata: (rows,) what every part gets its share of, such as the class.
        groups: (rows,) what may not be torn apart; a group lies in one stratum.
    """
    random, places = np.random.default_rng(seed), np.empty(len(strata))
    for stratum in np.unique(strata):
        held = np.flatnonzero(strata == stratum)
        names, of_row = np.unique(groups[held], return_inverse=True)
        order = random.permutation(len(names))
        sizes = np.bincount(of_row)[order]
        begins = np.empty(len(names))
        begins[order] = (np.cumsum(sizes) - sizes / 2) / len(held)
        places[held] = begins[of_row]
    return _named(places)


def _named(places: npt.NDArray[np.float64]) -> Parts:
    """Parts by place, from 0 to 1."""
    return np.asarray(PARTS, dtype=object)[np.searchsorted(ENDS, places, side="right")]
