"""The distinct words of a text column, and what is found out of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainhouse_loader.reading import readings
from trainhouse_loader.reading.readings import Reading

Floats = npt.NDArray[np.float64]
SAMPLE = 64


@dataclass(frozen=True)
class Found:
    """A type (None: left out), the reason for it, a concern, spellings of nothing, and how values are read."""

    type: str | None
    reason: str
    concern: str | None = None
    missing: tuple[str, ...] = ()
    reading: Reading | None = None


class Words:
    """The distinct words of a text column with their counts; spellings of nothing stand apart."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        counted = pc.value_counts(column.drop_null())
        written, counts = counted.field(0).to_pylist(), counted.field(1).to_numpy()
        nothing = np.array([readings.is_missing(word) for word in written], dtype=bool)
        self.missing = tuple(
            sorted({word.strip().lower() for word, gone in zip(written, nothing, strict=True) if gone})
        )
        self.nothing = int(counts[nothing].sum())
        self.words = [word for word, gone in zip(written, nothing, strict=True) if not gone]
        self.counts = counts[~nothing]
        self.rows = int(self.counts.sum())

    @cached_property
    def sample(self) -> list[str]:
        """Some words from the beginning, the middle and the end."""
        step = max(1, len(self.words) // SAMPLE)
        return self.words[::step][:SAMPLE]

    def share(self, values: Floats) -> float:
        """The share of the rows whose word has a value."""
        return float(self.counts[~np.isnan(values)].sum()) / max(1, self.rows)


def listed(words: Sequence[str]) -> str:
    """Spellings of nothing for people; the empty one is called blank."""
    return ", ".join("blanks" if word == "" else repr(word) for word in words)
