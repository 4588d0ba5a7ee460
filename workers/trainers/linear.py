"""Linear models by scikit-learn: logistic regression for classes, ridge or elastic net for numbers."""

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge

from app.errors import DigestMismatch, InvalidSpec, MachineError
from app.spec.algorithms import LinearParams
from app.spec.modelling import Dimension
from workers.matrix.prepared import Prepared
from workers.measures.metrics import metric_of
from workers.measures.scoring import scores
from workers.terms import TaskType
from workers.trainers.contract import Company, Fitted, Floats, Fold, Recipe, train_weights

STEPS_AT_A_TIME = 50
MAX_STEPS = 1_000


@dataclass(frozen=True, kw_only=True)
class LinearFitted(Fitted):
    """`coefficients` is (outputs, features), `intercepts` (outputs,); one output for binary and regression."""

    coefficients: Floats
    intercepts: Floats
    classes: int

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`."""
        # einsum sums in one fixed order, where BLAS may choose another for each number of rows.
        raw: Floats = np.einsum("ij,kj->ik", x, self.coefficients) + self.intercepts
        if self.classes == 0:
            return raw[:, 0]
        if self.classes == 2:
            positive: Floats = expit(raw[:, 0])
            return np.column_stack((1.0 - positive, positive))
        found: Floats = softmax(raw, axis=1)
        return found

    def importances(self, x: Floats) -> Floats:
        """Shares of the mean absolute coefficient times the feature's standard deviation in `x`."""
        size: Floats = np.abs(self.coefficients).mean(axis=0) * x.std(axis=0)
        return size / size.sum() if size.sum() > 0 else size

    def save(self, path: Path) -> None:
        """JSON whose numbers read back as the same floats."""
        document = {
            "format": "trainhouse-linear-1", "classes": self.classes, "iterations": self.iterations,
            "intercepts": self.intercepts.tolist(), "coefficients": self.coefficients.tolist(),
        }  # fmt: skip
        path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


class LinearTrainer:
    """See `Trainer`."""

    filename = "model.json"
    tolerance = 1e-12
    objectives = frozenset({"auto"})

    def space(self, task: TaskType, rows: int) -> Mapping[str, Dimension]:  # noqa: ARG002
        """See `Trainer.space`."""
        if task == "regression":
            return {"alpha": Dimension(type="float", low=1e-3, high=1_000.0, log=True)}
        return {"C": Dimension(type="float", low=1e-3, high=100.0, log=True)}

    def fit(self, data: Prepared, fold: Fold, recipe: Recipe, company: Company) -> LinearFitted:
        """See `Trainer.fit`."""
        x, y, weight = data.x[fold.train], data.y[fold.train], train_weights(data, fold, recipe.class_weight)
        if not np.isfinite(x).all():
            raise InvalidSpec(
                "The linear trainer cannot take missing values.", code="missing_values",
                hint="Let transform.numeric.impute fill them in, or train lightgbm.",
            )  # fmt: skip
        chosen = LinearParams(**recipe.params)
        report = _Report(data, fold, recipe, company)
        company.on_iteration(0, float("nan"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                if data.task == "regression":
                    return _fit_numbers(x, y, weight, params=chosen, report=report)
                return _fit_classes(x, y, weight, params=chosen, report=report)
            except (ValueError, np.linalg.LinAlgError) as error:
                raise MachineError("The linear solver failed.", code="trainer_failed") from error

    def load(self, path: Path, *, threads: int = 1) -> LinearFitted:  # noqa: ARG002  # one thread is enough
        """See `Trainer.load`."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return LinearFitted(
                iterations=int(document["iterations"]), classes=int(document["classes"]),
                coefficients=np.asarray(document["coefficients"], dtype=np.float64),
                intercepts=np.asarray(document["intercepts"], dtype=np.float64),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise DigestMismatch("The file is no linear model.") from error


@dataclass(frozen=True)
class _Report:
    """Scores a model of some steps on the validation part, tells it, and says whether time is up."""

    data: Prepared
    fold: Fold
    recipe: Recipe
    company: Company

    def __call__(self, fitted: LinearFitted) -> bool:
        value, held = None, self.fold.validation
        if held is not None:
            metric = metric_of(self.recipe.metric, self.data.task, self.recipe.objective)
            found = scores(self.data.task, self.data.y[held], fitted.predict(self.data.x[held]), names=[metric])
            value = found[metric]["value"]
        self.company.on_iteration(fitted.iterations, float("nan") if value is None else float(value))
        return time.monotonic() >= self.company.deadline


def _fit_numbers(  # a fit's parts
    x: Floats, y: Floats, weight: Floats | None, *, params: LinearParams, report: _Report
) -> LinearFitted:
    if params.l1_ratio > 0 and params.alpha > 0:
        model = ElasticNet(
            alpha=params.alpha, l1_ratio=params.l1_ratio, random_state=report.recipe.seed, max_iter=MAX_STEPS
        )
    else:
        model = Ridge(alpha=params.alpha, random_state=report.recipe.seed)
    model.fit(x, y, sample_weight=weight)
    fitted = LinearFitted(
        iterations=int(np.max(model.n_iter_)) if model.n_iter_ is not None else 1,
        coefficients=np.atleast_2d(model.coef_), intercepts=np.atleast_1d(np.float64(model.intercept_)), classes=0,
    )  # fmt: skip
    report(fitted)
    return fitted


def _fit_classes(  # a fit's parts
    x: Floats, y: Floats, weight: Floats | None, *, params: LinearParams, report: _Report
) -> LinearFitted:
    classes = len(report.data.classes)
    model = LogisticRegression(
        C=params.C, l1_ratio=params.l1_ratio, solver="saga" if params.l1_ratio > 0 else "lbfgs", random_state=report.recipe.seed,
        warm_start=True, max_iter=1,
    )  # fmt: skip
    steps, most = 0, min(report.recipe.max_iterations, MAX_STEPS)
    while True:
        model.max_iter = min(STEPS_AT_A_TIME, most - steps)
        model.fit(x, y, sample_weight=weight)
        taken = int(np.max(model.n_iter_))
        steps += taken
        fitted = _of_all_classes(model, classes=classes, steps=steps)
        timed_out = report(fitted)
        if timed_out or taken < model.max_iter or steps >= most:
            return LinearFitted(**{**vars(fitted), "timed_out": timed_out and taken == model.max_iter})


def _of_all_classes(model: LogisticRegression, *, classes: int, steps: int) -> LinearFitted:
    """The model with one output per class, also for classes that the train part did not hold."""
    seen = model.classes_.astype(np.int64)
    if classes == 2:
        return LinearFitted(iterations=steps, coefficients=model.coef_, intercepts=model.intercept_, classes=2)
    coefficients = np.zeros((classes, model.coef_.shape[1]))
    intercepts = np.full(classes, -1e3)
    if len(seen) == 2:
        coefficients[seen[1]], intercepts[seen] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coefficients[seen], intercepts[seen] = model.coef_, model.intercept_
    return LinearFitted(iterations=steps, coefficients=coefficients, intercepts=intercepts, classes=classes)
