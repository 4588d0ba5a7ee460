"""Words that training and serving share: the kinds of tasks."""

from typing import Literal

TaskType = Literal["binary", "multiclass", "regression"]
