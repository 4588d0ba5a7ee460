"""AutoGluon at medium quality as its documentation calls it: a label, a metric and a time limit."""

import tempfile

import catboost  # noqa: F401  # imported before the clock runs, as are those below
import fastai.tabular.all  # noqa: F401
import lightgbm  # noqa: F401
import torch
import xgboost  # noqa: F401
from autogluon.tabular import TabularPredictor
from entrant import CPUS, Made, Task, enter

METRICS = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def fit(task: Task) -> Made:
    """Holds rows out by its own rule; tables in time are validated on their last rows."""
    torch.manual_seed(task.seed)
    predictor = TabularPredictor(
        label=task.target, problem_type=task.kind, eval_metric=METRICS[task.metric], path=tempfile.mkdtemp(),
        verbosity=0, learner_kwargs={"random_state": task.seed},
    )  # fmt: skip
    train, later = task.known, {}
    if task.in_time:
        train, later = task.known[: task.train_rows], {"tuning_data": task.known[task.train_rows :]}
    predictor.fit(train, **later, time_limit=task.seconds, presets="medium_quality", num_cpus=CPUS, num_gpus=0)
    if task.kind == "regression":
        return Made(predictor.predict, (), str(predictor.model_best))
    labels = tuple(str(name) for name in predictor.class_labels)
    return Made(lambda rows: predictor.predict_proba(rows)[predictor.class_labels], labels, str(predictor.model_best))


if __name__ == "__main__":
    enter("autogluon.tabular", fit)
