"""Signs that a feature is known only after the target: not proof, so a person is asked to look."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import rankdata

from app.errors import bounded
from workers.quality.joint import SMALL, encode
from workers.quality.leakage import Leak, Sample, auc, cells_of

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STRONG = 0.7
"""As a share of the way from knowing nothing to knowing all: AUC 0.85, or R² 0.7."""
STRONGER = 0.85
"""R² 0.85: of numbers, one honest feature often says much."""
WEAKER = 0.6
WEAKER_NUMBER = 0.5
WEAKER_BESIDE_OTHERS = 0.65
"""Where one thing is known too early already, others of the same moment are likelier."""
PAIR_WEAKER = 0.45
"""Of two independent features that matter alike, each has at least half of what both have together."""
PAIR_WEAKER_NUMBER = 0.35
PAIRED_COLUMNS = 30
PAIRED_ROWS = 4_000
MODEL_COLUMNS = 60
ACCOMPLICES = 6
LIFT = 0.12
LEAST_MISSING = 20
MISSING_WITH = 0.8
MISSING_WITHOUT = 0.05
ROUNDS = 60
CLASS_ROUNDS = 20
FEW = 5


@dataclass
class Quick:
    """A small model of the sample, refitted on whatever columns are asked for."""

    sample: Sample
    threads: int
    encoded: dict[str, Floats]

    def score(self, names: Sequence[str]) -> float:
        """Its score out of sample: learned on one half, judged on the other, both ways."""
        return self._fits(names)[0] if names else (0.5 if self.sample.classes else 0.0)

    def gains(self, names: Sequence[str]) -> dict[str, float]:
        """How much each of `names` brings to the model, as a share."""
        gains = self._fits(names)[1]
        return dict(zip(names, (gains / max(gains.sum(), 1e-300)).tolist(), strict=True))

    def _fits(self, names: Sequence[str]) -> tuple[float, Floats]:
        sample, classes = self.sample, self.sample.classes
        x = np.column_stack([self.encoded[name] for name in names])
        y = sample.y if classes else rankdata(sample.y) / len(sample.y)
        kinds = [place for place, name in enumerate(names) if sample.types[name] in {"categorical", "boolean"}]
        task = {"objective": "regression"} if not classes else {"objective": "binary"} if classes == 2 else {
            "objective": "multiclass", "num_class": classes}  # fmt: skip
        params = {
            **SMALL,
            **task,
            "seed": sample.seed % 2**31,
            "num_threads": self.threads,
            "feature_fraction": 0.7 if len(names) > FEW else 1.0,
        }
        found, gains = [], np.zeros(len(names))
        for learned in (sample.half, ~sample.half):
            data = lgb.Dataset(x[learned], y[learned], categorical_feature=kinds, params=params)
            booster = lgb.train(params, data, num_boost_round=ROUNDS if classes <= 2 else CLASS_ROUNDS)
            guess = np.asarray(booster.predict(x[~learned], num_threads=self.threads))
            found.append(_judged(guess, y[~learned], classes))
            gains += booster.feature_importance("gain")
        return float(np.mean(found)), gains


def _judged(guess: Floats, y: Floats, classes: int) -> float:
    """AUC, the mean AUC of each class against the rest, or R²."""
    if not classes:
        return float(1 - ((y - guess) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300))
    columns = guess[:, None] if classes == 2 else guess
    sides = [(y == (1 if classes == 2 else place)).astype(np.float64) for place in range(columns.shape[1])]
    found = [auc(columns[:, place], side) for place, side in enumerate(sides) if 0 < side.sum() < len(side)]
    return float(np.mean(found)) if found else 0.5


def quick(sample: Sample, scores: Mapping[str, float], *, threads: int) -> Quick:
    """A model over the features that say most alone; free text is left out."""
    names = sorted(sorted(scores, key=lambda name: -scores[name])[:MODEL_COLUMNS], key=list(scores).index)
    return Quick(sample, threads, {name: encode(sample.table.column(name), sample.types[name]) for name in names})


def missingness(sample: Sample) -> list[Leak]:
    """Features that give the target away by being empty or not."""
    found = []
    for name in sample.types:
        column = sample.table.column(name)
        if min(column.null_count, len(column) - column.null_count) < LEAST_MISSING:
            continue
        score = sample.score(column.is_null().to_numpy().astype(np.int64))
        if sample.excess(score) >= STRONG:
            found.append(Leak((name,), certain=False, kind="missingness", score=score, message=(
                f"Whether column {bounded(name)!r} is empty predicts the target with {sample.metric} {score:.3f}: it may be "
                "filled in only once the outcome is known.")))  # fmt: skip
    return found


def pairs(sample: Sample, scores: Mapping[str, float], known: Collection[str]) -> list[Leak]:
    """Pairs of numbers whose difference or sum gives the target away, though neither does so alone."""
    names = sorted((name for name in sample.numbers if name not in known), key=lambda name: -scores.get(name, 0.0))
    names = names[: PAIRED_COLUMNS if sample.classes <= 2 else PAIRED_COLUMNS // 2]
    part = slice(0, None) if len(sample.y) <= PAIRED_ROWS else slice(0, None, -(-len(sample.y) // PAIRED_ROWS))
    small = Sample(sample.table, sample.types, sample.y[part], sample.classes, sample.seed)
    found, weak = [], PAIR_WEAKER if sample.classes else PAIR_WEAKER_NUMBER
    for left, right in combinations(names, 2):
        best = max(sample.excess(scores[left]), sample.excess(scores[right]))
        if best >= weak:
            continue
        for word, values in (("less", sample.numbers[left] - sample.numbers[right]),
                             ("plus", sample.numbers[left] + sample.numbers[right])):  # fmt: skip
            score = small.score(cells_of(pa.chunked_array([pa.array(values[part], from_pandas=True)]), "numeric"))
            together = sample.excess(score)
            if together >= STRONG and best <= weak * together:
                found.append(Leak((left, right), certain=False, kind="pair", score=score, message=(
                    f"Column {bounded(left)!r} {word} {bounded(right)!r} predicts the target with {sample.metric} {score:.3f}, "
                    f"though the better of both alone reaches {max(scores[left], scores[right]):.3f}: one of them may be "
                    "known only with the outcome.")))  # fmt: skip
    return _best_of_each(found)


def _best_of_each(found: Sequence[Leak]) -> list[Leak]:
    """The strongest pair of each column that stands in front."""
    best: dict[str, Leak] = {}
    for leak in sorted(found, key=lambda leak: -leak.score):
        best.setdefault(leak.columns[0], leak)
    return list(best.values())


def dominance(sample: Sample, model: Quick, scores: Mapping[str, float], known: Collection[str]) -> list[Leak]:
    """The feature that alone says far more than all others together, again without it, until none does."""
    found: list[Leak] = []
    bar = STRONG if sample.classes else STRONGER
    usual = WEAKER if sample.classes else WEAKER_NUMBER
    gone, weaker = set(known), WEAKER_BESIDE_OTHERS if known else usual
    while True:
        left = [name for name in model.encoded if name not in gone]
        top = max(left, key=lambda name: scores[name], default=None)
        if top is None or sample.excess(scores[top]) < bar:
            return found
        rest = model.score([name for name in left if name != top])
        if sample.excess(rest) > weaker * sample.excess(scores[top]):
            return found
        found.append(Leak((top,), certain=False, kind="dominance", score=scores[top], message=(
            f"Column {bounded(top)!r} alone predicts the target with {sample.metric} {scores[top]:.3f}; all other features "
            f"together reach {rest:.3f}: it may be known only with the outcome.")))  # fmt: skip
        gone.add(top)


def accomplices(model: Quick, suspect: str, known: Collection[str]) -> list[Leak]:
    """Features that say much beside a suspect and little without it: they may stem from the same moment."""
    clean = [name for name in model.encoded if name not in known and name != suspect]
    if not clean or suspect not in model.encoded:
        return []
    names = [suspect, *clean]
    both, alone, gains = model.score(names), model.score(clean), model.gains(names)
    found = []
    for name in sorted(clean, key=lambda name: -gains[name])[:ACCOMPLICES]:
        others = [other for other in clean if other != name]
        without = model.score([suspect, *others])
        lift, own = _share_won(without, both), _share_won(model.score(others), alone)
        if lift >= LIFT and own < lift / 2:
            found.append(Leak((name,), certain=False, kind="accomplice", score=both, message=(
                f"Beside {bounded(suspect)!r}, column {bounded(name)!r} lifts {model.sample.metric} from {without:.3f} to "
                f"{both:.3f}, without it it brings little: it may be known only with the outcome, too.")))  # fmt: skip
    return found


def _share_won(before: float, after: float) -> float:
    """How much of what `before` lacked `after` gained."""
    return (after - before) / max(1 - before, 1e-9)


def recorded_together(table: pa.Table, features: Sequence[str], known: Mask) -> list[Leak]:
    """Features that are empty where the target is, and hardly elsewhere: both may be recorded at the same moment.

    `known` (rows,) says where `table` has a target. Where most features are empty too, the rows are merely blank.
    """
    lost = int((~known).sum())
    if lost < LEAST_MISSING or not known.any():
        return []
    found = []
    for name in features:
        nulls = table.column(name).null_count
        if nulls < MISSING_WITH * lost:
            continue
        empty = table.column(name).is_null().to_numpy()
        there = int(empty[~known].sum())
        elsewhere = (nulls - there) / int(known.sum())
        if there >= MISSING_WITH * lost and elsewhere <= MISSING_WITHOUT:
            found.append(Leak((name,), certain=False, kind="recorded_together", score=there / lost, message=(
                f"Column {bounded(name)!r} is empty in {there:,} of the {lost:,} rows without a target and in {elsewhere:.1%} of "
                "the others: both may be recorded at the same moment.")))  # fmt: skip
    return found if len(found) <= len(features) / 2 else []
