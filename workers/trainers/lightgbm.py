"""Gradient boosted trees by LightGBM, with native categories and a binned data set that trials share."""

import re
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from lightgbm.basic import LightGBMError
from lightgbm.callback import CallbackEnv, EarlyStopException
from scipy.special import expit, softmax

from app.errors import DigestMismatch, InvalidSpec, MachineError
from app.spec.algorithms import LightgbmParams
from app.spec.modelling import Dimension
from workers.matrix.prepared import Prepared
from workers.terms import TaskType
from workers.trainers.contract import (
    Company,
    Fitted,
    Floats,
    Fold,
    OnIteration,
    Recipe,
    directions,
    fold_weights,
    train_weights,
)

OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
WATCHED = {
    "roc_auc": {"binary": "auc"},
    "average_precision": {"binary": "average_precision"},
    "mae": {"regression": "l1"},
    "median_absolute_error": {"regression": "l1"},
    "mape": {"regression": "mape"},
}
DEFAULT_WATCHED = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "rmse"}
THREADS_LINE = re.compile(r"^\[num_threads: .*\]\n", re.MULTILINE)
OBJECTIVE_LINE = re.compile(r"^objective=(\w+)", re.MULTILINE)
TREES_AT_A_TIME = 64
"""Trees that a batch of rows walks through together: so many stay in the processor's cache, which halves the time."""
MIN_DELTA = 1e-5
"""An improvement below this share of the first score does not reset the patience of early stopping."""


SPACE: Mapping[str, Dimension] = {
    "learning_rate": Dimension(type="float", low=0.03, high=0.2, log=True),
    "num_leaves": Dimension(type="int", low=8, high=255, log=True),
    "min_child_samples": Dimension(type="int", low=5, high=200, log=True),
    "colsample_bytree": Dimension(type="float", low=0.3, high=1.0),
    "reg_alpha": Dimension(type="float", low=1e-3, high=10.0, log=True),
    "reg_lambda": Dimension(type="float", low=1e-3, high=30.0, log=True),
    "extra_trees": Dimension(type="categorical", choices=[False, True]),
}


