"""LightGBM tuned by Optuna's TPE over the space of Optuna's own LightGBM example, with early stopping, then fitted anew.

The example has neither early stopping nor a last fit on all rows nor a deadline inside a fit; without them it would be
weaker, or overrun on large tables.
"""

import time
from typing import Any

import lightgbm as lgb
import optuna
import pandas as pd
from entrant import CPUS, Made, Task, enter

MOST_ROUNDS, PATIENCE = 1_000, 50
REFIT_COST = 1.3
"""Seconds of the last fit on train and validation, over those of the best trial."""
OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
METRICS = {"roc_auc": "auc", "log_loss": "multi_logloss", "rmse": "rmse"}


class Clock:
    """Knows when the search must end for the last fit to be ready in time."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.perf_counter() + seconds
        self.trial_began = 0.0
        self.best_seconds = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the best trial, or the first while it runs, could just be fitted anew."""
        now = time.perf_counter()
        return now + REFIT_COST * (self.best_seconds or now - self.trial_began) > self.ends

    def __call__(self, env: Any) -> None:
        """A callback of LightGBM: ends the fit where the time is over."""
        if self.is_over and env.evaluation_result_list:
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    """A point of the example's space."""
    return {
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 2, 256),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "bagging_freq": trial.suggest_int("bagging_freq", 1, 7),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 100),
    }


def fit(task: Task) -> Made:
    """TPE over fits on train, scored on validation, for as long as the best can still be fitted on both."""
    clock = Clock(task.seconds)
    encode = encoder(task.features)
    x, y = encode(task.features), labels_of(task)
    fixed = {
        "objective": OBJECTIVES[task.kind], "metric": METRICS[task.metric], "verbosity": -1, "num_threads": CPUS,
        "seed": task.seed, **({"num_class": len(task.classes)} if task.kind == "multiclass" else {}),
    }  # fmt: skip
    train = lgb.Dataset(x[: task.train_rows], y[: task.train_rows], free_raw_data=False)
    later = lgb.Dataset(x[task.train_rows :], y[task.train_rows :], reference=train, free_raw_data=False)
    study = searched(task, clock, fixed, (train, later))
    best = fixed | study.best_params
    model = lgb.train(best, lgb.Dataset(x, y), num_boost_round=study.best_trial.user_attrs["rounds"])

    def predict(rows: pd.DataFrame) -> Any:
        answer = model.predict(encode(rows))
        return answer if task.kind != "binary" else pd.DataFrame({0: 1.0 - answer, 1: answer})

    return Made(predict, task.classes, f"LightGBM, {len(study.trials)} trials")


def searched(task: Task, clock: Clock, fixed: dict[str, Any], data: tuple[lgb.Dataset, lgb.Dataset]) -> optuna.Study:
    """The study, ended by the clock; each trial knows its rounds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize" if task.metric == "roc_auc" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=task.seed),
    )

    def objective(trial: optuna.Trial) -> float:
        clock.trial_began = time.perf_counter()
        params = fixed | suggested(trial) | {"feature_pre_filter": False}
        callbacks = [lgb.early_stopping(PATIENCE, verbose=False), clock]
        model = lgb.train(params, data[0], MOST_ROUNDS, valid_sets=[data[1]], callbacks=callbacks)
        trial.set_user_attr("rounds", max(1, model.best_iteration))
        trial.set_user_attr("seconds", time.perf_counter() - clock.trial_began)
        return float(next(iter(model.best_score["valid_0"].values())))

    def told(study: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
        clock.best_seconds = study.best_trial.user_attrs["seconds"]
        if clock.is_over:
            study.stop()

    study.optimize(objective, callbacks=[told])
    return study


def encoder(features: pd.DataFrame) -> Any:
    """Gives frames as LightGBM takes them: text as categories of the known rows, times as seconds."""
    texts = {
        name: pd.CategoricalDtype(features[name].dropna().unique()) for name in features
        if not pd.api.types.is_numeric_dtype(features[name]) and not is_time(features[name])
    }  # fmt: skip

    def encode(rows: pd.DataFrame) -> pd.DataFrame:
        times = {name: rows[name].astype("datetime64[s]").astype("int64") for name in rows if is_time(rows[name])}
        return rows.assign(**times).astype(texts).set_axis([f"f{index}" for index in range(rows.shape[1])], axis=1)

    return encode


def is_time(column: pd.Series) -> bool:
    """Whether the column holds moments."""
    return pd.api.types.is_datetime64_any_dtype(column)


def labels_of(task: Task) -> Any:
    """The target as LightGBM takes it."""
    target = task.known[task.target]
    return target if task.kind == "regression" else target.map({name: at for at, name in enumerate(task.classes)})


if __name__ == "__main__":
    enter("optuna", fit)
