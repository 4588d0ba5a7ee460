"""The algorithms and the parameters that a caller may set; none of them reaches a file or the network."""

from typing import Annotated, Literal

from pydantic import Field

from app.spec.base import Part

Algorithm = Literal["lightgbm", "xgboost", "catboost", "linear", "random_forest", "extra_trees"]
Objective = Literal["auto", "poisson", "quantile", "huber"]
Loss = Literal["auto", "poisson", "tweedie", "gamma"]
"""What a booster of numbers minimises instead of the squared error, predicting the logarithm of the mean."""

Share = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1e6)]


class LightgbmParams(Part):
    """LightGBM's parameters under the names of its scikit-learn interface."""

    learning_rate: Share = 0.1
    num_leaves: Annotated[int, Field(ge=2, le=4_096)] = 31
    max_depth: Annotated[int, Field(ge=-1, le=64)] = -1
    min_child_samples: Annotated[int, Field(ge=1, le=100_000)] = 20
    min_child_weight: Strength = 1e-3
    subsample: Share = 1.0
    subsample_freq: Annotated[int, Field(ge=0, le=100)] = 0
    colsample_bytree: Share = 1.0
    reg_alpha: Strength = 0.0
    reg_lambda: Strength = 1.0
    min_split_gain: Strength = 0.0
    max_bin: Annotated[int, Field(ge=2, le=1_023)] = 255
    extra_trees: bool = False
    cat_smooth: Strength = 10.0
    cat_l2: Strength = 10.0
    path_smooth: Strength = 0.0
    loss: Loss = "auto"
    """For numbers that are not negative and vary by factors; the mean is still what is predicted."""


class XgboostParams(Part):
    """XGBoost's parameters under the names of its scikit-learn interface."""

    learning_rate: Share = 0.1
    max_depth: Annotated[int, Field(ge=0, le=16)] = 6
    max_leaves: Annotated[int, Field(ge=0, le=4_096)] = 0
    grow_policy: Literal["depthwise", "lossguide"] = "depthwise"
    min_child_weight: Strength = 1.0
    subsample: Share = 1.0
    colsample_bytree: Share = 1.0
    colsample_bylevel: Share = 1.0
    reg_alpha: Strength = 0.0
    reg_lambda: Strength = 1.0
    gamma: Strength = 0.0
    max_bin: Annotated[int, Field(ge=2, le=1_023)] = 256
    max_cat_to_onehot: Annotated[int, Field(ge=1, le=1_000)] = 4
    loss: Loss = "auto"
    """As for `lightgbm`."""


class CatboostParams(Part):
    """CatBoost's parameters under its own names."""

    learning_rate: Share = 0.08
    depth: Annotated[int, Field(ge=1, le=12)] = 6
    l2_leaf_reg: Strength = 3.0
    random_strength: Strength = 1.0
    bagging_temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    rsm: Share = 1.0
    border_count: Annotated[int, Field(ge=2, le=1_023)] = 128
    one_hot_max_size: Annotated[int, Field(ge=2, le=255)] = 64
    max_ctr_complexity: Annotated[int, Field(ge=1, le=8)] = 1
    """So many categorical columns are looked at together, at the most; CatBoost's own 4 takes several times as long."""
    loss: Literal["auto", "poisson", "tweedie"] = "auto"
    """As for `lightgbm`."""


class ForestParams(Part):
    """Parameters of scikit-learn's forests; above 200,000 training rows each tree is grown on as many of them."""

    n_estimators: Annotated[int, Field(ge=1, le=5_000)] = 300
    max_depth: Annotated[int, Field(ge=1, le=64)] | None = None
    min_samples_leaf: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Left out: 1 for numbers, about 5 for classes, about 20 for objectives quantile and huber."""
    min_samples_split: Annotated[int, Field(ge=2, le=100_000)] = 2
    max_leaf_nodes: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """Left out: as many as keep the whole forest below about 100 MB."""
    max_features: Share | Literal["sqrt", "log2"] = "sqrt"
    bootstrap: bool | None = None
    """Left out: what is usual, rows drawn again for `random_forest` and all rows for `extra_trees`."""


class LinearParams(Part):
    """Parameters of the linear trainer; they mean what they mean in scikit-learn's logistic regression and ridge."""

    C: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Inverse strength of regularisation, for classes."""
    alpha: Strength = 1.0
    """Strength of regularisation, for numbers."""
    l1_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of the penalty that is absolute: 0 is ridge, 1 lasso."""


PARAMS: dict[str, type[Part]] = {
    "lightgbm": LightgbmParams,
    "xgboost": XgboostParams,
    "catboost": CatboostParams,
    "linear": LinearParams,
    "random_forest": ForestParams,
    "extra_trees": ForestParams,
}
DEFAULT_ALGORITHM = "lightgbm"
"""What `auto` stands for where no search chooses among several."""
