"""What forests take instead of the matrix: each feature as the place of its value in a learned order.

Numbers become bins between their quantiles, so that trees sort few distinct values and no size is too large for them.
A tree that cuts an ordered list of categories finds the best of all divisions in two where the order is that of the
target's mean (Breiman et al. 1984, Classification and Regression Trees, section 4.2); with several classes the order
along their shares' first principal component comes near to it (Coppersmith et al. 1999,
https://doi.org/10.1023/A:1009869804967). What is missing stands below all numbers, and among categories is one more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainhouse_loader.models.fitted import Floats, Indices

Singles = npt.NDArray[np.float32]
BINS = 512
ROWS_LOOKED_AT = 200_000
"""Rows that bins are learned from, evenly spaced."""
PRIOR_ROWS = 10.0
"""Rows of the overall mean that each level's mean is mixed with, so that rare levels do not stand at the ends."""
MISSING = -1
ROWS_AT_A_TIME = 8_192


@dataclass(frozen=True)
class Bins:
    """One column of numbers: `edges` ascending, each the last value of its bin; `absent` where a missing one stands."""

    place: int
    edges: Floats
    absent: float

    @classmethod
    def learn(cls, values: Floats, place: int) -> "Bins":
        """From (rows,) numbers of the training rows."""
        known = values[:: max(1, len(values) // ROWS_LOOKED_AT)]
        known = np.sort(known[np.isfinite(known)])
        steps = np.linspace(0, max(0, len(known) - 1), BINS + 1).astype(np.int64)
        ends = np.unique(known[steps]) if len(known) else known
        edges = ends[:-1] / 2 + ends[1:] / 2
        missing = bool(np.isnan(values).any())
        return cls(
            place,
            edges,
            float(MISSING if missing or not len(known) else np.searchsorted(edges, known[len(known) // 2])),
        )

    def places(self, values: Floats) -> Floats:
        """(rows,) The bin of each number."""
        return np.where(np.isnan(values), self.absent, np.searchsorted(self.edges, values).astype(np.float64))


@dataclass(frozen=True)
class Order:
    """One column of codes: `levels` ascending, MISSING among them where one was, and the `ranks` of each.

    Attributes:
        unseen: Where a code stands that was never seen: at the target's overall mean.
    """

    place: int
    levels: Indices
    ranks: Indices
    unseen: float

    @classmethod
    def learn(cls, codes: Floats, place: int, targets: Floats, weight: Floats) -> "Order":
        """From (rows,) codes, (rows, outputs) targets and (rows,) weights."""
        levels, own = np.unique(_whole(codes), return_inverse=True)
        size: Floats = np.bincount(own, weight).astype(np.float64)
        sums = np.column_stack([np.bincount(own, weight * each) for each in targets.T])
        overall = sums.sum(axis=0) / max(float(size.sum()), 1e-300)
        means = (sums + PRIOR_ROWS * overall) / (size + PRIOR_ROWS)[:, None]
        scores = _along(means - overall, size)
        order = np.argsort(scores, kind="stable")
        ranks = np.empty(len(levels), dtype=np.int64)
        ranks[order] = np.arange(len(levels))
        return cls(place, levels, ranks, float(np.searchsorted(scores[order], 0.0)) - 0.5)

    def places(self, codes: Floats) -> Floats:
        """(rows,) The rank of each code."""
        known = _whole(codes)
        found = np.minimum(np.searchsorted(self.levels, known), len(self.levels) - 1)
        return np.where(self.levels[found] == known, self.ranks[found], self.unseen)


def _integers(values: Any) -> Indices:
    return np.array(values, dtype=np.int64)


def _whole(codes: Floats) -> Indices:
    return np.where(np.isnan(codes), MISSING, codes).astype(np.int64)


def _along(means: Floats, size: Floats) -> Floats:
    """(levels,) The mean less the overall one, or with several outputs its place along the first principal component."""
    if means.shape[1] == 1:
        return means[:, 0]
    axis = np.linalg.eigh(means.T @ (means * size[:, None]))[1][:, -1]
    found: Floats = means @ axis * np.sign(axis[np.abs(axis).argmax()])
    return found


@dataclass(frozen=True)
class Reading:
    """How the matrix is read: its bins and its orders, each at its column."""

    bins: tuple[Bins, ...]
    orders: tuple[Order, ...]

    @classmethod
    def learn(cls, x: Floats, rows: Indices, categorical: Sequence[int], targets: Floats, weight: Floats) -> "Reading":
        """From the training `rows` of `x` (all rows, features), their (rows, outputs) targets and (rows,) weights."""
        numbers = [place for place in range(x.shape[1]) if place not in set(categorical)]
        bins = tuple(Bins.learn(np.take(x[:, place], rows), place) for place in numbers)
        return cls(
            bins, tuple(Order.learn(np.take(x[:, place], rows), place, targets, weight) for place in categorical)
        )

    def read(self, x: Floats) -> Singles:
        """(rows, features) of `x` (rows, features), in its order of columns; nothing is missing."""
        out = np.empty(x.shape, dtype=np.float32)
        columns: list[Bins | Order] = [*self.bins, *self.orders]
        for column in columns:
            out[:, column.place] = column.places(x[:, column.place])
        return out

    def read_rows(self, x: Floats, rows: Indices) -> Singles:
        """`read` of the `rows` of `x`, a few at a time."""
        out = np.empty((len(rows), x.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            chosen = rows[start : start + ROWS_AT_A_TIME]
            out[start : start + len(chosen)] = self.read(x[chosen])
        return out

    def state(self) -> dict[str, Any]:
        """As plain JSON."""
        bins = [{"place": each.place, "edges": each.edges.tolist(), "absent": each.absent} for each in self.bins]
        orders = [
            {"place": each.place, "levels": each.levels.tolist(), "ranks": each.ranks.tolist(), "unseen": each.unseen}
            for each in self.orders
        ]
        return {"bins": bins, "orders": orders}

    @classmethod
    def restored(cls, state: Mapping[str, Any], features: int) -> "Reading":
        """What `state` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is none over `features` features.
        """
        bins = tuple(
            Bins(int(each["place"]), np.array(each["edges"], dtype=np.float64), float(each["absent"]))
            for each in state["bins"]
        )
        orders = tuple(
            Order(int(each["place"]), _integers(each["levels"]), _integers(each["ranks"]), float(each["unseen"]))
            for each in state["orders"]
        )
        places = [each.place for each in bins] + [each.place for each in orders]
        if sorted(places) != list(range(features)):
            raise ValueError("the columns are not those of the features")
        if not all(len(order.levels) == len(order.ranks) > 0 for order in orders):
            raise ValueError("an order has no levels, or not as many ranks")
        return cls(bins, orders)
