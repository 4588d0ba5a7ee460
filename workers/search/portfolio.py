"""What strategy `auto` tries first, and the constants that it plans with: data alone, so that it can be tuned apart.

docs/strategies.md says how the settings and the constants were found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.spec.spaces import MANY_ROWS


@dataclass(frozen=True)
class Setting:
    """One configuration to try as it is.

    Attributes:
        algorithm: Its name in the spec.
        params: What differs from the algorithm's defaults.
        trees: Rounds or trees that such a fit usually takes, solver steps for linear models.
        loss: The parameter `loss` where others than the usual one suit the numbers to predict.
    """

    algorithm: str
    params: Mapping[str, Any]
    trees: int
    loss: str = "auto"


CAREFUL = Setting(
    "lightgbm",
    {"learning_rate": 0.05, "num_leaves": 24, "min_child_samples": 5, "colsample_bytree": 0.7, "reg_alpha": 1e-3,
     "reg_lambda": 1.0, "extra_trees": False, "cat_smooth": 50.0, "cat_l2": 20.0, "path_smooth": 1.0}, 350,
)  # fmt: skip
BALANCED = Setting(
    "lightgbm",
    {"learning_rate": 0.05, "num_leaves": 31, "min_child_samples": 20, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False}, 350, loss="tweedie",
)  # fmt: skip
WIDE = Setting(
    "lightgbm",
    {"learning_rate": 0.08, "num_leaves": 127, "min_child_samples": 40, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 5.0, "extra_trees": False}, 250, loss="tweedie",
)  # fmt: skip
STUMPS = Setting(
    "lightgbm",
    {"learning_rate": 0.1, "num_leaves": 5, "min_child_samples": 20, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False}, 600, loss="gamma",
)  # fmt: skip
NARROW = Setting(
    "lightgbm",
    {"learning_rate": 0.06, "num_leaves": 12, "min_child_samples": 10, "colsample_bytree": 0.4,
     "reg_alpha": 0.1, "reg_lambda": 3.0, "extra_trees": False}, 500, loss="gamma",
)  # fmt: skip
STRICT = Setting(
    "lightgbm",
    {"learning_rate": 0.05, "num_leaves": 63, "min_child_samples": 100, "colsample_bytree": 0.4,
     "reg_alpha": 1.0, "reg_lambda": 10.0, "extra_trees": False}, 400, loss="poisson",
)  # fmt: skip
RANDOMISED = Setting(
    "lightgbm",
    {"learning_rate": 0.1, "num_leaves": 63, "min_child_samples": 20, "colsample_bytree": 0.8,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": True}, 400, loss="poisson",
)  # fmt: skip
BUSHY = Setting(
    "lightgbm",
    {"learning_rate": 0.1, "num_leaves": 512, "min_child_samples": 20, "colsample_bytree": 0.5,
     "reg_alpha": 1e-3, "reg_lambda": 5.0, "extra_trees": False}, 100,
)  # fmt: skip
BUSHY_CAREFUL = Setting(
    "lightgbm",
    {"learning_rate": 0.1, "num_leaves": 255, "min_child_samples": 100, "colsample_bytree": 0.4, "reg_alpha": 1e-3,
     "reg_lambda": 10.0, "extra_trees": False, "cat_smooth": 80.0, "cat_l2": 40.0}, 300,
)  # fmt: skip
HASTY = Setting(
    "lightgbm",
    {"learning_rate": 0.2, "num_leaves": 1_024, "min_child_samples": 10, "colsample_bytree": 0.6,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False}, 120,
)  # fmt: skip
BUSHIEST = Setting(
    "lightgbm",
    {"learning_rate": 0.25, "num_leaves": 2_048, "min_child_samples": 5, "colsample_bytree": 0.6,
     "reg_alpha": 1e-3, "reg_lambda": 1.0, "extra_trees": False}, 100,
)  # fmt: skip
WHERE_NOTHING_ENDS = (HASTY, BUSHIEST)
"""For data on which no fit ends in the budget: each round has to bring as much as it can."""
BUSHY_QUICK = Setting(
    "lightgbm",
    {"learning_rate": 0.15, "num_leaves": 600, "min_child_samples": 200, "colsample_bytree": 0.3, "reg_alpha": 1e-3,
     "reg_lambda": 20.0, "extra_trees": False, "cat_smooth": 150.0, "cat_l2": 80.0}, 150, loss="tweedie",
)  # fmt: skip
SYMMETRIC = Setting("catboost", {"learning_rate": 0.1, "depth": 6, "l2_leaf_reg": 3.0}, 500)
SHALLOW_SYMMETRIC = Setting("catboost", {"learning_rate": 0.12, "depth": 4, "l2_leaf_reg": 3.0}, 600, loss="tweedie")
DEEP_SYMMETRIC = Setting(
    "catboost", {"learning_rate": 0.12, "depth": 8, "l2_leaf_reg": 6.0, "random_strength": 2.0}, 300, loss="tweedie"
)
BY_LEVEL = Setting(
    "xgboost",
    {"learning_rate": 0.07, "max_depth": 6, "min_child_weight": 2.0, "subsample": 0.8, "colsample_bytree": 0.6,
     "reg_lambda": 1.0}, 250, loss="poisson",
)  # fmt: skip
SHALLOW_BY_LEVEL = Setting(
    "xgboost",
    {"learning_rate": 0.06, "max_depth": 4, "min_child_weight": 1.0, "subsample": 0.8, "colsample_bytree": 0.6,
     "reg_lambda": 1.0}, 350,
)  # fmt: skip
DEEP_BY_LEVEL = Setting(
    "xgboost",
    {"learning_rate": 0.06, "max_depth": 9, "min_child_weight": 8.0, "subsample": 0.8, "colsample_bytree": 0.5,
     "reg_lambda": 5.0}, 250, loss="gamma",
)  # fmt: skip
EXTRA = Setting("extra_trees", {"min_samples_leaf": 2, "max_features": 0.5, "bootstrap": False}, 150)
FOREST = Setting("random_forest", {"min_samples_leaf": 2, "max_features": 0.4, "bootstrap": True}, 150)
STRAIGHT = Setting("linear", {"C": 0.1, "alpha": 1.0}, 60)
LOOSE = Setting("linear", {"C": 10.0, "alpha": 0.01}, 60)

OF_FEW_ROWS = (
    SHALLOW_BY_LEVEL, CAREFUL, SHALLOW_SYMMETRIC, STRAIGHT, EXTRA, BALANCED, BY_LEVEL, STUMPS, SYMMETRIC, FOREST,
    RANDOMISED, LOOSE, NARROW, STRICT, DEEP_BY_LEVEL, WIDE,
)  # fmt: skip
OF_ROWS = (
    CAREFUL, BY_LEVEL, BALANCED, SYMMETRIC, STUMPS, STRAIGHT, DEEP_BY_LEVEL, EXTRA, RANDOMISED, WIDE, DEEP_SYMMETRIC,
    STRICT, SHALLOW_BY_LEVEL, BUSHY, FOREST, LOOSE,
)  # fmt: skip
OF_MANY_ROWS = (
    BUSHY_CAREFUL, WIDE, BUSHY_QUICK, DEEP_BY_LEVEL, STRICT, BUSHY, DEEP_SYMMETRIC, CAREFUL, STRAIGHT, RANDOMISED, EXTRA,
    FOREST,
)  # fmt: skip
FEW_ROWS = 4_000


def portfolio(rows: int, losses: Sequence[str] = ()) -> tuple[Setting, ...]:
    """The settings for so many training rows, as they are tried: each of use, and unlike those before it.

    Where other `losses` than the usual one suit the target, about every second setting is of such a one.
    """
    usual = OF_FEW_ROWS if rows < FEW_ROWS else OF_ROWS if rows < MANY_ROWS else OF_MANY_ROWS
    return tuple(_with_loss(setting, losses) for setting in usual) if losses else usual


def _with_loss(setting: Setting, losses: Sequence[str]) -> Setting:
    if setting.loss == "auto":
        return setting
    loss = setting.loss if setting.loss in losses else "tweedie"
    return replace(setting, params={**setting.params, "loss": loss})


SECONDS: Mapping[str, float] = {
    "lightgbm": 0.9e-8, "xgboost": 1.7e-8, "catboost": 3.7e-8, "random_forest": 1.2e-7, "extra_trees": 1.2e-7,
    "linear": 2.5e-8,
}  # fmt: skip
"""Seconds of one thread for one tree (or solver step) on one cell of the matrix, roughly."""
SECONDS_PER_TREE = 3e-4
"""What a tree takes on any data, however small."""
SPEED_UP = 1.6
"""How many times as fast a fit on all of two cores is as on one, on data that is large enough for it."""
LARGEST_SHARE = 0.4
"""A setting that would take more of the budget than this is left out."""
SIDE_SHARE = 0.1
"""The same for forests and linear models, which seldom are the best where fits take long."""
SIDE = frozenset({"linear", "random_forest", "extra_trees"})
LONGEST_SHARE = 0.375
"""Of the budget: a trial of a portfolio of which anything fits is ended after so much of it."""
REACH = 1.0
"""An algorithm is searched further where its best is within this share of the way from the best trial to the median of
the first ones."""
SHARES = (0.6, 0.25, 0.15)
"""Of the time that follows the portfolio, for the best algorithm, the second, the third; others get none."""
