"""The kinds of models, by the name of the algorithm that makes them."""

from trainhouse_loader.models.catboost import CatboostFormat
from trainhouse_loader.models.fitted import Fitted, Format
from trainhouse_loader.models.forest import ForestFormat
from trainhouse_loader.models.lightgbm import LightgbmFormat
from trainhouse_loader.models.linear import LinearFormat
from trainhouse_loader.models.xgboost import XgboostFormat

MODELS: dict[str, Format] = {
    "lightgbm": LightgbmFormat(),
    "xgboost": XgboostFormat(),
    "catboost": CatboostFormat(),
    "linear": LinearFormat(),
    "random_forest": ForestFormat(),
    "extra_trees": ForestFormat(),
}

__all__ = ["MODELS", "Fitted", "Format"]
