"""The algorithms, by the name that a spec uses."""

from app.spec.extras import EXTRAS, installed
from trainhouse_loader.models.fitted import Fitted
from workers.trainers.catboost import CatboostTrainer
from workers.trainers.contract import Trainer
from workers.trainers.forest import ForestTrainer
from workers.trainers.lightgbm import LightgbmTrainer
from workers.trainers.linear import LinearTrainer
from workers.trainers.xgboost import XgboostTrainer

TRAINERS: dict[str, Trainer] = {
    "lightgbm": LightgbmTrainer(),
    "xgboost": XgboostTrainer(),
    "catboost": CatboostTrainer(),
    "linear": LinearTrainer(),
    "random_forest": ForestTrainer("random_forest"),
    "extra_trees": ForestTrainer("extra_trees"),
}


def algorithm_of(name: str) -> str:
    """The algorithm that `name` stands for: `auto` is LightGBM."""
    return "lightgbm" if name == "auto" else name


def available(name: str) -> bool:
    """Whether this installation can train `name`; those that are no extras it always can."""
    return name not in EXTRAS or name in installed()


__all__ = ["TRAINERS", "Fitted", "Trainer", "algorithm_of", "available"]
