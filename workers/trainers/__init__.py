"""The algorithms, by the name that a spec uses."""

from workers.trainers.contract import Fitted, Trainer
from workers.trainers.lightgbm import LightgbmTrainer
from workers.trainers.linear import LinearTrainer

TRAINERS: dict[str, Trainer] = {"lightgbm": LightgbmTrainer(), "linear": LinearTrainer()}


def algorithm_of(name: str) -> str:
    """The algorithm that `name` stands for: `auto` is LightGBM."""
    return "lightgbm" if name == "auto" else name


__all__ = ["TRAINERS", "Fitted", "Trainer", "algorithm_of"]