@dataclass(frozen=True, kw_only=True)
class LightgbmFitted(Fitted):
    """A booster; `classes` is 0 for regression."""

    booster: lgb.Booster
    classes: int
    threads: int = 1

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        raw: Floats = np.zeros(len(x) if self.classes <= 2 else (len(x), self.classes))
        step = max(1, TREES_AT_A_TIME // max(1, self.classes))
        for start in range(0, self.iterations, step):
            raw += self.booster.predict(
                x, start_iteration=start, num_iteration=min(step, self.iterations - start), raw_score=True,
                num_threads=self.threads, validate_features=False,
            )  # fmt: skip
        if self.classes == 0:
            return raw
        if self.classes == 2:
            positive: Floats = expit(raw)
            return np.column_stack((1.0 - positive, positive))
        found: Floats = softmax(raw, axis=1)
        return found

    def importances(self, x: Floats) -> Floats:  # noqa: ARG002  # trees know without
        """Shares of the total gain; `x` is not needed."""
        gain = self.booster.feature_importance("gain", iteration=self.iterations).astype(np.float64)
        return gain / gain.sum() if gain.sum() > 0 else gain

    def save(self, path: Path) -> None:
        """LightGBM's model text, without the number of threads."""
        text = self.booster.model_to_string(num_iteration=self.iterations)
        path.write_text(THREADS_LINE.sub("", text), encoding="utf-8", newline="\n")


class LightgbmTrainer:
    """See `Trainer`."""

    filename = "model.txt"
    tolerance = 0.0
    objectives = frozenset({"auto", "poisson", "quantile", "huber"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:  # noqa: ARG002  # the same for all
        """See `Trainer.space`."""
        return SPACE

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> LightgbmFitted:
        """See `Trainer.fit`."""
        settings = booster_params(data, recipe, threads=company.threads)
        watch = _Watch(company.on_iteration, company.deadline)
        callbacks: list[Any] = [watch]
        train, validation = binned(data, fold, settings, recipe.class_weight)
        if recipe.early_stopping_rounds is not None and validation is not None:
            callbacks.append(_Patience(recipe.early_stopping_rounds))
        try:
            booster = lgb.train(
                settings, train, num_boost_round=recipe.max_iterations,
                valid_sets=[] if validation is None else [validation], callbacks=callbacks, keep_training_booster=True,
            )  # fmt: skip
        except LightGBMError as error:
            raise _explained(error) from error
        booster.free_dataset()
        return LightgbmFitted(
            iterations=booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration(),
            timed_out=watch.timed_out, booster=booster, classes=len(data.classes), threads=company.threads,
        )  # fmt: skip

    def load(self, path: Path, *, threads: int = 1) -> LightgbmFitted:
        """See `Trainer.load`."""
        try:
            text = path.read_text(encoding="utf-8")
            booster = lgb.Booster(model_str=text)
        except (LightGBMError, UnicodeDecodeError) as error:
            raise DigestMismatch("The file is no LightGBM model.") from error
        objective = OBJECTIVE_LINE.search(text)
        outputs = {"binary": 2, "multiclass": booster.num_model_per_iteration()}
        classes = outputs.get(objective.group(1), 0) if objective else 0
        return LightgbmFitted(
            iterations=booster.current_iteration(), booster=booster, classes=classes, threads=threads
        )  # fmt: skip


def booster_params(data: Prepared, recipe: Recipe, *, threads: int) -> dict[str, Any]:
    """LightGBM's parameters; only those of `LightgbmParams` come from the caller."""
    settings: dict[str, Any] = LightgbmParams(**recipe.params).model_dump()
    watched = WATCHED.get(recipe.metric, {}).get(data.task, DEFAULT_WATCHED[data.task])
    settings.update(
        objective=OBJECTIVES[data.task], metric=watched, seed=recipe.seed, num_threads=threads, verbosity=-1,
        feature_pre_filter=False, deterministic=recipe.deterministic,
        **({"force_row_wise": True} if recipe.deterministic else {}),
    )  # fmt: skip
    if recipe.monotone:
        settings["monotone_constraints"] = directions(data, recipe)
    if data.task == "multiclass":
        settings["num_class"] = len(data.classes)
    return settings


@dataclass(frozen=True)
class _Binned:
    source: "weakref.ref[Prepared]"
    train: lgb.Dataset
    validation: lgb.Dataset | None


_KEPT: OrderedDict[tuple[Any, ...], _Binned] = OrderedDict()
KEPT_AT_MOST = 2


def binned(
    data: Prepared, fold: Fold, settings: Mapping[str, Any], class_weight: str | None
) -> tuple[lgb.Dataset, lgb.Dataset | None]:  # fmt: skip
    """The fold's rows as LightGBM's binned data sets, kept for the next fit of this process.

    The key holds every parameter that binning depends on, so that a kept set gives the trees a fresh one would.
    """
    for stale in [key for key, kept in _KEPT.items() if kept.source() is None]:
        del _KEPT[stale]
    key = (id(data), fold.name, class_weight, *(settings.get(name) for name in OF_BINNING))
    kept = _KEPT.get(key)
    if kept is None or kept.source() is not data:
        kept = _KEPT[key] = _bin(data, fold, settings, class_weight)
        while len(_KEPT) > KEPT_AT_MOST:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    return kept.train, kept.validation


OF_BINNING = ("max_bin", "seed", "num_threads", "verbosity", "feature_pre_filter", "deterministic", "force_row_wise")


def _bin(data: Prepared, fold: Fold, settings: Mapping[str, Any], class_weight: str | None) -> _Binned:
    names = [f"f{index}" for index in range(data.x.shape[1])]
    about = {name: settings[name] for name in OF_BINNING if name in settings}
    common: dict[str, Any] = {"feature_name": names, "categorical_feature": list(data.categorical), "params": about}
    train = lgb.Dataset(
        data.x[fold.train], label=data.y[fold.train], weight=train_weights(data, fold, class_weight), **common
    ).construct()
    if fold.validation is None:
        return _Binned(weakref.ref(data), train, None)
    held = fold.validation
    validation = lgb.Dataset(
        data.x[held], label=data.y[held], weight=fold_weights(data, held), reference=train, **common
    )
    return _Binned(weakref.ref(data), train, validation.construct())


def _watched(env: CallbackEnv) -> tuple[float, float]:
    """The validation value of this iteration, and the same so that higher is better; NaN without validation rows."""
    if not env.evaluation_result_list:
        return float("nan"), float("nan")
    _, _, value, higher_is_better = (env.evaluation_result_list or [])[0][:4]
    return float(value), float(value if higher_is_better else -value)


class _Watch:
    """Tells each iteration's validation value, and ends the fit when its time is up."""

    order = 10
    before_iteration = False

    def __init__(self, on_iteration: OnIteration, deadline: float) -> None:
        self.on_iteration = on_iteration
        self.deadline = deadline
        self.timed_out = False
        self.best: tuple[float, int] | None = None

    def __call__(self, env: CallbackEnv) -> None:
        value, score = _watched(env)
        if self.best is None or not score <= self.best[0]:
            self.best = (score, env.iteration)
        self.on_iteration(env.iteration + 1, value)
        if time.monotonic() >= self.deadline:
            self.timed_out = True
            raise EarlyStopException(self.best[1], env.evaluation_result_list or [])


class _Patience:
    """Ends the fit after `rounds` iterations without a better validation value."""

    order = 30
    before_iteration = False

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.best = -np.inf
        self.at = 0
        self.step = 0.0

    def __call__(self, env: CallbackEnv) -> None:
        _, score = _watched(env)
        if env.iteration == 0:
            self.step = abs(score) * MIN_DELTA
        if score > self.best + self.step:
            self.best, self.at = score, env.iteration
        last = env.iteration == env.end_iteration - 1
        if last or env.iteration - self.at >= self.rounds:
            raise EarlyStopException(self.at, env.evaluation_result_list or [])


def _explained(error: LightGBMError) -> InvalidSpec | MachineError:
    """LightGBM's error as ours: a contradiction between parameters is the caller's to mend."""
    text = str(error)
    if "Check failed" in text or "should be" in text or "conflict" in text.lower():
        return InvalidSpec(
            "LightGBM refused these parameters together.", code="invalid_params", hint="Change training.params."
        )  # fmt: skip
    return MachineError("LightGBM failed.", code="trainer_failed")
