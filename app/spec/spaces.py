"""The default search spaces, by algorithm; the parameters have the names and the ranges that practice gives them."""

from collections.abc import Mapping

from app.spec.modelling import Dimension

BOOSTERS: Mapping[str, Mapping[str, Dimension]] = {
    "lightgbm": {
        "learning_rate": Dimension(type="float", low=0.03, high=0.2, log=True),
        "num_leaves": Dimension(type="int", low=8, high=255, log=True),
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
