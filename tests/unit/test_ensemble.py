"""A packed model answers as its members do, and equal models are equal bytes."""

from dataclasses import replace

import numpy as np
import pytest

from app.errors import DigestMismatch
from tests.modelling import matrix
from trainhouse_loader.models import ensemble
from workers.trainers import TRAINERS
from workers.trainers.contract import Company, Fold, Recipe


def fitted(algorithm, data, **params):
    recipe = Recipe(params=params, max_iterations=20)
    return TRAINERS[algorithm].fit(data, Fold.of_parts(data), recipe, Company())


def members(data, *weights):
    """One LightGBM model, then linear ones."""
    made = [ensemble.packed("lightgbm", {"num_leaves": 4}, fitted("lightgbm", data, num_leaves=4))]
    made += [ensemble.packed("linear", {}, fitted("linear", data)) for _ in weights[1:]]
    return [replace(each, weight=weight) for each, weight in zip(made, weights, strict=True)]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_single_member_answers_exactly_as_it_does_alone(tmp_path, task):
    data = matrix(task)
    alone = fitted("lightgbm", data, num_leaves=4)
    ensemble.write([ensemble.packed("lightgbm", {"num_leaves": 4}, alone)], tmp_path / "model")
    loaded = ensemble.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(data.x), alone.predict(data.x))
    assert loaded.iterations == alone.iterations


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_several_members_answer_with_their_weighted_mean(tmp_path, task):
    data = matrix(task)
    ensemble.write(members(data, 0.75, 0.25), tmp_path / "model")
    loaded = ensemble.load(tmp_path / "model")
    trees, line = (each.predict(data.x) for each in loaded.members)
    assert np.allclose(loaded.predict(data.x), 0.75 * trees + 0.25 * line, rtol=1e-12)
    assert loaded.importances(data.x).sum() == pytest.approx(1.0)
    assert loaded.tolerance == max(TRAINERS["lightgbm"].tolerance, TRAINERS["linear"].tolerance)
    if data.classes:
        assert np.allclose(loaded.predict(data.x).sum(axis=1), 1.0)


def test_equal_models_are_equal_bytes_also_when_written_again(tmp_path):
    data = matrix("binary")
    for name in ("one", "two"):
        ensemble.write(members(data, 0.5, 0.5), tmp_path / name)
    ensemble.write(ensemble.read(tmp_path / "one"), tmp_path / "three")
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three")}) == 1


def test_members_come_back_as_they_were(tmp_path):
    made = members(matrix("regression"), 0.2, 0.3, 0.5)
    ensemble.write(made, tmp_path / "model")
    assert ensemble.read(tmp_path / "model") == tuple(made)
    assert ensemble.names_of(made) == ["member_0_model.txt", "member_1_model.json", "member_2_model.json"]


@pytest.mark.parametrize("content", [b"", b"noise", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(DigestMismatch):
        ensemble.load(tmp_path / "model")
