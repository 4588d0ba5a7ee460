"""FLAML as its documentation calls it: a task, a metric and a time budget; the last fit is to keep within the budget."""

from entrant import CPUS, Made, Task, enter
from flaml import AutoML

METRICS = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "rmse"}


def fit(task: Task) -> Made:
    """Searches on all rows but the test's; tables in time are validated on their last rows."""
    automl = AutoML()
    automl.fit(
        X_train=task.features, y_train=task.known[task.target], metric=METRICS[task.metric],
        task="regression" if task.kind == "regression" else "classification", time_budget=task.seconds, n_jobs=CPUS,
        seed=task.seed, verbose=0, log_file_name="", retrain_full="budget",
        **({"split_type": "time"} if task.in_time else {}),
    )  # fmt: skip
    if task.kind == "regression":
        return Made(automl.predict, (), str(automl.best_estimator))
    return Made(automl.predict_proba, tuple(str(name) for name in automl.classes_), str(automl.best_estimator))


if __name__ == "__main__":
    enter("flaml", fit)
