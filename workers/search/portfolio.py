"""What strategy `auto` tries first, and the constants that it plans with: data alone, so that it can be tuned apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One configuration to try as it is.

    Attributes:
        algorithm: Its name in the spec.
        params: What differs from the algorithm's defaults.
        trees: Rounds or trees that such a fit usually takes, solver steps for linear models.
    """

    algorithm: str
    params: Mapping[str, Any]
    trees: int


BALANCED = Setting(
    "lightgbm",
    {"learning_rate": 0.05, "num_leaves": 31, "min_child_samples": 20, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False}, 300,
)  # fmt: skip
WIDE = Setting(
    "lightgbm",
    {"learning_rate": 0.08, "num_leaves": 127, "min_child_samples": 40, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 5.0, "extra_trees": False}, 200,
)  # fmt: skip
NARROW = Setting(
    "lightgbm",
    {"learning_rate": 0.06, "num_leaves": 12, "min_child_samples": 10, "colsample_bytree": 0.4,
     "reg_alpha": 0.1, "reg_lambda": 3.0, "extra_trees": False}, 400,
)  # fmt: skip
STRICT = Setting(
    "lightgbm",
    {"learning_rate": 0.05, "num_leaves": 63, "min_child_samples": 100, "colsample_bytree": 0.4,
     "reg_alpha": 1.0, "reg_lambda": 10.0, "extra_trees": False}, 300,
)  # fmt: skip
RANDOMISED = Setting(
    "lightgbm",
    {"learning_rate": 0.1, "num_leaves": 63, "min_child_samples": 20, "colsample_bytree": 0.8,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": True}, 300,
)  # fmt: skip
HASTY = Setting(
    "lightgbm",
    {"learning_rate": 0.2, "num_leaves": 127, "min_child_samples": 40, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 5.0, "extra_trees": False}, 80,
)  # fmt: skip
SYMMETRIC = Setting("catboost", {"learning_rate": 0.08, "depth": 6, "l2_leaf_reg": 3.0}, 400)
DEEP_SYMMETRIC = Setting(
    "catboost", {"learning_rate": 0.06, "depth": 8, "l2_leaf_reg": 6.0, "random_strength": 2.0}, 400
)
BY_LEVEL = Setting(
    "xgboost",
    {"learning_rate": 0.06, "max_depth": 6, "min_child_weight": 2.0, "subsample": 0.8, "colsample_bytree": 0.6,
     "reg_lambda": 1.0}, 300,
)  # fmt: skip
DEEP_BY_LEVEL = Setting(
    "xgboost",
    {"learning_rate": 0.05, "max_depth": 9, "min_child_weight": 8.0, "subsample": 0.8, "colsample_bytree": 0.5,
     "reg_lambda": 5.0}, 250,
)  # fmt: skip
EXTRA = Setting("extra_trees", {"min_samples_leaf": 2, "max_features": 0.5, "bootstrap": False}, 300)
FOREST = Setting("random_forest", {"min_samples_leaf": 2, "max_features": 0.4, "bootstrap": True}, 300)
STRAIGHT = Setting("linear", {"C": 0.1, "alpha": 1.0}, 200)
LOOSE = Setting("linear", {"C": 10.0, "alpha": 0.01}, 200)

OF_CLASSES = (
    BALANCED, SYMMETRIC, STRAIGHT, EXTRA, WIDE, RANDOMISED, BY_LEVEL, NARROW, DEEP_SYMMETRIC, STRICT, FOREST,
    DEEP_BY_LEVEL, LOOSE, HASTY,
)  # fmt: skip
OF_NUMBERS = (
    BALANCED, SYMMETRIC, WIDE, EXTRA, STRAIGHT, BY_LEVEL, NARROW, RANDOMISED, DEEP_SYMMETRIC, STRICT, DEEP_BY_LEVEL,
    FOREST, LOOSE, HASTY,
)  # fmt: skip
PORTFOLIO: Mapping[str, tuple[Setting, ...]] = {
    "binary": OF_CLASSES, "multiclass": OF_CLASSES, "regression": OF_NUMBERS,
}  # fmt: skip
"""By task, settings in the order in which they are tried: each as unlike those before it as can be."""

SECONDS: Mapping[str, float] = {
    "lightgbm": 1e-8, "xgboost": 1.7e-8, "catboost": 3.7e-8, "random_forest": 8e-8, "extra_trees": 6e-8, "linear": 4e-9,
}  # fmt: skip
"""Seconds of one thread for one tree (or solver step) on one cell of the matrix, roughly."""
SECONDS_PER_TREE = 3e-4
"""What a tree takes on any data, however small."""
LARGEST_SHARE = 0.25
"""A setting that would take more of the budget than this is left out."""
HASTE = 0.5
"""Where the whole portfolio would take more of the budget than this, the cheap ones go first."""
REACH = 1.0
"""An algorithm is searched further where its best is within this share of the way from the best trial to the median of
the first ones."""
SHARES = (0.6, 0.25, 0.15)
"""How often the best algorithm is searched further, the second, the third; others are not."""
