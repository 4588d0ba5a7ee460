"""Gradient boosted trees by LightGBM, with native categories and a binned data set that trials share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
from lightgbm.basic import LightGBMError
from lightgbm.callback import CallbackEnv, EarlyStopException

from app.errors import DigestMismatch, InvalidSpec, TrainerFailed
from app.spec.algorithms import LightgbmParams
from app.spec.modelling import Dimension
from app.spec.spaces import default_space
from trainhouse_loader.models.fitted import Floats
from trainhouse_loader.models.libraries import LOGARITHMIC
from trainhouse_loader.models.lightgbm import LightgbmFitted, LightgbmFormat, parsed
from trainhouse_loader.terms import TaskType
from workers.matrix.prepared import Prepared
from workers.trainers.binned import binned, fresh
from workers.trainers.boosting import Measure, Rounds, held_directions, huber_turn, minimised, target_of, watched
from workers.trainers.contract import Company, Fold, Recipe, broken

OBJECTIVES = {
    "binary": "binary", "multiclass": "multiclass", "regression": "regression", "poisson": "poisson",
    "quantile": "quantile", "huber": "huber", "tweedie": "tweedie", "gamma": "gamma",
}  # fmt: skip
MEASURES = {
    "binary": Measure("binary_logloss"), "multiclass": Measure("multi_logloss"), "regression": Measure("rmse"),
    "poisson": Measure("poisson"), "quantile": Measure("quantile"), "huber": Measure("huber"),
    "tweedie": Measure("tweedie"), "gamma": Measure("gamma"),
    "roc_auc": Measure("auc", higher_is_better=True),
    "average_precision": Measure("average_precision", higher_is_better=True),
    "rmse": Measure("rmse"), "mae": Measure("l1"), "median_absolute_error": Measure("l1"), "mape": Measure("mape"),
}  # fmt: skip
"""By task, objective or metric, what LightGBM computes each round."""


class LightgbmTrainer(LightgbmFormat):
    """See `Trainer`. A deterministic fit is neither offered nor resumed: random numbers cannot be wound forward."""

    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:
        """See `Trainer.space`."""
        return default_space("lightgbm", task, rows)

    def rises(self, data: Prepared, fold: Fold, recipe: Recipe) -> bool:
        """See `Trainer.rises`."""
        return watched(data, fold, recipe, MEASURES).higher_is_better

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> LightgbmFitted:
        """See `Trainer.fit`."""
        y = target_of(data, fold, recipe)
        measure = watched(data, fold, recipe, MEASURES)
        settings = booster_params(data, y, recipe, threads=company.threads) | {"metric": measure.name}
        rounds = Rounds(company, recipe, higher_is_better=measure.higher_is_better)
        try:
            begun = None
            if company.resume is not None and not recipe.deterministic:
                begun = _restored(company.resume, rounds)
                settings |= _other_draws(settings["seed"] + rounds.done)
            booster = _boosted(data, fold, settings, rounds, begun)
        except LightGBMError as error:
            raise _explained(error, recipe) from error
        booster.free_dataset()
        return LightgbmFitted(
            iterations=min(rounds.kept, booster.current_iteration()), timed_out=rounds.timed_out, booster=booster,
            classes=len(data.classes), logarithmic=minimised(data, recipe) in LOGARITHMIC, threads=company.threads,
        )  # fmt: skip


def booster_params(data: Prepared, y: Floats, recipe: Recipe, *, threads: int) -> dict[str, Any]:
    """LightGBM's parameters; only those of `LightgbmParams` come from the caller."""
    chosen = LightgbmParams(**recipe.params)
    settings: dict[str, Any] = chosen.model_dump(exclude={"loss"})
    if chosen.subsample < 1.0 and "subsample_freq" not in chosen.model_fields_set:
        settings["subsample_freq"] = 1  # LightGBM's own 0 draws no rows, whatever their share
    settings.update(
        objective=OBJECTIVES[minimised(data, recipe)], seed=recipe.seed,
        num_threads=threads, verbosity=-1, feature_pre_filter=False, deterministic=recipe.deterministic,
        **({"force_row_wise": True} if recipe.deterministic else {}),
    )  # fmt: skip
    if recipe.objective == "quantile":
        settings["alpha"] = recipe.quantile
    if recipe.objective == "huber":
        settings["alpha"] = huber_turn(y, recipe)
    if recipe.monotone:
        settings["monotone_constraints"] = held_directions(data, recipe)
    if data.task == "multiclass":
        settings["num_class"] = len(data.classes)
    return settings


def _other_draws(seed: int) -> dict[str, int]:
    """Seeds of what is drawn while trees grow, so that a resumed fit does not draw again what it has drawn."""
    return dict.fromkeys(("feature_fraction_seed", "bagging_seed", "extra_seed"), seed % 2**31)


def _boosted(
    data: Prepared, fold: Fold, settings: Mapping[str, Any], rounds: Rounds, begun: lgb.Booster | None
) -> lgb.Booster:  # fmt: skip
    """The booster after its last round; `begun` is one to go on from."""
    if begun is not None and rounds.done >= rounds.recipe.max_iterations:
        return begun
    if begun is None:
        train, validation = binned(data, fold, settings, rounds.recipe.class_weight)
    else:  # a set that a fit goes on with keeps the scores of its beginning, so it is not shared
        train, validation = fresh(data, fold, settings, rounds.recipe.class_weight, construct=False)
    return lgb.train(
        dict(settings), train, num_boost_round=rounds.recipe.max_iterations - rounds.done, init_model=begun,
        valid_sets=[] if validation is None else [validation], callbacks=[_follower(rounds)],
        keep_training_booster=True,
    )  # fmt: skip


def _follower(rounds: Rounds) -> Callable[[CallbackEnv], None]:
    """LightGBM's callback after each round."""

    def follow(env: CallbackEnv) -> None:
        def save(path: Path) -> None:
            text = env.model.model_to_string(num_iteration=-1)
            path.write_text(rounds.written() + "\n" + text, encoding="utf-8", newline="\n")

        results = env.evaluation_result_list or []
        value = float(results[0][2]) if results else float("nan")
        done = env.iteration + 1
        if not rounds.go_on(done, value, None if rounds.recipe.deterministic else (done, save)):
            raise EarlyStopException(env.iteration, results)

    return follow


def _restored(path: Path, rounds: Rounds) -> lgb.Booster:
    """The booster that was offered; `rounds` goes on from there."""
    try:
        written, _, text = path.read_text(encoding="utf-8").partition("\n")
        rounds.restore(written)
        return parsed(text)
    except (LightGBMError, ValueError) as error:
        raise DigestMismatch("The file is no LightGBM model that a fit can go on from.") from error


def _explained(error: LightGBMError, recipe: Recipe) -> InvalidSpec | TrainerFailed:
    """LightGBM's error as ours: a contradiction between parameters is the caller's to mend, unless all are defaults."""
    text = str(error)
    if not recipe.params:
        return broken("LightGBM", error)
    if "Check failed" in text or "should be" in text or "conflict" in text.lower():
        return InvalidSpec(
            "LightGBM refused these parameters together.", code="invalid_params", hint="Change training.params."
        )  # fmt: skip
    return broken("LightGBM", error)
