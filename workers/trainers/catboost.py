"""Gradient boosted symmetric trees by CatBoost, an extra, with its own statistics of categories."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import InvalidData, InvalidSpec
from app.spec.algorithms import CatboostParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from trainhouse_loader.models.catboost import CatboostFitted, CatboostFormat, pool
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.libraries import LOGARITHMIC, library
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared
from workers.trainers.boosting import Measure, Rounds, huber_turn, minimised, target_of, watched
from workers.trainers.contract import Company, Fold, Recipe, SaveTo, broken, directions, fold_weights, train_weights
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


class CatboostTrainer(CatboostFormat):
    """See `Trainer`."""

    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space("catboost", task, rows)

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:
        """See `Trainer.rises`."""
        return _measure(data, fold, recipe).higher_is_better

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> CatboostFitted:
        """See `Trainer.fit`."""
        catboost = library("catboost")
        y = target_of(data, fold, recipe)
        _check_features(data, fold)
        measure = _measure(data, fold, recipe)
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
                    snapshot_interval=SNAPSHOT_SECONDS,
                )  # fmt: skip
            except catboost.CatBoostError as error:
                raise (follower.raised or broken("CatBoost", error)) from error
        if follower.raised is not None:
            raise follower.raised
        if rounds.kept < model.tree_count_:
            model.shrink(ntree_end=rounds.kept)
        return CatboostFitted(
            iterations=model.tree_count_, timed_out=rounds.timed_out, model=model, classes=len(data.classes),
            logarithmic=minimised(data, recipe) in LOGARITHMIC, categorical=data.categorical, threads=company.threads,
        )  # fmt: skip


def _measure(data: Prepared, fold: Fold, recipe: Recipe) -> Measure:
    """What a fit is watched by; for a logarithmic loss that loss, for CatBoost would compare logarithms with the target."""
    kind = minimised(data, recipe)
    return MEASURES[kind] if kind in LOGARITHMIC else watched(data, fold, recipe, MEASURES)


def booster_params(data: Prepared, y: Floats, recipe: Recipe, measure: Measure) -> dict[str, Any]:
    """CatBoost's parameters; only those of `CatboostParams` come from the caller.

    Raises:
        InvalidSpec: see `_held`.
    """
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
    return settings | _held(data, recipe, settings) if recipe.monotone else settings


def _held(data: Prepared, recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What keeps the order that `recipe.monotone` asks for.

    CatBoost would shrink the model by a hundredth each round beside constraints, its first guess too: a model cut to its
    best round then stays as small as the last one was.

    Raises:
        InvalidSpec: numbers may be split together with categories, where CatBoost forgets their order (its issue 2272).
    """
    if data.categorical and settings["max_ctr_complexity"] > 1:
        raise InvalidSpec(
            "CatBoost cannot hold an order where it looks at several columns together.", code="not_monotone",
            hint="Leave max_ctr_complexity at 1, or leave training.monotone out.",
        )  # fmt: skip
    return {"monotone_constraints": directions(data, recipe), "model_shrink_rate": 0.0}


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
        train = pool(
            data.x[fold.train], data.categorical, threads=threads, label=_labels(data, data.y[fold.train]),
            weight=train_weights(data, fold, class_weight),
        )  # fmt: skip
        held = fold.validation
        if held is None:
            return train, None
        return train, pool(
            data.x[held], data.categorical, threads=threads, label=_labels(data, data.y[held]),
            weight=fold_weights(data, held),
        )  # fmt: skip

    return _POOLS.get(data, (fold.name, class_weight), make)


def _labels(data: Prepared, y: Floats) -> Any:
    return y.astype(np.int64) if data.classes else y


class _Follower:
    """Follows CatBoost's rounds; what is raised on the way is kept, for CatBoost would replace it by its own error."""

    def __init__(self, rounds: Rounds, measure: str, snapshot: Path, resume: Path | None) -> None:
        self.rounds = rounds
        self.measure = measure
        self.snapshot = snapshot
        self.written = (0, (0, 0))
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
        stat = self.snapshot.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino)  # two within one tick of the clock are files of their own
        if stamp != self.written[1]:
            self.written = (iteration - 1, stamp)
        return self.written[0], self._copy

    def _copy(self, path: Path) -> None:
        shutil.copyfile(self.snapshot, path)
