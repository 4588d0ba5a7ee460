"""Tables that nobody has seen: seeded generators of kinds that occur, for judging what was tuned elsewhere."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3

Floats = npt.NDArray[np.float64]
Random = np.random.Generator
LABELS = 40
"""The most labels that a made category has."""


def friedman_1() -> pd.DataFrame:
    """Friedman's first function: five columns that matter, ten that do not, and noise of the target."""
    x, y = make_friedman1(n_samples=10_000, n_features=15, noise=1.0, random_state=11)
    return _frame(x, y)


def friedman_2() -> pd.DataFrame:
    """Friedman's second function, four columns of very different scales, with six irrelevant ones."""
    x, y = make_friedman2(n_samples=5_000, noise=125.0, random_state=12)
    return _frame(_with_noise(x, columns=6, seed=12), y)


def friedman_3() -> pd.DataFrame:
    """Friedman's third function, an angle, with six irrelevant columns, on few rows."""
    x, y = make_friedman3(n_samples=2_000, noise=0.1, random_state=13)
    return _frame(_with_noise(x, columns=6, seed=13), y)


def mixed_numbers() -> pd.DataFrame:
    """A number to predict: skewed, from mixed columns, multiplied up as prices are."""
    random = np.random.default_rng(21)
    frame, signal = _mixed(random, rows=30_000)
    frame["y"] = np.round(np.exp(4.0 + 0.5 * signal + random.normal(0.0, 0.25, len(signal))), 2)
    return frame


def mixed_binary() -> pd.DataFrame:
    """A rare yes (about one row in ten) from mixed columns, with as much chance as signal."""
    random = np.random.default_rng(22)
    frame, signal = _mixed(random, rows=20_000)
    noisy = signal + random.logistic(0.0, 0.6, len(signal))
    frame["y"] = np.where(noisy > np.quantile(noisy, 0.9), "yes", "no")
    return frame


def mixed_classes() -> pd.DataFrame:
    """Five classes of unequal size, in no order along the signal, from mixed columns."""
    random = np.random.default_rng(23)
    frame, signal = _mixed(random, rows=12_000)
    _, other = _mixed(np.random.default_rng(24), rows=12_000)
    scores = np.stack([signal, -signal, 0.5 * signal**2 - 1.0, other, np.full(len(signal), 0.8)], axis=1)
    chosen = (scores * 1.5 + random.gumbel(size=scores.shape)).argmax(axis=1)
    frame["y"] = np.asarray(["ash", "beech", "elm", "lime", "oak"], dtype=object)[chosen]
    frame["hint"] = other + random.normal(0.0, 0.3, len(other))
    return frame


def _mixed(random: Random, *, rows: int) -> tuple[pd.DataFrame, Floats]:
    """(table, standardised signal): numbers, some skewed or useless, categories, interactions, missing values."""
    numbers = random.normal(size=(rows, 10))
    numbers[:, 3] = np.exp(numbers[:, 3])
    numbers[:, 4] = np.round(numbers[:, 4] * 3)
    shares = random.dirichlet(np.full(LABELS, 0.4))
    place, kind = random.choice(LABELS, rows, p=shares), random.choice(5, rows)
    of_place, of_kind = random.normal(size=LABELS), random.normal(size=5)
    signal = (
        numbers[:, 0] + np.sin(2.0 * numbers[:, 1]) + 0.6 * np.log1p(numbers[:, 3])
        + of_place[place] + np.where(kind == 2, numbers[:, 2], of_kind[kind])
        + 0.8 * (numbers[:, 0] > 0.5) * (numbers[:, 5] > 0) + 0.1 * numbers[:, 4]
    )  # fmt: skip
    frame = pd.DataFrame({f"n{index}": numbers[:, index] for index in range(numbers.shape[1])})
    frame["place"] = [f"place {index:02d}" for index in place]
    frame["kind"] = [f"kind {index}" for index in kind]
    hidden = random.random(rows) < 0.15
    frame.loc[hidden, "n1"] = np.nan
    frame.loc[numbers[:, 5] > 1.0, "n2"] = np.nan  # missing for a reason
    frame.loc[random.random(rows) < 0.05, "kind"] = None
    return frame, (signal - signal.mean()) / signal.std()


def _with_noise(x: Floats, *, columns: int, seed: int) -> Floats:
    return np.hstack([x, np.random.default_rng(seed).normal(size=(len(x), columns))])


def _frame(x: Floats, y: Floats) -> pd.DataFrame:
    frame = pd.DataFrame({f"x{index}": x[:, index] for index in range(x.shape[1])})
    frame["y"] = y
    return frame
