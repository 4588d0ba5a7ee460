"""Gradient boosted symmetric trees by CatBoost, an extra, with its own statistics of categories."""

import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from app.errors import DigestMismatch, InvalidData, MachineError
from app.spec.algorithms import CatboostParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from workers.matrix.prepared import Prepared
from workers.terms import TaskType
from workers.trainers.boosting import (
    LOGARITHMIC,
    Measure,
    Rounds,
    huber_turn,
    library,
    minimised,
    narrowed,
    shares,
    target_of,
    watched,
)
from workers.trainers.contract import (
    Company,
    Fitted,
    Floats,
    Fold,
    Recipe,
    SaveTo,
    directions,
    fold_weights,
    train_weights,
)
from workers.trainers.shared import Kept

MEASURES = {
    "binary": Measure("Logloss"), "multiclass": Measure("MultiClass"), "regression": Measure("RMSE"),
    "poisson": Measure("Poisson"), "quantile": Measure("Quantile"), "huber": Measure("Huber"),
    "tweedie": Measure("Tweedie"),
    "roc_auc": Measure("AUC", higher_is_better=True), "average_precision": Measure("PRAUC", higher_is_better=True),
    "rmse": Measure("RMSE"), "mae": Measure("MAE"), "median_absolute_error": Measure("MAE"), "mape": Measure("MAPE"),
}  # fmt: skip
"""By task, objective or metric, what CatBoost computes each round; what it minimises has the same name."""
TWEEDIE_POWER = 1.5
"""What LightGBM and XGBoost take by themselves."""
SNAPSHOT = "snapshot"
SNAPSHOT_SECONDS = 5
"""How often CatBoost writes down all that it needs to go on exactly where it was."""
ABOUT = "trainhouse"
OF_THE_FORMAT = frozenset({"class_params", ABOUT})
"""What a written model says beside its trees; times, threads and paths are left out."""


@dataclass(frozen=True, kw_only=True)
class CatboostFitted(Fitted):
    """A CatBoost model.

    Attributes:
        classes: 0 for regression.
        logarithmic: Whether its raw answers are logarithms.
        categorical: Columns that hold codes.
    """

    model: Any
    classes: int
    logarithmic: bool
    categorical: tuple[int, ...]
    threads: int = 1

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        rows = _pool(x, self.categorical, threads=self.threads)
        raw: Floats = np.asarray(self.model.predict(rows, thread_count=self.threads), dtype=np.float64)
        if self.classes == 0:
            return np.exp(raw) if self.logarithmic else raw
        if self.classes == 2:
            positive: Floats = expit(raw)
            return np.column_stack((1.0 - positive, positive))
        found: Floats = softmax(raw, axis=1)
        return found

    def importances(self, x: Floats) -> Floats:  # noqa: ARG002  # trees know without
        """Shares of how much predictions move when a feature does, in CatBoost's own measure; `x` is not needed."""
        return shares(np.asarray(self.model.get_feature_importance(type="PredictionValuesChange"), dtype=np.float64))

    def contributions(self, x: Floats) -> Floats:
        """See `Fitted.contributions`."""
        rows = _pool(x, self.categorical, threads=self.threads)
        found = self.model.get_feature_importance(rows, type="ShapValues", thread_count=self.threads)
        return np.asarray(found, dtype=np.float64)

    def save(self, path: Path) -> None:
        """CatBoost's binary format with no more beside the trees than it takes to predict."""
        about = self.model.get_metadata()
        for name in [name for name in about.keys() if name not in OF_THE_FORMAT]:  # noqa: SIM118  # no mapping
            del about[name]
        about[ABOUT] = json.dumps([self.classes, self.logarithmic, list(self.categorical)])
        self.model.save_model(str(path), format="cbm")


class CatboostTrainer:
    """See `Trainer`."""

    filename = "model.cbm"
    tolerance = 0.0
    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space("catboost", task, rows)

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> CatboostFitted:
        """See `Trainer.fit`."""
        catboost = library("catboost")
        y = target_of(data, fold, recipe)
        _check_features(data, fold)
        measure = watched(data, fold, recipe, MEASURES)
        if (kind := minimised(data, recipe)) in LOGARITHMIC:  # CatBoost would compare the logarithms with the target
            measure = MEASURES[kind]
        rounds = Rounds(company, recipe, higher_is_better=measure.higher_is_better)
        with tempfile.TemporaryDirectory() as folder:
            follower = _Follower(rounds, measure.name, Path(folder) / SNAPSHOT, company.resume)
            model = catboost.CatBoost(booster_params(data, y, recipe, measure) | {
                "thread_count": company.threads, "train_dir": folder,
            })  # fmt: skip
            train, validation = _pools(data, fold, recipe.class_weight, threads=company.threads)
            try:
                model.fit(
                    train, eval_set=validation, callbacks=[follower], save_snapshot=True, snapshot_file=SNAPSHOT,
                    snapshot_interval=SNAPSHOT_SECONDS, log_cout=io.StringIO(), log_cerr=io.StringIO(),
                )  # fmt: skip
            except catboost.CatBoostError as error:
                raise (follower.raised or MachineError("CatBoost failed.", code="trainer_failed")) from error
        if follower.raised is not None:
            raise follower.raised
        if rounds.kept < model.tree_count_:
            model.shrink(ntree_end=rounds.kept)
        return CatboostFitted(
            iterations=model.tree_count_, timed_out=rounds.timed_out, model=model, classes=len(data.classes),
            logarithmic=kind in LOGARITHMIC, categorical=data.categorical, threads=company.threads,
        )  # fmt: skip

    def load(self, path: Path, *, threads: int = 1) -> CatboostFitted:
        """See `Trainer.load`."""
        catboost = library("catboost")
        try:
            model = catboost.CatBoost().load_model(str(path), format="cbm")
            classes, logarithmic, categorical = json.loads(dict(model.get_metadata().items())[ABOUT])
        except (catboost.CatBoostError, KeyError, ValueError) as error:
            raise DigestMismatch("The file is no CatBoost model.") from error
        return CatboostFitted(
            iterations=model.tree_count_, model=model, classes=classes, logarithmic=logarithmic,
            categorical=tuple(categorical), threads=threads,
        )  # fmt: skip


