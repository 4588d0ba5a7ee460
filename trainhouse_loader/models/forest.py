"""Forests of scikit-learn's trees."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models import grove
from trainhouse_loader.models.fitted import Fitted, Floats
from trainhouse_loader.models.ordering import Reading

FORMAT = "trainhouse-forest-1"


@dataclass(frozen=True)
class Answers:
    """What the sums of a forest's trees mean.

    Attributes:
        prior: (outputs,) What the one more tree answers; none where it is empty.
        classes: 0 for regression.
        centre: Added to a number after it was multiplied by `scale`; both are those of the training target.
        scale: See `centre`.
    """

    prior: Floats
    classes: int = 0
    centre: float = 0.0
    scale: float = 1.0

    def answer(self, total: Floats, trees: int) -> Floats:
        """What sums (rows, outputs) over so many trees say; see `Fitted.predict`."""
        mean = (total + self.prior) / (trees + 1) if len(self.prior) else total / trees
        if self.classes == 2:
            return np.column_stack((1.0 - mean[:, 0], mean[:, 0]))
        if self.classes:
            shares: Floats = mean / mean.sum(axis=1, keepdims=True)
            return shares
        number: Floats = self.centre + self.scale * mean[:, 0]
        return number


@dataclass(frozen=True, kw_only=True)
class ForestFitted(Fitted):
    """Some trees.

    Attributes:
        reading: How rows are read.
        trees: The trees.
        gains: (trees, features) Each feature's share of the impurity that a tree takes away.
        about: What their sums mean.
    """

    reading: Reading
    trees: Sequence[grove.Grown]
    gains: Floats
    about: Answers
    threads: int = 1

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        out = np.empty((len(x), self.outputs))
        for start in range(0, len(x), self.threads * grove.ROWS_AT_A_TIME):
            rows = slice(start, start + self.threads * grove.ROWS_AT_A_TIME)
            read = self.reading.read(x[rows])
            out[rows] = grove.total(self.trees, read, outputs=self.outputs, threads=self.threads)
        return self.about.answer(out, len(self.trees))

    @property
    def outputs(self) -> int:
        """How many numbers a tree answers."""
        return self.trees[0].values.shape[1]

    def importances(self, x: Floats) -> Floats:  # noqa: ARG002  # trees know without
        """Mean shares of the impurity taken away; `x` is not needed."""
        mean: Floats = self.gains.mean(axis=0)
        return mean / mean.sum() if mean.sum() > 0 else mean

    def save(self, path: Path) -> None:
        """NumPy's .npz: what the forest is as JSON, and its trees as `grove.packed` has them."""
        about = {
            "format": FORMAT, "classes": self.about.classes, "centre": self.about.centre, "scale": self.about.scale,
            "prior": self.about.prior.tolist(), "reading": self.reading.state(),
        }  # fmt: skip
        arrays: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
        arrays |= {"gains": self.gains, **grove.packed(self.trees)}
        with path.open("wb") as file:
            np.savez(file, **arrays)


def _restored(arrays: Mapping[str, Any], threads: int) -> ForestFitted:
    about = json.loads(arrays["about"].tobytes())
    if about["format"] != FORMAT:
        raise ValueError("another format")
    gains = arrays["gains"]
    count, features = gains.shape
    reading = Reading.restored(about["reading"], features)
    trees, prior = grove.unpacked(arrays, features), np.array(about["prior"], dtype=np.float64)
    if not trees or len(trees) != count or len(prior) not in {0, trees[0].values.shape[1]}:
        raise ValueError("the parts do not fit together")
    return ForestFitted(
        iterations=len(trees), reading=reading, trees=trees, gains=gains, threads=threads,
        about=Answers(prior, int(about["classes"]), float(about["centre"]), float(about["scale"])),
    )  # fmt: skip


class ForestFormat:
    """See `Format`."""

    filename = "model.npz"
    tolerance = 0.0

    def load(self, path: Path, *, threads: int = 1) -> ForestFitted:
        """See `Format.load`."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return _restored({name: archive[name] for name in archive.files}, threads)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, BadZipFile) as error:
            raise DigestMismatch("The file is no forest.") from error
