"""What models of sums take instead of the matrix: numbers full and standardised, categories one-hot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from trainhouse_loader.models.fitted import Floats, Indices
from trainhouse_loader.models.scaling import Numbers

MOST_LEVELS = 1_000
"""Levels of one category that get a column; rarer ones have none."""
ROWS_AT_A_TIME = 8_192
DENSE_WIDTH = 64
SPARSE_SHARE = 0.25
"""A wide design of which less than this share is not zero is kept as CSR."""


@dataclass(frozen=True)
class Category:
    """One column of codes: the `levels` that have a column of the design each, and whether `missing` is one too."""

    place: int
    levels: Indices
    missing: bool

    @classmethod
    def learn(cls, codes: Floats, place: int) -> "Category":
        """From the codes (rows,) of the training rows."""
        known = codes[~np.isnan(codes)].astype(np.int64)
        levels, counts = np.unique(known, return_counts=True)
        kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_LEVELS])
        return cls(place, levels[kept], len(known) < len(codes))

    @property
    def width(self) -> int:
        """How many columns it has."""
        return len(self.levels) + int(self.missing)

    def columns(self, codes: Floats, start: int) -> Indices:
        """(rows,) The column of each code, the first of them being `start`; -1 where it has none."""
        absent = np.isnan(codes)
        known = np.where(absent, -1.0, codes).astype(np.int64)
        found = np.searchsorted(self.levels, known)
        hit = np.zeros(len(codes), dtype=np.bool_)
        inside = found < len(self.levels)
        hit[inside] = self.levels[found[inside]] == known[inside]
        placed = np.where(hit, start + found, -1)
        return np.where(absent, start + len(self.levels), placed) if self.missing else placed


@dataclass(frozen=True)
class Seen:
    """Some rows as a design reads them.

    Attributes:
        full: (rows, numbers + indicators) standardised numbers, then ones where a number was missing.
        places: (rows, categories) The design's column of each code, or -1.
    """

    full: Floats
    places: Indices


@dataclass(frozen=True)
class Design:
    """A fitted design: first the numbers, then indicators of missing ones, then the levels of the categories."""

    numbers: Numbers
    categories: tuple[Category, ...]

    @classmethod
    def learn(cls, x: Floats, rows: Indices, categorical: Sequence[int]) -> "Design":
        """From the training `rows` of `x` (all rows, features), whose columns `categorical` hold codes."""
        numbers = [place for place in range(x.shape[1]) if place not in set(categorical)]
        categories = tuple(Category.learn(np.take(x[:, place], rows), place) for place in categorical)
        return cls(Numbers.learn(x, rows, numbers), categories)

    @property
    def dense_width(self) -> int:
        """How many of the columns are numbers or indicators."""
        return len(self.numbers.places) + int(self.numbers.missing.sum())

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self.dense_width + sum(category.width for category in self.categories)

    def read(self, x: Floats) -> Seen:
        """`x` (rows, features) as this design reads it."""
        standard = self.numbers.standardised(x)
        absent = np.isnan(standard)
        full = np.hstack((np.where(absent, self.numbers.middle, standard), absent[:, self.numbers.missing]))
        places, start = np.empty((len(x), len(self.categories)), dtype=np.int64), self.dense_width
        for index, category in enumerate(self.categories):
            places[:, index] = category.columns(x[:, category.place], start)
            start += category.width
        return Seen(full, places)

    def matrix(self, x: Floats, rows: Indices) -> Any:
        """(rows, width) of the `rows` of `x`: an array, or CSR where that is much smaller."""
        filled = self.dense_width + len(self.categories)
        sparse = self.width > DENSE_WIDTH and filled < SPARSE_SHARE * self.width
        return self._sparse(x, rows, filled) if sparse else self._dense(x, rows)

    def _dense(self, x: Floats, rows: Indices) -> Floats:
        out = np.zeros((len(rows), self.width))
        for start, seen in self._blocks(x, rows):
            block = out[start : start + len(seen.full)]
            block[:, : self.dense_width] = seen.full
            for places in seen.places.T:
                hit = np.flatnonzero(places >= 0)
                block[hit, places[hit]] = 1.0
        return out

    def _sparse(self, x: Floats, rows: Indices, filled: int) -> Any:
        data = np.zeros((len(rows), filled))
        columns = np.zeros((len(rows), filled), dtype=np.int32)
        columns[:, : self.dense_width] = np.arange(self.dense_width)
        for start, seen in self._blocks(x, rows):
            block = slice(start, start + len(seen.full))
            data[block, : self.dense_width] = seen.full
            data[block, self.dense_width :] = seen.places >= 0
            columns[block, self.dense_width :] = np.maximum(seen.places, 0)
        ends = np.arange(len(rows) + 1) * filled
        return csr_array((data.ravel(), columns.ravel(), ends), shape=(len(rows), self.width))

    def _blocks(self, x: Floats, rows: Indices) -> Iterator[tuple[int, Seen]]:
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            yield start, self.read(x[rows[start : start + ROWS_AT_A_TIME]])

    def sums(self, x: Floats, coefficients: Floats) -> Floats:
        """(rows, outputs) The design of `x` times `coefficients` (outputs, width), each row by itself."""
        found = np.empty((len(x), len(coefficients)))
        own, levels = coefficients[:, : self.dense_width], _padded(coefficients)
        for start in range(0, len(x), ROWS_AT_A_TIME):
            seen = self.read(x[start : start + ROWS_AT_A_TIME])
            # einsum sums in one fixed order, where BLAS may choose another for each number of rows.
            sums = np.einsum("ij,kj->ik", seen.full, own)
            for places in seen.places.T:
                sums += levels[places]
            found[start : start + len(sums)] = sums
        return found

    def shares(self, x: Floats, coefficients: Floats) -> Floats:
        """(features,) How far each feature moves the outputs over the rows `x`: standard deviations, as shares."""
        seen, levels, size = self.read(x), _padded(coefficients), np.zeros(x.shape[1])
        indicator = len(self.numbers.places)
        for index, place in enumerate(self.numbers.places):
            moved = seen.full[:, [index]] * coefficients[:, index]
            if self.numbers.missing[index]:
                moved = moved + seen.full[:, [indicator]] * coefficients[:, indicator]
                indicator += 1
            size[place] = moved.std(axis=0).mean()
        for category, places in zip(self.categories, seen.places.T, strict=True):
            size[category.place] = levels[places].std(axis=0).mean()
        return size / size.sum() if size.sum() > 0 else size

    def state(self) -> dict[str, Any]:
        """As plain JSON."""
        categories = [
            {"place": each.place, "levels": each.levels.tolist(), "missing": each.missing} for each in self.categories
        ]
        return {"numbers": self.numbers.state(), "categories": categories}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Design":
        """What `state` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        categories = tuple(
            Category(int(each["place"]), np.array(each["levels"], dtype=np.int64), bool(each["missing"]))
            for each in state["categories"]
        )
        return cls(Numbers.restored(state["numbers"]), categories)


def _padded(coefficients: Floats) -> Floats:
    """(width + 1, outputs), the last row all zeros: what a code without a column adds."""
    return np.vstack((coefficients.T, np.zeros(len(coefficients))))
