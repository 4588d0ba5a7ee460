"""Gradient boosted trees by XGBoost, an extra, with native categories and quantised rows that trials share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.errors import InvalidSpec
from app.spec.algorithms import XgboostParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.libraries import library, narrowed
from trainhouse_loader.models.xgboost import XgboostFitted, XgboostFormat, read
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared
from workers.trainers.boosting import Measure, Rounds, held_directions, huber_turn, minimised, target_of, watched
from workers.trainers.contract import Company, Fold, Recipe, broken, fold_weights, train_weights
from workers.trainers.shared import Kept

OBJECTIVES = {
    "binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror",
    "poisson": "count:poisson", "quantile": "reg:quantileerror", "huber": "reg:pseudohubererror",
    "tweedie": "reg:tweedie", "gamma": "reg:gamma",
}  # fmt: skip
MEASURES = {
    "binary": Measure("logloss"), "multiclass": Measure("mlogloss"), "regression": Measure("rmse"),
    "poisson": Measure("poisson-nloglik"), "quantile": Measure("quantile"), "huber": Measure("mphe"),
    "tweedie": Measure("tweedie-nloglik@1.5"), "gamma": Measure("gamma-deviance"),
    "roc_auc": Measure("auc", higher_is_better=True), "average_precision": Measure("aucpr", higher_is_better=True),
    "rmse": Measure("rmse"), "mae": Measure("mae"), "median_absolute_error": Measure("mae"), "mape": Measure("mape"),
}  # fmt: skip
"""By task, objective or metric, what XGBoost computes each round."""
ROUNDS = "rounds"


class XgboostTrainer(XgboostFormat):
    """See `Trainer`. A deterministic fit is neither offered nor resumed: random numbers cannot be wound forward."""

    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space("xgboost", task, rows)

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:
        """See `Trainer.rises`."""
        return watched(data, fold, recipe, MEASURES).higher_is_better

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> XgboostFitted:
        """See `Trainer.fit`."""
        xgb = library("xgboost")
        y = target_of(data, fold, recipe)
        measure = watched(data, fold, recipe, MEASURES)
        settings = booster_params(data, y, recipe, threads=company.threads) | {"eval_metric": measure.name}
        rounds = Rounds(company, recipe, higher_is_better=measure.higher_is_better)
        try:
            train, validation = _matrices(data, fold, recipe, settings)
            booster = xgb.Booster(settings, [each for each in (train, validation) if each is not None])
            if company.resume is not None and not recipe.deterministic:
                _restore(booster, company.resume, rounds)
            _boost(booster, train, validation, rounds)
            kept = booster[: rounds.kept]
        except xgb.core.XGBoostError as error:
            raise broken("XGBoost", error) from error
        kept.set_param({"nthread": company.threads})
        return XgboostFitted(
            iterations=rounds.kept, timed_out=rounds.timed_out, booster=kept, classes=len(data.classes)
        )  # fmt: skip


def booster_params(data: Prepared, y: Floats, recipe: Recipe, *, threads: int) -> dict[str, Any]:
    """XGBoost's parameters; only those of `XgboostParams` come from the caller.

    Raises:
        InvalidSpec: trees are bounded neither in depth nor in leaves.
    """
    chosen = XgboostParams(**recipe.params)
    if chosen.max_depth == 0 and chosen.max_leaves == 0:
        raise InvalidSpec(
            "XGBoost needs max_depth or max_leaves above 0.", code="invalid_params", hint="Change training.params."
        )  # fmt: skip
    settings: dict[str, Any] = chosen.model_dump(exclude={"loss"})
    settings.update(
        objective=OBJECTIVES[minimised(data, recipe)], tree_method="hist",
        seed=recipe.seed, seed_per_iteration=True, nthread=threads, verbosity=0,
    )  # fmt: skip
    if recipe.objective == "quantile":
        settings["quantile_alpha"] = recipe.quantile
    if recipe.objective == "huber":
        settings["huber_slope"] = huber_turn(y, recipe)
    if data.task == "multiclass":
        settings["num_class"] = len(data.classes)
    if recipe.monotone:
        settings["monotone_constraints"] = tuple(held_directions(data, recipe))
    return settings


_QUANTISED: Kept[tuple[Any, Any]] = Kept()


def _matrices(data: Prepared, fold: Fold, recipe: Recipe, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The fold's rows: those that train in quantiles, those of the validation, or None, as they are."""
    key = (fold.name, recipe.class_weight, settings["max_bin"])

    def make() -> tuple[Any, Any]:
        xgb = library("xgboost")
        types = ["c" if index in data.categorical else "q" for index in range(data.x.shape[1])]
        common = {"feature_types": types, "enable_categorical": True, "nthread": settings["nthread"]}
        train = xgb.QuantileDMatrix(
            narrowed(data.x[fold.train]), data.y[fold.train], weight=train_weights(data, fold, recipe.class_weight),
            max_bin=settings["max_bin"], **common,
        )  # fmt: skip
        held = fold.validation
        if held is None:
            return train, None
        return train, xgb.DMatrix(narrowed(data.x[held]), data.y[held], weight=fold_weights(data, held), **common)

    return _QUANTISED.get(data, key, make)


def _boost(booster: Any, train: Any, validation: Any, rounds: Rounds) -> None:
    """Adds rounds until the fit should end."""

    def save(path: Path) -> None:
        booster.set_attr(**{ROUNDS: rounds.written()})
        path.write_bytes(booster.save_raw("ubj"))
        booster.set_attr(**{ROUNDS: None})

    for number in range(rounds.done, rounds.recipe.max_iterations):
        booster.update(train, number)
        value = float("nan")
        if validation is not None:
            value = float(booster.eval_set([(validation, "validation")], number).rsplit(":", 1)[1])
        if not rounds.go_on(number + 1, value, None if rounds.recipe.deterministic else (number + 1, save)):
            break


def _restore(booster: Any, path: Path, rounds: Rounds) -> None:
    """Goes on from the model in `path`."""
    read(booster, path)
    rounds.restore(booster.attr(ROUNDS))
    booster.set_attr(**{ROUNDS: None})
