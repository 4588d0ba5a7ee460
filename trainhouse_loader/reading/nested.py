"""Lists and records as the text that stands for them in a table."""

import json
from typing import Any

import numpy as np


def nested_text(value: object) -> str:
    """A list or record as compact JSON text with sorted keys, without what is missing in records."""
    return json.dumps(_without_nulls(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value
