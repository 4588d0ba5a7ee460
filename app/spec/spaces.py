"""The default search spaces: parameters under the names, and in the ranges, that practice gives them."""

from collections.abc import Mapping

from app.spec.modelling import Dimension

BOOSTERS: Mapping[str, Mapping[str, Dimension]] = {
    "lightgbm": {
        "learning_rate": Dimension(type="float", low=0.03, high=0.2, log=True),
        "num_leaves": Dimension(type="int", low=4, high=255, log=True),
        "min_child_samples": Dimension(type="int", low=5, high=200, log=True),
        "colsample_bytree": Dimension(type="float", low=0.3, high=1.0),
        "reg_alpha": Dimension(type="float", low=1e-3, high=10.0, log=True),
        "reg_lambda": Dimension(type="float", low=1e-3, high=30.0, log=True),
        "extra_trees": Dimension(type="categorical", choices=[False, True]),
    },
    "xgboost": {
        "learning_rate": Dimension(type="float", low=0.02, high=0.3, log=True),
        "max_depth": Dimension(type="int", low=3, high=10),
        "min_child_weight": Dimension(type="float", low=0.1, high=100.0, log=True),
        "subsample": Dimension(type="float", low=0.5, high=1.0),
        "colsample_bytree": Dimension(type="float", low=0.3, high=1.0),
        "reg_alpha": Dimension(type="float", low=1e-3, high=10.0, log=True),
        "reg_lambda": Dimension(type="float", low=1e-3, high=30.0, log=True),
    },
    "catboost": {
        "learning_rate": Dimension(type="float", low=0.03, high=0.3, log=True),
        "depth": Dimension(type="int", low=4, high=9),
        "l2_leaf_reg": Dimension(type="float", low=0.5, high=30.0, log=True),
        "random_strength": Dimension(type="float", low=0.1, high=10.0, log=True),
        "bagging_temperature": Dimension(type="float", low=0.0, high=1.0),
        "rsm": Dimension(type="float", low=0.4, high=1.0),
    },
}
LOSSES: Mapping[str, tuple[str, ...]] = {
    "lightgbm": ("auto", "poisson", "tweedie", "gamma"), "xgboost": ("auto", "poisson", "tweedie", "gamma"),
    "catboost": ("auto", "poisson", "tweedie"),
}  # fmt: skip
"""What a search of numbers that vary by factors tries beside the usual loss."""
MANY_ROWS = 100_000
"""From here on trees with more leaves pay."""


def default_space(algorithm: str, task: str, rows: int) -> Mapping[str, Dimension]:
    """By parameter name, what a search of `algorithm` tries on `rows` training rows where the spec names no space."""
    if algorithm == "lightgbm" and rows >= MANY_ROWS:
        return {**BOOSTERS[algorithm], "num_leaves": Dimension(type="int", low=16, high=2_048, log=True)}
    if algorithm in BOOSTERS:
        return BOOSTERS[algorithm]
    return _linear(task) if algorithm == "linear" else _forest(rows)


def _linear(task: str) -> Mapping[str, Dimension]:
    mix = Dimension(type="float", low=0.0, high=1.0)
    if task == "regression":
        return {"alpha": Dimension(type="float", low=1e-3, high=1e4, log=True), "l1_ratio": mix}
    return {"C": Dimension(type="float", low=1e-4, high=100.0, log=True), "l1_ratio": mix}


def _forest(rows: int) -> Mapping[str, Dimension]:
    return {
        "max_features": Dimension(type="float", low=0.1, high=1.0),
        "min_samples_leaf": Dimension(type="int", low=1, high=max(2, min(64, rows // 20)), log=True),
        "bootstrap": Dimension(type="categorical", choices=[False, True]),
    }
