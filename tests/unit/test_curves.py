"""What a report draws: the curves that rows have, and no more where they have none."""

import json

import numpy as np
import pytest

from workers.measures.curves import of_rows
from workers.measures.samples import Rows


def rows(y, weights=None):
    """Rows of a task of two classes with rising probabilities."""
    y = np.asarray(y, dtype=float)
    positive = np.linspace(0.1, 0.9, len(y))
    weights = None if weights is None else np.asarray(weights, dtype=float)
    return Rows("binary", y, np.column_stack((1 - positive, positive)), weights=weights)


def test_rows_of_two_classes_have_all_curves():
    assert set(of_rows(rows([0, 1, 0, 1]))) == {
        "roc", "precision_recall", "gain", "thresholds", "calibration", "distribution",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("y", "weights"), [([1, 1, 1], None), ([0, 0, 0], None), ([0, 1, 1], [1, 0, 0]), ([0, 0, 1], [0, 0, 2])]
)
def test_rows_of_one_class_or_of_one_that_weighs_anything_have_no_ranking(y, weights):
    found = of_rows(rows(y, weights))
    assert set(found) == {"distribution"}
    json.dumps(found, allow_nan=False)
