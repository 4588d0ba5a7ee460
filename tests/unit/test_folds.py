"""Folds cover the rows that may teach once, tear no block apart, and look alike."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidData, InvalidSpec
from tests.learning import codes
from tests.modelling import after, context, matrix, result, trained
from trainhouse_loader.models import ensemble
from workers.fitting.folds import divided, resolved
from workers.matrix import prepared
from workers.stages import train


def used(data):
    return np.flatnonzero(data.part != 2)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_train_and_validation_row_is_held_back_once_and_no_test_row_is_seen(task):
    data = matrix(task, rows=500)
    folds = divided(data, 5, seed=1)
    assert np.array_equal(np.sort(np.concatenate([fold.validation for fold in folds])), used(data))
    for fold in folds:
        assert np.array_equal(np.sort(np.concatenate([fold.train, fold.validation])), used(data))
        assert np.array_equal(fold.train, np.sort(fold.train))


def test_each_class_has_the_same_share_in_every_fold():
    data = matrix("multiclass", rows=700)
    counts = np.array([np.bincount(data.y[fold.validation].astype(int)) for fold in divided(data, 5, seed=1)])
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_numbers_have_the_same_mean_in_every_fold():
    data = matrix("regression", rows=700)
    means = [data.y[fold.validation].mean() for fold in divided(data, 5, seed=1)]
    assert np.ptp(means) < 0.3 * data.y.std()


@settings(max_examples=40)
@given(seed=st.integers(0, 1_000), blocks=st.integers(5, 120), folds=st.integers(2, 5))
def test_no_block_stands_in_two_folds(seed, blocks, folds):
    data = matrix("binary", rows=200, seed=3)
    data = replace(data, block=np.random.default_rng(seed).integers(0, blocks, 200))
    for fold in divided(data, folds, seed=seed):
        assert not set(data.block[fold.validation]) & set(data.block[fold.train])


def test_the_same_seed_divides_the_same_way_and_another_does_not():
    data = matrix("binary")
    one, two, other = (divided(data, 5, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.validation, b.validation) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].validation, other[0].validation)
    assert one[0].name == two[0].name != other[0].name


def test_there_are_no_more_folds_than_rows_of_the_rarer_class():
    data = matrix("binary", rows=100)
    rare = np.zeros(100)
    rare[used(data)[:3]] = 1
    assert resolved(replace(data, y=rare), 5, split={}, seed=1) == 3
    assert resolved(data, 0, split={"method": "time"}, seed=1) == 0
    rare[used(data)[1:3]] = 0
    with pytest.raises(InvalidData) as caught:
        resolved(replace(data, y=rare), 5, split={}, seed=1)
    assert caught.value.stable_code == "too_few_rows_for_folds"


def of_few_groups(groups, positive):
    """Groups of 30 train and validation rows each, whose first row is negative; some hold positives too."""
    data = matrix("binary", rows=30 * groups, seed=4)
    block = np.arange(30 * groups) // 30
    y = np.isin(block, positive) & (np.arange(30 * groups) % 30 > 10)
    return replace(data, block=block, y=y.astype(float), part=np.where(block % 5 == 0, 1, 0).astype(np.int8))


@pytest.mark.parametrize("seed", range(12))
def test_every_fold_leaves_two_classes_to_learn_from_though_few_groups_hold_both(seed):
    data = of_few_groups(10, positive=(2, 7))
    assert resolved(data, 5, split={}, seed=seed) == 2
    for fold in divided(data, 2, seed=seed):
        assert set(data.y[fold.train]) == {0.0, 1.0}
    one = of_few_groups(10, positive=(2,))
    assert resolved(one, 5, split={}, seed=seed, asked=False) == 0


def test_rows_that_stand_alone_are_dealt_by_their_own_class():
    data = matrix("multiclass", rows=300)
    alone = replace(data, block=np.arange(300))
    pairs = zip(divided(data, 5, seed=3), divided(alone, 5, seed=3), strict=True)
    assert all(np.array_equal(one.validation, other.validation) for one, other in pairs)


def test_folds_that_nobody_asked_for_give_way_to_the_validation_part(tmp_path):
    data = matrix("binary", rows=300)
    data = replace(data, block=np.where(data.where("test"), 1, 0))
    ctx = context(tmp_path, data, {"tuning": {"max_trials": 1}, "training": {"max_iterations": 5}})
    rows = {name: int(data.where(name).sum()) for name in ("train", "validation")}
    done = train.run(after(ctx, split={"rows": rows, "method": "predefined"}))
    assert (done.output["folds"], codes(done)) == (0, {"fewer_folds"})
    with pytest.raises(InvalidData):
        resolved(data, 5, split={}, seed=1)
    with pytest.raises(InvalidData):
        resolved(replace(data, part=np.where(data.part == 1, 0, data.part)), 5, split={}, seed=1, asked=False)


@pytest.mark.parametrize("method", ["time", "time_and_group"])
def test_rows_in_order_of_time_are_not_divided_otherwise(method):
    with pytest.raises(InvalidSpec) as caught:
        resolved(matrix("binary"), 5, split={"method": method}, seed=1)
    assert caught.value.stable_code == "folds_across_time"


def test_a_trial_over_folds_says_what_rows_it_never_saw_would_get(tmp_path):
    spec = {"tuning": {"folds": 4, "max_trials": 3}, "training": {"max_iterations": 30}}
    data = matrix("regression", rows=300)
    ctx = trained(context(tmp_path, data, spec))
    found = result(ctx, 0, {"num_leaves": 6}, ())
    held = np.load(ctx.workspace.fetch(found.predictions))
    assert held.dtype == np.float32
    assert len(held) == len(used(data))
    assert found.value == pytest.approx(np.sqrt(np.mean((held - data.y[used(data)]) ** 2)), rel=1e-5)
    assert len(ensemble.read(ctx.workspace.fetch(found.model))) == 4
    assert len(found.facts["folds"]) == 4
    assert found.facts["spread"] == pytest.approx(np.std(found.facts["folds"]))
    assert found.curve[0][0] == 1


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_twenty_rows_are_enough(tmp_path, task):
    data = matrix(task, rows=20, seed=2)
    ctx = trained(context(tmp_path, data, {"tuning": {"folds": 5, "max_trials": 2}}))
    assert np.isfinite(result(ctx, 0, {}, ()).value)


def test_a_class_of_one_row_is_no_obstacle(tmp_path):
    data = matrix("multiclass", rows=120)
    y = np.minimum(data.y, 1.0)
    y[used(data)[0]] = 2.0
    ctx = trained(context(tmp_path, replace(data, y=y), {"tuning": {"folds": 5, "max_trials": 2}}))
    assert np.isfinite(result(ctx, 0, {}, ()).value)


def test_fewer_folds_than_asked_are_said(tmp_path):
    data = matrix("binary", rows=60)
    rare = np.zeros(60)
    rare[np.flatnonzero(data.part == 0)[:2]] = 1
    rare[np.flatnonzero(data.part == 1)[:1]] = 1
    outcome = train.run(context(tmp_path, replace(data, y=rare), {"tuning": {"folds": 5, "max_trials": 2}}))
    assert outcome.output["folds"] == 3
    assert "fewer_folds" in codes(outcome)


def test_blocks_are_kept_with_the_matrix(tmp_path):
    data = matrix("binary", block=np.arange(600) // 2)
    prepared.save(data, tmp_path / "matrix")
    assert np.array_equal(prepared.load(tmp_path / "matrix").block, data.block)