def booster_params(data: Prepared, y: Floats, recipe: Recipe, measure: Measure) -> dict[str, Any]:
    """CatBoost's parameters; only those of `CatboostParams` come from the caller."""
    kind = minimised(data, recipe)
    details = {
        "quantile": f":alpha={recipe.quantile}", "huber": f":delta={huber_turn(y, recipe)}",
        "tweedie": f":variance_power={TWEEDIE_POWER}",
    }  # fmt: skip
    loss = MEASURES[kind].name + details.get(kind, "")
    settings: dict[str, Any] = CatboostParams(**recipe.params).model_dump(exclude={"loss"})
    settings.update(
        loss_function=loss, iterations=recipe.max_iterations, random_seed=recipe.seed, bootstrap_type="Bayesian",
        boosting_type="Plain", use_best_model=False, allow_const_label=True, logging_level="Silent",
        eval_metric=f"{measure.name}:hints=skip_train~true" if measure.name not in loss else loss,
    )  # fmt: skip
    if data.classes:
        settings["class_names"] = list(range(len(data.classes)))
    if recipe.monotone:
        settings["monotone_constraints"] = directions(data, recipe)
    return settings


def _check_features(data: Prepared, fold: Fold) -> None:
    """Nothing, where a feature of the train rows has two values."""
    x = data.x
    first = x[fold.train[0]]
    for column in range(x.shape[1]):
        values = x[fold.train, column]
        if not ((values == first[column]) | (np.isnan(values) & np.isnan(first[column]))).all():
            return
    raise InvalidData(
        "Every feature has one value only in the rows that train, which CatBoost cannot learn from.",
        code="no_features", hint="Bring features that differ between rows.",
    )  # fmt: skip


_POOLS: Kept[tuple[Any, Any]] = Kept()


def _pools(data: Prepared, fold: Fold, class_weight: str | None, *, threads: int) -> tuple[Any, Any]:
    """The fold's rows that train, and those of the validation, or None."""

    def make() -> tuple[Any, Any]:
        train = _pool(
            data.x[fold.train], data.categorical, threads=threads, label=_labels(data, data.y[fold.train]),
            weight=train_weights(data, fold, class_weight),
        )  # fmt: skip
        held = fold.validation
        if held is None:
            return train, None
        return train, _pool(
            data.x[held], data.categorical, threads=threads, label=_labels(data, data.y[held]),
            weight=fold_weights(data, held),
        )  # fmt: skip

    return _POOLS.get(data, (fold.name, class_weight), make)


def _labels(data: Prepared, y: Floats) -> Any:
    return y.astype(np.int64) if data.classes else y


def _pool(x: Floats, categorical: tuple[int, ...], *, threads: int, **more: Any) -> Any:
    """`x` (rows, features) as CatBoost takes it: codes as categories, a missing one as a category of its own."""
    rows: Any = narrowed(x)
    if categorical:
        rows = pd.DataFrame(rows, copy=False)
        for column in categorical:
            codes = np.nan_to_num(x[:, column], nan=-1.0).astype(np.int64) + 1
            names = pd.Index([str(code) for code in range(-1, codes.max(initial=0))])
            rows[column] = pd.Categorical.from_codes(codes, categories=names)
    return library("catboost").Pool(rows, cat_features=list(categorical), thread_count=threads, **more)


class _Follower:
    """Follows CatBoost's rounds; what is raised on the way is kept, for CatBoost would replace it by its own error."""

    def __init__(self, rounds: Rounds, measure: str, snapshot: Path, resume: Path | None) -> None:
        self.rounds = rounds
        self.measure = measure
        self.snapshot = snapshot
        self.written = (0, 0)
        self.raised: BaseException | None = None
        if resume is not None:
            shutil.copyfile(resume, snapshot)

    def after_iteration(self, info: Any) -> bool:
        """CatBoost's callback: whether the fit goes on after `info.iteration` rounds."""
        values = self._values(info)
        for done in range(self.rounds.done + 1, info.iteration):  # those that a snapshot brought
            self.rounds.note(done, values[done - 1])
        try:
            return self.rounds.go_on(info.iteration, values[-1], self._newest(info.iteration))
        except BaseException as error:  # noqa: BLE001  # raised again after the fit
            self.raised = error
            return False

    def _values(self, info: Any) -> list[float]:
        """The validation values of all rounds so far, NaN without validation rows."""
        for name, values in info.metrics.get("validation", {}).items():
            if name.split(":")[0] == self.measure:
                return values
        return [float("nan")] * info.iteration

    def _newest(self, iteration: int) -> tuple[int, SaveTo] | None:
        """The last snapshot with its rounds; it was written before those of `iteration` were told."""
        if not self.snapshot.exists():
            return None
        stamp = self.snapshot.stat().st_mtime_ns
        if stamp != self.written[1]:
            self.written = (iteration - 1, stamp)
        return self.written[0], self._copy

    def _copy(self, path: Path) -> None:
        shutil.copyfile(self.snapshot, path)
